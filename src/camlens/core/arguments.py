"""Keywords that a function does not take: an error that names the right one."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar, cast, no_type_check

from camlens.core.errors import UnknownArgumentError

P = ParamSpec("P")
R = TypeVar("R")

# what other libraries, and other functions of this one, call the same
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
    """The known name that `name` most likely means, whatever its case, or None."""
    by_case = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else None


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: an unknown keyword raises UnknownArgumentError with the likely right one."""
    known = {
        name: one
        for name, one in inspect.signature(function).parameters.items()
        if name != "self" and one.kind is not one.POSITIONAL_ONLY
    }

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
