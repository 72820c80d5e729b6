"""A variant becomes a torch module or a scikit-learn estimator."""

from overlap.models.estimators import estimator_logits, estimator_names, estimator_problems, make_estimator
from overlap.models.networks import build_network, network_names

__all__ = [
    "build_network",
    "estimator_logits",
    "estimator_names",
    "estimator_problems",
    "make_estimator",
    "network_names",
]
