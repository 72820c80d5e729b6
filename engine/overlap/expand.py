"""A sweep becomes its variants: the base, then each entry's grid and draws, in file order."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from overlap.errors import Problem
from overlap.recipes import RECIPES, is_estimator
from overlap.resources import Resources
from overlap.search_space import Axis, Draw, Grid, Scalar, draw_value
from overlap.spec import PreprocessingEntry, Sweep, VaryEntry, to_resources
from overlap.variants import Preprocessing, Variant, canonical_json, key_of, unique_names
from overlap.yaml_lines import Path

_FIELDS = ("architecture", "framework", "train_on", "seed")

_Place = tuple[str, str]  # ("seed", "") or ("hyperparameters", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A variant, the place in the sweep file that asked for it, and what it is given to run on."""

    variant: Variant
    path: Path
    resources: Resources


def expand(sweep: Sweep) -> tuple[list[Origin], list[Problem]]:
    """All variants of a sweep in file order, and what is wrong with the expansion.

    Draws depend on what their entry says and on nothing else: adding entries, reordering them or
    asking an entry for more samples leaves the existing draws as they are.
    """
    base = _base_variant(sweep)
    origins = [Origin(variant=base, path=("base",), resources=sweep.resources)]
    problems: list[Problem] = []
    for i, entry in enumerate(sweep.vary):
        path: Path = ("vary", i)
        found = [sweep.problem(path, message) for message in _entry_problems(entry)]
        problems += found
        for choice in _choices(entry) if not found else ():
            variant = _changed(sweep, base, entry, choice)
            resources = to_resources(entry.resources, sweep.resources)
            origins.append(Origin(variant=variant, path=path, resources=resources))
            problems += [sweep.problem(path, message) for message in _variant_problems(variant)]
    problems += _duplicate_problems(sweep, origins)
    names = unique_names(origin.variant.name for origin in origins)
    named = zip(origins, names, strict=True)
    return [replace(origin, variant=replace(origin.variant, name=name)) for origin, name in named], problems


def _base_variant(sweep: Sweep) -> Variant:
    base = sweep.base
    inherited = {} if is_estimator(base.architecture) else _defaults(base.framework)
    variant = Variant(
        name="",
        architecture=base.architecture,
        framework=base.framework,
        train_on=base.train_on,
        seed=base.seed,
        hyperparameters=_settled(base.architecture, base.framework, inherited | base.hyperparameters),
        preprocessing=_preprocessing(base.preprocessing, Preprocessing()),
    )
    return replace(variant, name=_name(variant, variant, {}))


def _entry_problems(entry: VaryEntry) -> list[str]:
    axes = _axes(entry)
    draws = any(isinstance(axis, Draw) for axis in axes.values())
    if entry.samples and not draws:
        return ["'samples' without a random field: there is nothing to draw"]
    if not axes and entry.preprocessing == PreprocessingEntry():
        return ["an entry that changes nothing: name at least one field"]
    return []


def _variant_problems(variant: Variant) -> list[str]:
    if is_estimator(variant.architecture) and variant.framework != "supervised":
        return [f"'{variant.architecture}' can only be trained supervised, got '{variant.framework}'"]
    return []


def _duplicate_problems(sweep: Sweep, origins: list[Origin]) -> list[Problem]:
    first: dict[Variant, Path] = {}
    problems = []
    for origin in origins:
        bare = replace(origin.variant, name="")
        if bare in first:
            line = sweep.document.line(first[bare])
            message = f"'{origin.variant.name}' has the same key as a variant of line {line}: remove one of them"
            problems.append(sweep.problem(origin.path, message))
        first.setdefault(bare, origin.path)
    return problems


def _axes(entry: VaryEntry) -> dict[_Place, Axis]:
    """The fields that an entry changes, in a fixed order."""
    fields = {(field, ""): getattr(entry, field) for field in _FIELDS}
    hyperparameters = {("hyperparameters", name): axis for name, axis in entry.hyperparameters.items()}
    return {place: axis for place, axis in (fields | hyperparameters).items() if axis is not None}


