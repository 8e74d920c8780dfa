"""Named entries that the command line, the documentation and the tests iterate."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from camlens.core.errors import InputError

Needs = Literal["activations", "gradients", "probe"]
Scope = Literal["layer", "layers", "model"]
Cost = Literal["cheap", "seconds", "minutes"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One method or metric: what computes it, where it comes from and when to choose it.

    `needs` says what the function is called with: "activations" `f(activations)`, "gradients"
    `f(activations, gradients)`, "probe" `f(probe)`. For metrics it names the arguments in words. `scope` says
    what one map is about: one layer, all layers asked for fused into one, or the whole model down to its input.
    `retarget` turns the user's target into the one the method is defined for.
    """

    name: str
    function: Callable[..., Any]
    paper: str
    needs: str
    good_for: str
    cost: Cost = "cheap"
    signed: bool = True
    scope: Scope = "layer"
    retarget: Callable[[Any], Any] | None = None


class Registry(Mapping[str, Entry]):
    """A read-only mapping from name to entry, filled by the `register` decorator."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self,
        name: str,
        *,
        paper: str,
        needs: str,
        good_for: str,
        cost: Cost = "cheap",
        signed: bool = True,
        scope: Scope = "layer",
        retarget: Callable[[Any], Any] | None = None,
    ) -> Callable[[Function], Function]:
        """Decorate a pure function to make it available under `name` everywhere."""
        if name in self._entries:
            raise InputError(f"a {self.kind} named {name!r} is registered already; choose another name")

        def keep(function: Function) -> Function:
            self._entries[name] = Entry(name, function, paper, needs, good_for, cost, signed, scope, retarget)
            return function

        return keep

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(
                f"there is no {self.kind} named {name!r}; known are {', '.join(self._entries)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __repr__(self) -> str:
        return f"<{self.kind}s: {', '.join(self._entries)}>"


class UnknownNameError(InputError, KeyError):
    """A name that no registry entry has; also a KeyError, so that mappings behave as expected."""

    __str__ = Exception.__str__


METHODS = Registry("method")
METRICS = Registry("metric")
register_method = METHODS.register
register_metric = METRICS.register
