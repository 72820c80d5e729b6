"""Linear probes: fitted on some examples, their penalty chosen on others, judged on the rest.

Array names: B probes, M examples, N of them, D dimensions (one more with the constant), C classes or labels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overlap.features.regression import Loss, Problems, minimize
from overlap.features.roles import Roles
from overlap_analysis import mean_average_precision, mean_average_precision_interval, wilson_interval

_OPERATIONS_FOR_THREADS = 10**8
_LEAST_SCALE = 0.01  # of the largest, as `frameworks.probe` has it, which takes seconds to import


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How probes are fitted.

    Attributes:
        strengths: of the L2 penalty, see `regression.minimize`.
        refit: whether the probe that is judged is fitted once more on the examples that chose its penalty, too.
        device: a torch device; empty takes a GPU if there is one.
        memory_bytes: what a batch of probes may take.
    """

    strengths: tuple[float, ...]
    refit: bool = True
    device: str = ""
    memory_bytes: float = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a probe reached: accuracy, or mean average precision with several labels, and a 95 % interval.

    `calibration` is the same on the examples that chose the penalty, before the probe was fitted to those.
    """

    score: float
    low: float
    high: float
    calibration: float
    strength: float


def judge_probes(
    embeddings_MD: NDArray[np.float32], choices: Sequence[NDArray[np.int64]], roles: Roles, protocol: Protocol
) -> list[Judged]:
    """One probe for each choice of dimensions, in their order.

    Args:
        embeddings_MD: of all examples.
        choices: columns of it, any number each; those with equally many are fitted together.
        roles: which examples do what, and their labels.
        protocol: how.
    """
    device = torch.device(protocol.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    whole = torch.from_numpy(np.ascontiguousarray(embeddings_MD)).to(device)
    judged: dict[int, Judged] = {}
    for batch in _batches(choices, roles, protocol.memory_bytes):
        columns = torch.from_numpy(np.stack([choices[probe] for probe in batch])).to(device)
        inputs_BMD = whole[:, columns].transpose(0, 1).to(torch.float64 if device.type == "cpu" else torch.float32)
        with _few_threads(inputs_BMD[:, : len(roles.fit_F)].numel() * roles.targets_MC.shape[1]):
            judged |= zip(batch, _judge(inputs_BMD, roles, protocol), strict=True)
    return [judged[probe] for probe in range(len(choices))]


@contextlib.contextmanager
def _few_threads(operations: int) -> Iterator[None]:
    """One thread for small products: on busy cores several wait for each other longer than they compute."""
    before = torch.get_num_threads()
    if operations < _OPERATIONS_FOR_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(choices: Sequence[NDArray[np.int64]], roles: Roles, memory_bytes: float) -> Iterator[list[int]]:
    """Probes with equally many dimensions, so many that their inputs and logits fit."""
    by_size: dict[int, list[int]] = {}
    for probe, chosen in enumerate(choices):
        by_size.setdefault(len(chosen), []).append(probe)
    for dimensions, probes in by_size.items():
        bytes_a_probe = 8 * len(roles.targets_MC) * (2 * dimensions + 6 * roles.targets_MC.shape[1])
        at_once = max(1, int(memory_bytes / max(bytes_a_probe, 1)))
        yield from (probes[start : start + at_once] for start in range(0, len(probes), at_once))


def _judge(inputs_BMD: Tensor, roles: Roles, protocol: Protocol) -> list[Judged]:
    calibration_B, strength_B, weights_BDC = _choose(inputs_BMD, roles, protocol)
    fitted = roles.fit_F
    if protocol.refit:
        fitted = np.concatenate([roles.fit_F, roles.choose_F])
        weights_BDC = _fit(inputs_BMD, fitted, roles, strength_B, weights_BDC)
    logits_BNC = _standardized(inputs_BMD, fitted, roles.judge_F) @ weights_BDC
    scores = [_score(logits_NC, roles) for logits_NC in logits_BNC.cpu().numpy()]
    found = zip(scores, calibration_B.tolist(), strength_B.tolist(), strict=True)
    return [
        Judged(score=score, low=low, high=high, calibration=calibration, strength=strength)
        for (score, low, high), calibration, strength in found
    ]


def _choose(inputs_BMD: Tensor, roles: Roles, protocol: Protocol) -> tuple[Tensor, Tensor, Tensor]:
    """Calibration score, strength and weights of the best fit of each probe; of equals that of the stronger penalty.

    From the strongest to the weakest penalty, each starting from the one before.
    """
    classes, dimensions = roles.targets_MC.shape[1], inputs_BMD.shape[2]
    weights_BDC = inputs_BMD.new_zeros(len(inputs_BMD), dimensions + 1, classes)
    best_BDC, best_B = weights_BDC, inputs_BMD.new_full((len(inputs_BMD),), -torch.inf)
    chosen_B = torch.zeros_like(best_B)
    choosing_BND = _standardized(inputs_BMD, roles.fit_F, roles.choose_F)
    for strength in sorted(protocol.strengths, reverse=True):
        strength_B = torch.full_like(best_B, strength)
        weights_BDC = _fit(inputs_BMD, roles.fit_F, roles, strength_B, weights_BDC)
        score_B = _calibration_scores(choosing_BND @ weights_BDC, roles)
        better_B = score_B > best_B
        best_B, chosen_B = torch.where(better_B, score_B, best_B), torch.where(better_B, strength_B, chosen_B)
        best_BDC = torch.where(better_B[:, None, None], weights_BDC, best_BDC)
    return best_B, chosen_B, best_BDC


def _fit(
    inputs_BMD: Tensor, fitted_F: NDArray[np.int64], roles: Roles, strength_B: Tensor, start_BDC: Tensor
) -> Tensor:
    targets = torch.from_numpy(roles.targets_MC[fitted_F]).to(inputs_BMD)
    standard_BND = _standardized(inputs_BMD, fitted_F, fitted_F)
    problems = Problems(inputs_BND=standard_BND, targets_NC=targets, strength_B=strength_B, loss=_loss(roles))
    return minimize(problems, start_BDC)


def _standardized(inputs_BMD: Tensor, fitted_F: NDArray[np.int64], rows_F: NDArray[np.int64]) -> Tensor:
    """Mean 0 and variance 1 over the fitted examples, and the constant; what hardly moves is not blown up."""
    fitted_BND = inputs_BMD[:, torch.tensor(fitted_F, device=inputs_BMD.device)]
    mean_B1D, scale_B1D = fitted_BND.mean(1, keepdim=True), fitted_BND.std(1, keepdim=True, correction=0)
    least_B11 = (_LEAST_SCALE * scale_B1D.amax(2, keepdim=True)).clamp(min=1e-12)
    rows_BND = inputs_BMD[:, torch.tensor(rows_F, device=inputs_BMD.device)]
    standard_BND = (rows_BND - mean_B1D) / torch.maximum(scale_B1D, least_B11)
    return torch.cat([standard_BND, torch.ones_like(standard_BND[:, :, :1])], dim=2)


def _loss(roles: Roles) -> Loss:
    return Loss.SIGMOID if roles.several_labels else Loss.SOFTMAX


def _calibration_scores(logits_BNC: Tensor, roles: Roles) -> Tensor:
    targets = torch.from_numpy(roles.targets_MC[roles.choose_F]).to(logits_BNC.device)
    if not roles.several_labels:
        return (logits_BNC.argmax(2) == targets.argmax(1)).to(logits_BNC).mean(1)
    relevant_NC = roles.targets_MC[roles.choose_F] > 0
    scores = [mean_average_precision(logits_NC, relevant_NC) for logits_NC in logits_BNC.cpu().numpy()]
    return torch.tensor(scores).nan_to_num(0.0).to(logits_BNC)


def _score(logits_NC: NDArray[np.floating], roles: Roles) -> tuple[float, float, float]:
    targets_NC = roles.targets_MC[roles.judge_F]
    if roles.several_labels:
        relevant_NC = targets_NC > 0
        low, high = mean_average_precision_interval(logits_NC, relevant_NC)
        return mean_average_precision(logits_NC, relevant_NC), low, high
    right = int((logits_NC.argmax(axis=1) == targets_NC.argmax(axis=1)).sum())
    low_1, high_1 = wilson_interval(right, len(targets_NC))
    return right / len(targets_NC), float(low_1), float(high_1)
