"""The pretrained weights of timm and open_clip, as values; what a `pretrained` entry of a sweep selects of them."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from overlap.models.measure_sizes import find_cost, natural_order, open_clip_key, timm_config, timm_key
from overlap.spec import did_you_mean
from overlap.taxonomy import Lineage, classify, frameworks

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

OPEN_CLIP_PREFIX = "open_clip:"
EVERYTHING = "all"
SHOWN = 8

_LABELLED = ("imagenet-", "bamboo")  # data with classes; other heads project into a space that texts share
_WITHOUT_LABELS = {"beit", "beitv2", "dino", "dinov2", "dinov3", "eva", "fcmae", "ijepa", "mae", "swav"}
_UNKNOWN = Lineage(framework="", train_on="")
_CROP_MODES = {"shortest": "center", "squash": "squash", "longest": "border"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One pretrained weight: what it is, what it costs, and how its inputs are made.

    Attributes:
        library: timm or open_clip.
        name: `architecture.tag` of timm, `architecture/tag` of open_clip.
        framework: how it was trained; empty if the taxonomy does not know it.
        train_on: the data of each stage of its training; empty like `framework`.
        parameters: of the whole model, with its head or its text tower.
        gmacs: 10⁹ multiply-adds of one image at `size`; of an open_clip model, those of the image tower.
        licence: of the weights, as timm writes it; empty if it says nothing.
        classes: outputs of the classifier; 0 if there is none, as for features and for CLIP's image towers.
        label_space: timm's name of the classes' order (`imagenet-1k`, …), `text` if prompts make the classifier,
            empty if there is no classifier or its classes have no known order.
        size: input pixels a side, in training; the longer side where timm's input is no square, which `square` tells.
        source: where the bytes come from: `hf-hub:REPOSITORY[/FILE]`, or an address.
    """

    library: str
    name: str
    architecture: str
    framework: str
    train_on: str
    parameters: int
    gmacs: float
    licence: str
    classes: int
    label_space: str
    size: int
    square: bool
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which pretrained weights are wanted.

    Attributes:
        patterns: globs of full names; a bare architecture is its default weight, `all` is every weight.
        exclude: globs of full names or architectures to leave out.
        max_parameters: at most so many.
        max_gmacs: at most so many.
        licences: globs, one of which the licence must match; empty for any.
        frameworks: words, one of which the framework must be; empty for any.
        limit: the first so many, in natural order.
    """

    patterns: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    max_parameters: float | None = None
    max_gmacs: float | None = None
    licences: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()
    limit: int | None = None


Selected: TypeAlias = tuple[list[CatalogEntry], list[str]]


def select_models(selection: Selection) -> Selected:
    """The weights of both libraries that a selection takes: timm's, then those of patterns `open_clip:GLOB`.

    Returns:
        The entries, each once, in natural order of their names within a library; and a sentence for every
        pattern that names nothing.
    """
    found = []
    for prefixed, find in ((False, _find_timm), (True, _find_open_clip)):
        patterns = [p for p in selection.patterns if p.startswith(OPEN_CLIP_PREFIX) is prefixed]
        if patterns:
            exclude = _without_prefix(selection.exclude)
            found.append(find(replace(selection, patterns=_without_prefix(patterns), exclude=exclude)))
    return _selected(selection, found)


def select_timm(selection: Selection) -> Selected:
    """The timm weights that a selection takes, in natural order, and a sentence for every pattern without one.

    >>> entries, problems = select_timm(Selection(patterns=("resnet5O",)))
    >>> problems
    ["'resnet5O' is no pretrained timm model; did you mean 'resnet50'?"]
    """
    return _selected(selection, [_find_timm(selection)])


def select_open_clip(selection: Selection) -> Selected:
    """The open_clip weights that a selection takes, in natural order, and a sentence for every pattern without one.

    Some weights were trained with OpenAI's quick GELU, and open_clip lists them for an architecture with the
    exact one too, where they predict something else: these are left out, `ViT-B-32-quickgelu/openai` stays.
    """
    return _selected(selection, [_find_open_clip(selection)])


def timm_entry(name: str) -> CatalogEntry:
    """What timm says about the weight `architecture.tag`."""
    import timm.data

    data: Any = timm.data  # has no types
    config = timm_config(name)
    settings = asdict(config)
    inputs = data.resolve_data_config(pretrained_cfg=settings)
    lineage = classify("timm", name) or _UNKNOWN
    label_space = data.infer_imagenet_subset(settings) or ""
    key = timm_key(name)
    cost = find_cost(key, name)
    classifies = _classifies(lineage) if lineage is not _UNKNOWN else bool(label_space)
    return CatalogEntry(
        library="timm",
        name=name,
        architecture=key.architecture,
        framework=lineage.framework,
        train_on=lineage.train_on,
        parameters=cost.parameters,
        gmacs=cost.gmacs,
        licence=config.license or "",
        classes=key.classes if classifies else 0,
        label_space=label_space if classifies else "",
        size=key.size,
        square=inputs["input_size"][-2] == inputs["input_size"][-1],
        crop_pct=inputs["crop_pct"],
        crop_mode=inputs["crop_mode"],
        interpolation=inputs["interpolation"],
        mean=_triple(inputs["mean"]),
        std=_triple(inputs["std"]),
        source=_timm_source(config),
    )


def open_clip_entry(name: str) -> CatalogEntry:
    """What open_clip says about the weight `architecture/tag`."""
    import open_clip

    architecture, _, tag = name.partition("/")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    lineage = classify("open_clip", name) or _UNKNOWN
    key = open_clip_key(architecture)
    cost = find_cost(key, architecture)
    return CatalogEntry(
        library="open_clip",
        name=name,
        architecture=architecture,
        framework=lineage.framework,
        train_on=lineage.train_on,
        parameters=cost.parameters,
        gmacs=cost.gmacs,
        licence=config.get("license", ""),
        classes=0,
        label_space="text",
        size=key.size,
        square=True,
        crop_pct=1.0,
        crop_mode=_CROP_MODES[config["resize_mode"]],
        interpolation=config["interpolation"],
        mean=_triple(config["mean"]),
        std=_triple(config["std"]),
        source=f"hf-hub:{config['hf_hub'].rstrip('/')}" if config["hf_hub"] else config["url"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """The weights that a library lists.

    `default` gives an architecture's default weight; `instead` maps weights that are left out to those to take.
    """

    kind: str
    separator: str
    names: Sequence[str]
    default: Callable[[str], str] | None = None
    instead: Mapping[str, str] = field(default_factory=dict)

    def tags(self) -> dict[str, list[str]]:
        """The tags of each architecture."""
        tags: dict[str, list[str]] = {}
        for name in self.names:
            architecture, _, tag = name.partition(self.separator)
            tags.setdefault(architecture, []).append(tag)
        return tags


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a library has of a selection: `matched` names before anything was excluded or was too large."""

    entries: Sequence[CatalogEntry]
    problems: Sequence[str]
    matched: int


