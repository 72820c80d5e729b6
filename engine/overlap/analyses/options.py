"""Which analyses there are, and what a user may choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from overlap.features.request import FeatureRequest
from overlap.pairwise.ensemble_sums import Method
from overlap.pairwise.scopes import DEFAULT_CATEGORIES, CategoryOptions
from overlap.selection.search import DEFAULT_SEARCH, Search
from overlap.specialization.tables import DEFAULT_SPECIALIZATION, SpecializationOptions
from overlap_analysis import RULES, Rule

DEFAULT_FEATURES = FeatureRequest()


class Kind(StrEnum):
    """An analysis, named like its table."""

    PAIRS = "pairs"
    ENSEMBLES = "ensembles"
    CATEGORIES = "categories"
    SPECIALIZATION = "specialization"
    GREEDY = "greedy"
    LOW_ACCURACY = "low_accuracy"
    SIMILARITY = "similarity"
    FEATURES = "features"
    DOWNSTREAM = "downstream"
    SHIFT = "shift"


PROBING = frozenset({Kind.FEATURES, Kind.DOWNSTREAM})
"""What fits many probes, which may take hours: only made when it is asked for by name."""

EVERYTHING = tuple(kind for kind in Kind if kind not in PROBING)
SELECTIONS = frozenset({Kind.GREEDY, Kind.LOW_ACCURACY})


class Where(StrEnum):
    """Where blocks are computed; `AUTO` takes Ray when the work is worth starting it."""

    AUTO = "auto"
    RAY = "ray"
    INPROCESS = "inprocess"


class Calibration(StrEnum):
    """Whether logits are divided by the temperature of the calibration split; `BOTH` for ensembles with and without."""

    SPLIT = "split"
    NONE = "none"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose.

    Attributes:
        categories: which pairs are compared beside all.
        specialization: what confidences and classes are compared by.
        search: how a greedy ensemble is selected.
        features: what embeddings are asked for.
        reference: the dataset that a shift is from, and that transfer is compared with; by default the first evaluated.
        baseline: a glob of the variants that the line of accuracies under shift goes through.
        calibration: whether temperatures are used.
        rules: of the two-model ensembles.
        intervals: whether pairs get them; None leaves them out where there are millions.
        soft: adds the metrics that compare probabilities.
        memory_bytes: bounds what is held at once.
        where: it is computed.
        address: of a Ray cluster.
        published: accuracies that others have published, by the weights' names.
    """

    categories: CategoryOptions = DEFAULT_CATEGORIES
    specialization: SpecializationOptions = DEFAULT_SPECIALIZATION
    search: Search = DEFAULT_SEARCH
    features: FeatureRequest = DEFAULT_FEATURES
    reference: str | None = None
    baseline: str = "*"
    calibration: Calibration = Calibration.SPLIT
    rules: tuple[Rule, ...] = RULES
    intervals: bool | None = None
    soft: bool = False
    memory_bytes: float = 2 * 2**30
    where: Where = Where.AUTO
    address: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether what is made in one way only uses temperatures."""
        return self.calibration is not Calibration.NONE

    @property
    def methods(self) -> tuple[Method, ...]:
        """The two-model ensembles to count; votes have no temperature."""
        kinds = {Calibration.SPLIT: (True,), Calibration.NONE: (False,), Calibration.BOTH: (True, False)}
        return tuple(
            Method(rule=rule, calibrated=calibrated)
            for rule in self.rules
            for calibrated in (kinds[self.calibration] if rule != "vote" else (False,))
        )


DEFAULT_OPTIONS = Options()
