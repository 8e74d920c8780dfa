"""Where the embedding is read: what goes into the module that makes the logits, or what a named layer gives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.errors import LayerError
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import answered, observed
from camlens.core.execution.outputs import describe, tensors_in
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.layouts import find_layout

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class FeatureTap:
    """One side of one layer, which gives the embedding."""

    layer: LayerCall
    takes_input: bool

    @property
    def label(self) -> str:
        """The place in words, such as "input of fc"."""
        return f"{'input' if self.takes_input else 'output'} of {self.layer.label}"

    @contextmanager
    def open(self) -> Iterator["Tapped"]:
        """While the block runs, keep what passes here in this thread; the model's answers stay as they are.

        It stands in for the layer's `forward`, and so leaves the one observation of a capture to the maps.
        """
        tapped = Tapped(self)
        with answered([self.layer.module], tapped.answer):
            yield tapped


@dataclass(eq=False)
class Tapped:
    """What passed through a tap in the last forward pass."""

    tap: FeatureTap
    calls: int = 0
    value: Tensor | None = field(default=None)

    def answer(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run the layer as always, and keep a copy of its first input or output."""
        self.calls += 1
        if self.tap.takes_input and self._wanted():
            self._keep((args, kwargs))  # before the layer runs: it may write in place
        output = forward(*args, **kwargs)
        if not self.tap.takes_input and self._wanted():
            self._keep(output)
        return output

    def features(self, session: Session) -> Float[Tensor, "n d"]:
        """The embedding of every image, float32, averaged over the grid or the tokens where there are such."""
        value, layer = self.value, self.tap.layer
        self.calls, self.value = 0, None
        if value is None:
            raise LayerError(
                f"layer {layer.label!r} cannot give the embedding: it did not run, or carried no tensor",
                code="layer.no-embedding",
                layer=layer.label,
            )
        if len(value) != session.images or value.ndim < 2:
            raise LayerError(
                f"layer {layer.label!r} cannot give the embedding: {tuple(value.shape)} is not one row per image",
                code="layer.no-embedding",
                layer=layer.label,
            )
        return self._pooled(value.float(), session)

    def _wanted(self) -> bool:
        return self.tap.layer.call in (None, self.calls)

    def _keep(self, structure: Any) -> None:
        tensor = next(tensors_in(structure), None)
        if tensor is not None:
            with torch.inference_mode(False):
                self.value = tensor.detach().clone()

    def _pooled(self, value: Tensor, session: Session) -> Tensor:
        module = self.tap.layer.module
        if value.ndim == 2:
            return value
        if self.tap.takes_input:
            channels_first = isinstance(module, _CONVOLUTIONS)
            return value.flatten(2).mean(dim=2) if channels_first else value.flatten(1, -2).mean(dim=1)
        try:
            layout = find_layout(
                module, value, images=session.images, spatial=session.spatial, model=session.model, kind=None
            )
        except LayerError:
            return value.flatten(1, -2).mean(dim=1)
        return layout.features(value).flatten(2).mean(dim=2)


def find_tap(session: Session, layer: str | None = None) -> FeatureTap:
    """The tap at the layer that is named (its output), or at the input of the module that makes the logits.

    That module is the last to run of the innermost ones that hold a matrix or kernels and answer with one number
    per class. Raises LayerError where there is none: then a layer has to be named.
    """
    if layer is not None:
        return FeatureTap(resolve_layer(session.model, layer), takes_input=False)
    finished: list[tuple[nn.Module, Any]] = []
    heads = [module for module in session.model.modules() if _is_matrix(module)]

    def note(module: nn.Module, output: Any) -> None:
        finished.append((module, _shape(output)))

    with undisturbed(session.model, session.inputs.device), observed(heads, note):
        classes = session.run().logits().shape[1]
    counts = {classes, 1} if classes == 2 else {classes}  # both classes of a binary classifier may be one logit
    for module, shape in reversed(finished):
        if len(shape) > 1 and counts & {shape[1], shape[-1]}:
            return FeatureTap(resolve_layer(session.model, module), takes_input=True)
    tried = ", ".join(f"{type(module).__name__} {describe(shape)}" for module, shape in finished[-2:]) or "none"
    raise LayerError(
        f"no module of this model answers with {classes} classes (the last that hold weights: {tried}): name the"
        " layer whose output is to be the embedding",
        code="layer.no-classifier",
        classes=classes,
    )


def _is_matrix(module: nn.Module) -> bool:
    """Whether this is an innermost module with weights of its own (tokens and positions belong to outer ones)."""
    own = module._parameters.values()
    return not module._modules and any(parameter is not None and parameter.ndim > 1 for parameter in own)


def _shape(output: Any) -> tuple[int, ...]:
    tensor = next(tensors_in(output), None)
    return () if tensor is None else tuple(tensor.shape)
