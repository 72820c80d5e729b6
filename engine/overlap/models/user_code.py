"""A network that a user's own Python function makes."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from overlap.models.weight_files import check_digest


def call_user_code(name: str, *, revision: str = "") -> nn.Module:
    """The network that the function of `path.py:function` gives.

    It takes normalised (B, 3, S, S) images and gives (B, outputs) logits. The file runs with all the rights
    of this process, once a process; its folder is not put on `sys.path`.

    Raises:
        ValueError: the file is not that of the revision or cannot be imported, or its function is missing or gives
            no network.
    """
    path, separator, function = name.rpartition(":")
    if not separator or not path or not function:
        raise ValueError(f"'{name}': expected path.py:function")
    module = _import_file(Path(path), revision=revision)
    make = getattr(module, function, None)
    if not callable(make):
        raise ValueError(f"'{path}' has no function '{function}'")
    network = make()
    if not isinstance(network, nn.Module):
        raise ValueError(f"'{name}' gave a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _import_file(path: Path, *, revision: str) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"'{path}' is no file of this machine")
    check_digest(path, revision)
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    name = f"_overlap_user_code_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}_{content}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"'{path}' is no Python file: expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(
            f"'{path}' cannot be imported: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error
    return module
