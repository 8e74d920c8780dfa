"""Encode arrays for the API: grids as base64 of float32, pictures as PNG or WebP."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from camlens.studio.schemas import GridValues


def grid_values(grid: Tensor) -> GridValues:
    """Encode a map (height, width); a map with one axis becomes one row."""
    flat = grid if grid.ndim == 2 else grid.reshape(1, -1)
    values = np.ascontiguousarray(flat.detach().cpu().numpy(), dtype="<f4")
    return GridValues(shape=(values.shape[0], values.shape[1]), values=base64.b64encode(values.tobytes()).decode())


def byte_text(values: NDArray[np.uint8]) -> str:
    """Encode bytes as base64, row by row."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def bounded(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Scale a picture down if its longer side exceeds `longest`."""
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def webp(image: NDArray[np.uint8]) -> bytes:
    """Encode a picture as small lossy WebP."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=82, method=2)
    return stream.getvalue()
