"""`explain` and `Explainer`: from a model, inputs, layers, targets and methods to Explanations."""

import copy
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast, get_args, overload

import torch
from torch import Tensor, nn

from camlens.core.applying import apply
from camlens.core.arguments import suggesting
from camlens.core.capture import Capture, LayerRecord, Request, capture_session
from camlens.core.errors import InputError, LayerError, ModelError, TargetError
from camlens.core.execution.balanced import Gradients
from camlens.core.execution.harmless import harmless
from camlens.core.execution.hooks import fit_for_autograd
from camlens.core.execution.memory import in_parts
from camlens.core.execution.misfit import not_a_batch
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import Choice, choose_convolutions, choose_layer, with_candidates
from camlens.core.heatmaps import EmptyMap, empty_maps, evidence_warning
from camlens.core.layers import checked_model, resolve_layer, resolve_layers
from camlens.core.layouts import Kind
from camlens.core.probe import InputProbe, Probe, Progress, Watcher, silent
from camlens.core.provenance import Provenance, origin, weights_hash
from camlens.core.registry import DefaultLayers, Entry, entry_of
from camlens.core.targets import Target, TargetLike, as_target
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
    """Keywords of `explain` and `Explainer` on which the type of the result does not depend."""

    layers: Layer | Sequence[Layer] | None
    output: SelectOutput | None
    layout: Kind | None
    gradients: Gradients
    seed: int
    options: Mapping[str, object] | None
    batch_size: int | None
    memory_budget: int | None
    progress: Progress | None
    estimate: Watcher | None


class CallKeywords(Keywords, total=False):
    """Further keywords of `explain`."""

    target: TargetLike
    args: Sequence[object]
    kwargs: Mapping[str, object] | None


