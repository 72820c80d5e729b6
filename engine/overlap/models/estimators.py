"""scikit-learn classifiers on pixels, as architectures of their own."""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from overlap.recipes import ESTIMATOR_PREFIX
from overlap.search_space import Scalar
from overlap.variants import Variant

LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


class Estimator(Protocol):
    """What we use of a scikit-learn classifier."""

    classes_: NDArray[np.int64]

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int32]) -> object: ...  # noqa: D102


@lru_cache(maxsize=1)
def _classifiers() -> Mapping[str, type]:
    return {name: kind for name, kind in all_estimators(type_filter="classifier") if _gives_scores(kind)}


def _gives_scores(kind: type) -> bool:
    return hasattr(kind, "predict_proba") or hasattr(kind, "decision_function")


def estimator_names() -> list[str]:
    """Every scikit-learn classifier that gives probabilities or scores, as an architecture's name."""
    return [ESTIMATOR_PREFIX + name for name in _classifiers()]


def estimator_problems(architecture: str, hyperparameters: Mapping[str, Scalar]) -> list[str]:
    """What scikit-learn would not take of a known estimator's hyperparameters; empty if nothing."""
    known = _parameters(_classifiers()[architecture.removeprefix(ESTIMATOR_PREFIX)])
    shown = ", ".join(sorted(known))
    return [f"'{n}' is no parameter of {architecture}; known are {shown}" for n in hyperparameters if n not in known]


def make_estimator(variant: Variant) -> Estimator:
    """The variant's classifier behind a standard scaler, not yet fitted, seeded where it can be."""
    kind = _classifiers()[variant.architecture.removeprefix(ESTIMATOR_PREFIX)]
    seeded = {"random_state": variant.seed} if "random_state" in _parameters(kind) else {}
    return cast("Estimator", make_pipeline(StandardScaler(), kind(**seeded, **variant.hyperparameter_map)))


def estimator_logits(estimator: Estimator, features_ND: NDArray[np.float64], classes: int) -> NDArray[np.float32]:
    """(N, classes) float32 scores whose softmax is the estimator's belief.

    Log-probabilities where the estimator gives probabilities, its decision function otherwise (two
    classes: the score and its negative, halved, so that the softmax is the logistic function).
    Neighbors and trees give exact zeros, also to a class they never saw: a probability is at least
    `LEAST_PROBABILITY`, or a single example would decide the mean loss and the temperature.
    """
    if hasattr(estimator, "predict_proba"):
        scores_ND = np.log(np.maximum(estimator.predict_proba(features_ND), LEAST_PROBABILITY))
    else:
        scores_ND = estimator.decision_function(features_ND)  # type: ignore[attr-defined]
        if scores_ND.ndim == 1:
            scores_ND = np.stack([-scores_ND, scores_ND], axis=1) / 2
    logits_NC = np.full((len(features_ND), classes), scores_ND.min() + np.log(LEAST_PROBABILITY), np.float32)
    logits_NC[:, estimator.classes_] = scores_ND
    return logits_NC


def _parameters(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)
