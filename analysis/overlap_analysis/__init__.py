"""Arrays in, arrays out: pair metrics, ensembles and selection over model predictions.

The public names stand in `__init__.pyi`; each is imported when it is first used, because numba takes
a second and most users of one function need none of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
