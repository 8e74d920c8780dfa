"""The channels of a layer as small pictures: activations for one image, and learned filters."""

from typing import Literal

import numpy as np
from torch import Tensor, nn

from camlens.anatomy.activations import LayerActivations, activations
from camlens.anatomy.filters import filters
from camlens.core.errors import LayerError
from camlens.studio.encoding import byte_text
from camlens.studio.layers import Anatomy
from camlens.studio.schemas import ActivationMaps, ChannelMap, LearnedFilter, LearnedFilters

Sort = Literal["mean", "max", "index"]


def layer_activations(anatomy: Anatomy, inputs: Tensor, layer: str) -> LayerActivations:
    """What one layer sees in one image. Raises LayerError without a spatial grid."""
    (found,) = activations(anatomy.model, inputs, layer).values()
    return found


def activation_maps(found: LayerActivations, layer: str, *, sort: Sort, offset: int, limit: int) -> ActivationMaps:
    """A page of channels: the most active first, or in their own order. Dead channels are zero everywhere."""
    features = found.features[0].cpu()
    features = features if features.ndim == 3 else features.reshape(len(features), 1, -1)
    order = found.ranked(by="maximum" if sort == "max" else sort)
    means, dead = found.mean[0].tolist(), found.dead[0].tolist()
    maps = [_channel(index, features[index], means[index], dead[index]) for index in order[offset : offset + limit]]
    return ActivationMaps(
        layer=layer,
        shape=(features.shape[1], features.shape[2]),
        channels=len(features),
        dead=sum(dead),
        sort=sort,
        offset=offset,
        maps=tuple(maps),
    )


def _channel(index: int, channel: Tensor, mean: float, dead: bool) -> ChannelMap:
    values = channel.cpu().numpy()
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    pixels = np.round((values - low) / span * 255).astype(np.uint8)
    return ChannelMap(index=index, low=low, high=high, mean=mean, dead=dead, pixels=byte_text(pixels))


def learned_filters(module: nn.Module, layer: str, *, offset: int, limit: int) -> LearnedFilters:
    """A page of filters of a 2-D convolution. Raises LayerError for any other layer."""
    if not isinstance(module, nn.Conv2d):
        raise LayerError(
            f"layer {layer!r} is a {type(module).__name__}: only 2-D convolutions have filters to look at",
            code="layer.no-filters",
            type=type(module).__name__,
            layer=layer,
        )
    found = filters(module)
    page = range(offset, min(offset + limit, len(found)))
    pictures = [found.picture(index) for index in page]
    columns = (found.mean, found.deviation, found.minimum, found.maximum, found.norm)
    numbers = zip(*(column[offset : offset + limit].tolist() for column in columns), strict=True)
    height, width = pictures[0].pixels.shape[:2] if pictures else (0, 0)
    return LearnedFilters(
        layer=layer,
        shape=(height, width),
        colours=found.colours,
        weights=tuple(found.weights.shape),
        offset=offset,
        count=len(found),
        filters=tuple(
            LearnedFilter(
                index=index,
                shown=picture.shown,
                mean=mean,
                deviation=deviation,
                low=low,
                high=high,
                norm=norm,
                pixels=byte_text(picture.pixels),
            )
            for index, picture, (mean, deviation, low, high, norm) in zip(page, pictures, numbers, strict=True)
        ),
    )
