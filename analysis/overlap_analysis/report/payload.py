"""The numbers of a report as the page's script reads them: JSON, long arrays as compressed bytes in base64.

Pairs stand in the order of `pairs.pair_indices`. A pair that is left out, or a count that is unknown, is the highest
number of its type. The script computes every metric from the counts.
"""

import json
import zlib
from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import group_colors
from overlap_analysis.figures import CATEGORY_COLORS, cluster_order
from overlap_analysis.pairs import pair_count
from overlap_analysis.report.data import ReportData

_UNKNOWN_CATEGORY = len(SHOWN_CATEGORIES) - 1


def script_data(data: ReportData) -> str:
    """A JSON object for an element `script` of HTML: it holds no character that could end that element."""
    text = json.dumps(_payload(data), separators=(",", ":"), allow_nan=False)
    # Only strings can hold these, and there an escape means the same.
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _payload(data: ReportData) -> dict[str, Any]:
    rows = data.variants
    return {
        "examples": data.examples,
        "classes": data.classes,
        "categories": SHOWN_CATEGORIES,
        "categoryColors": CATEGORY_COLORS,
        "variants": {
            "name": [row.name for row in rows],
            "framework": [row.framework for row in rows],
            "trainOn": [row.train_on for row in rows],
            "correct": [row.correct for row in rows],
        },
        "strips": _strips([row.framework for row in rows], [row.train_on for row in rows]),
        "clusters": cluster_order(data.error_correlations()).tolist(),
        "pairs": _pairs(data),
        "sample": _sample(data),
    }


def _strips(frameworks: list[str], datasets: list[str]) -> list[dict[str, Any]]:
    """Columns of color beside the map: values that are all the same would say nothing."""
    strips, used = [], 0
    for key, title, values in (("framework", "framework", frameworks), ("trainOn", "trained on", datasets)):
        colors = group_colors(values, skip=used)
        if len(colors) > 1:
            strips.append({"key": key, "title": title, "colors": colors})
            used += len(colors)
    return strips


def _pairs(data: ReportData) -> dict[str, str]:
    pairs, variants = data.pairs, len(data.variants)
    first, second = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b)
    places_P = first * (2 * variants - first - 1) // 2 + second - first - 1
    category_P = np.full(pair_count(variants), _UNKNOWN_CATEGORY, np.uint8)
    category_P[places_P] = np.where(pairs.category < 0, _UNKNOWN_CATEGORY, pairs.category)
    kind = np.dtype("<u2" if data.examples < 2**16 - 1 else "<u4")
    return {
        "type": "uint16" if kind.itemsize == 2 else "uint32",
        "bothCorrect": _packed(_counts(pairs.both_correct, places_P, variants, kind)),
        "ensembleCorrect": _packed(_counts(pairs.ensemble_correct, places_P, variants, kind)),
        "category": _packed(category_P),
    }


def _counts(
    counts_P: NDArray[np.int64], places_P: NDArray[np.int64], variants: int, kind: np.dtype[np.unsignedinteger[Any]]
) -> NDArray[np.unsignedinteger[Any]]:
    unknown = np.iinfo(kind).max
    all_P = np.full(pair_count(variants), unknown, kind)
    all_P[places_P] = np.where(counts_P < 0, unknown, counts_P)
    return all_P


def _sample(data: ReportData) -> dict[str, Any] | None:
    sample = data.sample
    if sample is None:
        return None
    images = None if sample.images is None else [b64encode(image).decode() for image in sample.images]
    return {"ids": sample.ids, "codes": _packed(sample.codes_Vn), "images": images}


def _packed(array: NDArray[np.unsignedinteger[Any]]) -> str:
    return b64encode(zlib.compress(array.tobytes(), 6)).decode()
