import numpy as np
import pytest

from overlap_analysis.pair_regression import pair_design, regress_pairs
from overlap_analysis.pairs import pair_indices
from overlap_analysis.resampling import Bootstrap, variant_multiplicities


def design_of(count, seed=0):
    rng = np.random.default_rng(seed)
    attributes = {"architecture": rng.choice(["vit", "resnet", "mixer"], count), "seed": rng.integers(0, 3, count)}
    return pair_design(attributes, rng.uniform(0.6, 0.9, count))


def values_of(design, coefficients, count, seed=0, levels=0.05):
    """Planted coefficients, levels of variants, noise of pairs."""
    rng = np.random.default_rng([1, seed])
    a, b = pair_indices(count)
    level = levels * rng.normal(size=count)
    return 0.3 + design @ coefficients + level[a] + level[b] + 0.02 * rng.normal(size=len(a))


def test_columns_say_what_two_variants_share_and_how_accurate_they_are():
    design, names = pair_design({"framework": ["x", "x", "y"], "dataset": [1, 2, 2]}, np.array([0.5, 0.75, 0.25]))
    assert names == ("same_framework", "same_dataset", "mean_accuracy", "accuracy_difference")
    assert design.tolist() == [[1, 0, 0.625, 0.25], [0, 0, 0.375, 0.25], [0, 1, 0.5, 0.5]]
    with pytest.raises(ValueError, match=r"framework: expected shape \(3,\), one for each variant, got \(2,\)"):
        pair_design({"framework": [1, 2]}, np.ones(3))


def test_exact_relations_are_recovered_exactly():
    design, names = design_of(12)
    planted = np.array([0.2, -0.1, 1.5, -0.7])
    result = regress_pairs(0.3 + design @ planted, design, names)
    assert [coefficient.name for coefficient in result.coefficients] == ["intercept", *names]
    for coefficient, truth in zip(result.coefficients, [0.3, *planted], strict=True):
        np.testing.assert_allclose([coefficient.low, coefficient.value, coefficient.high], truth, atol=1e-9)
    assert result.r_squared == pytest.approx(1)
    assert (result.pairs, result.dropped) == (66, ())


def test_the_fit_is_numpys_least_squares_and_its_intervals_are_of_copied_variants():
    design, names = design_of(9)
    values = values_of(design, [0.1, 0, 0.5, 0.2], 9)
    settings = Bootstrap(resamples=60, seed=3, level=0.8)
    result = regress_pairs(values, design, names, bootstrap=settings)
    columns = np.column_stack([np.ones(len(values)), design])
    expected, rest, _, _ = np.linalg.lstsq(columns, values, rcond=None)
    np.testing.assert_allclose([coefficient.value for coefficient in result.coefficients], expected, rtol=1e-9)
    assert result.r_squared == pytest.approx(1 - rest[0] / np.sum((values - values.mean()) ** 2))
    fits = []
    a, b = pair_indices(9)
    for times in variant_multiplicities(9, settings)[1:]:
        copies = np.repeat(np.arange(len(values)), (times[a] * times[b]).astype(int))
        fit, _, rank, _ = np.linalg.lstsq(columns[copies], values[copies], rcond=None)
        fits.append(fit if rank == 5 else np.full(5, np.nan))
    low, high = np.nanquantile(fits, [0.1, 0.9], axis=0)
    np.testing.assert_allclose([c.low for c in result.coefficients], np.minimum(low, expected), rtol=1e-7)
    np.testing.assert_allclose([c.high for c in result.coefficients], np.maximum(high, expected), rtol=1e-7)


def test_intervals_hold_planted_coefficients_although_pairs_share_variants():
    planted = np.array([0.1, 0.0, 0.5, -0.2])
    held = []
    for seed in range(80):
        design, names = design_of(25, seed)
        result = regress_pairs(
            values_of(design, planted, 25, seed), design, names, bootstrap=Bootstrap(resamples=150, seed=seed)
        )
        held.append([c.low <= truth <= c.high for c, truth in zip(result.coefficients[1:], planted, strict=True)])
    coverage = np.mean(held, axis=0)
    assert np.all(coverage >= 0.84)
    assert coverage.mean() <= 0.99


def test_constant_and_dependent_columns_are_dropped_and_named():
    design, names = design_of(10)
    twice = np.column_stack([np.ones(45), design[:, 0], design, 1 - 2 * design[:, 1], np.zeros(45)])
    all_names = ("one", "first", *names, "opposite", "zero")
    values = values_of(design, [0.1, 0.3, 0.5, 0.2], 10)
    result = regress_pairs(values, twice, all_names)
    assert result.dropped == ("one", names[0], "opposite", "zero")
    expected = regress_pairs(values, design, names)
    assert result.r_squared == pytest.approx(expected.r_squared)
    for coefficient, other in zip(result.coefficients, expected.coefficients, strict=True):
        assert coefficient.value == pytest.approx(other.value)
        assert coefficient.low == pytest.approx(other.low)


def test_pairs_without_a_value_are_left_out():
    design, names = design_of(12)
    values = values_of(design, [0.1, 0.3, 0.5, 0.2], 12)
    values[::5] = np.nan
    defined = ~np.isnan(values)
    result = regress_pairs(values, design, names)
    columns = np.column_stack([np.ones(defined.sum()), design[defined]])
    expected = np.linalg.lstsq(columns, values[defined], rcond=None)[0]
    np.testing.assert_allclose([coefficient.value for coefficient in result.coefficients], expected, rtol=1e-9)
    assert result.pairs == defined.sum()


def test_units_of_a_column_do_not_matter():
    design, names = design_of(12)
    values = values_of(design, [0.1, 0.3, 0.5, 0.2], 12)
    result = regress_pairs(values, design, names)
    tiny = regress_pairs(values, design * 1e-5 + 5, names)
    assert tiny.dropped == ()
    for coefficient, other in zip(result.coefficients[1:], tiny.coefficients[1:], strict=True):
        np.testing.assert_allclose(
            [other.value, other.low], np.array([coefficient.value, coefficient.low]) * 1e5, rtol=1e-6
        )


def test_values_that_do_not_vary_or_are_missing_explain_nothing():
    design, names = design_of(6)
    result = regress_pairs(np.full(15, 0.2), design, names)
    assert np.isnan(result.r_squared)
    np.testing.assert_allclose([c.value for c in result.coefficients], [0.2, 0, 0, 0, 0], atol=1e-12)
    result = regress_pairs(np.full(15, np.nan), design, names)
    assert (result.pairs, result.dropped) == (0, names)
    assert np.isnan([result.coefficients[0].value, result.coefficients[0].low, result.r_squared]).all()


def test_more_columns_than_pairs_leave_only_as_many_as_can_be_told():
    design, names = design_of(3)
    result = regress_pairs(np.array([1.0, 2, 4]), design, names)
    assert len(result.coefficients) + len(result.dropped) == 5
    assert len(result.coefficients) <= 3
    assert all(coefficient.low <= coefficient.value or np.isnan(coefficient.low) for coefficient in result.coefficients)


def test_inputs_that_do_not_fit_are_refused():
    design, names = design_of(4)
    with pytest.raises(ValueError, match=r"got \(6,\), \(6, 4\) and 3 names"):
        regress_pairs(np.ones(6), design, names[:3])
    with pytest.raises(ValueError, match="pairs of V variants, got 5"):
        regress_pairs(np.ones(5), design[:5], names)
    design[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"design\[2, same_seed\]: expected a finite number, got inf"):
        regress_pairs(np.ones(6), design, names)
