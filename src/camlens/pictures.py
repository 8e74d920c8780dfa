"""Preprocessing of pictures for a loaded model."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.types import Picture, Pictures
from camlens.models.geometry import View
from camlens.models.loading import LoadedModel


def prepared(loaded: LoadedModel, pictures: Pictures) -> tuple[Float[Tensor, "n c h w"], tuple[View, ...]]:
    """Return the preprocessed batch on the model's device, and for each picture the region that the model sees.

    Raises DataError for unreadable files, and InputError for other objects and for pictures that do not form a batch.
    """
    from camlens.models.preprocess import adopt  # brings Pillow, which is optional

    several = isinstance(pictures, Sequence) and not isinstance(pictures, str)
    given: list[Picture] = list(pictures) if several else [pictures]  # type: ignore[arg-type, list-item]
    if not given:
        raise InputError("the list of pictures must not be empty", code="input.empty")
    preprocess = adopt(loaded.preprocess)
    opened = [_opened(picture) for picture in given]
    tensors = [preprocess(pixels) for pixels in opened]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise InputError(
            f"the preprocessing of {loaded.spec} returns tensors of different shapes, {sorted(shapes)}: explain the"
            " pictures one at a time",
            code="input.several-shapes",
            shapes=sorted(shapes),
        )
    views = [
        View(
            Path(picture).name if isinstance(picture, str | PathLike) else "",
            pixels,
            preprocess.display(pixels),
            preprocess.geometry(*pixels.shape[:2]),
        )
        for picture, pixels in zip(given, opened, strict=True)
    ]
    return torch.stack(tensors).to(loaded.device), tuple(views)


def _opened(picture: Picture) -> NDArray[np.uint8]:
    """Return the picture as uint8 (H, W, 3), rotated upright."""
    from PIL.Image import Image

    from camlens.data.decode import decode_image, upright
    from camlens.models.preprocess import as_rgb
    from camlens.render.pictures import as_picture

    if isinstance(picture, str | PathLike):
        return decode_image(Path(picture))
    return np.asarray(as_rgb(upright(picture))) if isinstance(picture, Image) else as_picture(picture)
