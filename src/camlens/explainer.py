"""The one place where model, layer, target and method meet."""

import copy
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, cast, get_args, overload

import torch
from torch import Tensor, nn

from camlens.core.applying import found_by, making
from camlens.core.arguments import suggesting
from camlens.core.capture import Capture, LayerRecord, capture_session, score_session
from camlens.core.details import settled
from camlens.core.errors import InputError, LayerError, ModelError, TargetError
from camlens.core.execution.harmless import harmless
from camlens.core.execution.hooks import fit_for_autograd
from camlens.core.execution.memory import in_parts
from camlens.core.execution.misfit import not_a_batch
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import Choice, choose_convolutions, choose_layer, with_candidates
from camlens.core.heatmaps import EmptyMap, empty_maps, evidence_warning
from camlens.core.layers import LayerCall, checked_model, resolve_layer
from camlens.core.layouts import Kind
from camlens.core.probe import InputProbe, Probe, Progress, Watcher, silent
from camlens.core.provenance import Provenance, origin, weights_hash
from camlens.core.registry import DefaultLayers, Entry, entry_of
from camlens.core.targets import Scorer, Target, TargetLike, as_target
from camlens.core.types import Layer, Method, Pictures, SelectOutput
from camlens.explanation import Explanation, joined
from camlens.methods import METHODS
from camlens.models.geometry import View
from camlens.models.loading import LoadedModel
from camlens.pictures import prepared
from camlens.settings import Settings

DEFAULT_LAYERS: tuple[DefaultLayers, ...] = get_args(DefaultLayers)
_PACKAGE = str(Path(__file__).parent)
Result = TypeVar("Result", bound=Explanation | dict[str, Explanation])


class Keywords(TypedDict, total=False):
    """Keywords of `explain` and `Explainer` that do not decide on the type of the result."""

    layers: Layer | Sequence[Layer] | None
    output: SelectOutput | None
    layout: Kind | None
    seed: int
    options: Mapping[str, object] | None
    batch_size: int | None
    memory_budget: int | None
    progress: Progress | None
    estimate: Watcher | None


class CallKeywords(Keywords, total=False):
    """Those of `explain` alone."""

    target: TargetLike
    args: Sequence[object]
    kwargs: Mapping[str, object] | None


