"""Everything that can be known to be wrong before anything runs: names, data, splits, classes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from overlap.datasets import SOURCES, Dataset, dataset_facts, load_dataset
from overlap.errors import DatasetError, Problem, SweepFileError
from overlap.expand import Origin, expand
from overlap.plan import Plan, make_plan
from overlap.recipes import is_estimator
from overlap.spec import DatasetSpec, Sweep, axis_values, did_you_mean, parse_sweep
from overlap.variants import DatasetFacts, Variant
from overlap.yaml_lines import Path as KeyPath


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
    return replace(sweep, datasets=tuple(_absolute(dataset) for dataset in sweep.datasets))


def plan_sweep(sweep: Sweep) -> Plan:
    """Loads the datasets and plans the jobs; torch is not imported unless there are problems to add to.

    Raises:
        SweepFileError: with every problem of the expansion, the data and the architectures' names.
    """
    origins, problems = expand(sweep)
    facts, more = _dataset_facts(sweep)
    problems += more
    if not problems:
        problems += _class_problems(sweep, origins, facts)
    if problems:
        raise SweepFileError(sweep.path, [*problems, *_architecture_problems(sweep, _architectures(sweep))])
    resources = {origin.variant.name: origin.resources for origin in origins}
    plan = make_plan(sweep, [origin.variant for origin in origins], facts, resources)
    if same := _same_key_problems(plan, origins):
        raise SweepFileError(sweep.path, same)
    return plan


def _same_key_problems(plan: Plan, origins: Sequence[Origin]) -> list[Problem]:
    """Variants that differ in name only, such as two datasets with the same content."""
    first: dict[str, str] = {}
    problems = []
    for job, origin in zip(plan.evaluation, origins, strict=False):
        earlier = first.setdefault(job.key, job.variant.name)
        if earlier != job.variant.name:
            message = f"'{job.variant.name}' has the same key as '{earlier}': remove one of them"
            problems.append(plan.sweep.problem(origin.path, message))
    return problems


def check_architectures(plan: Plan, variants: Iterable[Variant]) -> None:
    """Asks timm and scikit-learn for the architectures and parameters of these variants.

    It imports torch, which takes seconds: a sweep with nothing left to run is spared that.

    Raises:
        SweepFileError: with every name and parameter that they do not know.
    """
    wanted = list(variants)
    names = {variant.architecture for variant in wanted}
    places = [(path, name) for path, name in _architectures(plan.sweep) if name in names]
    problems = _architecture_problems(plan.sweep, places)
    if not problems:
        problems = _parameter_problems(plan.sweep, {variant.name for variant in wanted})
    if problems:
        raise SweepFileError(plan.sweep.path, problems)


def _architectures(sweep: Sweep) -> list[tuple[KeyPath, str]]:
    """Every architecture that a sweep file names, and where."""
    places: list[tuple[KeyPath, str]] = [(("base", "architecture"), sweep.base.architecture)]
    for i, entry in enumerate(sweep.vary):
        places += [(("vary", i, "architecture"), str(name)) for name in axis_values(entry.architecture)]
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


def _parameter_problems(sweep: Sweep, names: set[str]) -> list[Problem]:
    """Hyperparameters that the estimators among these variants do not take, each place and name once."""
    from overlap.models import estimator_problems

    found: dict[tuple[KeyPath, str], Problem] = {}
    for origin in expand(sweep)[0]:
        variant = origin.variant
        if variant.name in names and is_estimator(variant.architecture):
            for message in estimator_problems(variant.architecture, variant.hyperparameter_map):
                path: KeyPath = (*origin.path, "hyperparameters")
                found.setdefault((path, message), sweep.problem(path, message))
    return list(found.values())


def _dataset_facts(sweep: Sweep) -> tuple[dict[str, DatasetFacts], list[Problem]]:
    facts, problems = {}, []
    for spec in sweep.datasets:
        try:
            dataset: Dataset = load_dataset(spec)
        except DatasetError as error:
            problems.append(sweep.problem(("datasets", spec.name, error.key), str(error)))
            continue
        facts[spec.name] = dataset_facts(dataset)
    return facts, problems


def _class_problems(sweep: Sweep, origins: Iterable[Origin], facts: dict[str, DatasetFacts]) -> list[Problem]:
    """A variant can only be judged on the classes it was trained for, in the same order."""
    problems = []
    for i, evaluated in enumerate(sweep.evaluate_on):
        expected = facts[evaluated].class_names
        for trained in dict.fromkeys(origin.variant.train_on for origin in origins):
            if facts[trained].class_names != expected:
                message = (
                    f"'{evaluated}' has {len(expected)} classes, but variants are trained on '{trained}' "
                    f"with {len(facts[trained].class_names)} classes or other names"
                )
                problems.append(sweep.problem(("evaluate_on", i), message))
    return problems


def _absolute(spec: DatasetSpec) -> DatasetSpec:
    return spec if spec.source in SOURCES else replace(spec, source=str(Path(spec.source).absolute()))
