from .estimators import estimator_logits, estimator_names, estimator_problems, make_estimator
from .networks import build_network, network_names

__all__ = [
    "build_network",
    "estimator_logits",
    "estimator_names",
    "estimator_problems",
    "make_estimator",
    "network_names",
]
