"""How many examples an ensemble and one more member get right, for every candidate, as the ensemble grows.

Dimensions: `V` variants, `N` examples of a block, `E` contested ones, `T` threats, `M` candidates, `S` steps,
`U` undecided places, `C` classes.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.greedy_kernels import add_everyone, count_step
from overlap_analysis.member_scores import MemberScores
from overlap_analysis.threats import CONTESTED, OTHERS, RIGHT, Threats

_DENSE_ROWS = 2048  # of all classes, held at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredBlock:
    """A block of examples: its threats, and where scores of any class can be had."""

    threats: Threats
    scores: MemberScores

    def leads(self, variant: int) -> NDArray[np.int32]:
        """(T,) what a member adds to the lead of each threat; at most, for the classes that no variant keeps."""
        threats = self.threats
        contested_T = np.repeat(np.arange(len(threats.example_E)), np.diff(threats.start_E))
        example_T = threats.example_E[contested_T]
        score_T = threats.rest_EV[contested_T, variant]
        known_T = threats.class_T != OTHERS
        score_T[known_T] = self.scores.at(variant, example_T[known_T], threats.class_T[known_T])
        lead_T: NDArray[np.int32] = score_T - threats.label_VN[variant, example_T]
        return lead_T


class RightCounts:
    """Weights of the examples that the ensemble gets right, together with each candidate.

    Exact integers whatever the blocks and threads. Examples that no member can change for a while are not looked at;
    what the kept rivals leave open is settled only for the candidates that it matters for.
    """

    def __init__(
        self,
        blocks: Sequence[ScoredBlock],
        weights: Sequence[NDArray[np.int64]],
        *,
        variants: int,
        steps: int,
        candidates: Sequence[int] | None = None,
        threads: int = 1,
    ) -> None:
        """Starts with no member.

        Args:
            blocks: disjoint blocks of examples.
            weights: (N,) of each block, at least 0; 0 leaves an example out.
            variants: V.
            steps: members that the ensemble will have at most.
            candidates: variants to count; all by default.
            threads: that share the blocks.
        """
        self.candidates_M = np.unique(np.arange(variants) if candidates is None else np.asarray(candidates, np.int64))
        self.members: list[int] = []
        self.total = sum(int(weight_N.sum()) for weight_N in weights)
        self.steps = steps
        self._map: Callable[..., Iterable[Any]] = ThreadPoolExecutor(threads).map if threads > 1 else map
        self._blocks = [_Growing(block, weight_N, steps) for block, weight_N in zip(blocks, weights, strict=True)]
        self._counted: _Counted | None = None

    def add(self, variant: int) -> None:
        """Lets a variant join; any one, as often as wanted."""
        list(self._map(lambda block: block.add(variant), self._blocks))
        self.members.append(variant)
        self._counted = None

    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(M,) at least and at most how much the ensemble with each candidate gets right."""
        counted = self._count()
        return counted.least_M, counted.least_M + counted.unsure_M

    def exact(self, m: int) -> int:
        """What the ensemble with one candidate gets right, by its position among the candidates."""
        counted = self._count()
        if counted.unsure_M[m]:
            variant = int(self.candidates_M[m])
            settled = self._map(lambda block: block.settle(m, variant, self.members), self._blocks)
            counted.least_M[m] += sum(settled)
            counted.unsure_M[m] = 0
        return int(counted.least_M[m])

    def best(self, allowed_M: NDArray[np.bool_]) -> tuple[int, list[int]]:
        """The highest count of some candidates, and those that have it."""
        least_M, most_M = self.bounds()
        best, exact = int(least_M[allowed_M].max()), dict[int, int]()
        for m in np.flatnonzero(allowed_M)[np.argsort(-most_M[allowed_M], kind="stable")].tolist():
            if most_M[m] < best:
                break
            exact[m] = self.exact(m)
            best = max(best, exact[m])
        return best, sorted(int(self.candidates_M[m]) for m, count in exact.items() if count == best)

    def most_ever(self) -> int:
        """No ensemble that this one can grow into gets more right: the rest stays wrong to the last step."""
        self._count()
        return self.total - sum(block.lost() for block in self._blocks)

    def _count(self) -> "_Counted":
        if self._counted is None:
            step = len(self.members)
            if step >= self.steps:
                raise ValueError(f"expected at most {self.steps - 1} members to count one more with, got {step}")
            counts = list(self._map(lambda block: block.count(step, self.candidates_M), self._blocks))
            least_M, unsure_M = (
                np.sum([count[i] for count in counts], axis=0, dtype=np.int64) for i in range(2)
            )  # of no block: 0
            size = len(self.candidates_M)
            self._counted = _Counted(
                least_M=np.broadcast_to(least_M, size).copy(), unsure_M=np.broadcast_to(unsure_M, size).copy()
            )
        return self._counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counted:
    """One step's counts; changed where they are settled."""

    least_M: NDArray[np.int64]
    unsure_M: NDArray[np.int64]


