"""Checks of the options that methods take, done once at their door."""

import math

from camlens.core.errors import InputError


def checked_count(name: str, value: object) -> int:
    """`value` if it is an int of 1 or more, else an InputError that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{name} must be an int of 1 or more, not {value!r}", code="argument.invalid", name=name, value=value
        )
    return value


def checked_strength(name: str, value: object) -> float:
    """`value` if it is a finite number of 0 or more, else an InputError that names it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise InputError(
            f"{name} must be a finite number of 0 or more, not {value!r}",
            code="argument.invalid",
            name=name,
            value=value,
        )
    return float(value)
