"""open_clip's models as classifiers: an image is compared with texts about each class."""

import contextlib
import hashlib
import json
import logging
import operator
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import open_clip
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from overlap.datasets.label_spaces import label_space, lemmas
from overlap.models.timm_weights import seed_initialization
from overlap.models.weight_files import HUB, blamed, fetch_weights, published
from overlap.variants import RANDOM, Variant, Weights

Template = Callable[[str], str]

TEMPLATES: dict[str, Sequence[Template]] = {
    "imagenet": open_clip.OPENAI_IMAGENET_TEMPLATES,
    "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    "plain": ("{}".format,),
}
_TEXTS_AT_ONCE = 256
_KEY = "classes"


class ZeroShotNetwork(nn.Module):
    """The image tower of a CLIP-like model over classes that texts describe, with timm's two steps.

    The embedding is the image tower's output before it is normalised. `classes_DC` holds a normalised
    embedding for each class; without it there are embeddings only. The comparison is computed in float32
    in every precision: cosines of different classes are close to each other.
    """

    classes_DC: Tensor | None

    def __init__(self, model: Any, classes_DC: Tensor | None) -> None:  # noqa: ANN401 - CLIP, CustomTextCLIP or CoCa
        super().__init__()
        self.visual: nn.Module = model.visual
        self.register_buffer("classes_DC", classes_DC, persistent=False)
        self.scale, self.bias = _scale_and_bias(model)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, D) embeddings."""
        found: Tensor | tuple[Tensor, ...] = self.visual(images)
        return found[0] if isinstance(found, tuple) else found  # CoCa's tower also gives one for each patch

    def forward_head(self, embeddings: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C) scaled cosines of embeddings and classes; the embeddings themselves if `pre_logits`."""
        if pre_logits:
            return embeddings
        if self.classes_DC is None:
            raise ValueError("this network was made without classes: it gives embeddings only")
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.scale * normalize(embeddings.float(), dim=-1) @ self.classes_DC.float()
            return logits if self.bias is None else logits + self.bias

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits."""
        return self.forward_head(self.forward_features(images))


def zero_shot_network(
    variant: Variant, weights: Weights, class_names: tuple[str, ...], *, cache: Path, device: torch.device
) -> ZeroShotNetwork:
    """A model that classifies by the variant's texts and templates, on the CPU.

    The embeddings of the classes are computed once a node, on `device`, and kept in `cache/text`.

    Args:
        variant: its image size may be another one than the model's.
        weights: of open_clip, `architecture/tag`.
        class_names: the classes; their texts are `weights.texts`, or come from these names.
        cache: where texts' embeddings and a bucket's files are kept.
        device: where texts are embedded.

    Raises:
        ValueError: weights, tokenizer, texts or templates are not there or not usable.
    """
    texts = class_texts(weights, class_names)
    rendered = render(texts, templates(weights.prompts))
    model = _create(variant, weights, cache=cache)
    kept = cache / "text" / f"{_identity(variant, weights, rendered)}.safetensors"
    classes_DC = _read(kept, classes=len(texts))
    if classes_DC is None:
        classes_DC = _embed(model.to(device), variant.architecture, rendered).float().cpu()
        with published(kept) as file:
            file.write(safetensors.torch.save({_KEY: classes_DC.contiguous()}))
    return ZeroShotNetwork(model.cpu(), classes_DC).eval()


def image_tower(variant: Variant, weights: Weights, *, cache: Path) -> ZeroShotNetwork:
    """A model's image tower alone: embeddings, no classes, no tokenizer."""
    return ZeroShotNetwork(_create(variant, weights, cache=cache), None).eval()


