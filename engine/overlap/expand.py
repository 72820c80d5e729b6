"""A sweep becomes its variants: the base, then each entry's grid and draws, in file order."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from overlap.entries import BaseEntry, PreprocessingEntry, PretrainedEntry, VaryEntry
from overlap.errors import Problem
from overlap.recipes import RECIPES, is_estimator
from overlap.resources import Resources
from overlap.search_space import Axis, Draw, Grid, Scalar, draw_value
from overlap.spec import Sweep, did_you_mean, to_resources
from overlap.variants import Preprocessing, Variant, canonical_json, key_of, unique_names
from overlap.yaml_lines import Path

PROBE = "sklearn:LogisticRegression"
PROBE_ITERATIONS = 2000

_FIELDS = ("architecture", "framework", "train_on", "seed")

_Place = tuple[str, str]  # ("seed", "") or ("hyperparameters", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A variant, the place in the sweep file that asked for it, and what it is given to run on.

    `built_on` names the variant that it needs, before that is known to exist.
    """

    variant: Variant
    path: Path
    resources: Resources
    built_on: str = ""


def expand(sweep: Sweep, pretrained: Sequence[Sequence[Variant]] = ()) -> tuple[list[Origin], list[Problem]]:
    """All variants of a sweep in file order, and what is wrong with the expansion.

    Draws depend on what their entry says and on nothing else: adding entries, reordering them or
    asking an entry for more samples leaves the existing draws as they are. `pretrained` are the
    models that each entry of the file's `pretrained` selects.
    """
    origins, problems = _trained_origins(sweep)
    chosen: set[Variant] = set()
    for i, (entry, models) in enumerate(zip(sweep.pretrained, pretrained, strict=True)):
        resources = to_resources(entry.resources, sweep.resources)
        variants = dict.fromkeys(_probe(entry, model) if entry.probe else model for model in models)
        new = [variant for variant in variants if variant not in chosen]  # globs of two entries may overlap
        chosen.update(new)
        origins += [Origin(variant=variant, path=("pretrained", i), resources=resources) for variant in new]
    names = unique_names(origin.variant.name for origin in origins)
    named = zip(origins, names, strict=True)
    origins = [replace(origin, variant=replace(origin.variant, name=name)) for origin, name in named]
    origins, more = _linked(sweep, origins)
    return origins, [*problems, *more, *_duplicate_problems(sweep, origins)]


def _trained_origins(sweep: Sweep) -> tuple[list[Origin], list[Problem]]:
    """The base and all that `vary` makes of it."""
    if sweep.base is None:
        return [], []
    base = _base_variant(sweep.base)
    origins = [Origin(variant=base, path=("base",), resources=sweep.resources)]
    problems = [sweep.problem(("base",), message) for message in _variant_problems(base, "")]
    for i, entry in enumerate(sweep.vary):
        path: Path = ("vary", i)
        found = [sweep.problem(path, message) for message in _entry_problems(entry)]
        problems += found
        for choice in _choices(entry) if not found else ():
            variant = _changed(sweep, base, entry, choice)
            resources = to_resources(entry.resources, sweep.resources)
            built_on = entry.built_on or (base.name if _needs_teacher(variant) else "")
            origins.append(Origin(variant=variant, path=path, resources=resources, built_on=built_on))
            problems += [sweep.problem(path, message) for message in _variant_problems(variant, built_on)]
    return origins, problems


def _linked(sweep: Sweep, origins: list[Origin]) -> tuple[list[Origin], list[Problem]]:
    """The variants with those that they are built on put into them."""
    by_name = {origin.variant.name: origin for origin in origins}
    linked, problems = [], []
    for origin in origins:
        chain = _chain(by_name, origin)
        if chain is None:
            known = [name for name in by_name if name != origin.variant.name]
            message = f"'{origin.built_on}' is no variant that '{origin.variant.name}' can be built on"
            problems.append(sweep.problem(origin.path, message + did_you_mean(origin.built_on, known)))
            continue
        variant = None
        for link in reversed(chain):  # the one that is built on nothing first
            variant = _put_on(link.variant, variant) if variant else link.variant
        linked.append(replace(origin, variant=variant) if variant else origin)
    return (origins if problems else linked), problems


def _chain(by_name: Mapping[str, Origin], origin: Origin) -> list[Origin] | None:
    """An origin, what it is built on, what that is built on, …; None if a name is unknown, or comes twice."""
    chain = [origin]
    while chain[-1].built_on:
        needed = by_name.get(chain[-1].built_on)
        if needed is None or needed in chain or needed.variant.is_estimator:
            return None
        chain.append(needed)
    return chain


def _put_on(variant: Variant, foundation: Variant) -> Variant:
    """An estimator sees what its network sees; a student looks with its own eyes."""
    preprocessing = foundation.preprocessing if variant.is_estimator else variant.preprocessing
    return replace(variant, built_on=foundation, preprocessing=preprocessing)


