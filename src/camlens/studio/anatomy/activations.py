"""What one layer says about one image: its channels as small pictures, sorted by how much they say."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from camlens.core.capture import capture_session
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import resolve_layer
from camlens.studio.anatomy.layers import Anatomy
from camlens.studio.encoding import byte_text
from camlens.studio.schemas import ActivationMaps, ChannelMap

Sort = Literal["mean", "max", "index"]


def layer_activations(anatomy: Anatomy, inputs: Tensor, layer: str) -> Tensor:
    """Features (k, height, width) of one layer for one image. Raises LayerError without a spatial grid."""
    session = Session(anatomy.model, checked_inputs(inputs))
    captured = capture_session(session, [resolve_layer(anatomy.model, layer)])
    (record,) = captured.records.values()
    features = record.activations[0].float().cpu()
    return features if features.ndim == 3 else features.reshape(len(features), 1, -1)


def activation_maps(features: Tensor, layer: str, *, sort: Sort, offset: int, limit: int) -> ActivationMaps:
    """A page of channels: the most active first, or in their own order. Dead channels are zero everywhere."""
    cells = features.flatten(1)
    means, highest = cells.mean(dim=1), cells.amax(dim=1)
    dead = (cells == 0).all(dim=1)
    order = {
        "mean": means.argsort(descending=True, stable=True),
        "max": highest.argsort(descending=True, stable=True),
        "index": torch.arange(len(features)),
    }[sort]
    maps = [
        _channel(int(index), features[index], float(means[index]), bool(dead[index]))
        for index in order[offset : offset + limit]
    ]
    return ActivationMaps(
        layer=layer,
        shape=(features.shape[1], features.shape[2]),
        channels=len(features),
        dead=int(dead.sum()),
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
