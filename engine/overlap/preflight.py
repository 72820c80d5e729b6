"""Everything that can be known to be wrong before anything runs: names, data, splits, classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from overlap.datasets import absolute_source, dataset_facts, load_dataset
from overlap.datasets.image_check import sound_dataset
from overlap.datasets.label_spaces import output_columns
from overlap.errors import DatasetError, Problem, SweepFileError
from overlap.expand import Origin, expand
from overlap.models.weight_files import HUB
from overlap.plan import Plan, make_plan
from overlap.pretrained import select_pretrained
from overlap.recipes import is_estimator
from overlap.spec import DatasetSpec, Sweep, axis_values, did_you_mean, parse_sweep
from overlap.variants import DatasetFacts, Variant
from overlap.workplace import known_classes
from overlap.yaml_lines import Path as KeyPath
from overlap.yaml_lines import dotted

OPEN_CLIP = "open_clip"


def read_sweep_file(path: Path) -> Sweep:
    """Reads a sweep file from disk, its data folders made absolute.

    Raises:
        SweepFileError: it does not exist, is no text, or has problems.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        problem = Problem(line=0, where="", message=f"cannot read the sweep file: {reason}")
        raise SweepFileError(str(path), [problem]) from None
    sweep, problems = parse_sweep(text, path=str(path))
    if sweep is None:
        raise SweepFileError(str(path), problems)
    if problems:
        raise SweepFileError(str(path), [*problems, *_architecture_problems(sweep, _architectures(sweep))])
    return replace(sweep, datasets=tuple(replace(spec, source=absolute_source(spec.source)) for spec in sweep.datasets))


def plan_sweep(sweep: Sweep, *, cache: Path | None = None) -> Plan:
    """Loads the datasets, looks at every image once, and plans the jobs.

    torch is imported only for pretrained models that were not asked for before, or to add to problems.
    What is found out of the images is kept in the `cache` folder, if there is one.

    Raises:
        SweepFileError: with every problem of the expansion, the data and the architectures' names.
    """
    pretrained, problems = select_pretrained(sweep, cache=cache) if sweep.pretrained else ([], [])
    origins, more = expand(sweep, pretrained)
    datasets, facts, notes, bad = _look_at_datasets(sweep, cache)
    problems += more + bad
    if not problems:
        origins, left_out = _usable(sweep, origins, facts)
        notes += left_out
        problems += _class_problems(sweep, origins, facts)
    if problems:
        raise SweepFileError(sweep.path, [*problems, *_architecture_problems(sweep, _architectures(sweep))])
    plan = make_plan(replace(sweep, datasets=tuple(datasets)), origins, facts, notes=notes)
    if same := _same_key_problems(plan):
        raise SweepFileError(sweep.path, same)
    return plan


def _same_key_problems(plan: Plan) -> list[Problem]:
    """Variants that differ in name only, such as two datasets with the same content."""
    first: dict[str, str] = {}
    problems = []
    for job in plan.evaluation:
        earlier = first.setdefault(job.key, job.variant.name)
        if earlier != job.variant.name:
            message = f"'{job.variant.name}' has the same key as '{earlier}': remove one of them"
            problems.append(plan.sweep.problem(plan.places[job.variant.name], message))
    return problems


def check_models(plan: Plan, variants: Iterable[Variant]) -> None:
    """Asks timm, scikit-learn and the hub for the architectures, parameters and weights of these variants.

    It imports torch, which takes seconds: a sweep with nothing left to run is spared that.

    Raises:
        SweepFileError: with every name and parameter that they do not know, and the weights that cannot be had.
    """
    wanted = list(variants)
    names = {variant.architecture for variant in wanted}
    places = [(path, name) for path, name in _architectures(plan.sweep) if name in names]
    problems = _architecture_problems(plan.sweep, places)
    if not problems:
        problems = _parameter_problems(plan, wanted) + _hub_problems(plan, wanted)
    if problems:
        raise SweepFileError(plan.sweep.path, problems)


def _architectures(sweep: Sweep) -> list[tuple[KeyPath, str]]:
    """Every architecture that a sweep file names, and where."""
    places: list[tuple[KeyPath, str]] = []
    if sweep.base:
        places.append((("base", "architecture"), sweep.base.architecture))
    for i, entry in enumerate(sweep.pretrained):
        places += [(("pretrained", i, "architecture"), entry.architecture)] if entry.architecture else []
    for i, varied in enumerate(sweep.vary):
        places += [(("vary", i, "architecture"), str(name)) for name in axis_values(varied.architecture)]
    return places


def _architecture_problems(sweep: Sweep, places: Iterable[tuple[KeyPath, str]]) -> list[Problem]:
    from overlap.models import estimator_names, network_names

    problems = []
    for path, name in places:
        estimator = is_estimator(name)
        known = estimator_names() if estimator else network_names()
        if name not in known:
            kind = "scikit-learn classifier with probabilities or scores" if estimator else "timm model"
            problems.append(sweep.problem(path, f"'{name}' is no {kind}{did_you_mean(name, known)}"))
    return problems


