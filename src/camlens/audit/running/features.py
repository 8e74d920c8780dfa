"""The embedding of an image: the input of the classifier, or the output of a named layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.engine import Session, answered, describe, tensors_in
from camlens.core.errors import LayerError
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.layouts import find_layout

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class FeatureTap:
    """The input or output of a layer that is used as the embedding."""

    layer: LayerCall
    takes_input: bool

    @property
    def label(self) -> str:
        """The name of the tap, such as "input of fc"."""
        return f"{'input' if self.takes_input else 'output'} of {self.layer.label}"

    @contextmanager
    def open(self) -> Iterator["Tapped"]:
        """Record the features that pass here in this thread while the block runs.

        Wraps the layer's `forward` instead of adding a hook, because a capture allows one hook per layer.
        """
        tapped = Tapped(self)
        with answered([self.layer.module], tapped.answer):
            yield tapped


@dataclass(eq=False)
class Tapped:
    """The tensor that passed through a tap in the last forward pass."""

    tap: FeatureTap
    calls: int = 0
    value: Tensor | None = field(default=None)

    def answer(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run the layer, and keep a copy of its first input or output tensor."""
        self.calls += 1
        if self.tap.takes_input and self._wanted():
            self._keep((args, kwargs))  # before the layer runs, because it may modify its input in place
        output = forward(*args, **kwargs)
        if not self.tap.takes_input and self._wanted():
            self._keep(output)
        return output

    def features(self, session: Session) -> Float[Tensor, "n d"]:
        """Return the embeddings, float32, averaged over the grid or the tokens. Resets the record."""
        value, layer = self.value, self.tap.layer
        self.calls, self.value = 0, None
        if value is None or len(value) != session.images or value.ndim < 2:
            actual = "no tensor" if value is None else f"a tensor of shape {tuple(value.shape)}"
            raise LayerError(
                f"layer {layer.label!r} cannot be the embedding: it has {actual} instead of one row per image",
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
    """Return the tap at the output of `layer`, or by default at the input of the classifier.

    The classifier is the last leaf module with a weight matrix or kernel whose output has one number per class.
    Raises LayerError if the model has no such module.
    """
    if layer is not None:
        return FeatureTap(resolve_layer(session.model, layer), takes_input=False)
    finished: list[tuple[nn.Module, tuple[int, ...]]] = []
    weighted = [module for module in session.model.modules() if _is_matrix(module)]

    def note(module: nn.Module, output: Any) -> None:
        tensor = next(tensors_in(output), None)
        finished.append((module, () if tensor is None else tuple(tensor.shape)))

    classes = session.predict(weighted, note).logits().shape[1]
    counts = {classes, 1} if classes == 2 else {classes}  # a binary classifier may have one logit
    for module, shape in reversed(finished):
        if len(shape) > 1 and counts & {shape[1], shape[-1]}:
            return FeatureTap(resolve_layer(session.model, module), takes_input=True)
    tried = ", ".join(f"{type(module).__name__} {describe(shape)}" for module, shape in finished[-2:]) or "none"
    raise LayerError(
        f"no module of this model outputs {classes} classes (the last modules with weights: {tried}): pass"
        " embedding=, the name of the layer whose output is the embedding",
        code="layer.no-classifier",
        classes=classes,
    )


def _is_matrix(module: nn.Module) -> bool:
    """Return whether this is a leaf module with a weight matrix or kernel."""
    own = module._parameters.values()
    return not module._modules and any(parameter is not None and parameter.ndim > 1 for parameter in own)
