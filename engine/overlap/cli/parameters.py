"""Commands whose options are fields of dataclasses, so that several commands can share them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a command: every field of the dataclasses that it takes is an option or an argument."""
    kinds = {name: one.annotation for name, one in inspect.signature(function).parameters.items()}

    @functools.wraps(function)
    def command(**given: Any) -> None:  # noqa: ANN401 - what the command-line library has read
        function(**{name: kind(**{one.name: given[one.name] for one in fields(kind)}) for name, kind in kinds.items()})

    parameters = [_parameter(one) for kind in kinds.values() for one in fields(kind)]
    setattr(command, "__signature__", inspect.Signature(parameters))  # noqa: B010 - a function has no such field
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _parameter(field: Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