def class_texts(weights: Weights, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """What each class is called in a sentence.

    The texts that the sweep gives; else open_clip's names for the WordNet ids of ImageNet-1k, the first word of
    WordNet for other ids, and the names as they are, with spaces for underscores.

    Raises:
        ValueError: there is not one text for each class.
    """
    if not weights.texts:
        return tuple(_spoken(name) for name in class_names)
    if len(weights.texts) != len(class_names):
        raise ValueError(f"texts: expected {len(class_names)}, one for each class in order, got {len(weights.texts)}")
    return weights.texts


def templates(prompts: tuple[str, ...]) -> Sequence[Template]:
    """The sentences around a class's text: a known set by its name, or sentences with `{}` in its place.

    Raises:
        ValueError: there are none, or one has no `{}`.

    >>> [template("cat") for template in templates(("a photo of a {}.",))]
    ['a photo of a cat.']
    """
    if len(prompts) == 1 and prompts[0] in TEMPLATES:
        return TEMPLATES[prompts[0]]
    wrong = [prompt for prompt in prompts if "{}" not in prompt]
    if wrong or not prompts:
        known = ", ".join(TEMPLATES)
        raise ValueError(f"templates: expected one of {known}, or sentences with {{}}; got '{(*wrong, '')[0]}'")
    return [lambda text, prompt=prompt: prompt.replace("{}", text) for prompt in prompts]  # type: ignore[misc]


def render(texts: Sequence[str], sentences: Sequence[Template]) -> list[list[str]]:
    """C × templates: every class's text in every template."""
    return [[sentence(text) for sentence in sentences] for text in texts]


def _create(variant: Variant, weights: Weights, *, cache: Path) -> nn.Module:
    architecture, _, tag = weights.name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise ValueError(f"'{architecture}' is no model of the installed open_clip")
    options: dict[str, Any] = {"force_quick_gelu": open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu")}
    if config["vision_cfg"].get("image_size") != variant.preprocessing.size:
        options["force_image_size"] = variant.preprocessing.size
    file = None
    if weights.source == RANDOM:
        seed_initialization(variant.seed)
        options |= {"load_weights": False, "pretrained_text": False}
    elif weights.source == HUB:
        options |= {"pretrained": tag, "require_pretrained": True}
    else:
        file = fetch_weights(weights, cache=cache)
        options |= {"pretrained": str(file), "require_pretrained": True}
    with _root_logger_untouched(), blamed(file, weights.name):
        model: nn.Module = open_clip.create_model(architecture, **options)
    return model.eval()


def _embed(model: nn.Module, architecture: str, rendered: Sequence[Sequence[str]]) -> Tensor:
    """(D, C) float: for each class the normalised mean of its sentences' normalised embeddings."""
    sentences = len(rendered[0])
    classes_DC: Tensor = open_clip.build_zero_shot_classifier(
        model,
        _tokenizer(architecture),
        classnames=rendered,
        templates=[operator.itemgetter(i) for i in range(sentences)],  # the sentences of a class, already made
        num_classes_per_batch=max(1, _TEXTS_AT_ONCE // sentences),
        device=next(model.parameters()).device,
    )
    return classes_DC


def _tokenizer(architecture: str) -> Any:  # noqa: ANN401 - open_clip has no type for it
    try:
        with _root_logger_untouched():
            return open_clip.get_tokenizer(architecture)
    except (ImportError, OSError, ValueError) as error:
        source = open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name") or "the hub"
        if isinstance(error, ImportError):
            raise ValueError(
                f"the tokenizer of '{architecture}' needs the package transformers, which is not installed"
            ) from error
        raise ValueError(
            f"the tokenizer of '{architecture}' cannot be had ({type(error).__name__}): download '{source}' into the "
            "hub's cache of this machine where there is internet"
        ) from error


def _identity(variant: Variant, weights: Weights, rendered: Sequence[Sequence[str]]) -> str:
    """What decides the embeddings of the texts, as 64 hexadecimal digits."""
    drawn = (variant.seed, variant.preprocessing.size) if weights.source == RANDOM else None  # the size draws, too
    parts = (open_clip.__version__, weights.name, weights.source, weights.revision, drawn, rendered)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path, *, classes: int) -> Tensor | None:
    """Embeddings that an earlier variant left; None if there are none, or damaged ones."""
    try:
        classes_DC = safetensors.torch.load_file(path)[_KEY]
    except (FileNotFoundError, safetensors.SafetensorError, KeyError):
        return None
    return classes_DC if classes_DC.ndim == 2 and classes_DC.shape[1] == classes else None


def _spoken(class_name: str) -> str:
    """A class's name as a sentence has it."""
    known = label_space("imagenet-1k")
    if class_name in known:
        return str(open_clip.IMAGENET_CLASSNAMES[known.index(class_name)])
    words = lemmas([class_name])[0]
    return words.replace("_", " ") if words == class_name else words.partition(",")[0]


def _scale_and_bias(model: Any) -> tuple[float, float | None]:  # noqa: ANN401 - as above
    bias = model.logit_bias
    return model.logit_scale.exp().item(), None if bias is None else bias.item()


@contextlib.contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Keeps open_clip, which logs to the root logger, from configuring logging for the whole process."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)