def _choices(entry: VaryEntry) -> Iterator[dict[_Place, Scalar]]:
    """Every grid point, and at each the entry's draws; the n-th draw is the same at all grid points."""
    axes = _axes(entry)
    grids = {place: axis for place, axis in axes.items() if isinstance(axis, Grid)}
    draws = {place: axis for place, axis in axes.items() if isinstance(axis, Draw)}
    samples = list(_draw_samples(entry, draws))
    for point in itertools.product(*(axis.values for axis in grids.values())):
        for sample in samples:
            yield dict(zip(grids, point, strict=True)) | sample


def _draw_samples(entry: VaryEntry, draws: Mapping[_Place, Draw]) -> Iterator[dict[_Place, Scalar]]:
    identity = canonical_json(entry.model_dump(exclude={"samples", "resources"}, exclude_none=True))
    streams = {place: random.Random(key_of(identity + canonical_json(place))) for place in draws}  # noqa: S311
    for _ in range((entry.samples or 1) if draws else 1):
        yield {place: draw_value(axis, streams[place]) for place, axis in draws.items()}


def _changed(sweep: Sweep, base: Variant, entry: VaryEntry, choice: Mapping[_Place, Scalar]) -> Variant:
    """The base with one choice of an entry applied; what the new framework does not know is dropped."""
    fields = {place: str(choice.get((place, ""), getattr(base, place))) for place in _FIELDS if place != "seed"}
    given = {name: value for (field, name), value in choice.items() if field == "hyperparameters"}
    inherited = _inherited(sweep, fields["architecture"], fields["framework"])
    variant = Variant(
        name="",
        **fields,
        seed=int(choice.get(("seed", ""), base.seed)),
        hyperparameters=_settled(fields["architecture"], fields["framework"], inherited | given),
        preprocessing=_preprocessing(entry.preprocessing, base.preprocessing),
    )
    changed = {name: value for name, value in given.items() if inherited.get(name) != value}
    return replace(variant, name=_name(variant, base, changed))


def _inherited(sweep: Sweep, architecture: str, framework: str) -> dict[str, Scalar]:
    """Defaults of a framework, overridden by the base's hyperparameters that it knows."""
    if is_estimator(architecture):
        return dict(sweep.base.hyperparameters) if architecture == sweep.base.architecture else {}
    defaults = _defaults(framework)
    return defaults | {k: v for k, v in sweep.base.hyperparameters.items() if k in defaults}


def _defaults(framework: str) -> dict[str, Scalar]:
    return {name: knob.default for name, knob in RECIPES[framework].knobs.items()}


def _settled(architecture: str, framework: str, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    """Hyperparameters by name, each as its knob's type, so that `0` and `0.0` are one variant."""
    if is_estimator(architecture):
        return tuple(sorted(values.items()))
    knobs = RECIPES[framework].knobs
    typed = {name: type(knobs[name].default)(value) if name in knobs else value for name, value in values.items()}
    return tuple(sorted(typed.items()))


def _preprocessing(entry: PreprocessingEntry, base: Preprocessing) -> Preprocessing:
    return replace(base, **entry.model_dump(exclude_none=True))


def _name(variant: Variant, base: Variant, changed: Mapping[str, Scalar]) -> str:
    """A readable name: architecture, then what differs from the base, then the seed."""
    parts = [variant.architecture.replace("sklearn:", "sklearn-")]
    parts += [variant.framework] if variant.framework != base.framework else []
    parts += [variant.train_on] if variant.train_on != base.train_on else []
    parts += [f"{name}={_short(value)}" for name, value in sorted(changed.items())]
    if not is_estimator(variant.architecture) and variant.preprocessing.size != base.preprocessing.size:
        parts.append(f"size={variant.preprocessing.size}")
    if variant.preprocessing.interpolation != base.preprocessing.interpolation:
        parts.append(variant.preprocessing.interpolation)
    return "-".join([*parts, f"seed{variant.seed}"])


def _short(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
