"""Hundreds of simulated histories, each of another seed, and what must be true after every one of them.

`make simulate SEED=7` replays one and prints it. `OVERLAP_SEEDS=50000` runs more of them, as at night.
"""

import os

import pytest

from faults.simulated_work import whole_plan
from faults.simulation import World, commit_of_this_code, simulate

SEEDS = int(os.environ.get("OVERLAP_SEEDS", "500"))
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_every_variant_has_one_right_result_or_is_reported_failed(first):
    """Each variant that works has exactly one whole result, each that does not has failed; nothing ran too often."""
    wrong = {}
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            simulate(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed is what we need to know
            wrong[seed] = f"{type(error).__name__}: {error}"
    lines = [f"make simulate SEED={seed}   {problem}" for seed, problem in wrong.items()]
    assert not wrong, f"at commit {commit_of_this_code()}:\n" + "\n".join(lines)


def test_a_seed_always_gives_the_same_history():
    two_drivers = next(seed for seed in range(100) if World(seed).drivers == 2)
    for seed in (0, two_drivers):
        assert simulate(seed).trace == simulate(seed).trace


def test_the_seeds_cover_every_kind_of_fault():
    worlds = [World(seed) for seed in range(100)]
    for name in vars(worlds[0].faults):
        assert any(getattr(world.faults, name) for world in worlds), f"no history with {name}"
    assert {world.drivers for world in worlds} == {1, 2}
    assert {world.exact for world in worlds} == {True, False}
    assert any(node.black_hole for world in worlds for node in world.nodes)
    assert {str(kind) for world in worlds for kind in world.broken.values()} == {
        "raises",
        "dies",
        "hangs",
        "needs too much memory",
    }
    assert len({len(world.plan.variants) for world in worlds}) > len(whole_plan(1).variants) / 2
