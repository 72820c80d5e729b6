"""Everything that can be known to be wrong before anything runs: names, data, splits, classes."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from overlap.datasets import SOURCES, Dataset, dataset_facts, load_dataset
from overlap.errors import DatasetError, Problem, SweepFileError
from overlap.expand import Origin, expand
from overlap.plan import Plan, make_plan
from overlap.recipes import is_estimator
from overlap.spec import DatasetSpec, Sweep, did_you_mean, read_sweep
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
    sweep = read_sweep(text, path=str(path))
    return replace(sweep, datasets=tuple(_absolute(dataset) for dataset in sweep.datasets))


def plan_sweep(sweep: Sweep) -> Plan:
    """Loads the datasets and plans the jobs; torch is not imported.

    Raises:
        SweepFileError: with every problem of the expansion and of the data.
    """
    origins, problems = expand(sweep)
    facts, more = _dataset_facts(sweep)
    problems += more
    if not problems:
        problems += _class_problems(sweep, origins, facts)
    if problems:
        raise SweepFileError(sweep.path, problems)
    return make_plan(sweep, [origin.variant for origin in origins], facts)


def check_architectures(plan: Plan, variants: Iterable[Variant]) -> None:
    """Asks timm and scikit-learn for the architectures of these variants.

    Raises:
        SweepFileError: with every name and parameter that they do not know.
    """
    wanted = {variant.name for variant in variants}
    origins, _ = expand(plan.sweep)
    found: dict[tuple[KeyPath, str], Problem] = {}
    for origin in origins:
        if origin.variant.name in wanted:
            for path, message in _architecture_problems(origin):
                found.setdefault((path, message), plan.sweep.problem(path, message))
    if found:
        raise SweepFileError(plan.sweep.path, list(found.values()))


def _architecture_problems(origin: Origin) -> list[tuple[KeyPath, str]]:
    from overlap.models import estimator_names, estimator_problems, network_names

    variant = origin.variant
    estimator = is_estimator(variant.architecture)
    known = estimator_names() if estimator else network_names()
    if variant.architecture not in known:
        kind = "scikit-learn classifier with probabilities or scores" if estimator else "timm model"
        hint = did_you_mean(variant.architecture, known)
        return [((*origin.path, "architecture"), f"'{variant.architecture}' is no {kind}{hint}")]
    if not estimator:
        return []
    messages = estimator_problems(variant.architecture, variant.hyperparameter_map)
    return [((*origin.path, "hyperparameters"), message) for message in messages]


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
