"""What a store's results say: which analyses there are, and the one function that makes their tables."""

from overlap.analyses.options import EVERYTHING, Calibration, Kind, Options, Where
from overlap.analyses.run import Analysis, analyze

__all__ = ["EVERYTHING", "Analysis", "Calibration", "Kind", "Options", "Where", "analyze"]
