"""What a sweep file may say: read, checked whole, and turned into a `Sweep` value."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from overlap.entries import (
    BaseEntry,
    DatasetEntry,
    Entry,
    EvaluationEntry,
    PreprocessingEntry,
    PretrainedEntry,
    ResourcesEntry,
    SweepEntry,
    VaryEntry,
)
from overlap.errors import Problem, SweepFileError
from overlap.recipes import RECIPES, is_estimator
from overlap.resources import GPU_MEMORY_GIB, Resources, accelerators_with
from overlap.search_space import Axis, Draw, Grid, Scalar
from overlap.variants import Evaluation
from overlap.yaml_lines import Document, Path, dotted, load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Where a dataset comes from and how it is split; enough to load it in any process."""

    name: str
    source: str
    splits: tuple[tuple[str, int | None], ...]  # None takes the rest
    seed: int
    samples: int | None
    classes: str = ""
    labels: str = ""
    on_bad_image: str = "fail"
    skip: tuple[int, ...] = ()  # ids of the bad examples that preflight found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep file that is right in itself; whether the world agrees is `preflight`'s business."""

    path: str
    text: str
    document: Document
    name: str
    store: str
    datasets: tuple[DatasetSpec, ...]
    evaluate_on: tuple[str, ...]
    base: BaseEntry | None
    vary: tuple[VaryEntry, ...]
    resources: Resources
    pretrained: tuple[PretrainedEntry, ...] = ()
    evaluation: Evaluation = field(default_factory=Evaluation)
    allow_code: bool = False

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at a path of this file."""
        return Problem(line=self.document.line(path), where=dotted(path), message=message)


def read_sweep(text: str, *, path: str) -> Sweep:
    """Reads a sweep file's text.

    Raises:
        SweepFileError: with every problem that can be seen without touching disk, data or models.
    """
    sweep, problems = parse_sweep(text, path=path)
    if sweep is None or problems:
        raise SweepFileError(path, problems)
    return sweep


def parse_sweep(text: str, *, path: str) -> tuple[Sweep | None, list[Problem]]:
    """The sweep in a text, None if it has not a sweep's shape, and everything that is wrong with it."""
    document = load_yaml(text)
    problems = list(document.problems)
    if document.value is None:
        empty = Problem(line=0, where="", message="expected a sweep, got an empty file")
        return None, problems or [empty]
    try:
        entry = SweepEntry.model_validate(document.value)
    except ValidationError as error:
        return None, problems + [_to_problem(details, document) for details in error.errors()]
    sweep = _to_sweep(entry, text, path, document)
    problems += _resources_problems(sweep, ("resources",), entry.resources, ResourcesEntry())
    for list_name in ("vary", "pretrained"):
        for i, varied in enumerate(getattr(sweep, list_name)):
            problems += _resources_problems(sweep, (list_name, i, "resources"), varied.resources, entry.resources)
    problems += _reference_problems(sweep) + _hyperparameter_problems(sweep) + _code_problems(sweep)
    return sweep, problems


def _to_sweep(entry: SweepEntry, text: str, path: str, document: Document) -> Sweep:
    datasets = tuple(
        DatasetSpec(
            name=name,
            source=dataset.source,
            splits=tuple((split, None if n == "rest" else int(n)) for split, n in dataset.splits.items()),
            seed=dataset.seed,
            samples=dataset.samples,
            classes=dataset.classes,
            labels=dataset.labels,
            on_bad_image=dataset.on_bad_image,
        )
        for name, dataset in entry.datasets.items()
    )
    return Sweep(
        path=path,
        text=text,
        document=document,
        name=entry.name,
        store=entry.store,
        datasets=datasets,
        evaluate_on=tuple(entry.evaluate_on),
        base=entry.base,
        vary=tuple(entry.vary),
        resources=to_resources(entry.resources, Resources()),
        pretrained=tuple(entry.pretrained),
        evaluation=Evaluation(**entry.evaluation.model_dump()),
        allow_code=entry.allow_code,
    )


