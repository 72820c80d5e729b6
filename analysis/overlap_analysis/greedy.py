"""Greedy forward selection of an ensemble, by any score that can tell what one more member would bring.

Dimensions: `V` variants, `N` examples, `C` classes, `M` candidates, `S` members.

Source: Caruana et al., "Ensemble selection from libraries of models", ICML 2004: with replacement, so that a path
weighs its members; sorted initialisation and bagged selection are theirs too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.dense_threats import dense_threats
from overlap_analysis.member_scores import ArrayScores
from overlap_analysis.right_counts import RightCounts, ScoredBlock

Ties = Literal["default", "autogluon"]
_BLOCK_EXAMPLES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyStep:
    """One member of a greedy path.

    Attributes:
        variant: its index.
        score: of the ensemble up to and with this member, on the selection examples; None for given members.
        tied: how many candidates had this score.
    """

    variant: int
    score: float | None
    tied: int = 1


class Scorer(Protocol):
    """An ensemble that grows, and what it would score with one more member. Higher is better."""

    candidates_M: NDArray[np.int64]
    """The variants that may join, ascending."""

    def add(self, variant: int) -> None:
        """Lets a variant join, a candidate or not."""
        ...

    def best(self, allowed_M: NDArray[np.bool_]) -> tuple[float, list[int]]:
        """The highest score with one of some candidates, and those variants that reach it, ascending."""
        ...

    def most_ever(self) -> float:
        """No ensemble that this one can grow into scores higher."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limit:
    """At most `most` distinct members of each group."""

    group_V: NDArray[np.integer]
    most: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Budget:
    """What distinct members may cost together; a member that is used again costs nothing."""

    cost_V: NDArray[np.float64]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """Which paths may be taken.

    Attributes:
        steps: members at most, those of `start` included.
        start: the first members, given instead of chosen; not necessarily candidates.
        replacement: whether a member may be chosen again.
        ties: which of equally good candidates joins. default: one that is a member already, then the least
            `tie_loss`, then the lowest index. autogluon: one that is a member already, then at random by
            `RandomState(0)`, as `EnsembleSelection` of AutoGluon does it.
        limits: on distinct members by group.
        budgets: on what the members cost.
        stop_early: end where no ensemble that the path can grow into is better than its best so far.
    """

    steps: int
    start: tuple[int, ...] = ()
    replacement: bool = True
    ties: Ties = "default"
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    stop_early: bool = False
    tie_loss: Callable[[Sequence[int], Sequence[int]], NDArray[np.float64]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuses fewer steps than given members."""
        if self.steps < len(self.start):
            raise ValueError(f"steps: expected at least {len(self.start)}, the members of start, got {self.steps}")


def greedy_path(scorer: Scorer, rules: Rules) -> list[GreedyStep]:
    """Add, step by step, the candidate that makes the ensemble best.

    Returns:
        At most `rules.steps` members in order, fewer where no candidate is allowed any more. Scores may fall along
        the path: `best_prefix` says where to end.

    Raises:
        ValueError: there is no candidate at all.
    """
    if not len(scorer.candidates_M):
        raise ValueError("candidates: expected at least one variant, got none")
    random = np.random.RandomState(0)
    path: list[GreedyStep] = []
    for variant in rules.start:
        scorer.add(variant)
        path.append(GreedyStep(variant=variant, score=None))
    best = -np.inf
    while len(path) < rules.steps:
        members = [step.variant for step in path]
        allowed_M = _allowed(scorer.candidates_M, members, rules)
        if not allowed_M.any() or (rules.stop_early and scorer.most_ever() <= best):
            break
        score, tied = scorer.best(allowed_M)
        chosen = _break_tie(tied, members, rules, random)
        scorer.add(chosen)
        path.append(GreedyStep(variant=chosen, score=score, tied=len(tied)))
        best = max(best, score)
    return path


def best_prefix(path: Sequence[GreedyStep]) -> int:
    """How many members of a path score highest, the fewest of equally good prefixes; all, if nothing was chosen."""
    scores = [step.score for step in path]
    known = [score for score in scores if score is not None]
    return scores.index(max(known)) + 1 if known else len(path)


def bagged_members(
    scorer: Callable[[Sequence[int]], Scorer], candidates: Sequence[int], rules: Rules, *, bags: int, seed: int = 0
) -> list[int]:
    """The members of the best prefixes of several paths, each among a random half of the candidates.

    Args:
        scorer: begins a path among some candidates.
        candidates: all of them.
        rules: of each path.
        bags: how many paths.
        seed: of the halves.

    Returns:
        Members in the order of the bags; the mean over all of them weighs each by how often it was chosen.

    Source: Caruana et al., section 2.3, "bagged ensemble selection".
    """
    rng = np.random.default_rng(seed)
    members: list[int] = []
    for _ in range(bags):
        half = np.sort(rng.permutation(np.asarray(candidates))[: max(1, -(-len(candidates) // 2))])
        path = greedy_path(scorer(half.tolist()), rules)
        members += [step.variant for step in path[: best_prefix(path)]]
    return members


def sorted_start(scorer: Scorer, rules: Rules, first: int) -> Rules:
    """Rules that begin with the best candidates alone, best first: Caruana's sorted initialisation.

    Args:
        scorer: of a path without members; it is not changed.
        rules: to begin with.
        first: how many, at most.
    """
    allowed_M = _allowed(scorer.candidates_M, (), rules)
    start: list[int] = []
    while len(start) < first and allowed_M.any():
        _, tied = scorer.best(allowed_M)
        chosen = _break_tie(tied, (), rules, np.random.RandomState(0))
        start.append(chosen)
        allowed_M &= _allowed(scorer.candidates_M, start, rules) & (scorer.candidates_M != chosen)
    return replace(rules, start=(*rules.start, *start))


def score_blocks(
    values_VNC: NDArray[np.floating] | NDArray[np.int32], labels_N: NDArray[np.integer], *, beats: int = 1
) -> list[ScoredBlock]:
    """Probabilities in memory, cut into blocks of examples with their threats.

    Args:
        values_VNC: probabilities, or their scores on the grid.
        labels_N: true classes.
        beats: how many classes must lead for an ensemble to be wrong; 5 for top-5.

    Raises:
        ValueError: the shapes or the values do not fit.
    """
    blocks = []
    for start in range(0, values_VNC.shape[1], _BLOCK_EXAMPLES):
        stop = min(start + _BLOCK_EXAMPLES, values_VNC.shape[1])
        threats = dense_threats(values_VNC, labels_N, start=start, stop=stop, beats=beats, kept=beats + 1)
        blocks.append(ScoredBlock(threats=threats, scores=ArrayScores(values_VNC[:, start:stop])))
    return blocks


def accuracy_scorer(
    blocks: Sequence[ScoredBlock],
    *,
    steps: int,
    weights_N: NDArray[np.int64] | None = None,
    candidates: Sequence[int] | None = None,
    threads: int = 1,
) -> RightCounts:
    """The scorer of accuracy over blocks of examples.

    Args:
        blocks: all examples, in order.
        steps: members that a path will have at most.
        weights_N: (N,) of all examples, 0 for those that may not choose; 1 by default.
        candidates: variants that may join; all by default.
        threads: that share the blocks.
    """
    sizes = [len(block.threats.labels_N) for block in blocks]
    weights = np.ones(sum(sizes), np.int64) if weights_N is None else np.asarray(weights_N, np.int64)
    if len(weights) != sum(sizes):
        raise ValueError(f"weights: expected one for each of {sum(sizes)} examples, got {len(weights)}")
    variants = len(blocks[0].threats.label_VN) if blocks else 0
    parts = np.split(weights, np.cumsum(sizes)[:-1])
    return RightCounts(blocks, parts, variants=variants, steps=steps, candidates=candidates, threads=threads)


def _allowed(candidates_M: NDArray[np.int64], members: Sequence[int], rules: Rules) -> NDArray[np.bool_]:
    """(M,) which candidates may join."""
    distinct = np.unique(np.asarray(members, np.int64))
    member_M = np.isin(candidates_M, distinct)
    allowed_M = np.ones(len(candidates_M), np.bool_) if rules.replacement else ~member_M
    for limit in rules.limits:
        taken = limit.group_V[distinct]
        full = [group for group in np.unique(taken) if np.count_nonzero(taken == group) >= limit.most]
        allowed_M &= member_M | ~np.isin(limit.group_V[candidates_M], full)
    for budget in rules.budgets:
        left = budget.most - float(budget.cost_V[distinct].sum())
        allowed_M &= member_M | (budget.cost_V[candidates_M] <= left)
    return allowed_M


def _break_tie(tied: Sequence[int], members: Sequence[int], rules: Rules, random: np.random.RandomState) -> int:
    """The candidate that joins, of those that are equally good."""
    used = [variant for variant in tied if variant in members]
    left = used or list(tied)
    if rules.ties == "autogluon":
        return int(random.choice(left)) if len(left) > 1 else left[0]
    if len(left) > 1 and rules.tie_loss is not None:
        loss = rules.tie_loss(members, left)
        left = [v for v, one in zip(left, loss, strict=True) if np.isclose(one, loss.min(), rtol=1e-12, atol=0.0)]
    return left[0]
