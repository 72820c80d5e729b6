"""Predictions of many variants as bit planes, in which a pair is compared 64 examples at a time.

Dimensions: `V` variants, `N` examples, `B` blocks of `W` words, `G` groups of `M` members in all.

On each example a prediction has a code of 4 bits: 0 is right, 4 to 14 are the wrong classes that most variants
predict there, 15 is anything else: a rarer class, an unknown prediction, and the padding after the last example.
So the two high bits alone tell right from wrong. Variants with the same rarer class are listed as a group.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overlap_analysis.compiled import compiled

_PLANES = 4
WORD_EXAMPLES = 64
_FIRST_COMMON, _OTHER = 4, 15
_BLOCK_WORDS = 128  # at most: then the blocks of four variants stay in the first-level cache
_LINE_WORDS = 8  # of a cache line, and of the widest vector
_TABLE_CLASSES = 1 << 16  # classes up to here index a table as they are


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedPredictions:
    """Which variants predict the same on which examples: half a byte a prediction, and 4 to 8 more if it is rare.

    Attributes:
        planes_BV4W: (B, V, 4, W) uint64; bit n of a word in plane k is bit k of the code of one example.
        members_M: (M,) int32, variants that share a rare class of an example, ascending within each group.
        group_starts_G: (G + 1,) int64, where the members of each group start.
        correct_V: (V,) int64, examples that the variant gets right.
        known_V: (V,) int64, examples whose prediction is known.
        examples: N.
    """

    planes_BV4W: NDArray[np.uint64]
    members_M: NDArray[np.int32]
    group_starts_G: NDArray[np.int64]
    correct_V: NDArray[np.int64]
    known_V: NDArray[np.int64]
    examples: int

    @property
    def variants(self) -> int:
        """Number of variants."""
        return len(self.correct_V)


def pack_predictions(predictions_VN: ArrayLike, labels_N: ArrayLike, *, threads: int = 1) -> PackedPredictions:
    """Pack the predictions of all variants whose pairs are to be compared.

    Args:
        predictions_VN: predicted classes, integers up to 2**31 - 1 in any memory layout; a negative class is an
            unknown prediction, which is wrong and the same as no other prediction, another unknown one included.
        labels_N: true classes, never negative.
        threads: how many blocks of examples are packed at a time; the result does not depend on it.

    Raises:
        ValueError: the shapes or the types do not fit, a label is negative, or a class is too large.
    """
    predictions_VN, labels_N = _checked(predictions_VN, labels_N)
    variants, examples = predictions_VN.shape
    words = -(-examples // WORD_EXAMPLES)
    blocks = max(1, -(-words // _BLOCK_WORDS))
    width = -(-words // (blocks * _LINE_WORDS)) * _LINE_WORDS
    planes_BV4W = _ones(blocks, variants, _PLANES, width)

    def pack_block(block: int) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]], NDArray[np.int64]]:
        part = slice(block * width * WORD_EXAMPLES, (block + 1) * width * WORD_EXAMPLES)
        return _pack_block(predictions_VN[:, part], labels_N[part], planes_BV4W[block])

    with ThreadPoolExecutor(threads) as pool:
        sizes, members, totals_2V = zip(*pool.map(pack_block, range(blocks)), strict=True)
    members_M = np.concatenate([np.empty(0, np.int32), *chain(*members)])
    group_starts_G = np.concatenate([np.zeros(1, np.int64), *chain(*sizes)]).cumsum()
    correct_V, known_V = np.sum(totals_2V, axis=0)
    return PackedPredictions(
        planes_BV4W=planes_BV4W,
        members_M=members_M,
        group_starts_G=group_starts_G,
        correct_V=correct_V,
        known_V=known_V,
        examples=examples,
    )


def _checked(predictions: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    predictions_VN, labels_N = np.asarray(predictions), np.asarray(labels)
    if predictions_VN.ndim != 2 or labels_N.shape != predictions_VN.shape[1:]:
        raise ValueError(
            f"expected predictions (V, N) and labels (N,), got {predictions_VN.shape} and {labels_N.shape}"
        )
    for name, array in (("predictions", predictions_VN), ("labels", labels_N)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected integers, got {array.dtype}")
    if np.any(labels_N < 0):
        where = int(np.argmax(labels_N < 0))
        raise ValueError(f"labels[{where}]: expected a class of at least 0, got {labels_N[where]}")
    return predictions_VN, labels_N


def _ones(*shape: int) -> NDArray[np.uint64]:
    """Words of ones that start on a cache line, so that no vector is read from two."""
    size = int(np.prod(shape))
    words = np.full(size + _LINE_WORDS, ~np.uint64(0))
    start = -(words.ctypes.data // words.itemsize) % _LINE_WORDS
    return words[start : start + size].reshape(shape)


def _pack_block(
    predictions_VN: NDArray[np.integer], labels_N: NDArray[np.integer], planes_V4W: NDArray[np.uint64]
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]], NDArray[np.int64]]:
    """Fill the planes of a block.

    Returns:
        Sizes and members of the groups, word by word, and (2, V) how many predictions are right, and known.
    """
    sizes, members, totals_2V = [], [], np.zeros((2, len(predictions_VN)), dtype=np.int64)
    for word, start in enumerate(range(0, len(labels_N), WORD_EXAMPLES)):
        part = slice(start, start + WORD_EXAMPLES)
        classes_VN, right_N, classes = _dense(predictions_VN[:, part], labels_N[part])
        word_sizes, word_members = _pack_word(classes_VN, right_N, classes, planes_V4W, word)
        sizes.append(word_sizes)
        members.append(word_members)
        totals_2V += np.count_nonzero([classes_VN == right_N, classes_VN >= 0], axis=2)
    return sizes, members, totals_2V


def _dense(
    predictions_VN: NDArray[np.integer], labels_N: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Predictions and labels as small numbers of the same order, and how many numbers there are; unknown is -1."""
    largest = max(int(array.max(initial=0)) for array in (predictions_VN, labels_N))
    if largest > np.iinfo(np.int32).max:
        raise ValueError(f"expected classes of at most {np.iinfo(np.int32).max}, got {largest}")
    if predictions_VN.dtype.kind == "i":
        predictions_VN = np.maximum(predictions_VN, -1)
    classes_VN = np.ascontiguousarray(predictions_VN, dtype=np.int32)
    right_N = labels_N.astype(np.int32)
    if largest < _TABLE_CLASSES:
        return classes_VN, right_N, largest + 1
    known = np.unique(np.concatenate([classes_VN.ravel(), right_N]))
    known = known[known >= 0]
    dense_VN = np.where(classes_VN >= 0, np.searchsorted(known, classes_VN), -1)
    return dense_VN.astype(np.int32), np.searchsorted(known, right_N).astype(np.int32), len(known)