class Explainer(Generic[Result]):
    """A model ready to be explained: layer and method are resolved once, then called on many batches.

    It remembers no tensors and may be shared between threads. The arguments are those of `explain`. Calling it
    gives an Explanation, or {method: Explanation} for a list of methods.
    """

    @overload
    def __init__(
        self: "Explainer[Explanation]",
        model: nn.Module | LoadedModel,
        *,
        method: Method = "gradcam",
        **keywords: Unpack[Keywords],
    ) -> None: ...

    @overload
    def __init__(
        self: "Explainer[dict[str, Explanation]]",
        model: nn.Module | LoadedModel,
        *,
        method: Sequence[Method],
        **keywords: Unpack[Keywords],
    ) -> None: ...

    @suggesting
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        *,
        method: Method | Sequence[Method] = "gradcam",
        layers: Layer | Sequence[Layer] | None = None,
        output: SelectOutput | None = None,
        layout: Kind | None = None,
        seed: int = 0,
        options: Mapping[str, object] | None = None,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        progress: Progress | None = None,
        estimate: Watcher | None = None,
    ) -> None:
        self._loaded = model if isinstance(model, LoadedModel) else None
        given = checked_model(model.model if isinstance(model, LoadedModel) else model)
        self.model = fit_for_autograd(given)
        self.several = not isinstance(method, str) and not callable(method)
        chosen: list[Any] = list(method) if self.several and isinstance(method, Iterable) else [method]
        if not chosen:
            raise InputError(
                f"method must not be empty; methods are {', '.join(METHODS)}", code="argument.empty", name="method"
            )
        self.methods = [entry_of(one) for one in chosen]
        if output is None and self._loaded is not None:
            output = self._loaded.reader
        self.settings = Settings(
            output=output,
            layout=layout,
            seed=seed,
            options={} if options is None else options,
            batch_size=32 if batch_size is None else batch_size,
            memory_budget=memory_budget,
            progress=silent if progress is None else progress,
            estimate=estimate,
        )
        self._check_names_and_options()
        asked = None if layers is None else [Choice(one, "asked for") for one in _resolved(given, layers)]
        if asked is not None and self.model is not given:
            asked = [Choice(resolve_layer(self.model, one.layer.label), one.reason) for one in asked]
        self._chosen: dict[DefaultLayers, list[Choice]] = {} if asked is None else dict.fromkeys(DEFAULT_LAYERS, asked)
        if asked is None and self._loaded is not None and self._loaded.default_layer is not None:
            default = resolve_layer(self.model, self._loaded.default_layer)
            self._chosen["best"] = [Choice(default, f"default layer of {self._loaded.spec}")]
        self._facts: Mapping[str, Any] = {}

    @suggesting
    @harmless
    def __call__(
        self,
        inputs: Tensor | Pictures,
        *,
        target: TargetLike = None,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Result:
        """Explain a batch (n, c, *spatial), or pictures: an Explanation, or {method: Explanation} for a list."""
        views: tuple[View, ...] = ()
        if self._loaded is not None and not isinstance(inputs, Tensor):
            inputs, views = prepared(self._loaded, inputs)
        session = self._session(inputs, args, kwargs)
        wanted = as_target(target)
        try:
            results = self._explain(session, self._resolve(session, wanted), wanted)
        except Exception as error:
            if not isinstance(error, TargetError):
                unbatched = not_a_batch(self.model, session.inputs)
                if unbatched is not None:
                    raise unbatched from error
            if isinstance(error, LayerError) and not self._needs_no_layer:
                raise with_candidates(error, session, wanted, kind=self.settings.layout) from error
            raise
        if self._loaded is not None:
            loaded = self._loaded
            logits = next(iter(results.values())).logits
            names: list[str] = []
            with suppress(ModelError):  # names of another number are not those of the outputs
                names = loaded.class_names if logits is None else loaded.names(logits.shape[1])
            results = {
                name: replace(
                    result, views=views, class_names=tuple(names), activation=loaded.activation, task=loaded.task
                )
                for name, result in results.items()
            }
        warn_of_empty_maps(*results.values())
        return cast(Result, results if self.several else results[self.methods[0].name])

    @harmless
    def optimized(
        self,
        example_inputs: Tensor | Pictures,
        *,
        precision: Literal["exact", "bf16"] = "exact",
        compiled: bool = False,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> "Explainer[Result]":
        """An Explainer that is called the same way and runs a faster copy of the model.

        In the copy batch norms are folded into convolutions and weights lie channels-last. It is a snapshot
        of today's weights, and the model itself is not touched. That the copy agrees is proven on the first of
        `example_inputs` (n, c, *spatial); what fails is left out. `precision="bf16"` also computes what
        runs before the layer in bfloat16: answers then differ. `compiled=True` compiles that part, for batches
        of the example's size (others run the same graph uncompiled): it takes 10 to 90 seconds and a C++
        compiler, once. `provenance["optimized"]` holds what was done, the error that was measured, and the
        reason where something was left out. It pays for convolutional networks; transformers gain little.
        """
        from camlens.core.optimized.optimizing import optimize  # for those who ask for it

        if self._loaded is not None and not isinstance(example_inputs, Tensor):
            example_inputs, _ = prepared(self._loaded, example_inputs)
        session = self._session(example_inputs, args, kwargs)
        chosen = self._resolve(session, as_target(None))
        proven_at = list({one.layer.label: one.layer for choices in chosen.values() for one in choices}.values())
        if not proven_at:
            proven_at = [choose_layer(session, kind=self.settings.layout).layer]
        found = optimize(
            session,
            proven_at,
            precision=precision,
            compiled=compiled,
            reads_all_layers=any(entry.scope == "model" for entry in self.methods),
            kind=self.settings.layout,
        )
        faster = copy.copy(self)
        faster.model = found.model
        faster._chosen = {
            name: [Choice(resolve_layer(found.model, one.layer.label), one.reason) for one in choices]
            for name, choices in self._chosen.items()
        }
        faster._facts = {"weights": weights_hash(self.model), "optimized": found.facts}
        return faster

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.methods)
        labels = dict.fromkeys(one.layer.label for choices in self._chosen.values() for one in choices)
        layers = ", ".join(labels) or ("input" if self._needs_no_layer else "best layer")
        return f"<Explainer: {names} of {type(self.model).__name__} at {layers}>"

    @property
    def _needs_no_layer(self) -> bool:
        return all(entry.scope == "input" for entry in self.methods)

    def _check_names_and_options(self) -> None:
        """Refuse two methods of one name, and options that no method here has."""
        functions = {entry.name: entry.function for entry in self.methods}
        for entry in self.methods:
            if functions[entry.name] is not entry.function:
                raise InputError(
                    f"two methods are called {entry.name!r}: give each function its own name",
                    code="method.ambiguous",
                    name=entry.name,
                )
        for name in self.settings.options if self.several else ():
            if name not in functions or not isinstance(self.settings.options[name], Mapping):
                raise InputError(
                    f"for a list of methods, options are {{method: options}}, such as {{{self.methods[0].name!r}: "
                    f"{{...}}}}; {name!r} must be one of {', '.join(functions)}, with a mapping as its value",
                    code="option.by-method",
                    name=name,
                    methods=tuple(functions),
                )
        for entry in self.methods:
            entry.check_options(self._options(entry))

    def _session(
        self, inputs: Tensor | Pictures, args: Sequence[object], kwargs: Mapping[str, object] | None
    ) -> Session:
        if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping | None):
            raise InputError(
                "args must be a tuple and kwargs a mapping: what the model is called with besides its inputs, "
                f"not {type(args).__name__} and {type(kwargs).__name__}",
                code="argument.invalid",
                name="kwargs" if isinstance(args, list | tuple) else "args",
            )
        task = "classification" if self._loaded is None else self._loaded.task
        return Session(self.model, checked_inputs(inputs), tuple(args), dict(kwargs or {}), self.settings.output, task)

    def _options(self, entry: Entry) -> Mapping[str, Any]:
        """The method's own settings among those given."""
        options = self.settings.options
        return cast(Mapping[str, Any], options.get(entry.name, {})) if self.several else options

    def _resolve(self, session: Session, target: Target) -> dict[str, list[Choice]]:
        """The layers of each method: those asked for, or those that it looks at by default."""
        for entry in self.methods:
            if entry.scope != "input" and entry.default_layers not in self._chosen:
                self._chosen[entry.default_layers] = (
                    [choose_layer(session, target, kind=self.settings.layout)]
                    if entry.default_layers == "best"
                    else choose_convolutions(session, target, kind=self.settings.layout)
                )
        return {
            entry.name: [] if entry.scope == "input" else self._chosen[entry.default_layers] for entry in self.methods
        }

    def _explain(self, session: Session, chosen: dict[str, list[Choice]], target: Target) -> dict[str, Explanation]:
        def explain_part(start: int, stop: int) -> dict[str, Explanation]:
            part = session if (start, stop) == (0, session.images) else session.part(start, stop)
            return self._explain_part(part, chosen, target.part(start, stop, session.images))

        parts = in_parts(session.images, self.settings.memory_budget, explain_part)
        return {entry.name: _with_warnings(joined([part[entry.name] for part in parts])) for entry in self.methods}

    def _explain_part(
        self, session: Session, chosen: dict[str, list[Choice]], target: Target
    ) -> dict[str, Explanation]:
        results = {}
        shared: dict[tuple[str, ...], Capture] = {}
        source = origin(session.model, session.inputs, session.modules)  # of the weights that are about to be used
        # methods that need no layer come last: any capture has the scores that they start from
        for entry in sorted(self.methods, key=lambda one: one.scope == "input"):
            layers = [one.layer for one in chosen[entry.name]]
            key = _labels(chosen[entry.name])
            if entry.retarget is not None:
                captured = self._capture(session, layers, as_target(entry.retarget(target)), [entry])
            elif not layers and shared:
                captured = next(iter(shared.values()))
            else:
                if key not in shared:
                    sharing = [one for one in self.methods if one.retarget is None and _labels(chosen[one.name]) == key]
                    shared[key] = self._capture(session, layers, target, sharing)
                captured = shared[key]
            results[entry.name] = self._explanation(session, chosen[entry.name], captured, entry, source)
        return results

    def _capture(self, session: Session, layers: list[LayerCall], target: Target, entries: list[Entry]) -> Capture:
        if not layers:
            return score_session(session, target)
        alone = len(layers) == 1 and session.images == 1
        return capture_session(
            session,
            layers,
            target,
            kind=self.settings.layout,
            recorded=alone and any(entry.replays for entry in entries),
            take=making([(entry, self._options(entry)) for entry in entries]) if len(layers) > 1 else None,
        )

    def _explanation(
        self,
        session: Session,
        chosen: list[Choice],
        captured: Capture,
        entry: Entry,
        source: Mapping[str, Any],
    ) -> Explanation:
        options = self._options(entry)
        looked_at: dict[str, LayerRecord | None] = {}
        if entry.scope == "layer":
            looked_at = {one.layer.label: captured.records[one.layer.label] for one in chosen}
        elif entry.scope == "input":
            looked_at = {"input": None}
        else:
            name = "input" if entry.scope == "model" else _name_of_all(list(captured.records))
            looked_at = {name: list(captured.records.values())[-1]}
        found = {
            name: found_by(entry, self._asking(session, captured, record), options)
            for name, record in looked_at.items()
        }
        maps = {name: _without_ties(one.maps, captured.scorer) for name, one in found.items()}
        details = {
            fact if len(found) == 1 else f"{fact}@{name}": value
            for name, one in found.items()
            for fact, value in settled(one.details).items()
        }
        both = tuple(entry.shows_both_signs(one) for one in captured.scorer.contrasts)
        return Explanation(
            maps=MappingProxyType(maps),
            scores=captured.scores,
            logits=captured.logits,
            classes=captured.scorer.classes,
            layers=tuple(maps),
            method=entry.name,
            targets=captured.scorer.labels,
            input_size=session.spatial,
            provenance=cast(
                Provenance,
                MappingProxyType(
                    {
                        **source,
                        "seed": self.settings.seed,
                        "options": dict(options),
                        "layout": {one.layer.label: str(captured.records[one.layer.label].layout) for one in chosen},
                        "layer_choice": {one.layer.label: one.reason for one in chosen},
                        **self._facts,
                    }
                ),
            ),
            details=MappingProxyType(details),
            diverging=both,
            against=captured.scorer.against
            if captured.scorer.against is not None and (captured.scorer.against >= 0).any()
            else None,
        )

    def _asking(self, session: Session, captured: Capture, record: LayerRecord | None) -> InputProbe | Probe:
        """What a method may ask: about one layer, or where there is no record about the input alone."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        size, progress = self.settings.batch_size, self.settings.progress
        if record is None:
            return InputProbe(session, captured, generator, size, progress, self.settings.estimate)
        return Probe(session, captured, record, generator, size, progress)


@overload
def explain(  # type: ignore[overload-overlap]  # a str is also a sequence of strings: the first one wins
    model: nn.Module | LoadedModel,
    inputs: Tensor | Pictures,
    *,
    method: Method = "gradcam",
    **keywords: Unpack[CallKeywords],
) -> Explanation: ...


@overload
def explain(
    model: nn.Module | LoadedModel,
    inputs: Tensor | Pictures,
    *,
    method: Sequence[Method],
    **keywords: Unpack[CallKeywords],
) -> dict[str, Explanation]: ...


@suggesting
def explain(
    model: nn.Module | LoadedModel,
    inputs: Tensor | Pictures,
    *,
    method: Method | Sequence[Method] = "gradcam",
    layers: Layer | Sequence[Layer] | None = None,
    target: TargetLike = None,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    output: SelectOutput | None = None,
    layout: Kind | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    progress: Progress | None = None,
    estimate: Watcher | None = None,
) -> Explanation | dict[str, Explanation]:
    """Show where `model` looks in `inputs`, and leave the model bit for bit as it was.

    Args:
        model: any torch.nn.Module, or what `load_model` returned.
        inputs: a floating, preprocessed tensor (n, c, *spatial) with 1, 2 or 3 spatial axes. With a LoadedModel
            also a picture or a list of pictures, PIL images, paths, or arrays: they are preprocessed, and the
            Explanation remembers them and which region of them the model saw.
        method: a name from METHODS, a function, or a list of those. A list gives {method: Explanation}, all from
            one pass through the model.
        layers: a name, a module or a list of them. None: the LoadedModel's default layer, else the best spatial
            layer; `provenance["layer_choice"]` holds the reason.
        target: None (the predicted class), an int, one int per image, a target from `camlens.targets`, a
            function from the output to (n,) scores, or a list of targets (several maps per image).
        args: further positional arguments of the model; tensors with n rows are split with the images.
        kwargs: further keyword arguments of the model, likewise.
        output: picks the part of the model's output that targets see, such as `lambda out: out["logits"]`.
        layout: the layout of the layers' outputs; None detects it.
        seed: seed of the methods that draw random numbers, at least 0.
        options: the method's own options; with a list of methods, {method: options}.
        batch_size: how many perturbed images or features are evaluated at once (default: 32).
        memory_budget: bytes that one pass may use; None: no limit. Batches are halved until they fit.
        progress: called as `progress(done, total)` in long loops; an exception from it cancels.
        estimate: called with the maps so far (n, t, *grid) by methods that refine one estimate, such as rise.

    Raises:
        UnknownArgumentError: for an unknown keyword; it suggests the right one.
        LayerError, TargetError, InputError, ModelError: each states the value, what is allowed and the fix.

    Example:
        explain(model, images, method="layercam", target=Contrast(281, 207)).heatmaps()
    """
    explainer = Explainer(
        model,
        method=method,
        layers=layers,
        output=output,
        layout=layout,
        seed=seed,
        options=options,
        batch_size=batch_size,
        memory_budget=memory_budget,
        progress=progress,
        estimate=estimate,
    )
    return explainer(inputs, target=target, args=args, kwargs=kwargs)


def _with_warnings(explanation: Explanation) -> Explanation:
    """The same, with what `provenance` states about maps that show little."""
    texts = [one.text for one in _empty(explanation)]
    provenance = MappingProxyType({**explanation.provenance, "warnings": texts})
    return replace(explanation, provenance=cast(Provenance, provenance))


def _empty(explanation: Explanation) -> list[EmptyMap]:
    return [
        one
        for layer, maps in explanation.maps.items()
        for one in empty_maps(maps, layer, explanation.targets, explanation.diverging)
    ]


def warn_of_empty_maps(*explanations: Explanation) -> None:
    """Warn once of all maps that show little, at the line outside this package that asked for them."""
    empty = {one.method: _empty(one) for one in explanations if one.provenance["warnings"]}
    if not empty:
        return
    count = sum(maps.shape[:2].numel() for one in explanations for maps in one.maps.values())
    warn_user(evidence_warning(empty, count))


def warn_user(warning: Warning) -> None:
    """Issue a warning that points at the first line outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)


