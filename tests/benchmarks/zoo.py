"""Twenty small timm models over 2,000 JPEGs: overlap beside the loop that timm's validation script is.

    python tests/benchmarks/zoo.py                       # everything, about half an hour on two cores
    python tests/benchmarks/zoo.py --images 400 --models 6

The images, about 500×375 pixels of smooth noise, are written first. All weights are random. Peers: (a) a
process for each model, as the script is run over a list, (b) one process for all models. Both use timm's
loader with as many workers as there are cores, and the batch size that overlap takes. overlap runs with a
variant a core, with one at a time on all cores, and so again for other seeds with the cache that is there.
Then, for each model, images a second of the pure forward pass on tensors in memory beside the engine's own
rate on cached images, in one process. Compare rows of one run only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks.table import Row, describe_machine, print_table

MODELS = [
    "mobilenetv3_small_050", "mobilenetv3_small_100", "mobilenetv2_050", "mobilenetv4_conv_small",
    "efficientvit_b0", "efficientvit_m0", "lcnet_050", "lcnet_100", "mnasnet_small", "tinynet_e", "tinynet_d",
    "resnet10t", "resnet14t", "regnetx_002", "regnety_002", "edgenext_xx_small", "mobilevitv2_050",
    "ghostnet_100", "xcit_nano_12_p16_224", "levit_128s",
]  # fmt: skip
SWEEP = """\
name: zoo
store: {store}
datasets:
  photos: {{source: {images}, splits: {{test: rest}}}}
evaluate_on: [photos]
pretrained:
  - {{timm: [{models}], weights: random, seed: {seed}}}
resources: {{cpus: {cpus}}}
"""
CORES = len(os.sched_getaffinity(0))
LOOP = Path(__file__).with_name("timm_loop.py")
CLASSES = 10
BATCH = 8  # what overlap takes on a CPU at 224 pixels
IN_ONE, APART = "timm's loop, one process (b)", "timm's loop, a process a model (a)"


def write_images(folder: Path, count: int) -> None:
    """Noise of about 12 pixels with grain on it, which a JPEG encodes in about as many bytes as a photo."""
    import numpy as np
    from PIL import Image

    from overlap.datasets.label_spaces import label_space

    rng = np.random.default_rng(0)
    names = label_space("imagenet-1k")[:CLASSES]
    for i in range(count):
        place = folder / names[i % CLASSES]
        place.mkdir(parents=True, exist_ok=True)
        width, height = (500, 375) if i % 3 else (375, 500)
        coarse = rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-20, 21, (height, width, 3))
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(place / f"{i:05d}.jpg", quality=90)


def timed(command: Sequence[str | Path]) -> float:
    """Seconds of a whole command."""
    started = time.monotonic()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def loop_seconds(folder: Path, models: Sequence[str], *, apart: bool) -> float:
    """The peer: all models in one process, or each in a process of its own."""
    command = [
        sys.executable,
        LOOP,
        folder,
        "--workers",
        CORES,
        "--batch-size",
        BATCH,
        "--output",
        folder.parent / "loop.json",
    ]
    groups = [[model] for model in models] if apart else [list(models)]
    return sum(timed([*command, *group]) for group in groups)


def launch_seconds(folder: Path, models: Sequence[str], *, cpus: int, seed: int = 0) -> float:
    """A whole `overlap sweep launch`: plan, a look at every image, Ray and commits included."""
    sweep, store = folder.parent / f"sweep-{cpus}-{seed}.yaml", folder.parent / f"store-{cpus}-{seed}"
    named = ", ".join(f'"{model}"' for model in models)
    sweep.write_text(SWEEP.format(store=store, images=folder, models=named, seed=seed, cpus=cpus))
    command = [sys.executable, "-m", "overlap", "sweep", "launch", sweep]
    return timed([*command, "--cache", folder.parent / f"cache-{cpus}"])


def rates(folder: Path, models: Sequence[str]) -> list[Row]:
    """The engine's rate on cached images for each model, beside that of the forward pass alone."""
    command = [sys.executable, Path(__file__).with_name("zoo_rates.py"), folder, *models]
    output = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = []
    for name, pure, engine in json.loads(output):
        alone = f"{name}: forward pass alone"
        rows += [
            Row(what=alone, n=1, value=pure, unit="images/s"),
            Row(what=f"{name}: engine, cached", n=1, value=engine, unit="images/s", peer=alone),
        ]
    return rows


def main() -> None:
    """Measures everything and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--models", type=int, default=len(MODELS), help="how many of the twenty")
    given = parser.parse_args()
    models = MODELS[: given.models]
    with tempfile.TemporaryDirectory(prefix="zoo-") as name:
        folder = Path(name) / "images"
        write_images(folder, given.images)
        print(describe_machine(Path(name)))
        size = sum(file.stat().st_size for file in folder.rglob("*.jpg")) / given.images
        print(f"{given.images:,} JPEGs of {size / 1e3:.0f} kB on average, {len(models)} models", flush=True)
        print_table(list(launch_rows(folder, models)))
        print_table(rates(folder, models))


def launch_rows(folder: Path, models: Sequence[str]) -> Iterator[Row]:
    """Whole commands, the peers' first."""

    def row(what: str, seconds: float, peer: str = "") -> Row:
        print(f"{what}: {seconds:.1f} s", flush=True)  # the next one takes minutes
        return Row(what=what, n=len(models), value=seconds, unit="s", peer=peer)

    yield row(IN_ONE, loop_seconds(folder, models, apart=False))
    yield row("overlap, a variant a core", launch_seconds(folder, models, cpus=1), IN_ONE)
    yield row(APART, loop_seconds(folder, models, apart=True), IN_ONE)
    yield row("overlap, one variant at a time on all cores", launch_seconds(folder, models, cpus=CORES), IN_ONE)
    yield row("the same again, images cached", launch_seconds(folder, models, cpus=CORES, seed=1), IN_ONE)


if __name__ == "__main__":
    main()
