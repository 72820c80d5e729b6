"""Seeded predictions of many variants that err together as real ones do, for benchmarks.

Dimensions: `V` variants, `N` examples, `C` classes, `K` classes with which an example is confused.

An example has a difficulty, and one more for each family of variants. A variant is right where its skill and
logistic noise exceed both, skills so that accuracies run from 0.5 to 0.9. A wrong prediction is nearly always one
of the example's K confusable classes, the k-th k ** -1.5 times as often as the first; a family has a favorite.

Probabilities come from logits: shared ones with a few confusable classes raised, half the noise a family's and half
a variant's own, accuracies from 0.6 to 0.85, and temperatures that make variants about as confident as right.
"""

import numba
import numpy as np
from numpy.typing import NDArray

CONFUSABLE = 32
FAMILY_SIZE = 20
LOWEST, HIGHEST = 0.5, 0.9  # accuracies
_STEPS = 1 << 12  # of the tables of quantiles


def synthetic_predictions(
    variants: int, examples: int, *, classes: int = 1000, seed: int = 0
) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """(V, N) predictions, family by family, and (N,) labels. 10,000 x 50,000 take seconds and only their own memory."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, classes, examples, dtype=np.int32)
    shifts_NK = rng.integers(1, classes, (examples, CONFUSABLE))
    confusable_NK = ((labels_N[:, np.newaxis] + shifts_NK) % classes).astype(np.int16)
    difficulty_N = rng.normal(0, 2, examples).astype(np.float32)
    at = (np.arange(_STEPS) + 0.5) / _STEPS
    noise = np.log(at / (1 - at)).astype(np.float32)
    weights_K = np.arange(1, CONFUSABLE + 1) ** -1.5
    ranks = np.searchsorted(np.cumsum(weights_K) / weights_K.sum(), at)
    skills_V = _skills(rng.uniform(LOWEST, HIGHEST, variants), rng.normal(0, 2, 4000), noise)
    predictions_VN = np.empty((variants, examples), dtype=np.int16)
    _predict(
        predictions_VN,
        labels_N,
        confusable_NK,
        difficulty_N,
        skills_V,
        noise,
        ranks.astype(np.int16),
        classes,
        np.uint64(seed),
    )
    return predictions_VN, labels_N


def synthetic_probabilities(
    variants: int, examples: int, classes: int, *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(V, N, C) probabilities of softmax and (N,) labels."""
    rng = np.random.default_rng([seed, variants, examples, classes])
    labels_N, each_N = rng.integers(0, classes, examples), np.arange(examples)
    shared_NC = rng.standard_normal((examples, classes), np.float32)
    raised = (each_N[:, np.newaxis], rng.integers(0, classes, (examples, 3)))
    np.add.at(shared_NC, raised, rng.exponential(2, (examples, 3)).astype(np.float32))
    shared_NC[each_N, labels_N] = rng.normal(0, 3, examples)
    families = [rng.standard_normal(shared_NC.shape, np.float32) for _ in range(max(2, min(12, variants // 6)))]
    probabilities_VNC = np.empty((variants, examples, classes), np.float32)
    for v in range(variants):
        noise_NC = families[v % len(families)] + rng.standard_normal(shared_NC.shape, np.float32)
        logits_NC = shared_NC + np.float32(np.sqrt(0.5)) * noise_NC
        accuracy = rng.uniform(0.6, 0.85)
        own_N = logits_NC[each_N, labels_N]
        logits_NC[each_N, labels_N] = -np.inf
        logits_NC[each_N, labels_N] = own_N + np.quantile(logits_NC.max(axis=1) - own_N, accuracy)
        confidence = np.clip(accuracy + rng.uniform(-0.05, 0.12), 0.3, 0.97)
        logits_NC *= np.float32(_inverse_temperature(logits_NC[:1000], confidence))
        probabilities_VNC[v] = _softmax(logits_NC)
    return probabilities_VNC, labels_N


def _inverse_temperature(logits_NC, confidence):
    """That which makes the mean of the highest probabilities equal `confidence`, by bisection."""
    low, high = 0.1, 12.0
    for _ in range(14):
        middle = (low + high) / 2
        if _softmax(logits_NC * np.float32(middle)).max(axis=1).mean() < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _softmax(logits_NC):
    scores_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return scores_NC / scores_NC.sum(axis=1, keepdims=True)


def _skills(accuracies_V, difficulties, noise):
    """Skills that reach these accuracies, by the inverse of the accuracy over a grid of skills."""
    grid = np.linspace(-8, 12, 200)
    spread = difficulties + noise[np.random.default_rng(0).integers(0, _STEPS, len(difficulties))]
    reached = [np.mean(1 / (1 + np.exp(spread - skill))) for skill in grid]
    return np.interp(accuracies_V, reached, grid).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _hash(key):
    """Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014), the finalizer."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _predict(predictions_VN, labels_N, confusable_NK, difficulty_N, skills_V, noise, ranks, classes, seed):
    low = np.uint64(_STEPS - 1)
    variants, examples = predictions_VN.shape
    for v in range(variants):
        of_variant = _hash(seed + np.uint64(2 * v + 1) * np.uint64(0x9E3779B97F4A7C15))
        of_family = _hash(seed + np.uint64(2 * (v // FAMILY_SIZE)) * np.uint64(0x9E3779B97F4A7C15))
        for n in range(examples):
            own = _hash(of_variant + np.uint64(n) * np.uint64(0x9E3779B97F4A7C15))
            shared = _hash(of_family + np.uint64(n) * np.uint64(0x9E3779B97F4A7C15))
            margin = skills_V[v] - difficulty_N[n] - noise[shared & low] + noise[own & low]
            if margin > 0:
                predictions_VN[v, n] = labels_N[n]
                continue
            kind = own >> np.uint64(12) & np.uint64(31)
            draw = own >> np.uint64(17) & low
            if kind == 0:  # any other class
                shift = 1 + (own >> np.uint64(29)) % np.uint64(classes - 1)
                predictions_VN[v, n] = (labels_N[n] + np.int64(shift)) % classes
            elif kind < 9:
                predictions_VN[v, n] = confusable_NK[n, ranks[shared >> np.uint64(17) & low]]
            else:
                predictions_VN[v, n] = confusable_NK[n, ranks[draw]]
