from .catalog import CatalogEntry, Selection, select_models, select_open_clip, select_timm
from .classifier import Classifier, Embedder, build_classifier, build_embedder
from .estimators import estimator_logits, estimator_names, estimator_problems, make_estimator
from .hub import hub_problems, tokenizer_problems
from .networks import build_network, network_names
from .weight_files import file_digest, mirrored_name, open_mirror

__all__ = [
    "CatalogEntry",
    "Classifier",
    "Embedder",
    "Selection",
    "build_classifier",
    "build_embedder",
    "build_network",
    "estimator_logits",
    "estimator_names",
    "estimator_problems",
    "file_digest",
    "hub_problems",
    "make_estimator",
    "mirrored_name",
    "network_names",
    "open_mirror",
    "select_models",
    "select_open_clip",
    "select_timm",
    "tokenizer_problems",
]