def _find_timm(selection: Selection) -> _Found:
    import timm

    names = timm.list_models(pretrained=True)
    weights = _Weights(kind="timm", separator=".", names=names, default=_default_timm_weight)
    return _find(weights, selection, timm_entry)


def _find_open_clip(selection: Selection) -> _Found:
    import open_clip

    listed = open_clip.list_pretrained()
    instead = {f"{a}/{tag}": f"{a}-quickgelu/{tag}" for a, tag in listed if _has_wrong_activation(a, tag)}
    names = [name for name in map("/".join, listed) if name not in instead]
    weights = _Weights(kind="open_clip", separator="/", names=names, instead=instead)
    return _find(weights, selection, open_clip_entry)


def _find(weights: _Weights, selection: Selection, entry: Callable[[str], CatalogEntry]) -> _Found:
    tags = weights.tags()
    names: set[str] = set()
    problems = _framework_problems(selection.frameworks)
    for pattern in selection.patterns:
        matches = _matches(pattern, weights, tags)
        names.update(matches)
        if not matches:
            problems.append(_no_match(pattern, weights, tags))
    kept = sorted(_without_excluded(names, weights.separator, selection.exclude), key=natural_order)
    entries = [candidate for candidate in map(entry, kept) if _is_wanted(candidate, selection)]
    return _Found(entries=entries, problems=problems, matched=len(names))


