"""A variant becomes a torch module or a scikit-learn estimator.

Either is imported when it is first used: timm and scikit-learn take seconds, and a worker often needs one only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
