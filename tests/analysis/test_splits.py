import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap_analysis.splits import _mix, hash_order, hashed_uniform, selection_mask

INT64 = st.integers(-(2**63), 2**63 - 1)


def mixed(state):
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def uniform_by_definition(example, seed):
    golden = 0x9E3779B97F4A7C15
    start = mixed((seed + golden) % 2**64)
    return (mixed((start + (example + 1) * golden) % 2**64) >> 11) / 2**53


def test_the_finaliser_gives_the_published_outputs_of_splitmix64():
    counters = np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert _mix(np.uint64(1234567) + counters).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(ids=st.lists(INT64, max_size=20), seed=st.integers(-(2**70), 2**70))
@settings(deadline=None)
def test_the_hash_equals_its_definition_in_python_integers(ids, seed):
    got = hashed_uniform(np.array(ids, dtype=np.int64), seed=seed)
    assert got.dtype == np.float64
    assert got.tolist() == [uniform_by_definition(example, seed) for example in ids]


def test_the_bits_never_change():
    assert [value.hex() for value in hashed_uniform(np.array([0, 1, -1, 2**62]), seed=7).tolist()] == [
        "0x1.7169852efd579p-1",
        "0x1.4ca60bfa671d9p-1",
        "0x1.d2d6af319ae2ep-2",
        "0x1.6341a43a94116p-1",
    ]


def test_an_example_keeps_its_number_in_any_order_and_any_block():
    ids = np.random.default_rng(0).permutation(1000) - 300
    whole = hashed_uniform(ids, seed=3)
    np.testing.assert_array_equal(hashed_uniform(ids[::-1], seed=3), whole[::-1])
    np.testing.assert_array_equal(hashed_uniform(ids[137:400], seed=3), whole[137:400])


def test_consecutive_ids_and_seeds_look_uniform_and_independent():
    ids = np.arange(20_000)
    rows = np.array([hashed_uniform(ids, seed=seed) for seed in range(4)])
    for row in rows:
        assert np.abs(np.sort(row) - (ids + 0.5) / len(ids)).max() < 1.63 / np.sqrt(len(ids))
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < 4 / np.sqrt(len(ids))
    assert np.abs(np.corrcoef(rows) - np.eye(4)).max() < 4 / np.sqrt(len(ids))


def test_a_larger_fraction_keeps_the_examples_of_a_smaller_one():
    ids = np.arange(5000)
    small, large = (selection_mask(ids, fraction=fraction, seed=1) for fraction in (0.3, 0.5))
    assert not np.any(small & ~large)
    assert abs(small.mean() - 0.3) < 0.03
    assert abs(large.mean() - 0.5) < 0.03


def test_a_fraction_of_zero_selects_nothing_and_of_one_everything():
    ids = np.arange(100)
    assert not selection_mask(ids, fraction=0, seed=0).any()
    assert selection_mask(ids, fraction=1, seed=0).all()


@pytest.mark.parametrize("fraction", [-0.1, 1.1, np.nan])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction: expected a number in \[0, 1\], got"):
        selection_mask(np.arange(3), fraction=fraction, seed=0)


def test_hash_order_sorts_by_hash_and_keeps_the_order_of_equal_ids():
    ids = np.random.default_rng(0).integers(-5, 5, 1000)
    order = hash_order(ids, seed=0)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(1000), key=lambda n: (uniform_by_definition(int(ids[n]), 0), n))


def test_a_selection_takes_its_share_of_a_split_that_was_cut_with_the_same_seed():
    ids = np.arange(20_000)
    for seed in range(3):
        test = ids[hash_order(ids, seed=seed)[8_000:]]
        assert selection_mask(test, fraction=0.5, seed=seed).mean() == pytest.approx(0.5, abs=0.02)