def to_resources(entry: ResourcesEntry, base: Resources) -> Resources:
    """The resources of an entry, with what it leaves open taken from a base."""
    given = entry.model_dump(exclude_none=True, exclude={"accelerator", "gpu_memory_gib"})
    wanted = (
        (entry.accelerator,) if isinstance(entry.accelerator, str) else tuple(entry.accelerator or base.accelerators)
    )
    if entry.gpu_memory_gib:
        wanted = accelerators_with(entry.gpu_memory_gib, wanted)
    return replace(base, **given, accelerators=wanted)


def _to_problem(details: ErrorDetails, document: Document) -> Problem:
    path: Path = details["loc"]
    if details["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(path[-1]), _known_keys(path[:-1]))}"
    elif details["type"] == "missing":
        message = "missing: this key is required"
    else:
        got = "" if details["type"] == "value_error" else f", got {details['input']!r}"
        message = details["msg"].removeprefix("Value error, ").replace("Input should", "should") + got
    while path and path not in document.lines and details["type"] != "missing":
        path = path[:-1]  # the names of a union's members are in the path, but not in the file
    return Problem(line=document.line(path), where=dotted(path), message=message)


_ENTRIES: Mapping[str, type[Entry]] = {
    "datasets": DatasetEntry,
    "base": BaseEntry,
    "vary": VaryEntry,
    "pretrained": PretrainedEntry,
    "evaluation": EvaluationEntry,
}


def _known_keys(path: Path) -> list[str]:
    """The keys that may stand at a path of the file; at its top also those of the base, often put there."""
    if not path:
        return [*SweepEntry.model_fields, *BaseEntry.model_fields, *_hyperparameter_names()]
    nested: dict[str, type[Entry]] = {}
    if path[0] != "datasets":
        nested = {"preprocessing": PreprocessingEntry, "resources": ResourcesEntry}
    entry = nested.get(str(path[-1])) or _ENTRIES.get(str(path[0]), SweepEntry)
    return list(entry.model_fields)


def _hyperparameter_names() -> list[str]:
    return sorted({name for recipe in RECIPES.values() for name in recipe.knobs})


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` if a known word is near, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _resources_problems(sweep: Sweep, path: Path, entry: ResourcesEntry, base: ResourcesEntry) -> list[Problem]:
    """Requests that no machine can ever meet, or that contradict each other."""
    problems: list[Problem] = []
    gpus = entry.gpus if entry.gpus is not None else base.gpus
    described = [name for name in ("accelerator", "gpu_memory_gib") if getattr(entry, name) is not None]
    message = "a GPU is described, but 'gpus' is 0: give gpus: 1"
    problems += [sweep.problem((*path, name), message) for name in described if not gpus]
    needs = to_resources(entry, sweep.resources)
    if entry.gpu_memory_gib and not needs.accelerators:
        known = ", ".join(f"{name} {memory}" for name, memory in GPU_MEMORY_GIB.items())
        message = f"no accelerator is known to have {entry.gpu_memory_gib:g} GiB; known are {known}"
        problems.append(sweep.problem((*path, "gpu_memory_gib"), message))
    if entry.on_demand_after_s is not None and needs.market != "spot":
        problems.append(sweep.problem((*path, "on_demand_after_s"), "only a request for market: spot can be widened"))
    return problems


def _reference_problems(sweep: Sweep) -> list[Problem]:
    """Names that point to nothing, and splits that cannot be."""
    names = [dataset.name for dataset in sweep.datasets]
    splits = {dataset.name: [split for split, _ in dataset.splits] for dataset in sweep.datasets}
    uses: list[tuple[Path, str, str]] = []
    if sweep.base:
        uses.append((("base", "train_on"), sweep.base.train_on, "train"))
    for i, name in enumerate(sweep.evaluate_on):
        uses.append((("evaluate_on", i), name, "test"))
    for i, entry in enumerate(sweep.vary):
        uses += [(("vary", i, "train_on"), str(value), "train") for value in axis_values(entry.train_on)]
    for i, pretrained in enumerate(sweep.pretrained):
        uses += [(("pretrained", i, "probe"), pretrained.probe, "train")] if pretrained.probe else []
    problems = []
    for i, name in enumerate(sweep.evaluate_on):
        if name in sweep.evaluate_on[:i]:
            problems.append(sweep.problem(("evaluate_on", i), f"'{name}' is named twice"))
    for path, name, split in uses:
        if name not in names:
            message = f"'{name}' is no dataset of this file{did_you_mean(name, names)}"
            problems.append(sweep.problem(path, message))
        elif split not in splits[name]:
            message = f"dataset '{name}' has no split '{split}': add it to datasets.{name}.splits"
            problems.append(sweep.problem(path, message))
    for dataset in sweep.datasets:
        if sum(size is None for _, size in dataset.splits) > 1:
            where: Path = ("datasets", dataset.name, "splits")
            problems.append(sweep.problem(where, "only one split can take the rest"))
    return problems


def _code_problems(sweep: Sweep) -> list[Problem]:
    """Python files are run only for who says so: a sweep file may come from a stranger."""
    named = [i for i, entry in enumerate(sweep.pretrained) if entry.python and not sweep.allow_code]
    message = "a Python file is run on every worker: say allow_code: true at the top of the sweep if you trust it"
    return [sweep.problem(("pretrained", i, "python"), message) for i in named]


def _hyperparameter_problems(sweep: Sweep) -> list[Problem]:
    """Frameworks and hyperparameters that no recipe knows, and values out of range."""
    base = sweep.base
    if base is None:
        return []
    problems = _framework_problems(sweep, ("base", "framework"), base.framework)
    if base.framework in RECIPES and not is_estimator(base.architecture):
        for name, value in base.hyperparameters.items():
            path: Path = ("base", "hyperparameters", name)
            problems += _knob_problems(sweep, path, [base.framework], name, [value])
    for i, entry in enumerate(sweep.vary):
        frameworks = [str(value) for value in axis_values(entry.framework)] or [base.framework]
        for framework in frameworks if entry.framework else []:
            problems += _framework_problems(sweep, ("vary", i, "framework"), framework)
        architectures = [str(value) for value in axis_values(entry.architecture)] or [base.architecture]
        problems += [sweep.problem(("vary", i, "seed"), message) for message in _seed_problems(entry.seed)]
        if any(is_estimator(architecture) for architecture in architectures):
            if entry.hyperparameters and not all(is_estimator(architecture) for architecture in architectures):
                message = "networks and scikit-learn classifiers share no hyperparameters: make two entries of this one"
                problems.append(sweep.problem(("vary", i, "hyperparameters"), message))
            continue  # an estimator's own parameters; preflight asks scikit-learn
        known = [framework for framework in frameworks if framework in RECIPES]
        for name, axis in entry.hyperparameters.items():
            path = ("vary", i, "hyperparameters", name)
            problems += _knob_problems(sweep, path, known, name, axis_values(axis))
    return problems


def _seed_problems(axis: Axis | None) -> list[str]:
    if isinstance(axis, Draw) and axis.word not in ("randint", "lograndint", "choice"):
        return [f"a seed is a whole number, which {axis.word} does not draw; use randint"]
    wrong = [v for v in axis_values(axis) if isinstance(v, bool | str) or v != int(v) or not 0 <= v < 2**32]
    return [f"expected a whole number from 0 to 2**32 - 1, got {value!r}" for value in wrong]


def _framework_problems(sweep: Sweep, path: Path, framework: str) -> list[Problem]:
    if framework in RECIPES:
        return []
    hint = did_you_mean(framework, list(RECIPES)) or f"; known are {', '.join(RECIPES)}"
    return [sweep.problem(path, f"'{framework}' is no framework{hint}")]


def _knob_problems(
    sweep: Sweep, path: Path, frameworks: Sequence[str], name: str, values: Sequence[Scalar]
) -> list[Problem]:
    problems = []
    for framework in frameworks:
        knobs = RECIPES[framework].knobs
        if name not in knobs:
            hint = did_you_mean(name, list(knobs)) or f"; known are {', '.join(knobs)}"
            problems.append(sweep.problem(path, f"'{name}' is no hyperparameter of {framework}{hint}"))
            continue
        found = (knobs[name].problem(value) for value in values)
        problems += [sweep.problem(path, message) for message in found if message]
    return problems


def axis_values(axis: Axis | None) -> tuple[Scalar, ...]:
    """Every value an axis can be seen to take: all of a grid or choice, the two ends of a range."""
    if axis is None:
        return ()
    if isinstance(axis, Grid):
        return axis.values
    if axis.word == "choice":
        return axis.arguments
    return () if axis.word in ("randn", "qrandn") else axis.arguments[:2]
