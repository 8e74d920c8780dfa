"""Where autograd begins in a forward pass: the output of each wanted layer, kept as a node of the graph."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
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
    """The outputs of each wanted call of each wanted layer, collected during one forward pass.

    With `graph` the first kept tensor becomes the leaf where autograd begins; without it only values are kept.
    With `shared` a later layer's own tensor is kept and handed on, which saves two copies; `overwritten` tells
    whether code after the layer has then written to it.
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
    _of_module: dict[int, list[LayerCall]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for layer in self.wanted:
            self._of_module.setdefault(id(layer.module), []).append(layer)

    def observe(self, module: nn.Module, output: Any) -> Any:
        """Keep the output of a wanted call, and hand on a tensor that later in-place code may write to."""
        key = id(module)
        number = self.calls[key] = self.calls.get(key, 0) + 1
        for layer in self._of_module.get(key, ()):
            if number == (layer.call or 1):
                output = self._keep(layer, output)
        return output

    def _keep(self, layer: LayerCall, output: Any) -> Any:
        label = layer.label
        tensors = list(tensors_in(output))
        if not tensors:
            self.failed[label] = f"it returned no tensor but {describe(output)}"
            return output
        place = self.places[label] = self._place(layer, tensors)
        tensor = tensors[place]
        if not self.graph:
            self.kept[label] = tensor.detach().clone()
            return output
        if self.shared and self.started and tensor.requires_grad and layer.module not in _written_to:
            self.kept[label] = tensor
            self._versions[label] = tensor._version
            return output
        torch.set_grad_enabled(True)
        self.started = True
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            # a copy that nobody else holds: a node of the graph, or the leaf where the graph begins
            kept = tensor.clone() if tensor.requires_grad else tensor.detach().clone().requires_grad_()
            handed = kept.clone()
        self.kept[label] = kept
        return handed if output is tensor else with_tensor(output, place, handed)

    def _place(self, layer: LayerCall, tensors: list[Tensor]) -> int:
        """Which of a layer's output tensors is kept: the first with a spatial grid, or the first of all."""
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
        """Whether a shared tensor was written to. Its layer is remembered: from now on copies are handed on."""
        written = {label for label, version in self._versions.items() if self.kept[label]._version != version}
        _written_to.update(layer.module for layer in self.wanted if layer.label in written)
        return bool(written)

    def check(self) -> None:
        """Refuse layers that did not run, ran several times, or returned no tensor."""
        for layer in self.wanted:
            runs = self.calls.get(id(layer.module), 0)
            if layer.label in self.kept and (runs == 1 or layer.call is not None):
                continue
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
                    f"layer {layer.name!r} ran {runs} times in one forward pass: choose a call, such as {names}",
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
