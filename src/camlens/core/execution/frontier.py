"""Where autograd begins in a forward pass: what each wanted layer returned, kept as a node of the graph."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camlens.core.errors import LayerError, NoGradientError
from camlens.core.execution.outputs import describe, tensors_in, with_tensor
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall
from camlens.core.layouts import find_layout

NO_GRADIENTS = "No gradients captured. Try a different layer."
_written_to: "WeakSet[nn.Module]" = WeakSet()


@dataclass
class Frontier:
    """The hook's memory during one forward pass: what each wanted call of each wanted layer returned.

    With `graph` the first kept tensor becomes the leaf where autograd begins; without, only values are kept.
    With `shared` a later layer's own tensor is kept and handed on, which spares two copies; whether code after the
    layer has then written to it says `overwritten`.
    """

    wanted: Sequence[LayerCall]
    session: Session | None = None
    graph: bool = True
    shared: bool = False
    kept: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    started: bool = False
    _versions: dict[str, int] = field(default_factory=dict)

    def observe(self, module: nn.Module, output: Any) -> Any:
        """Keep the output of a wanted call, and hand on what later in-place code may write to."""
        number = self.calls[id(module)] = self.calls.get(id(module), 0) + 1
        for layer in self._of_module.get(id(module), ()):
            if number == (layer.call or 1):
                output = self._keep(layer, output)
        return output

    @cached_property
    def _of_module(self) -> dict[int, list[LayerCall]]:
        found: dict[int, list[LayerCall]] = {}
        for layer in self.wanted:
            found.setdefault(id(layer.module), []).append(layer)
        return found

    def _keep(self, layer: LayerCall, output: Any) -> Any:
        tensors = list(tensors_in(output))
        if not tensors:
            self.failed[layer.label] = f"it returned no tensor but {describe(output)}"
            return output
        place = self.places[layer.label] = self._place(layer, tensors)
        tensor = tensors[place]
        if not self.graph:
            self.kept[layer.label] = tensor.detach().clone()
            return output
        if self.shared and self.started and tensor.requires_grad and layer.module not in _written_to:
            self.kept[layer.label] = tensor
            self._versions[layer.label] = tensor._version
            return output
        with torch.inference_mode(False):
            # a copy that nobody else holds: a node of the graph, or the leaf where the graph begins
            kept = tensor.clone() if tensor.requires_grad else tensor.detach().clone().requires_grad_()
            handed = kept.clone()  # grad is on in this block
        torch.set_grad_enabled(True)
        self.started = True
        self.kept[layer.label] = kept
        return with_tensor(output, place, handed)

    def _place(self, layer: LayerCall, tensors: list[Tensor]) -> int:
        """Which of the tensors that a layer returned is kept: the first that has a spatial grid, or the first."""
        if len(tensors) == 1 or self.session is None:
            return 0
        for place, tensor in enumerate(tensors):
            with suppress(LayerError):
                find_layout(
                    layer.module,
                    tensor,
                    images=self.session.images,
                    spatial=self.session.spatial,
                    model=self.session.model,
                )
                return place
        return 0

    def overwritten(self) -> bool:
        """Whether a shared tensor was written to. Its layer is remembered, and gets copies from now on."""
        found = [
            layer
            for layer in self.wanted
            if layer.label in self._versions and self.kept[layer.label]._version != self._versions[layer.label]
        ]
        for layer in found:
            _written_to.add(layer.module)
        return bool(found)

    def check(self) -> None:
        """Refuse layers that did not run, ran several times, or gave nothing to look at."""
        for layer in self.wanted:
            runs = self.calls.get(id(layer.module), 0)
            if layer.label in self.failed:
                raise LayerError(
                    f"layer {layer.label!r} cannot carry a map: {self.failed[layer.label]}",
                    code="layer.no-tensor",
                    layer=layer.label,
                )
            if runs == 0 and not self.graph:
                raise LayerError(
                    f"layer {layer.label!r} did not run in the forward pass: choose one that does",
                    code="layer.not-run",
                    layer=layer.label,
                )
            if runs == 0:
                raise NoGradientError(
                    f"{NO_GRADIENTS} Layer {layer.label!r} did not run in the forward pass",
                    code="layer.not-run",
                    layer=layer.label,
                )
            if layer.call is None and runs > 1:
                names = ", ".join(f"{layer.name}#{number}" for number in range(1, min(runs, 4) + 1))
                raise LayerError(
                    f"layer {layer.name!r} ran {runs} times in one forward pass: say which call, {names}",
                    code="layer.several-runs",
                    layer=layer.name,
                    runs=runs,
                )
            if layer.label not in self.kept:
                raise LayerError(
                    f"layer {layer.name!r} ran {runs} time(s), so there is no call {layer.call}",
                    code="layer.no-call",
                    layer=layer.name,
                    runs=runs,
                    call=layer.call,
                )


class GradKeptOn(TorchFunctionMode):
    """Once the frontier is passed, keep grad on even where the model's own code switches it off."""

    def __init__(self, frontier: Frontier) -> None:
        super().__init__()
        self.frontier = frontier

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.frontier.started:
            return func(*args, **(kwargs or {}))
        with torch.inference_mode(False), torch.set_grad_enabled(not _writes_to_a_weight(func, args)):
            return func(*args, **(kwargs or {}))


def _writes_to_a_weight(func: Any, args: Any) -> bool:
    """Whether this is an in-place operation on a leaf that requires grad, which autograd allows without grad only."""
    writes = getattr(func, "__name__", "").rstrip("_") + "_" == getattr(func, "__name__", "")
    return writes and bool(args) and isinstance(args[0], Tensor) and args[0].is_leaf and args[0].requires_grad
