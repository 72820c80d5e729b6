"""Six kills -9 in one sweep, each of another part of it; `make chaos` makes a hundred."""

import pytest
from faults.chaos import TARGETS, Chaos
from faults.chaos_table import commit

SEED = 4
DEADLINE_S = 300


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_survives_the_loss_of_every_part_and_ends_as_if_undisturbed(tmp_path):
    targets = [target for target in TARGETS if target != "supervisor"]
    chaos = Chaos(tmp_path, kills=len(targets), seed=SEED, targets=targets, size=(160, 40, 3), hung_s=DEADLINE_S)
    good = chaos.run()
    replay = f"seed {SEED}, commit {commit()}"
    assert good, f"{replay}: {[trial.verdict for trial in chaos.trials]}"
    assert {kill.target for kill in chaos.kills} == set(targets), replay
    assert all(kill.alone for kill in chaos.kills), f"{replay}: somebody had to run the command again"