def _selected(selection: Selection, found: Sequence[_Found]) -> Selected:
    entries = [entry for part in found for entry in part.entries][: selection.limit]
    problems = list(dict.fromkeys(problem for part in found for problem in part.problems))
    matched = sum(part.matched for part in found)
    if matched and not entries and not problems:
        problems.append(f"of {matched} matching pretrained models, what is excluded and the limits leave none")
    return entries, problems


def _without_excluded(names: Iterable[str], separator: str, exclude: Sequence[str]) -> list[str]:
    def is_excluded(name: str) -> bool:
        return any(fnmatch.fnmatchcase(word, glob) for glob in exclude for word in (name, name.partition(separator)[0]))

    return [name for name in names if not is_excluded(name)]


def _matches(pattern: str, weights: _Weights, tags: Mapping[str, Sequence[str]]) -> list[str]:
    if pattern == EVERYTHING:
        return list(weights.names)
    if pattern in tags and weights.default:
        return [weights.default(pattern)]
    if pattern in tags:
        return [f"{pattern}{weights.separator}{tag}" for tag in tags[pattern]] if len(tags[pattern]) == 1 else []
    return fnmatch.filter(weights.names, pattern)


def _no_match(pattern: str, weights: _Weights, tags: Mapping[str, Sequence[str]]) -> str:
    """A sentence about a pattern that names no weight."""
    architecture, separator, tag = pattern.partition(weights.separator)
    if instead := [weights.instead[name] for name in fnmatch.filter(weights.instead, pattern)]:
        return f"'{pattern}' has only weights that need quick GELU; take {_some(instead)}"
    if architecture in tags and not separator:
        ways = [f"{architecture}{weights.separator}{tag}" for tag in tags[architecture]]
        return f"'{pattern}' has several {weights.kind} weights; take one of {_some(ways)}"
    if architecture in tags:
        return f"'{tag}' is no weight of '{architecture}', which has {_some(tags[architecture])}"
    nearest = did_you_mean(pattern, weights.names if separator else list(tags))
    return f"'{pattern}' is no pretrained {weights.kind} model{nearest}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _framework_problems(words: Iterable[str]) -> list[str]:
    known = frameworks()
    return [
        f"'{word}' is no framework of a pretrained model{did_you_mean(word, known)}"
        for word in words
        if word not in known
    ]


def _is_wanted(entry: CatalogEntry, selection: Selection) -> bool:
    small = selection.max_parameters is None or entry.parameters <= selection.max_parameters
    fast = selection.max_gmacs is None or entry.gmacs <= selection.max_gmacs
    allowed = not selection.licences or any(fnmatch.fnmatchcase(entry.licence, glob) for glob in selection.licences)
    return small and fast and allowed and (not selection.frameworks or entry.framework in selection.frameworks)


def _classifies(lineage: Lineage) -> bool:
    """True if the last stage of the training was on classes, and the method looked at them."""
    unseen = lineage.framework in _WITHOUT_LABELS and lineage.last_stage == lineage.train_on
    return not unseen and any(data.startswith(_LABELLED) for data in lineage.last_stage.split(" + "))


def _default_timm_weight(architecture: str) -> str:
    """The weight that timm loads for an architecture without a tag."""
    return f"{architecture}.{timm_config(architecture).tag}"


def _has_wrong_activation(architecture: str, tag: str) -> bool:
    """True if the weight needs quick GELU and the architecture has the exact one."""
    import open_clip

    needs = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)
    return bool(needs and not open_clip.get_model_config(architecture).get("quick_gelu", False))


def _timm_source(config: "PretrainedCfg") -> str:
    if not config.hf_hub_id:
        return str(config.url)
    return f"hf-hub:{config.hf_hub_id}" + (f"/{config.hf_hub_filename}" if config.hf_hub_filename else "")


def _without_prefix(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern.removeprefix(OPEN_CLIP_PREFIX) for pattern in patterns)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
