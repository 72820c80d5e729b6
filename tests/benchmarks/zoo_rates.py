"""Images a second of timm models: the forward pass alone on resident tensors, and the engine's on cached images.

python zoo_rates.py FOLDER MODEL…      prints [[model, alone, engine], …] as JSON
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch

from overlap.datasets import Split, load_dataset
from overlap.datasets.pixels import open_pixels
from overlap.inference import Device, Network, run_network
from overlap.preprocessing import to_inputs
from overlap.spec import DatasetSpec
from overlap.variants import Evaluation, Preprocessing

TURNS = 3  # in turns, because the machine is noisy; the median counts
CORES = len(os.sched_getaffinity(0))


def rates(name: str, split: Split, cache: Path) -> tuple[float, float]:
    """Images a second alone and in the engine, with the batch size that the engine takes."""
    model = timm.create_model(name, pretrained=False).eval()
    config = timm.data.resolve_data_config(pretrained_cfg=model.pretrained_cfg)
    preprocessing = Preprocessing(
        size=config["input_size"][-1],
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )
    network = Network(
        infer=lambda images: (model(images),), module=model, preprocessing=preprocessing, channels_last=True
    )
    device = Device(torch=torch.device("cpu"), threads=CORES, batch_size=1024)
    pixels = open_pixels(split, preprocessing.geometry, cache=cache, limit_bytes=None, threads=CORES)
    _, batch_size = run_network(network, pixels, device, Evaluation())  # decodes what is not cached, and warms up
    _, chunk = next(iter(pixels.chunks()))
    batch = to_inputs(torch.from_numpy(chunk[:batch_size].copy()), preprocessing, channels_last=True)
    batches = len(pixels) // batch_size

    def alone() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                model(batch)

    def engine() -> None:
        run_network(network, pixels, device, Evaluation())

    pairs = [(batches * batch_size / seconds(alone), len(pixels) / seconds(engine)) for _ in range(TURNS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def seconds(run: Callable[[], None]) -> float:
    """How long a function takes."""
    started = time.monotonic()
    run()
    return time.monotonic() - started


def main(folder: Path, models: list[str]) -> None:
    """Prints the rates of all models."""
    torch.set_num_threads(CORES)
    spec = DatasetSpec(name="photos", source=str(folder), splits=(("test", None),), seed=0, samples=None)
    split = load_dataset(spec).splits["test"]
    print(json.dumps([(name, *rates(name, split, folder.parent / "cache-rates")) for name in models]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