def _without_ties(maps: Tensor, scorer: Scorer) -> Tensor:
    """The maps (n, t, *grid), zero for a contrast of a class with itself: there is nothing to tell apart."""
    if scorer.against is None or scorer.classes is None:
        return maps
    ties = scorer.classes.to(maps.device) == scorer.against.to(maps.device)
    return maps.masked_fill(ties.view(*ties.shape, *[1] * (maps.ndim - 2)), 0) if ties.any() else maps


def _labels(choices: Sequence[Choice]) -> tuple[str, ...]:
    return tuple(one.layer.label for one in choices)


def _name_of_all(layers: Sequence[str]) -> str:
    """One name for a map of several layers; `provenance["layout"]` lists them all."""
    return "+".join(layers if len(layers) < 5 else [layers[0], f"{len(layers) - 2} more", layers[-1]])


def _resolved(model: nn.Module, layers: Layer | Sequence[Layer]) -> list[LayerCall]:
    wanted = [layers] if isinstance(layers, str | nn.Module) or not isinstance(layers, Iterable) else list(layers)
    if not wanted:
        raise LayerError(
            "layers must not be empty: name a layer, or pass None for the best one",
            code="argument.empty",
            name="layers",
        )
    found = [resolve_layer(model, layer) for layer in wanted]
    return list({layer.label: layer for layer in found}.values())
