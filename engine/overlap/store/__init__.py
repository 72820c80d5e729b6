"""What a sweep made, on disk: results, logits, weights, checkpoints, failures, analyses."""

from overlap.store.addresses import open_objects
from overlap.store.failures import Failure
from overlap.store.lockfile import LockFile, lock_of
from overlap.store.objects import MissingObjectError, Objects
from overlap.store.rows import EmbeddedSplit, Outputs, PartialPredictions, Predictions, round_logits
from overlap.store.store import Store

__all__ = [
    "EmbeddedSplit",
    "Failure",
    "LockFile",
    "MissingObjectError",
    "Objects",
    "Outputs",
    "PartialPredictions",
    "Predictions",
    "Store",
    "lock_of",
    "open_objects",
    "round_logits",
]
