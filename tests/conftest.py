import functools

import pytest

SMALL_SWEEP = """\
name: small
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, calibration: 60, test: 300}}}}
  fonts: {{source: "rendered:digits", samples: 60, splits: {{train: rest}}}}
evaluate_on: [digits]
base:
  architecture: test_efficientnet
  train_on: digits
  hyperparameters: {{epochs: {epochs}, batch_size: 30}}
vary:
  - {{seed: 1}}
  - {{hyperparameters: {{learning_rate: 0.004}}}}
  - {{architecture: ["sklearn:SVC", "sklearn:LogisticRegression"], preprocessing: {{size: 8}}}}
  - {{framework: simclr}}
  - {{train_on: fonts}}
"""


@pytest.fixture(scope="session")
def write_small_sweep():
    """Writes a sweep of seven small variants in all five categories; extra lines go to its end."""

    def write(folder, *extra, epochs=2, store="store"):
        path = folder / f"{store}.yaml"
        path.write_text(SMALL_SWEEP.format(store=folder / store, epochs=epochs) + "".join(f"{x}\n" for x in extra))
        return path

    return write


@pytest.fixture
def small_sweep(write_small_sweep, tmp_path):
    """The same, in this test's own folder."""
    return functools.partial(write_small_sweep, tmp_path)


@pytest.fixture(scope="session")
def ray_here():
    """One local Ray for all tests that need one in this process; it takes seconds to start."""
    from overlap.ray_cluster import connected

    with connected(None) as cluster:
        yield cluster
