"""Named entries that the command line, the documentation and the tests iterate."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from camlens.core.arguments import closest
from camlens.core.errors import InputError

Needs = Literal["activations", "gradients", "probe"]
Scope = Literal["layer", "layers", "model", "input"]
DefaultLayers = Literal["best", "convolutions"]
Cost = Literal["cheap", "seconds", "minutes"]
Function = TypeVar("Function", bound=Callable[..., Any])
_SAME_OPTION = {"samples": "masks", "masks": "samples"}  # how many times the model is asked


@dataclass(frozen=True)
class Entry:
    """One method or metric: what computes it, where it comes from and when to choose it.

    `needs` says what the function is called with: "activations" `f(activations)`, "gradients"
    `f(activations, gradients)`, "probe" `f(probe)`. For metrics it names the arguments in words. `scope` says
    what one map is about: one layer, all layers asked for fused into one, the whole model down to its input
    while a layer is captured as well ("model"), or the input alone ("input": no layer is needed or looked for,
    and the function is called with an `InputProbe`).
    `retarget` turns the user's target into the one the method is defined for. `diverging` says that the map is
    evidence for and against alike, to be drawn in two colours that meet at zero. `default_layers` are looked
    at where none is named: the best one, or every convolution. `replays` says that the function asks for
    `feature_scores`: the capture of a single image then records what comes before the layer along the way.
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

    @property
    def looks_at_one_layer(self) -> bool:
        """Whether a model family's default layer is what it looks at where none is named."""
        return self.scope != "input" and self.default_layers == "best"

    @property
    def options(self) -> Mapping[str, Any]:
        """The method's own settings with their defaults: what `options` of `explain` may hold."""
        parameters = inspect.signature(self.function).parameters.values()
        return {one.name: one.default for one in parameters if one.default is not one.empty}

    def check_options(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for a setting that the method does not have."""
        parameters = inspect.signature(self.function).parameters.values()
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
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
        """Whether a map is drawn as evidence for and against; that of a contrast is, where its sign means so."""
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
    ) -> Callable[[Function], Function]:
        """Decorate a pure function to make it available under `name` everywhere."""
        if not isinstance(name, str) or not name:
            raise InputError(
                f"a {self.kind} is registered under a name, not {name!r}", code="argument.invalid", name=name
            )
        if self.kind == "method" and needs not in get_args(Needs):
            raise InputError(
                f"a method needs one of {', '.join(get_args(Needs))}, not {needs!r}",
                code="argument.invalid",
                needs=needs,
            )
        if name in self._entries:
            raise InputError(
                f"a {self.kind} named {name!r} is registered already; choose another name",
                code=f"{self.kind}.taken",
                name=name,
            )

        def keep(function: Function) -> Function:
            self._entries[name] = Entry(
                name,
                function,
                paper,
                needs,
                good_for,
                cost,
                signed,
                scope,
                retarget,
                diverging,
                default_layers,
                replays,
            )
            return function

        return keep

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            suggestion = closest(name, self._entries)
            hint = f"did you mean {suggestion!r}? " if suggestion else ""
            raise UnknownNameError(
                f"there is no {self.kind} named {name!r}; {hint}known are {', '.join(self._entries)}",
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
    """A name that no registry entry has; also a KeyError, so that mappings behave as expected."""

    __str__ = Exception.__str__


METHODS = Registry("method")
METRICS = Registry("metric")
register_method = METHODS.register
register_metric = METRICS.register


def entry_of(method: object) -> Entry:
    """The entry of a name or function in METHODS; a function of one's own gets one for this call."""
    if isinstance(method, str):
        return METHODS[method]
    if isinstance(method, Entry):
        return method
    if not callable(method):
        raise InputError(
            f"a method is a name or a function, not {method!r}; methods are {', '.join(METHODS)}",
            code="argument.invalid",
            name="method",
            value=method,
        )
    for entry in METHODS.values():
        if entry.function is method:
            return entry
    try:
        parameters = inspect.signature(method).parameters.values()
    except (ValueError, TypeError):  # a builtin tells nothing about itself
        parameters = inspect.signature(lambda: None).parameters.values()
    required = [
        parameter.name for parameter in parameters if parameter.default is parameter.empty and parameter.kind in (0, 1)
    ]
    needs = "probe" if required == ["probe"] else {1: "activations", 2: "gradients"}.get(len(required), "")
    if not needs:
        raise InputError(
            f"a method takes (activations), (activations, gradients) or (probe), not ({', '.join(required)})",
            code="method.signature",
            parameters=tuple(required),
        )
    return Entry(getattr(method, "__name__", "custom"), method, "", needs, "your own")
