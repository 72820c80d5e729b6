"""A user's checkpoint file: its wrappings taken off, and loaded into the architecture it must fit."""

import argparse
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from overlap.models.weight_files import check_digest

Tensors = Mapping[str, Tensor]

# Averaged weights come first: they are what their training evaluates and publishes.
_WRAPPINGS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model", "model_state")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
_COUNTER = "n_averaged"  # beside the weights that torch.optim.swa_utils.AveragedModel keeps
_BATCHES = "num_batches_tracked"  # older files lack it, and evaluation does not use it
_SHOWN = 3


def read_checkpoint(path: Path, *, revision: str = "") -> Tensors:
    """The tensors of a `.safetensors` file, or of a pickle by `torch.save`, in which no code is run.

    Training states are unwrapped: of `state_dict_ema`, `model_ema`, `ema_state_dict`, `state_dict`, `model`
    and `model_state` the first that is there, so averaged weights are preferred.

    Raises:
        ValueError: the file is missing, damaged, not that of the revision, or holds no tensors or more than them.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint '{path}' is no file of this machine")
    check_digest(path, revision)
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"checkpoint '{path}' cannot be read: {error}") from error
    return _unwrapped(_read_pickle(path), path)


def load_tensors(network: nn.Module, tensors: Tensors, *, shown: str, fitting: str) -> None:
    """Loads tensors that fit exactly, but for the prefixes that wrappers and frameworks put before names.

    `module.`, `_orig_mod.`, `model.`, `backbone.` and `encoder.` are taken off where the rest is a name of
    the network. `shown` and `fitting` are what messages call the tensors and the network.

    Raises:
        ValueError: parameters are missing, unexpected, named twice or of another shape; all in one line.
    """
    expected = network.state_dict()
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = _known_name(name, expected)
        if short in named:
            raise ValueError(f"{shown} has '{short}' twice, the second time as '{name}': keep one of them")
        named[short] = tensor
    if _COUNTER not in expected:
        named.pop(_COUNTER, None)
    named = {name: tensor for name, tensor in expected.items() if name.endswith(_BATCHES)} | named
    problems = _misfits(expected, named)
    if problems:
        raise ValueError(f"{shown} does not fit {fitting}: {'; '.join(problems)}")
    network.load_state_dict(named)


def bare_name(name: str) -> str:
    """A parameter's name without all prefixes that `load_tensors` may take off.

    >>> bare_name("module.model.fc.weight")
    'fc.weight'
    """
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    return bare_name(name.removeprefix(prefix)) if prefix else name


def _read_pickle(path: Path) -> object:
    try:  # timm's trainings keep their arguments in a Namespace; warnings are about what fails anyway
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = _foreign_names(path)
        if not foreign:
            raise ValueError(f"checkpoint '{path}' cannot be read: {_first_line(error)}") from error
        raise ValueError(
            f"checkpoint '{path}' holds more than tensors ({_listed(foreign)}), which could run any code: where you "
            "trust it, load it with weights_only=False and save model.state_dict() with safetensors.torch.save_file"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:  # a damaged pickle
        raise ValueError(f"checkpoint '{path}' cannot be read: {_first_line(error)}") from error


def _foreign_names(path: Path) -> list[str]:
    """The Python objects for which torch refuses a file; empty if it is no such file at all."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - it parses a file that may be anything
        return []


def _unwrapped(content: object, path: Path) -> Tensors:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPINGS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        found = (
            f"a dictionary of {_listed(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        )
        raise ValueError(f"checkpoint '{path}' holds no weights: expected a state_dict, got {found or 'nothing'}")
    return tensors


def _known_name(name: str, expected: Mapping[str, Any]) -> str:
    """The name without the prefixes that keep it from being expected; as it is if none is."""
    short = name
    while short not in expected:
        prefix = next((p for p in _PREFIXES if short.startswith(p)), None)
        if prefix is None:
            return name
        short = short.removeprefix(prefix)
    return short


def _misfits(expected: Tensors, found: Tensors) -> list[str]:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    problems = [f"missing {len(missing)} ({_listed(missing)})"] if missing else []
    if unexpected:
        problems.append(f"unexpected {len(unexpected)} ({_listed(unexpected)})")
    problems += [
        f"shape of '{name}': expected {tuple(expected[name].shape)}, got {tuple(found[name].shape)}"
        for name in shapes[:_SHOWN]
    ]
    return problems + ([f"and {len(shapes) - _SHOWN} other shapes"] if len(shapes) > _SHOWN else [])


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
