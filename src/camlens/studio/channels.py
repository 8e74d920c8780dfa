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
    """Return a layer's activations for one image; raise LayerError if it has no spatial grid."""
    (layer_of_image,) = activations(anatomy.model, inputs, layer).values()
    return layer_of_image


def activation_maps(seen: LayerActivations, layer: str, *, sort: Sort, offset: int, limit: int) -> ActivationMaps:
    """Return a page of channels, sorted by their activation or in the model's order."""
    features = seen.features[0].cpu()
    features = features if features.ndim == 3 else features.reshape(len(features), 1, -1)
    order = seen.ranked(by="maximum" if sort == "max" else sort)
    means, dead = seen.mean[0].tolist(), seen.dead[0].tolist()
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
    values = channel.numpy()
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    pixels = np.round((values - low) / span * 255).astype(np.uint8)
    return ChannelMap(index=index, low=low, high=high, mean=mean, dead=dead, pixels=byte_text(pixels))


def learned_filters(module: nn.Module, layer: str, *, offset: int, limit: int) -> LearnedFilters:
    """Return a page of the filters of a 2-D convolution; raise LayerError for any other layer."""
    if not isinstance(module, nn.Conv2d):
        kind = type(module).__name__
        message = f"layer {layer!r} is a {kind}: only 2-D convolutions have filters; /api/layers marks them"
        raise LayerError(message, code="layer.no-filters", type=kind, layer=layer)
    learned = filters(module)
    page = range(offset, min(offset + limit, len(learned)))
    pictures = [learned.picture(index) for index in page]
    columns = (learned.mean, learned.deviation, learned.minimum, learned.maximum, learned.norm)
    numbers = zip(*(column[offset : offset + limit].tolist() for column in columns), strict=True)
    height, width = pictures[0].pixels.shape[:2] if pictures else (0, 0)
    return LearnedFilters(
        layer=layer,
        shape=(height, width),
        colours=learned.colours,
        weights=tuple(learned.weights.shape),
        offset=offset,
        count=len(learned),
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