def _probe(entry: PretrainedEntry, model: Variant) -> Variant:
    """A linear probe on a model's embeddings, fitted to the train split of a dataset."""
    return Variant(
        name=f"{model.name}-probe-{entry.probe}",
        architecture=PROBE,
        framework=model.framework,
        train_on=str(entry.probe),
        seed=entry.seed,
        hyperparameters=tuple(sorted({"max_iter": PROBE_ITERATIONS, **entry.hyperparameters}.items())),
        preprocessing=model.preprocessing,
        built_on=model,
    )


def _base_variant(base: BaseEntry) -> Variant:
    inherited = {} if is_estimator(base.architecture) else _defaults(base.framework)
    variant = Variant(
        name="",
        architecture=base.architecture,
        framework=base.framework,
        train_on=base.train_on,
        seed=base.seed,
        hyperparameters=_settled(base.architecture, base.framework, inherited | base.hyperparameters),
        preprocessing=changed_preprocessing(base.preprocessing, Preprocessing()),
    )
    return replace(variant, name=_name(variant, variant, {}))


def _entry_problems(entry: VaryEntry) -> list[str]:
    axes = _axes(entry)
    draws = any(isinstance(axis, Draw) for axis in axes.values())
    if entry.samples and not draws:
        return ["'samples' without a random field: there is nothing to draw"]
    if not axes and entry.preprocessing == PreprocessingEntry() and entry.built_on is None:
        return ["an entry that changes nothing: name at least one field"]
    return []


def _needs_teacher(variant: Variant) -> bool:
    return not variant.is_estimator and RECIPES[variant.framework].teacher


def _variant_problems(variant: Variant, built_on: str) -> list[str]:
    if variant.is_estimator and variant.framework != "supervised":
        return [f"'{variant.architecture}' can only be trained supervised, got '{variant.framework}'"]
    if _needs_teacher(variant) and not built_on:
        return [f"'{variant.framework}' needs a teacher: put it into an entry of 'vary', and name one by built_on"]
    if built_on and not variant.is_estimator and not _needs_teacher(variant):
        return [f"only a distillation or an estimator can be built on a variant, not '{variant.framework}'"]
    return []


def _duplicate_problems(sweep: Sweep, origins: list[Origin]) -> list[Problem]:
    first: dict[Variant, Path] = {}
    problems = []
    for origin in origins:
        bare = replace(origin.variant, name="")
        if bare in first:
            line = sweep.document.line(first[bare])
            name = origin.variant.name.partition("~")[0]
            message = f"'{name}' has the same key as a variant of line {line}: remove one of them"
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
    identity = canonical_json(entry.model_dump(exclude={"samples", "resources", "built_on"}, exclude_none=True))
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
        architecture=fields["architecture"],
        framework=fields["framework"],
        train_on=fields["train_on"],
        seed=int(choice.get(("seed", ""), base.seed)),
        hyperparameters=_settled(fields["architecture"], fields["framework"], inherited | given),
        preprocessing=changed_preprocessing(entry.preprocessing, base.preprocessing),
    )
    changed = {name: value for name, value in given.items() if inherited.get(name) != value}
    return replace(variant, name=_name(variant, base, changed, entry.built_on))


def _inherited(sweep: Sweep, architecture: str, framework: str) -> dict[str, Scalar]:
    """Defaults of a framework, overridden by the base's hyperparameters that it knows."""
    base = sweep.base
    given = base.hyperparameters if base else {}
    if is_estimator(architecture):
        return dict(given) if base and architecture == base.architecture else {}
    defaults = _defaults(framework)
    return defaults | {k: v for k, v in given.items() if k in defaults}


def _defaults(framework: str) -> dict[str, Scalar]:
    return {name: knob.default for name, knob in RECIPES[framework].knobs.items()}


def _settled(architecture: str, framework: str, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    """Hyperparameters by name, each as its knob's type, so that `0` and `0.0` are one variant."""
    if is_estimator(architecture):
        return tuple(sorted(values.items()))
    knobs = RECIPES[framework].knobs
    typed = {name: type(knobs[name].default)(value) if name in knobs else value for name, value in values.items()}
    return tuple(sorted(typed.items()))


def changed_preprocessing(entry: PreprocessingEntry, base: Preprocessing) -> Preprocessing:
    """A preprocessing with what an entry says put over it."""
    return replace(base, **entry.model_dump(exclude_none=True))


def _name(variant: Variant, base: Variant, changed: Mapping[str, Scalar], built_on: str | None = None) -> str:
    """A readable name: architecture, then what differs from the base, then the seed."""
    parts = [variant.architecture.replace("sklearn:", "sklearn-")]
    parts += [variant.framework] if variant.framework != base.framework else []
    parts += [variant.train_on] if variant.train_on != base.train_on else []
    parts += [f"on-{built_on}"] if built_on else []
    parts += [f"{name}={_short(value)}" for name, value in sorted(changed.items())]
    if not is_estimator(variant.architecture) and variant.preprocessing.size != base.preprocessing.size:
        parts.append(f"size={variant.preprocessing.size}")
    if variant.preprocessing.interpolation != base.preprocessing.interpolation:
        parts.append(variant.preprocessing.interpolation)
    return "-".join([*parts, f"seed{variant.seed}"])


def _short(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
