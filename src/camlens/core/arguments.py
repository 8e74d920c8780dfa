"""Checks of arguments: unknown keywords, with a suggestion, choices, and numbers out of range."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable
from functools import wraps
from numbers import Real
from typing import ParamSpec, TypeVar, cast, no_type_check

import numpy as np

from camlens.core.errors import UnknownArgumentError, invalid_argument

P = ParamSpec("P")
R = TypeVar("R")

# names of the same argument in other libraries and in other functions of camlens
_ALIASES = {
    "layer": "layers",
    "target_layer": "layers",
    "target_layers": "layers",
    "class_idx": "target",
    "target_class": "target",
    "target_category": "target",
    "targets": "target",
    "methods": "method",
    "input_tensor": "inputs",
    "images": "inputs",
    "pretrained": "weights",
}


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, ignoring case, or None."""
    by_case = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else None


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function to raise UnknownArgumentError with a suggestion for an unknown keyword."""
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind is not parameter.POSITIONAL_ONLY
    ]

    @no_type_check  # the function checks its arguments itself, and warnings look for its caller
    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                alias = _ALIASES.get(name)
                suggestion = alias if alias in known else closest(name, known)
                hint = f"did you mean {suggestion!r}? " if suggestion else ""
                raise UnknownArgumentError(
                    f"{function.__qualname__.removesuffix('.__init__')} has no argument {name!r}; {hint}"
                    f"(arguments: {', '.join(known)})",
                    name=name,
                    suggestion=suggestion,
                )
        return function(*args, **kwargs)

    return cast(Callable[P, R], checked)


def checked_count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value` as an int, or raise InputError unless it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise invalid_argument(name, value, f"an int of {least} or more")
    return int(value)


def checked_strength(name: str, value: object) -> float:
    """Return `value` as a float, or raise InputError unless it is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise invalid_argument(name, value, "a finite number of 0 or more")
    return float(value)


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise InputError unless `value` is one of the choices."""
    if value not in (known := tuple(choices)):
        raise invalid_argument(name, value, f"one of {', '.join(map(repr, known))}")


def check_range(name: str, value: object, low: float | int, high: float | int) -> None:
    """Raise InputError unless `value` is a number from `low` to `high`."""
    if not isinstance(value, Real) or not low <= float(value) <= high:
        raise invalid_argument(name, value, f"a number from {low} to {high}")