class _Growing:
    """One block's state: leads of the ensemble so far, and which examples are asleep until which step."""

    def __init__(self, block: ScoredBlock, weight_N: NDArray[np.int64], steps: int) -> None:
        threats = block.threats
        self.block, self.steps = block, steps
        self.weight_E = np.ascontiguousarray(weight_N[threats.example_E], np.int64)
        self.always = int(weight_N[threats.decided_N == RIGHT].sum())
        self.never = int(weight_N[(threats.decided_N != RIGHT) & (threats.decided_N != CONTESTED)].sum())
        self.label_EV = np.ascontiguousarray(threats.label_VN[:, threats.example_E].T)
        self.lead_T = first_leads(threats)
        self.joined: dict[int, NDArray[np.int32]] = {}
        self.unsure_U2 = np.empty((0, 2), np.int64)
        self.asleep_2S = np.zeros((2, steps + 1), np.int64)
        self.head_S = np.full(steps, -1)
        awake_E = np.flatnonzero(self.weight_E)
        self.next_E = np.full(len(self.weight_E), -1)
        self.next_E[awake_E[:-1]] = awake_E[1:]
        if steps and len(awake_E):
            self.head_S[0] = awake_E[0]
        self.counted = 0  # steps whose buckets were looked at

    def add(self, variant: int) -> None:
        if variant not in self.joined:
            self.joined[variant] = self.block.leads(variant)
        self.lead_T += self.joined[variant]

    def count(self, step: int, candidates_M: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(M,) what is surely right with each candidate, and what is open."""
        threats = self.block.threats
        for earlier in range(self.counted, step):  # members that were given, not chosen: nobody looked
            self._move(earlier, step)
        right_M, unsure_M = np.zeros((2, len(candidates_M)), np.int64)
        self.unsure_U2 = count_step(
            step,
            threats.beats,
            self.lead_T,
            (threats.start_E, threats.class_T, threats.most_T, threats.least_T, threats.top_T),
            (self.label_EV, threats.rest_EV, threats.place_EVK, threats.score_EVK),
            self.weight_E,
            candidates_M,
            self.next_E,
            self.head_S,
            self.asleep_2S,
            right_M,
            unsure_M,
        )
        self.counted = step + 1
        right_M += self.always + int(self.asleep_2S[0, : step + 1].sum())
        return right_M, unsure_M

    def settle(self, m: int, variant: int, members: Sequence[int]) -> int:
        """The weight of the open examples that the ensemble with a candidate gets right."""
        contested_U = self.unsure_U2[self.unsure_U2[:, 1] == m, 0]
        right_U = is_right(self.block, contested_U, [*members, variant])
        return int(self.weight_E[contested_U[right_U]].sum())

    def lost(self) -> int:
        """The weight of the examples that stay wrong to the last step."""
        return self.never - int(self.asleep_2S[1, self.steps])

    def _move(self, earlier: int, step: int) -> None:
        """Wake the examples of a step that nobody looked at in a later one."""
        e = int(self.head_S[earlier])
        self.head_S[earlier] = -1
        while e >= 0:
            following = int(self.next_E[e])
            self.next_E[e], self.head_S[step] = self.head_S[step], e
            e = following


def prefix_counts(
    blocks: Sequence[ScoredBlock], weights: Sequence[NDArray[np.int64]], members: Sequence[int]
) -> NDArray[np.int64]:
    """(S,) weight of the examples that the ensemble gets right after each of its members.

    Args:
        blocks: disjoint blocks of examples.
        weights: (N,) of each block.
        members: in order, repeats allowed.
    """
    right_S = np.zeros(len(members), np.int64)
    for block, weight_N in zip(blocks, weights, strict=True):
        threats = block.threats
        right_S += int(weight_N[threats.decided_N == RIGHT].sum())
        weight_E = weight_N[threats.example_E]
        lead_T, joined = first_leads(threats), dict[int, NDArray[np.int32]]()
        others_T = threats.class_T == OTHERS
        for s, variant in enumerate(members):
            if variant not in joined:
                joined[variant] = block.leads(variant)
            lead_T += joined[variant]
            leads_T = lead_T > 0
            surely_E = _by_example(threats, leads_T & ~others_T)
            maybe_E = surely_E + threats.beats * _by_example(threats, leads_T & others_T)
            right_S[s] += int(weight_E[maybe_E < threats.beats].sum())
            open_E = np.flatnonzero((surely_E < threats.beats) & (maybe_E >= threats.beats) & (weight_E > 0))
            right_S[s] += int(weight_E[open_E[is_right(block, open_E, members[: s + 1])]].sum())
    return right_S


def average_counts(blocks: Sequence[ScoredBlock], weights: Sequence[NDArray[np.int64]]) -> tuple[int, int]:
    """At least and at most how much the mean of all variants gets right, by the rivals that are kept alone.

    Args:
        blocks: disjoint blocks of examples.
        weights: (N,) of each block.
    """
    least, most = 0, 0
    for block, weight_N in zip(blocks, weights, strict=True):
        threats = block.threats
        always = int(weight_N[threats.decided_N == RIGHT].sum())
        weight_E = weight_N[threats.example_E]
        low_T, high_T = first_leads(threats), first_leads(threats)
        label_EV = np.ascontiguousarray(threats.label_VN[:, threats.example_E].T)
        add_everyone(threats.start_E, label_EV, threats.rest_EV, threats.place_EVK, threats.score_EVK, low_T, high_T)
        others_T = threats.class_T == OTHERS
        surely_E = _by_example(threats, (low_T > 0) & ~others_T)
        maybe_E = _by_example(threats, (high_T > 0) & ~others_T)
        maybe_E += threats.beats * _by_example(threats, (high_T > 0) & others_T)
        least += always + int(weight_E[maybe_E < threats.beats].sum())
        most += always + int(weight_E[surely_E < threats.beats].sum())
    return least, most


def first_leads(threats: Threats) -> NDArray[np.int64]:
    """(T,) leads without a member: 1 where the class would win a tie."""
    label_T = np.repeat(threats.labels_N[threats.example_E], np.diff(threats.start_E))
    return (threats.class_T < label_T).astype(np.int64)


def is_right(block: ScoredBlock, contested_U: NDArray[np.int64], members: Sequence[int]) -> NDArray[np.bool_]:
    """(U,) whether an ensemble is right on some contested examples, by the scores of all classes."""
    parts = [contested_U[start : start + _DENSE_ROWS] for start in range(0, len(contested_U), _DENSE_ROWS)]
    return np.concatenate([_is_right(block, part, members) for part in parts] or [np.empty(0, np.bool_)])


def _is_right(block: ScoredBlock, contested_U: NDArray[np.int64], members: Sequence[int]) -> NDArray[np.bool_]:
    example_U = block.threats.example_E[contested_U]
    labels_U = block.threats.labels_N[example_U]
    variants, times = np.unique(members, return_counts=True)
    sums_UC: NDArray[np.int64] = np.zeros((1, 1), np.int64)
    for variant, count in zip(variants.tolist(), times.tolist(), strict=True):
        sums_UC = sums_UC + count * block.scores.rows(variant, example_U).astype(np.int64)
    own_U1 = sums_UC[np.arange(len(labels_U)), labels_U][:, None]
    lower_UC = np.arange(sums_UC.shape[1]) < labels_U[:, None]
    beaten_U = np.count_nonzero((sums_UC > own_U1) | ((sums_UC == own_U1) & lower_UC), axis=1)
    right_U: NDArray[np.bool_] = beaten_U < block.threats.beats
    return right_U


def _by_example(threats: Threats, true_T: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(E,) how many threats of each contested example are true; every one has some."""
    if not len(threats.example_E):
        return np.empty(0, np.int64)
    return np.add.reduceat(true_T, threats.start_E[:-1], dtype=np.int64)
