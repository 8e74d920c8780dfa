"""What one layer says about one image: its channels as small pictures, sorted by how much they say."""

from typing import Literal

import numpy as np
from torch import Tensor

from camlens.anatomy.activations import LayerActivations, activations
from camlens.studio.anatomy.layers import Anatomy
from camlens.studio.encoding import byte_text
from camlens.studio.schemas import ActivationMaps, ChannelMap

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
