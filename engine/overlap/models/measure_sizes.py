"""Parameters and multiply-adds of every pretrained architecture: `sizes.csv`, and the script that writes it.

    python -m overlap.models.measure_sizes

adds the rows that the installed timm and open_clip have and the table lacks, so it continues where it was
interrupted. Models are built on torch's meta device: no weights, no memory, no arithmetic.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import nn

TABLE = "sizes.csv"
COLUMNS = ("library", "architecture", "size", "classes", "parameters", "gmacs")

# Text towers that open_clip takes from the package transformers: their width and parameters without a pooling
# layer, from their published shapes (embeddings, then so many layers of attention, feed-forward and norms).
_TEXT_TOWERS: Mapping[str, tuple[int, int]] = {
    "roberta-base": (768, 124_055_040),
    "xlm-roberta-base": (768, 277_453_056),
    "xlm-roberta-large": (1024, 558_840_832),
    "facebook/nllb-200-distilled-600M": (1024, 413_511_680),
    "facebook/nllb-200-distilled-1.3B": (1024, 766_091_264),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeKey:
    """What fixes a model's cost: `size` is the longer side of its input, `classes` the outputs of its head."""

    library: str
    architecture: str
    size: int
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Parameters of the whole model, and 10⁹ multiply-adds for one image.

    Multiply-adds are those of convolutions and matrix products, attention's included: vit_base_patch16_224
    has 17.56, where tables that leave attention's two products out say 16.87. Of an open_clip model the
    parameters are those of both towers, the multiply-adds those of the image tower.
    """

    parameters: int
    gmacs: float


def measure_timm(name: str) -> Cost:
    """Cost of `architecture.tag` at the input size and with the head of those weights."""
    import timm
    import torch

    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
        return Cost(parameters=_parameters(network), gmacs=_gmacs(network, timm_config(name).input_size))


def measure_open_clip(architecture: str) -> Cost:
    """Cost of one of open_clip's architectures at its own input size."""
    import open_clip
    import torch

    config: dict[str, Any] = open_clip.get_model_config(architecture)
    custom = config.pop("custom_text", False)
    text, extra = _own_text_tower(config["text_cfg"], config["embed_dim"])
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    side = config["vision_cfg"]["image_size"]
    with torch.device("meta"):
        model = kind(**config | {"text_cfg": text})
        towers = [model.visual, model.logit_scale] if extra else [model]
        parameters = extra + sum(_parameters(tower) for tower in towers)
        return Cost(parameters=parameters, gmacs=_gmacs(model.visual, (3, side, side)))


def _own_text_tower(config: Mapping[str, Any], features: int) -> tuple[Mapping[str, Any], int]:
    """The text tower to build, and the parameters to count instead of it where transformers would be needed."""
    name = config.get("hf_model_name")
    if name is None:
        return config, 0
    width, parameters = _TEXT_TOWERS[name]
    hidden = (width + features) // 2
    project = width * features if config.get("hf_proj_type") == "linear" else (width + features) * hidden
    return {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}, parameters + project


@lru_cache(maxsize=1)
def known_costs() -> Mapping[SizeKey, Cost]:
    """The rows of `sizes.csv`."""
    table = resources.files("overlap.models").joinpath(TABLE)
    return _read(table.read_text(encoding="utf-8")) if table.is_file() else {}


def find_cost(key: SizeKey, name: str) -> Cost:
    """The cost of a pretrained weight: from the table, or measured now, which takes up to a second."""
    found = known_costs().get(key)
    return found or (measure_timm(name) if key.library == "timm" else measure_open_clip(key.architecture))


def timm_config(name: str) -> "PretrainedCfg":
    """What timm says about the weight `architecture.tag`, or about an architecture's default weight."""
    import timm

    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    assert config is not None, f"{name} comes from timm's own list"
    return config


def timm_key(name: str) -> SizeKey:
    """The row of the weight `architecture.tag`."""
    config = timm_config(name)
    return SizeKey(
        library="timm", architecture=str(config.architecture), size=max(config.input_size), classes=config.num_classes
    )


def open_clip_key(architecture: str) -> SizeKey:
    """The row of one of open_clip's architectures."""
    import open_clip

    side = open_clip.get_model_config(architecture)["vision_cfg"]["image_size"]
    return SizeKey(library="open_clip", architecture=architecture, size=side, classes=0)


def wanted() -> dict[SizeKey, str]:
    """Every row that the installed libraries need, with one pretrained weight to measure it by."""
    import open_clip
    import timm

    names: dict[SizeKey, str] = {}
    for name in timm.list_models(pretrained=True):
        names.setdefault(timm_key(name), name)
    for architecture in dict.fromkeys(architecture for architecture, _ in open_clip.list_pretrained()):
        names.setdefault(open_clip_key(architecture), architecture)
    return names


def main(path: Path) -> None:
    """Measures what the table lacks, row by row, then sorts it."""
    rows = dict(_read(path.read_text(encoding="utf-8"))) if path.exists() else {}
    missing = {key: name for key, name in wanted().items() if key not in rows}
    with path.open("a", encoding="utf-8", newline="") as out:
        if not rows:
            csv.writer(out, lineterminator="\n").writerow(COLUMNS)
        for key, name in missing.items():
            rows[key] = find_cost(key, name)
            csv.writer(out, lineterminator="\n").writerow(_row(key, rows[key]))
            out.flush()
    _write(path, rows)
    print(f"{len(missing)} rows measured, {len(rows)} in {path}")


def _write(path: Path, rows: Mapping[SizeKey, Cost]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_row(key, rows[key]) for key in sorted(rows, key=_order))


def _read(text: str) -> dict[SizeKey, Cost]:
    """Rows of the table; a last line that an interruption cut short is left out."""
    whole = text[: text.rfind("\n") + 1]
    rows = {}
    for row in csv.DictReader(whole.splitlines()):
        key = SizeKey(
            library=row["library"],
            architecture=row["architecture"],
            size=int(row["size"]),
            classes=int(row["classes"]),
        )
        rows[key] = Cost(parameters=int(row["parameters"]), gmacs=float(row["gmacs"]))
    return rows


def _row(key: SizeKey, cost: Cost) -> tuple[object, ...]:
    return key.library, key.architecture, key.size, key.classes, cost.parameters, f"{cost.gmacs:.4g}"


def _order(key: SizeKey) -> tuple[str, list[tuple[int, str]], int, int]:
    return key.library, natural_order(key.architecture), key.size, key.classes


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sorts names as people do: numbers inside them by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _parameters(part: "nn.Module | nn.Parameter") -> int:
    from torch import nn

    return part.numel() if isinstance(part, nn.Parameter) else sum(p.numel() for p in part.parameters())


def _gmacs(network: "nn.Module", shape: tuple[int, ...]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network.eval().requires_grad_(requires_grad=False)
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.empty((1, *shape)))
    return float(f"{counter.get_total_flops() / 2e9:.4g}")


if __name__ == "__main__":
    main(Path(__file__).with_name(TABLE))
