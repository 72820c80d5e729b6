"""What analyses cost, and whether a Ray is worth starting for them.

The constants are seconds of one core, measured on an AMD EPYC with AVX-512; another machine changes all of them
by about the same factor, which leaves the choice as it is.
"""

from dataclasses import dataclass

from overlap.store.rows import TOP_CLASSES

COUNT_S = 8e-12  # a pair and an example: joint outcomes
ENSEMBLE_S = 2.6e-9  # a pair, an example and a method
WHOLE_S = 2e-8  # a variant, an example and a class: whole rows of logits, read where kept rivals leave much open
SELECT_S = 6e-6  # a variant and an example: threats to ensembles, found, kept and counted for a path
METRICS_S = 2.5e-6  # a pair: all metrics with their intervals, written
READ_S = 1e-6  # a variant and an example: the likeliest classes, read and put on a grid
RAY_START_S = 9.0
RAY_CONNECT_S = 5.0  # to a cluster that runs: workers must import the libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The size of an analysis: pairs to count, of them by ensemble methods, and what is read for those."""

    variants: int
    pairs: int
    examples: int
    methods: int
    classes: int
    selection: bool = False

    @property
    def core_s(self) -> float:
        """Seconds of one core."""
        counting = self.pairs * self.examples * (COUNT_S + ENSEMBLE_S * self.methods)
        reading = READ_S * self.variants * self.examples if self.methods else 0.0
        if self.methods and self.classes > TOP_CLASSES + 1:
            reading += WHOLE_S * self.variants * self.examples * self.classes
        reading += SELECT_S * self.variants * self.examples if self.selection else 0.0
        return counting + reading + METRICS_S * self.pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Seconds in this process, and until a Ray could begin; `gains` says whether that has more cores."""

    here_s: float
    start_s: float
    cores: int
    gains: bool

    @property
    def ray(self) -> bool:
        """Whether a Ray ends sooner."""
        return self.gains and self.start_s < self.here_s

    def __str__(self) -> str:
        here = f"about {self.here_s:,.1f} s in this process on {self.cores} cores"
        if not self.gains:
            return f"{here}; a Ray of its own would have the same cores {self.start_s:.0f} s later: in this process"
        return f"{here}; the cluster begins after {self.start_s:.0f} s: {'there' if self.ray else 'in this process'}"


def choose(work: Work, *, cores: int, cluster: bool) -> Choice:
    """Compares this process with a cluster, or with a Ray of its own on this machine, which gains nothing."""
    start_s = RAY_CONNECT_S if cluster else RAY_START_S
    return Choice(here_s=work.core_s / cores, start_s=start_s, cores=cores, gains=cluster)