class Explainer(Generic[Result]):
    """Explain a model with the same layers and methods on many batches.

    Layers and methods are resolved once. An Explainer keeps no tensors and is safe to share between threads. The
    arguments are those of `explain`. Calling it returns an Explanation, or {method: Explanation} for a list of
    methods.
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
        gradients: Gradients = "plain",
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
        self.methods = [entry_of(name_or_function) for name_or_function in chosen]
        if output is None and self._loaded is not None:
            output = self._loaded.reader
        self.settings = Settings(
            output=output,
            layout=layout,
            gradients=gradients,
            seed=seed,
            options={} if options is None else options,
            batch_size=32 if batch_size is None else batch_size,
            memory_budget=memory_budget,
            progress=silent if progress is None else progress,
            estimate=estimate,
        )
        self._check_names_and_options()
        self._chosen: dict[DefaultLayers, list[Choice]] = {}
        if layers is not None:
            choices = [Choice(layer, "asked for") for layer in resolve_layers(given, layers, self.model)]
            self._chosen = dict.fromkeys(DEFAULT_LAYERS, choices)
        elif self._loaded is not None and self._loaded.default_layer is not None:
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
        """Explain a batch (n, c, *spatial) or pictures."""
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
        facts = {} if self._loaded is None else _facts_of(self._loaded, next(iter(results.values())).logits, views)
        finished: dict[str, Explanation] = {}
        empty: dict[str, list[EmptyMap]] = {}
        for name, result in results.items():
            warned = _empty(result)
            if warned:
                empty[name] = warned
            provenance = {**result.provenance, "warnings": [one.text for one in warned]}
            finished[name] = replace(result, provenance=cast(Provenance, MappingProxyType(provenance)), **facts)
        if empty:
            count = sum(maps.shape[:2].numel() for result in finished.values() for maps in result.maps.values())
            warn_user(evidence_warning(empty, count))
        return cast(Result, finished if self.several else finished[self.methods[0].name])

    @harmless
    def optimized(
        self,
        example_inputs: Tensor | Pictures,
        *,
        compiled: bool = False,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> "Explainer[Result]":
        """Return an Explainer that is called the same way and runs a faster copy of the model.

        Batch norms are folded into convolutions, and weights are stored channels-last. The copy is a snapshot of the
        current weights; the model itself is not changed. The copy is verified on the first of `example_inputs`
        (n, c, *spatial), and a step that fails or disagrees is left out. `compiled=True` also compiles what runs
        before the layer, for batches of the example's size (others run the same graph uncompiled): it takes 10 to 90
        seconds and a C++ compiler, once. `provenance["optimized"]` lists the steps taken, the measured error, and why
        a step was left out. It pays for convolutional networks; transformers gain little. For bfloat16, call either
        Explainer inside `torch.autocast`.
        """
        from camlens.core.optimized.optimizing import optimize  # for those who ask for it

        if self._loaded is not None and not isinstance(example_inputs, Tensor):
            example_inputs, _ = prepared(self._loaded, example_inputs)
        session = self._session(example_inputs, args, kwargs)
        chosen = self._resolve(session, as_target(None))
        layers = list({choice.layer.label: choice.layer for choices in chosen.values() for choice in choices}.values())
        optimized = optimize(
            session,
            layers or [choose_layer(session, kind=self.settings.layout).layer],
            compiled=compiled,
            reads_all_layers=any(entry.scope == "model" for entry in self.methods),
            kind=self.settings.layout,
        )
        faster = copy.copy(self)
        faster.model = optimized.model
        faster._chosen = {
            name: [Choice(resolve_layer(optimized.model, choice.layer.label), choice.reason) for choice in choices]
            for name, choices in self._chosen.items()
        }
        faster._facts = {"weights": weights_hash(self.model), "optimized": optimized.facts}
        return faster

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.methods)
        labels = dict.fromkeys(choice.layer.label for choices in self._chosen.values() for choice in choices)
        layers = ", ".join(labels) or ("input" if self._needs_no_layer else "best layer")
        return f"<Explainer: {names} of {type(self.model).__name__} at {layers}>"

    @property
    def _needs_no_layer(self) -> bool:
        return not any(entry.uses_layers for entry in self.methods)

    def _check_names_and_options(self) -> None:
        """Refuse two methods with one name, and options that the methods do not have."""
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
            if self._options(entry):
                entry.check_options(self._options(entry))

    def _session(
        self, inputs: Tensor | Pictures, args: Sequence[object], kwargs: Mapping[str, object] | None
    ) -> Session:
        if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping | None):
            raise InputError(
                "args must be a tuple and kwargs a mapping, the model's arguments besides the inputs, "
                f"not {type(args).__name__} and {type(kwargs).__name__}",
                code="argument.invalid",
                name="kwargs" if isinstance(args, list | tuple) else "args",
            )
        task = "classification" if self._loaded is None else self._loaded.task
        output = self.settings.output
        return Session(self.model, checked_inputs(inputs), tuple(args), dict(kwargs or {}), output, task)

    def _options(self, entry: Entry) -> Mapping[str, Any]:
        """The given options of one method."""
        options = self.settings.options
        return cast(Mapping[str, Any], options.get(entry.name, {})) if self.several else options

    def _resolve(self, session: Session, target: Target) -> dict[str, list[Choice]]:
        """The layers of each method: those asked for, or its default ones."""
        for entry in self.methods:
            if entry.uses_layers and entry.default_layers not in self._chosen:
                self._chosen[entry.default_layers] = (
                    [choose_layer(session, target, kind=self.settings.layout)]
                    if entry.default_layers == "best"
                    else choose_convolutions(session, target, kind=self.settings.layout)
                )
        return {entry.name: self._chosen[entry.default_layers] if entry.uses_layers else [] for entry in self.methods}

    def _explain(self, session: Session, chosen: dict[str, list[Choice]], target: Target) -> dict[str, Explanation]:
        def explain_part(start: int, stop: int) -> dict[str, Explanation]:
            part = session if (start, stop) == (0, session.images) else session.part(start, stop)
            return self._explain_part(part, chosen, target.part(start, stop, session.images))

        parts = in_parts(session.images, self.settings.memory_budget, explain_part)
        return {entry.name: joined([part[entry.name] for part in parts]) for entry in self.methods}

    def _explain_part(
        self, session: Session, chosen: dict[str, list[Choice]], target: Target
    ) -> dict[str, Explanation]:
        results = {}
        shared: dict[tuple[Gradients, tuple[str, ...]], Capture] = {}
        source = origin(session.model, session.inputs, session.modules)  # of the weights that are about to be used
        labels = {name: tuple(choice.layer.label for choice in choices) for name, choices in chosen.items()}
        # methods that need no layer come last: they need the scores only, which any capture has
        for entry in sorted(self.methods, key=lambda entry: not entry.uses_layers):
            gradients = entry.gradients or self.settings.gradients
            own_session = session if gradients == session.gradients else replace(session, gradients=gradients)
            key = gradients, labels[entry.name]
            replays = any(other.replays for other in self.methods if labels[other.name] == key[1])
            request = Request(
                [choice.layer for choice in chosen[entry.name]],
                target,
                kind=self.settings.layout,
                recorded=replays and len(key[1]) == 1 and session.images == 1,
            )
            if entry.retarget is not None:
                captured = capture_session(own_session, replace(request, target=entry.retarget(target)))
            elif not request.layers and shared:
                captured = next(iter(shared.values()))
            else:
                if key not in shared:
                    shared[key] = capture_session(own_session, request)
                captured = shared[key]
            results[entry.name] = self._explanation(own_session, chosen[entry.name], captured, entry, source)
        return results

    def _explanation(
        self,
        session: Session,
        chosen: list[Choice],
        captured: Capture,
        entry: Entry,
        source: Mapping[str, Any],
    ) -> Explanation:
        options, scorer = self._options(entry), captured.scorer
        records: dict[str, LayerRecord | None]
        if entry.scope == "layer":
            records = {choice.layer.label: captured.records[choice.layer.label] for choice in chosen}
        elif not entry.uses_layers:
            records = {entry.scope: None}
        else:
            name = "input" if entry.scope == "model" else _name_of_all(list(captured.records))
            records = {name: list(captured.records.values())[-1]}
        maps: dict[str, Tensor] = {}
        details: dict[str, object] = {}
        for name, record in records.items():
            maps[name], further = apply(entry, self._probe(session, captured, record), options)
            for fact, value in further.items():
                details[fact if len(records) == 1 else f"{fact}@{name}"] = value
        provenance = {
            **source,
            "gradients": session.gradients,
            "seed": self.settings.seed,
            "options": dict(options),
            "layout": {choice.layer.label: str(captured.records[choice.layer.label].layout) for choice in chosen},
            "layer_choice": {choice.layer.label: choice.reason for choice in chosen},
            "warnings": [],
            **self._facts,
        }
        contrasts = scorer.against is not None and bool((scorer.against >= 0).any())
        return Explanation(
            maps=MappingProxyType(maps),
            scores=captured.scores,
            logits=captured.logits,
            classes=scorer.classes,
            layers=tuple(maps),
            method=entry.name,
            targets=scorer.labels,
            input_size=session.spatial,
            provenance=cast(Provenance, provenance),
            details=MappingProxyType(details),
            diverging=tuple(entry.shows_both_signs(contrast) for contrast in scorer.contrasts),
            against=scorer.against if contrasts else None,
        )

    def _probe(self, session: Session, captured: Capture, record: LayerRecord | None) -> InputProbe | Probe:
        """The probe of one layer, or of the inputs alone if there is no record."""
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
    gradients: Gradients = "plain",
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    progress: Progress | None = None,
    estimate: Watcher | None = None,
) -> Explanation | dict[str, Explanation]:
    """Explain what `model` looks at in `inputs`, and leave the model bit for bit as it was.

    Args:
        model: any torch.nn.Module, or what `load_model` returned.
        inputs: a floating, preprocessed tensor (n, c, *spatial) with 1, 2 or 3 spatial axes. With a LoadedModel
            also a picture or a list of pictures (PIL images, paths or arrays). They are preprocessed, and the
            Explanation keeps them and the region of each that the model saw.
        method: a name from METHODS, a function, or a list of those. A list returns {method: Explanation}, computed
            from one pass through the model.
        layers: a name, a module or a list of them. Default: the LoadedModel's default layer, else the best spatial
            layer; `provenance["layer_choice"]` holds the reason.
        target: None (the predicted class), an int, one int per image, a target from `camlens.targets`, a
            function from the output to (n,) scores, or a list of targets (several maps per image).
        args: further positional arguments of the model. Tensors with n rows are split with the images.
        kwargs: further keyword arguments of the model, split likewise.
        output: selects the part of the model's output that targets see, such as `lambda out: out["logits"]`.
        layout: the layout of the layers' outputs (default: detected).
        gradients: "plain", the model's own gradients, or "balanced", gradients with the backward rules of LibraGrad
            (Mehri et al. 2024, arXiv 2411.16760), under which gradient x input adds up to the score: deviations of
            normalizations, attention weights, gates, and f(x) / x of activations such as GELU are constants. Methods
            that use no gradients ignore it.
        seed: seed of the methods that draw random numbers, at least 0.
        options: the method's own options. For a list of methods: {method: options}.
        batch_size: perturbed images or features evaluated at once (default: 32).
        memory_budget: bytes that one pass may use (default: no limit). Batches are halved until they fit.
        progress: called as `progress(done, total)` in long loops. To cancel, raise an exception in it.
        estimate: called with the maps so far (n, t, *grid) by methods that refine an estimate, such as rise.

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
        gradients=gradients,
        seed=seed,
        options=options,
        batch_size=batch_size,
        memory_budget=memory_budget,
        progress=progress,
        estimate=estimate,
    )
    return explainer(inputs, target=target, args=args, kwargs=kwargs)


def _facts_of(loaded: LoadedModel, logits: Tensor | None, views: tuple[View, ...]) -> dict[str, Any]:
    """The fields of an Explanation that come from a LoadedModel."""
    names: list[str] = []
    with suppress(ModelError):  # the number of names differs from the number of outputs
        names = loaded.class_names if logits is None else loaded.names(logits.shape[1])
    return {"views": views, "class_names": tuple(names), "activation": loaded.activation, "task": loaded.task}


def _empty(explanation: Explanation) -> list[EmptyMap]:
    return [
        empty
        for layer, maps in explanation.maps.items()
        for empty in empty_maps(maps, layer, explanation.targets, explanation.diverging)
    ]


def warn_user(warning: Warning) -> None:
    """Issue a warning that points at the first caller outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)


def _name_of_all(layers: Sequence[str]) -> str:
    """A name for the map of several layers; `provenance["layout"]` lists all of them."""
    return "+".join(layers if len(layers) < 5 else [layers[0], f"{len(layers) - 2} more", layers[-1]])
