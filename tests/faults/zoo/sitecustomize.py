"""Puts the networks of `wild` among timm's in every process that has this folder on its PYTHONPATH.

Python imports this module when it starts, Ray's workers too. It waits for timm, and costs nothing in a
process that never imports it.
"""

import sys
from importlib.machinery import PathFinder


class _AfterTimm:
    """Finds `timm.models` where it is, and registers the networks once it has been loaded."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "timm.models":
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def load_and_register(module):
            load(module)
            import wild

            wild.register()

        spec.loader.exec_module = load_and_register
        return spec


if __name__ == "sitecustomize":  # not when pytest looks for doctests here
    sys.meta_path.insert(0, _AfterTimm)