@compiled
def _pack_word(
    classes_VN: NDArray[np.int32],
    labels_N: NDArray[np.int32],
    classes: int,
    planes_V4W: NDArray[np.uint64],
    word: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Write one word of every plane; sizes and members of the groups of its examples."""
    variants, examples = classes_VN.shape
    codes_NC = np.zeros((examples, classes), dtype=np.int32)
    for v in range(variants):
        for n in range(examples):
            if classes_VN[v, n] >= 0:
                codes_NC[n, classes_VN[v, n]] += 1
    sizes_G = np.empty(examples * min(classes, variants // 2), dtype=np.int32)
    groups = 0
    for n in range(examples):
        groups = _assign_codes(codes_NC[n], labels_N[n], sizes_G, groups)
    ends_G = np.cumsum(sizes_G[:groups])
    free_G = ends_G - sizes_G[:groups]
    members_M = np.empty(ends_G[-1] if groups else 0, dtype=np.int32)
    one = np.uint64(1)
    for v in range(variants):
        bits0, bits1, bits2, bits3 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        for n in range(examples):
            code = codes_NC[n, classes_VN[v, n]] if classes_VN[v, n] >= 0 else _OTHER
            if code < 0:
                group = -1 - code
                members_M[free_G[group]] = v
                free_G[group] += 1
                code = _OTHER
            bits, at = np.uint64(code), np.uint64(n)
            bits0 |= (bits & one) << at
            bits1 |= (bits >> np.uint64(1) & one) << at
            bits2 |= (bits >> np.uint64(2) & one) << at
            bits3 |= (bits >> np.uint64(3)) << at
        padding = ~np.uint64(0) << np.uint64(examples) if examples < 64 else np.uint64(0)
        planes_V4W[v, 0, word] = bits0 | padding
        planes_V4W[v, 1, word] = bits1 | padding
        planes_V4W[v, 2, word] = bits2 | padding
        planes_V4W[v, 3, word] = bits3 | padding
    return sizes_G[:groups].copy(), members_M


@compiled
def _assign_codes(counts_C: NDArray[np.int32], label: int, sizes_G: NDArray[np.int32], groups: int) -> int:
    """Replace how often each class of an example is predicted by its code, or by -1 - group for a rare one.

    Returns:
        `groups` and the new ones, whose sizes are appended to `sizes_G`.
    """
    counts_C[label] = 0
    common_K = np.empty(_OTHER - _FIRST_COMMON, dtype=np.int64)  # most frequent first, of equal ones the lowest class
    filled = 0
    for c in range(len(counts_C)):
        if counts_C[c] == 0 or (filled == len(common_K) and counts_C[c] <= counts_C[common_K[-1]]):
            continue
        filled = min(filled + 1, len(common_K))
        k = filled - 1
        while k > 0 and counts_C[common_K[k - 1]] < counts_C[c]:
            common_K[k] = common_K[k - 1]
            k -= 1
        common_K[k] = c
    for k in range(filled):
        counts_C[common_K[k]] = 0
    for c in range(len(counts_C)):
        if counts_C[c] == 1:
            counts_C[c] = _OTHER
        elif counts_C[c] > 1:
            sizes_G[groups] = counts_C[c]
            groups += 1
            counts_C[c] = -groups
    for k in range(filled):
        counts_C[common_K[k]] = _FIRST_COMMON + k
    return groups
