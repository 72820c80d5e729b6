"""Logistic regressions of one shape, many at once: L-BFGS over a batch of problems.

Array names: B problems, N examples, D inputs (the last one is the constant 1), C classes or labels.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.functional import softplus

_PAIRS_KEPT = 10  # of steps and changes of the gradient
_HALVINGS = 30
_DECREASE = 1e-4  # of what the slope promises; Armijo's rule
_LEAST_CURVATURE = 1e-10


class Loss(StrEnum):
    """One class an example (multinomial), or any number of labels (one-vs-rest)."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problems:
    """B problems over the same examples.

    Attributes:
        inputs_BND: the last input is 1, and its weights are not penalised.
        targets_NC: 0 or 1; with `Loss.SOFTMAX` one 1 a row.
        strength_B: of the penalty; see `minimize`.
        loss: what is minimised.
    """

    inputs_BND: Tensor
    targets_NC: Tensor
    strength_B: Tensor
    loss: Loss


def minimize(problems: Problems, start_BDC: Tensor, *, tolerance: float = 1e-5, steps: int = 500) -> Tensor:
    """The weights (B, D, C) that minimise the sum of losses + strength / 2 · ‖weights without the constant's‖².

    This is scikit-learn's objective with C = 1 / strength.

    Args:
        problems: all of one shape.
        start_BDC: where to start.
        tolerance: a problem ends where no entry of the gradient of its objective over N is larger.
        steps: at most so many.

    Source: Nocedal & Wright, "Numerical optimization" (2006), algorithm 7.4, with backtracking: the objective is
        convex. Along a line the logits are linear, so that backtracking needs no product of matrices.
    """
    weights_BDC = start_BDC.clone()
    logits_BNC = problems.inputs_BND @ weights_BDC
    gradient_BDC = _gradient(problems, weights_BDC, logits_BNC)
    history: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_PAIRS_KEPT)
    moving_B = torch.ones_like(problems.strength_B, dtype=torch.bool)
    for _ in range(steps):
        open_B = moving_B & (gradient_BDC.abs().amax((1, 2)) > tolerance)
        if not open_B.any():
            break
        direction_BDC = -_newton_like(gradient_BDC, history) * open_B[:, None, None]
        change_BNC = problems.inputs_BND @ direction_BDC
        step_B = _step(problems, weights_BDC, direction_BDC, (logits_BNC, change_BNC), gradient_BDC)
        moved_BDC = step_B[:, None, None] * direction_BDC
        weights_BDC = weights_BDC + moved_BDC
        logits_BNC = logits_BNC + step_B[:, None, None] * change_BNC
        before_BDC, gradient_BDC = gradient_BDC, _gradient(problems, weights_BDC, logits_BNC)
        history.append(_pair(moved_BDC, gradient_BDC - before_BDC))
        moving_B = step_B > 0
    return weights_BDC


def _losses(problems: Problems, logits_BNC: Tensor) -> Tensor:
    """(B,) mean losses."""
    if problems.loss is Loss.SOFTMAX:
        each_BN = logits_BNC.logsumexp(2) - (logits_BNC * problems.targets_NC).sum(2)
    else:
        each_BN = (softplus(logits_BNC) - logits_BNC * problems.targets_NC).sum(2)
    return each_BN.mean(1)


def _objective(problems: Problems, weights_BDC: Tensor, logits_BNC: Tensor) -> Tensor:
    penalty_B = problems.strength_B * (weights_BDC[:, :-1] ** 2).sum((1, 2)) / 2
    return _losses(problems, logits_BNC) + penalty_B / len(problems.targets_NC)


def _gradient(problems: Problems, weights_BDC: Tensor, logits_BNC: Tensor) -> Tensor:
    softmax = problems.loss is Loss.SOFTMAX
    excess_BNC = (logits_BNC.softmax(2) if softmax else logits_BNC.sigmoid()) - problems.targets_NC
    gradient_BDC = problems.inputs_BND.transpose(1, 2) @ excess_BNC
    gradient_BDC[:, :-1] += problems.strength_B[:, None, None] * weights_BDC[:, :-1]
    return gradient_BDC / len(problems.targets_NC)


def _dot(a_BDC: Tensor, b_BDC: Tensor) -> Tensor:
    return (a_BDC * b_BDC).sum((1, 2), keepdim=True)


def _pair(moved_BDC: Tensor, change_BDC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step, the change of the gradient, and 1 / their product: 0 for the problems to which it tells nothing."""
    product_B11 = _dot(moved_BDC, change_BDC)
    least_B11 = _LEAST_CURVATURE * _dot(change_BDC, change_BDC)
    inverse_B11 = torch.where(product_B11 > least_B11, 1 / product_B11, torch.zeros_like(product_B11))
    return moved_BDC, change_BDC, inverse_B11


def _newton_like(gradient_BDC: Tensor, history: "deque[tuple[Tensor, Tensor, Tensor]]") -> Tensor:
    """The two loops of L-BFGS; without history the gradient, at most of length 1."""
    direction_BDC, shares = gradient_BDC, list[Tensor]()
    for moved, change, inverse in reversed(history):
        shares.append(inverse * _dot(moved, direction_BDC))
        direction_BDC = direction_BDC - shares[-1] * change
    direction_BDC = direction_BDC * _scale(gradient_BDC, history)
    for (moved, change, inverse), share in zip(history, reversed(shares), strict=True):
        direction_BDC = direction_BDC + (share - inverse * _dot(change, direction_BDC)) * moved
    return direction_BDC


def _scale(gradient_BDC: Tensor, history: "deque[tuple[Tensor, Tensor, Tensor]]") -> Tensor:
    """(B, 1, 1) how long the first guess of a step is: from the latest pair that tells something."""
    scale = 1 / _dot(gradient_BDC, gradient_BDC).sqrt().clamp(min=1.0)
    for _, change, inverse in history:
        newer = 1 / (inverse * _dot(change, change))
        scale = torch.where(inverse > 0, newer, scale)
    return scale


def _step(
    problems: Problems, weights_BDC: Tensor, direction_BDC: Tensor, line: tuple[Tensor, Tensor], gradient_BDC: Tensor
) -> Tensor:
    """(B,) how far to go: 1, halved until the objective falls as much as the slope promises; 0 if it never does.

    An objective within rounding of what it was counts as fallen.
    """
    logits_BNC, change_BNC = line
    now_B = _objective(problems, weights_BDC, logits_BNC)
    slope_B = _dot(gradient_BDC, direction_BDC)[:, 0, 0]
    most_B = now_B + 4 * torch.finfo(now_B.dtype).eps * now_B.abs()
    step_B = torch.ones_like(now_B)
    for _ in range(_HALVINGS):
        moved = weights_BDC + step_B[:, None, None] * direction_BDC
        then_B = _objective(problems, moved, logits_BNC + step_B[:, None, None] * change_BNC)
        short_B = then_B > most_B + _DECREASE * step_B * slope_B
        if not short_B.any():
            return step_B
        step_B = torch.where(short_B, step_B / 2, step_B)
    return torch.where(short_B, torch.zeros_like(step_B), step_B)
