"""Validate and convert pictures (uint8 RGB arrays) and heat maps (float arrays)."""

import io
from types import ModuleType

import numpy as np
from jaxtyping import Float, UInt8

from camlens.core.errors import InputError, MissingExtraError

Picture = UInt8[np.ndarray, "_ _ 3"]
Heat = Float[np.ndarray, "_ _"]
Number = float | int

_ROUNDING = 1e-4  # values this far out of range are clipped, others are refused


def as_picture(image: object) -> Picture:
    """Return a copy of the picture as uint8 RGB (H, W, 3).

    `image` is an array, tensor or Pillow image, uint8 or floating in [0, 1], of shape (H, W, 3), (3, H, W), or gray
    (H, W), (1, H, W), (H, W, 1). If the shape is ambiguous, the last axis is the channels. Raises InputError for
    anything else.
    """
    pixels = _bytes_of(_colors_last(_array(image)))
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))).copy()


def as_heatmap(heatmap: object, *, signed: bool = False) -> Heat:
    """Return the heat map as floats (H, W) in [0, 1], or in [-1, 1] if it is signed.

    `heatmap` is an array or tensor (H, W): floating, bool, or uint8 with 255 for 1. Raises InputError for other shapes
    and types, for values out of range, and for NaN.
    """
    values = as_map(heatmap)
    low, high = float(values.min()), float(values.max())
    lowest = -1 if signed else 0
    if low < lowest - _ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"a heat map must lie in [{lowest}, 1], not in [{low:.4g}, {high:.4g}]: use Explanation.heatmaps(), which"
            " returns [0, 1], or the color map 'diverging', which takes [-1, 1]",
            code="heatmap.range",
            range=(low, high),
            allowed=(lowest, 1),
        )
    clipped: Heat = np.clip(values, lowest, 1)
    return clipped


def as_map(values: object) -> Heat:
    """Return a finite map (H, W) of any magnitude as floats; raise InputError for anything else."""
    array = _array(values)
    if array.ndim != 2 or array.size == 0:
        raise InputError(
            f"a heat map must have shape (H, W), not {array.shape}: pass one map at a time",
            code="heatmap.shape",
            shape=array.shape,
        )
    if array.dtype == np.uint8:
        array = array / np.float32(255)
    elif array.dtype == np.bool_:
        array = array.astype(np.float32)
    elif array.dtype.kind != "f":
        raise InputError(
            f"a heat map must be floating, bool or uint8, not {array.dtype}",
            code="heatmap.dtype",
            dtype=str(array.dtype),
        )
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        raise InputError(
            f"a heat map must be finite, but {broken} of {array.size} values are NaN or infinite",
            code="heatmap.not-finite",
            values=broken,
        )
    return array


def resized_picture(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize the picture to (height, width) with a Lanczos filter."""
    if picture.shape[:2] == size:
        return picture
    image = _pillow()
    return np.asarray(image.fromarray(picture).resize(size[::-1], image.Resampling.LANCZOS))


def encode_png(picture: object) -> bytes:
    """Encode the picture as a PNG file."""
    stream = io.BytesIO()
    _pillow().fromarray(as_picture(picture)).save(stream, format="PNG")
    return stream.getvalue()


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError.of("pillow", "vision") from error
    return Image


def _array(values: object) -> np.ndarray:
    """Convert an array, a tensor of any device and dtype, or a Pillow image to numpy."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    return np.asarray(values.convert("RGB") if hasattr(values, "convert") else values)


def _colors_last(array: np.ndarray) -> np.ndarray:
    """Return the array as (H, W, 3) or (H, W, 1)."""
    if array.size:
        if array.ndim == 2:
            return array[:, :, None]
        if array.ndim == 3 and array.shape[2] in (1, 3):
            return array
        if array.ndim == 3 and array.shape[0] in (1, 3):
            return np.moveaxis(array, 0, 2)
    raise InputError(
        f"an image must have shape (H, W, 3), (3, H, W) or (H, W), not {array.shape}: "
        "pass one image at a time, without an alpha channel",
        code="image.shape",
        shape=array.shape,
    )


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return the array as uint8; floats in [0, 1] are rounded half up."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise InputError(
            f"an image must be uint8, or floating in [0, 1], not {array.dtype}",
            code="image.dtype",
            dtype=str(array.dtype),
        )
    low, high = float(array.min()), float(array.max())
    if not (-_ROUNDING <= low <= high <= 1 + _ROUNDING):
        raise InputError(
            f"a floating image must lie in [0, 1], not in [{low:.4g}, {high:.4g}]: "
            "pass the photograph, not the normalized input of the model, and divide 0..255 by 255",
            code="image.range",
            range=(low, high),
        )
    return np.floor(np.clip(array.astype(np.float64), 0, 1) * 255 + 0.5).astype(np.uint8)