def _parameter_problems(plan: Plan, variants: Iterable[Variant]) -> list[Problem]:
    """Hyperparameters that the estimators among these variants do not take, each place and name once."""
    from overlap.models import estimator_problems

    found: dict[tuple[KeyPath, str], Problem] = {}
    for variant in variants:
        if variant.is_estimator:
            for message in estimator_problems(variant.architecture, variant.hyperparameter_map):
                path: KeyPath = (*plan.places[variant.name], "hyperparameters")
                found.setdefault((path, message), plan.sweep.problem(path, message))
    return list(found.values())


def _hub_problems(plan: Plan, variants: Iterable[Variant]) -> list[Problem]:
    """Weights that are neither on this machine nor to be had from the hub, and texts that cannot be read."""
    wanted = list(variants)
    towers = [variant.built_on for variant in wanted if variant.is_estimator and variant.built_on]
    weights = [model.weights for model in (*wanted, *towers) if model.weights]
    if not weights:
        return []
    from overlap.models import hub_problems, tokenizer_problems

    messages = hub_problems([(each.library, each.name) for each in weights if each.source == HUB])
    zero_shot = [variant.architecture for variant in wanted if variant.weights and variant.weights.library == OPEN_CLIP]
    return [plan.sweep.problem(("pretrained",), message) for message in (*messages, *tokenizer_problems(zero_shot))]


def _look_at_datasets(
    sweep: Sweep, cache: Path | None
) -> tuple[list[DatasetSpec], dict[str, DatasetFacts], list[str], list[Problem]]:
    """The datasets without their bad images, the facts of them, notes on them, and their problems."""
    specs, facts, notes, problems = [], {}, [], []
    for spec in sweep.datasets:
        try:
            kept, found = sound_dataset(spec, cache)
            facts[spec.name] = dataset_facts(load_dataset(kept, cache))
        except DatasetError as error:
            problems.append(sweep.problem(("datasets", spec.name, error.key), str(error)))
            continue
        specs.append(kept)
        notes += [f"dataset '{spec.name}': {note}" for note in found]
    return specs, facts, notes, problems


def _usable(
    sweep: Sweep, origins: Sequence[Origin], facts: Mapping[str, DatasetFacts]
) -> tuple[list[Origin], list[str]]:
    """The variants without those that only a glob has caught and whose outputs are other classes; notes on these."""
    left_out: dict[KeyPath, list[str]] = {}
    for origin in origins:
        if _caught_by_glob(sweep, origin) and any(
            _class_problem(origin.variant, facts, facts[d]) for d in sweep.evaluate_on
        ):
            left_out.setdefault(origin.path, []).append(origin.variant.name)
    for path in list(left_out):
        if len(left_out[path]) == sum(origin.path == path for origin in origins):
            del left_out[path]  # nothing would be left: what is wrong is said of each
    gone = {name for names in left_out.values() for name in names}
    notes = [
        f"{dotted(path)}: {len(names)} models are left out, because their outputs are not the data's classes: "
        + ", ".join(names[:3])
        + (" …" if names[3:] else "")
        for path, names in left_out.items()
    ]
    return [origin for origin in origins if origin.variant.name not in gone], notes


def _caught_by_glob(sweep: Sweep, origin: Origin) -> bool:
    """True for a model that its entry does not name."""
    if origin.path[0] != "pretrained" or origin.variant.weights is None:
        return False
    entry = sweep.pretrained[int(origin.path[1])]
    return origin.variant.weights.name not in (entry.timm or entry.open_clip or [origin.variant.weights.name])


def _class_problems(sweep: Sweep, origins: Iterable[Origin], facts: Mapping[str, DatasetFacts]) -> list[Problem]:
    """A variant can only be judged on classes that it knows, found by their names."""
    problems: dict[tuple[KeyPath, str], Problem] = {}
    for origin in origins:
        for i, evaluated in enumerate(sweep.evaluate_on):
            message = _class_problem(origin.variant, facts, facts[evaluated])
            path: KeyPath = ("evaluate_on", i) if origin.variant.weights is None else origin.path
            if message:
                problems.setdefault((path, message), sweep.problem(path, message))
    return list(problems.values())


def _class_problem(variant: Variant, facts: Mapping[str, DatasetFacts], dataset: DatasetFacts) -> str:
    """Why a variant's outputs cannot be read as a dataset's classes; empty if they can."""
    weights = variant.weights
    if weights and not weights.outputs and weights.library != OPEN_CLIP:
        return f"'{variant.name}' has no classifier whose classes are known: give probe, or exclude it"
    if weights and not weights.outputs:
        texts, classes = len(weights.texts), len(dataset.class_names)
        return (
            f"expected {classes} texts, one a class of '{dataset.name}', got {texts}"
            if texts not in (0, classes)
            else ""
        )
    problem = _mapping_problem(dataset.class_names, known_classes(variant, facts))
    if not problem:
        return ""
    origin = f"the outputs of '{weights.outputs}'" if weights else f"variants trained on '{variant.train_on}'"
    return f"'{dataset.name}' cannot be judged by {origin}: {problem}"


@lru_cache(maxsize=64)
def _mapping_problem(class_names: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """Why classes are not among outputs; hundreds of models share a few label spaces, so each is looked at once."""
    try:
        output_columns(class_names, outputs)
    except DatasetError as error:
        return str(error)
    return ""
