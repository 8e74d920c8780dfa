"""Activations of layers from one forward pass, with statistics for each channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from camlens.core.arguments import check_choice
from camlens.core.engine import Session, features_of
from camlens.core.errors import InputError, LayerError
from camlens.core.layers import checked_model, resolve_layers, suggested_names
from camlens.core.layouts import Kind, Layout
from camlens.core.types import Features

PerChannel = Float[Tensor, "n k"]
Order = Literal["mean", "maximum", "index"]
_ORDERS = ("mean", "maximum", "index")


@dataclass(frozen=True, eq=False)
class LayerActivations:
    """The activations of one layer for n images.

    Attributes:
        layer: the layer's name.
        layout: the layout and the grid of the layer's output.
        features: a copy of the activations as float32 (n, k, *grid), whatever the layout.
    """

    layer: str
    layout: Layout
    features: Features

    @property
    def grid(self) -> tuple[int, ...]:
        """The spatial size of each channel."""
        return tuple(self.features.shape[2:])

    @property
    def mean(self) -> PerChannel:
        """Mean of each channel over its grid."""
        return self.features.flatten(2).mean(dim=2)

    @property
    def maximum(self) -> PerChannel:
        """Maximum of each channel over its grid."""
        return self.features.flatten(2).amax(dim=2)

    @property
    def minimum(self) -> PerChannel:
        """Minimum of each channel over its grid."""
        return self.features.flatten(2).amin(dim=2)

    @property
    def deviation(self) -> PerChannel:
        """Standard deviation of each channel over its grid; 0 for a grid of one cell."""
        return self.features.flatten(2).std(dim=2, correction=0)

    @property
    def dead(self) -> Bool[Tensor, "n k"]:
        """Whether each channel is zero in all cells of an image."""
        return (self.features.flatten(2) == 0).all(dim=2)

    @property
    def never_active(self) -> Bool[Tensor, " k"]:
        """Whether each channel is zero in all cells of all images."""
        return self.dead.all(dim=0)

    def ranked(self, image: int = 0, *, by: Order = "mean") -> list[int]:
        """Return the channels of one image, sorted by mean or maximum in descending order, or by index."""
        if not -len(self.features) <= image < len(self.features):
            raise InputError(
                f"image {image} is out of range: there are {len(self.features)} (0 to {len(self.features) - 1})",
                code="image.out-of-range",
                image=image,
                images=len(self.features),
            )
        check_choice("by", by, _ORDERS)
        if by == "index":
            return list(range(self.features.shape[1]))
        values = self.mean if by == "mean" else self.maximum
        order: list[int] = values[image].argsort(descending=True, stable=True).tolist()
        return order

    def __repr__(self) -> str:
        images, channels = self.features.shape[:2]
        dead = int(self.never_active.sum())
        return f"<LayerActivations: {self.layer} ({self.layout}), {images} image(s), {channels} channels, {dead} dead>"


def activations(
    model: nn.Module,
    inputs: Tensor,
    layers: str | nn.Module | Sequence[str | nn.Module],
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    layout: Kind | None = None,
) -> Mapping[str, LayerActivations]:
    """Return the activations of `layers` for `inputs` (n, c, *spatial), from one forward pass.

    `layers` is a name, a module or a list; "relu#2" is the second call of a layer that runs several times.
    Tokens and channels-last outputs are converted to (n, k, *grid); pass `layout` to override the detection of the
    layout. No gradient is computed, so layers that do not feed the scores are allowed. The model runs in evaluation
    mode and is left unchanged. The result maps layer names, in the given order, to frozen `LayerActivations`.

    Raises LayerError if a layer did not run, ran several times and no call is given, returned no tensor, or has no
    spatial grid; InputError and ModelError as `explain` does.

        activations(model, images, ["layer1", "layer4"])["layer4"].ranked()[:8]
    """
    inner = checked_model(model)
    calls = resolve_layers(inner, layers)
    session = Session.of(inner, inputs, args=args, kwargs=kwargs)
    try:
        features = features_of(session, calls, kind=layout)
    except LayerError as error:
        if error.code != "layer.no-grid":
            raise
        hint = f"try one of {', '.join(suggested_names(inner))}"
        raise LayerError(f"{error}; {hint}", code=error.code, **error.facts) from None
    return MappingProxyType(
        {
            label: LayerActivations(label, read_as, values.to(torch.float32).contiguous())
            for label, (read_as, values) in features.items()
        }
    )
