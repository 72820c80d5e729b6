"""The loop that timm's validation script is, written with timm's public functions: the peer of `zoo.py`.

    python timm_loop.py FOLDER MODEL… --batch-size 32 --workers 2 --output out.json

Loads and evaluates each model in turn; one model gives what one run of the script does.
"""

import argparse
import json
import time
from pathlib import Path

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config


@torch.inference_mode()
def validate(name: str, folder: Path, *, batch_size: int, workers: int) -> dict[str, float]:
    """Accuracy and seconds of one model with random weights over a folder of images."""
    started = time.monotonic()
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    config = resolve_data_config(pretrained_cfg=model.pretrained_cfg, model=model)
    dataset = create_dataset("", root=str(folder))
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=batch_size,
        use_prefetcher=False,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
        num_workers=workers,
        device=torch.device("cpu"),
    )
    right = seen = 0
    for images, labels in loader:
        logits = model(images)
        right += int((logits.argmax(dim=1) == labels).sum())
        seen += len(labels)
    return {"accuracy": right / seen, "seconds": time.monotonic() - started}


def main() -> None:
    """Validates the models of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    results = {
        name: validate(name, given.folder, batch_size=given.batch_size, workers=given.workers) for name in given.models
    }
    given.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
