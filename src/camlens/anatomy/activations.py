"""What layers see in images: their features, from one forward pass, with what each channel says in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from camlens.core.errors import InputError, LayerError
from camlens.core.execution.frontier import Frontier
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import observed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import LayerCall, checked_model, resolve_layer, suggested_names
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.types import Features

PerChannel = Float[Tensor, "n k"]
Order = Literal["mean", "maximum", "index"]
_ORDERS = ("mean", "maximum", "index")


@dataclass(frozen=True, eq=False)
class LayerActivations:
    """What one layer gave for n images.

    Attributes:
        layer: the layer's name.
        layout: how the layer's own output is laid out, and its grid.
        features: float32 (n, k, *grid), whatever the layout; nobody else holds this memory.
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
        """Highest value of each channel."""
        return self.features.flatten(2).amax(dim=2)

    @property
    def minimum(self) -> PerChannel:
        """Lowest value of each channel."""
        return self.features.flatten(2).amin(dim=2)

    @property
    def deviation(self) -> PerChannel:
        """Standard deviation of each channel over its grid, 0 where the grid is one cell."""
        return self.features.flatten(2).std(dim=2, correction=0)

    @property
    def dead(self) -> Bool[Tensor, "n k"]:
        """Channels that are zero in every cell of an image."""
        return (self.features.flatten(2) == 0).all(dim=2)

    @property
    def never_active(self) -> Bool[Tensor, " k"]:
        """Channels that are zero in every cell of every image given."""
        return self.dead.all(dim=0)

    def ranked(self, image: int = 0, *, by: Order = "mean") -> list[int]:
        """Channel numbers for one image, the highest mean or maximum first, or in their own order."""
        if not -len(self.features) <= image < len(self.features):
            raise InputError(
                f"there is no image {image}: there are {len(self.features)}, counted from 0",
                code="image.out-of-range",
                image=image,
                images=len(self.features),
            )
        if by not in _ORDERS:
            raise InputError(
                f"channels are ranked by {', '.join(_ORDERS)}, not {by!r}", code="argument.invalid", name="by", value=by
            )
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
    """What `layers` see in `inputs` (n, c, *spatial): features (n, k, *grid) by layer, from one forward pass.

    `layers` is a name, a module or several; "relu#2" is the second call of a layer that runs several times.
    Token grids and channels-last outputs are read as such; `layout` says how where that cannot be found out.
    No gradient is computed, so layers that do not feed any score have activations too. The model runs in
    evaluation mode and is left bit for bit as it was. The result maps layer names, in the order asked for, to
    frozen `LayerActivations`.

    Raises LayerError where a layer did not run, ran several times without saying which call is meant, returned
    no tensor or has no spatial grid; InputError and ModelError as `explain` does.

        activations(model, images, ["layer1", "layer4"])["layer4"].ranked()[:8]
    """
    inner = checked_model(model)
    wanted = [layers] if isinstance(layers, str | nn.Module) and not isinstance(layers, list) else list(layers)
    if not wanted:
        raise LayerError(
            f"an empty list of layers has no activations: name some, such as {_examples(inner)}",
            code="argument.empty",
            name="layers",
        )
    calls = {one.label: one for one in (resolve_layer(inner, layer) for layer in wanted)}
    session = Session(inner, checked_inputs(inputs), tuple(args), dict(kwargs or {}))
    frontier = Frontier(list(calls.values()), session, graph=False)
    modules = list({id(one.module): one.module for one in calls.values()}.values())
    with undisturbed(inner, session.inputs.device), observed(modules, frontier.observe):
        inner(session.inputs, *session.args, **session.kwargs)
    frontier.check()
    found = {label: _read(session, call, frontier.kept[label], layout) for label, call in calls.items()}
    return MappingProxyType(found)


def _read(session: Session, call: LayerCall, kept: Tensor, kind: Kind | None) -> LayerActivations:
    try:
        layout = find_layout(
            call.module, kept, images=session.images, spatial=session.spatial, model=session.model, kind=kind
        )
    except LayerError as error:
        hint = f"layers with a grid are for example {_examples(session.model)}"
        raise LayerError(
            f"layer {call.label!r} has no spatial grid: {error}; {hint}", code="layer.no-grid", layer=call.label
        ) from None
    features = layout.features(kept).to(torch.float32).contiguous()
    return LayerActivations(call.label, layout, features)


def _examples(model: nn.Module) -> str:
    return ", ".join(suggested_names(model))
