"""The registries of methods and metrics."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from camlens.core.arguments import closest
from camlens.core.errors import InputError, invalid_argument
from camlens.core.execution.balanced import Gradients

Needs = Literal["activations", "gradients", "probe"]
Scope = Literal["layer", "layers", "model", "input", "tokens"]
DefaultLayers = Literal["best", "convolutions"]
Cost = Literal["cheap", "seconds", "minutes"]
Better = Literal["higher", "lower", "neither"]
Function = TypeVar("Function", bound=Callable[..., Any])
_SAME_OPTION = {"samples": "masks", "masks": "samples"}  # the number of forward passes, in different methods


@dataclass(frozen=True)
class Entry:
    """One method or metric: its function, its paper and what it is good for.

    Attributes:
        needs: the arguments of a method: "activations" for `f(activations)`, "gradients" for
            `f(activations, gradients)`, "probe" for `f(probe)`. For a metric, the names of its arguments.
        cost: the order of magnitude of the run time.
        signed: whether the maps can be negative.
        scope: what one map covers: one "layer"; all requested "layers" fused into one map; the "model", from a
            captured layer down to the input; or, without a layer and from an `InputProbe`, the "input" alone or the
            "tokens" of a transformer.
        retarget: converts the user's target to the one that the method explains.
        diverging: whether negative values are evidence against the target, drawn in a second color.
        default_layers: the layers used if none is given: the "best" one, or all "convolutions".
        replays: whether the function calls `feature_scores`. The capture of a single image then also records what
            runs before the layer.
        gradients: the backward rules of a method that does not leave them to the user.
        better: for a metric, whether "higher" or "lower" values are better.
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
    diverging: bool = False
    default_layers: DefaultLayers = "best"
    replays: bool = False
    gradients: Gradients | None = None
    better: Better = "neither"

    @property
    def uses_layers(self) -> bool:
        """Whether the maps depend on `layers`."""
        return self.scope not in ("input", "tokens")

    @property
    def looks_at_one_layer(self) -> bool:
        """Whether the model's default layer is used if none is given."""
        return self.uses_layers and self.default_layers == "best"

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the method with their defaults, as passed in `options` of `explain`."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
        }

    def check_options(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for an option that the method does not have."""
        parameters = inspect.signature(self.function).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        for name in given:
            if name not in self.options:
                suggestion = closest(name, self.options) or _SAME_OPTION.get(name)
                suggestion = suggestion if suggestion in self.options else None
                hint = f"did you mean {suggestion!r}? " if suggestion else ""
                raise InputError(
                    f"method {self.name!r} has no option {name!r}; {hint}its options are "
                    f"{', '.join(self.options) or 'none'}",
                    code="option.unknown",
                    method=self.name,
                    name=name,
                    suggestion=suggestion,
                )

    def shows_both_signs(self, contrast: bool = False) -> bool:
        """Whether maps are drawn with both signs: those of a diverging method, or of a `contrast` of two classes."""
        return self.diverging or (contrast and self.signed and self.needs != "activations")


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
        diverging: bool = False,
        default_layers: DefaultLayers = "best",
        replays: bool = False,
        gradients: Gradients | None = None,
        better: Better = "neither",
    ) -> Callable[[Function], Function]:
        """Return a decorator that registers a pure function under `name`; see `Entry` for the arguments."""
        if not isinstance(name, str) or not name:
            raise InputError(
                f"the name of a {self.kind} must be a non-empty string, not {name!r}",
                code="argument.invalid",
                name="name",
                value=name,
            )
        if self.kind == "method" and needs not in get_args(Needs):
            raise invalid_argument("needs", needs, f"one of {', '.join(get_args(Needs))}")
        if name in self._entries:
            raise InputError(
                f"a {self.kind} named {name!r} is already registered: choose another name",
                code=f"{self.kind}.taken",
                name=name,
            )

        def add(function: Function) -> Function:
            self._entries[name] = Entry(
                name,
                function,
                paper=paper,
                needs=needs,
                good_for=good_for,
                cost=cost,
                signed=signed,
                scope=scope,
                retarget=retarget,
                diverging=diverging,
                default_layers=default_layers,
                replays=replays,
                gradients=gradients,
                better=better,
            )
            return function

        return add

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            suggestion = closest(name, self._entries)
            hint = f"did you mean {suggestion!r}? " if suggestion else ""
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}; {hint}available: {', '.join(self._entries)}",
                code=f"{self.kind}.unknown",
                name=name,
                suggestion=suggestion,
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
    """An unknown name; also a KeyError, as `Mapping` requires."""

    __str__ = Exception.__str__


METHODS = Registry("method")
METRICS = Registry("metric")
register_method = METHODS.register
register_metric = METRICS.register


def entry_of(method: object) -> Entry:
    """Return the entry of a method: a registered name or function, an Entry, or a function that is not registered."""
    if isinstance(method, str):
        return METHODS[method]
    if isinstance(method, Entry):
        return method
    if not callable(method):
        raise InputError(
            f"method must be a name or a function, not {method!r}; available: {', '.join(METHODS)}",
            code="argument.invalid",
            name="method",
            value=method,
        )
    for entry in METHODS.values():
        if entry.function is method:
            return entry
    try:
        parameters = inspect.signature(method).parameters.values()
    except (ValueError, TypeError):  # some builtins have no signature
        parameters = inspect.signature(lambda: None).parameters.values()
    required = [
        parameter.name for parameter in parameters if parameter.default is parameter.empty and parameter.kind in (0, 1)
    ]
    needs = "probe" if required == ["probe"] else {1: "activations", 2: "gradients"}.get(len(required), "")
    if not needs:
        raise InputError(
            f"a method must take (activations), (activations, gradients) or (probe), not ({', '.join(required)})",
            code="method.signature",
            parameters=tuple(required),
        )
    return Entry(getattr(method, "__name__", "custom"), method, "", needs, "a function that is not registered")
