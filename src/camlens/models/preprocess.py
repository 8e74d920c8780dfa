"""Preprocess images for a model, and show the part of the image that the model sees."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.errors import CamlensError, InputError, MissingExtraError
from camlens.models.geometry import Geometry, measured_geometry
from camlens.models.loading import Preprocessing

try:
    from PIL import Image
except ImportError as error:
    raise MissingExtraError.of("pillow", "vision") from error

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_PIXELS = 2**24
"""The most pixels that resizing produces; beyond that, only the cropped part is resized."""
MOST_ELONGATED = 256
"""The largest aspect ratio that is passed to custom preprocessing."""


@final
@dataclass(frozen=True)
class Preprocess:
    """Resize, center-crop, scale to [0, 1] and normalize, with the arithmetic of torchvision.

    Attributes:
        resize: the length of the shorter side, (height, width), or None.
        crop: (height, width), padded with black if the image is smaller, or None.
        mean: the mean of each channel; a single number for a model of gray images.
        std: the standard deviation of each channel.
        interpolation: the name of a Pillow filter, such as "bilinear" or "bicubic".

    If resizing would produce more than `MOST_PIXELS`, as for a picture of 1 x 60,000 pixels, only the cropped part is
    resized. Raises InputError for such a picture if there is no crop, and for any other failure.
    """

    resize: int | tuple[int, int] | None = 256
    crop: tuple[int, int] | None = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """Return the normalized float32 tensor of a PIL image or a uint8 array (H, W, 3)."""
        seen = self._arranged(as_rgb(image))
        pixels = np.array(seen.convert("L"))[:, :, None] if len(self.mean) == 1 else np.array(seen)
        values = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32) / 255
        return (values - _column(self.mean)) / _column(self.std)

    def display(self, image: object) -> NDArray[np.uint8]:
        """Return the image as the model sees it, uint8 (h, w, 3)."""
        return np.array(self._arranged(as_rgb(image)))

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """Resize and crop a mask of the image as `display` does the image."""
        return _masked(self.display, mask)

    def geometry(self, height: int, width: int) -> Geometry:
        """Return the region of a picture of this size that the input shows."""
        resized = (width, height) if self.resize is None else _resized((width, height), self.resize)
        crop = self.crop or resized[::-1]
        left, top = (_start(length, wanted) for length, wanted in zip(resized, crop[::-1], strict=True))
        across, down = width / resized[0], height / resized[1]
        region = (left * across, top * down, (left + crop[1]) * across, (top + crop[0]) * down)
        return Geometry((height, width), region, crop)

    def _arranged(self, image: Image.Image) -> Image.Image:
        with _failing_on(image):
            size = image.size if self.resize is None else _resized(image.size, self.resize)
            crop = (0, 0, *size)
            if self.crop is not None:
                left, top = (_start(length, wanted) for length, wanted in zip(size, self.crop[::-1], strict=True))
                crop = (left, top, left + self.crop[1], top + self.crop[0])
            if self.resize is None:
                return image.crop(crop)
            resample = Image.Resampling[self.interpolation.upper()]
            if math.prod(size) > MOST_PIXELS:
                return _resized_part(image, size, crop, resample)
            return image.resize(size, resample).crop(crop)


@final
@dataclass(frozen=True, eq=False)
class AdoptedPreprocess:
    """Custom preprocessing: `transform` returns the tensor, `picture` the image as the model sees it."""

    transform: Callable[[Image.Image], Tensor]
    picture: Callable[[Image.Image], NDArray[np.uint8]]

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """Apply the transform to a PIL image or a uint8 array (H, W, 3)."""
        return _transformed(self.transform, as_rgb(image))

    def display(self, image: object) -> NDArray[np.uint8]:
        """Return the image as the model sees it, uint8 (h, w, 3)."""
        rgb = as_rgb(image)
        with _failing_on(rgb):
            _check_proportions(rgb)
            return self.picture(rgb)

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """Resize and crop a mask of the image as `display` does the image."""
        return _masked(self.display, mask)

    def geometry(self, height: int, width: int) -> Geometry | None:
        """Measure the region of a picture of this size that the input shows; None if that fails."""
        try:
            return measured_geometry(self.display, height, width)
        except InputError:  # the preprocessing fails on ramps or on this size
            return None


def adopt(transform: Callable[[Image.Image], Tensor]) -> Preprocessing:
    """Return a Preprocessing that applies a custom transform and undoes its normalization in `display`.

    The normalization is the last part of the transform with a `mean` and a `std` (torchvision's Normalize, alone or
    in a Compose). Without one, values are shown as they are if they lie in [0, 1], and are min-max scaled if not.
    A Preprocessing is returned unchanged.
    """
    if isinstance(transform, Preprocessing):
        return transform
    return AdoptedPreprocess(transform, partial(_undone, transform))


def as_rgb(image: object) -> Image.Image:
    """Convert a PIL image or a uint8 array (H, W, 3) or (H, W) to RGB; transparency becomes white."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,)):
        return Image.fromarray(image).convert("RGB")
    if not isinstance(image, Image.Image) or image.mode.startswith(("I", "F")):
        raise InputError(
            "an image must be a PIL image with 8 bits per channel or a uint8 array (H, W, 3), not"
            f" {_described(image)}: camlens.data.decode_image decodes any image file",
            code="image.type",
            image=_described(image),
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _described(value: object) -> str:
    if isinstance(value, Image.Image):
        return f"a PIL image of mode {value.mode}"
    if isinstance(value, np.ndarray | Tensor):
        return f"{type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    return repr(value)[:80]


def _resized(size: tuple[int, int], wanted: int | tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) after resizing; the longer side is truncated, as in torchvision."""
    if not isinstance(wanted, int):
        return wanted[1], wanted[0]
    width, height = size
    if width <= height:
        return wanted, int(wanted * height / width)
    return int(wanted * width / height), wanted


def _resized_part(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int, int, int], resample: Image.Resampling
) -> Image.Image:
    """Compute `image.resize(size).crop(crop)` from the cropped pixels only; rounding may differ."""
    kept = [max(crop[0], 0), max(crop[1], 0), min(crop[2], size[0]), min(crop[3], size[1])]
    kept_size = (kept[2] - kept[0], kept[3] - kept[1])
    if math.prod(kept_size) > MOST_PIXELS:
        raise InputError(
            f"a picture of {image.width:,} x {image.height:,} pixels would be resized to {size[0]:,} x {size[1]:,},"
            f" more than the {MOST_PIXELS:,} pixels allowed: crop it, or use preprocessing that crops",
            code="preprocess.too-large",
            size=image.size,
            resized=size,
            allowed=MOST_PIXELS,
        )
    scales = [length / resized for length, resized in zip(image.size, size, strict=True)]
    box = [edge * scales[at % 2] for at, edge in enumerate(kept)]
    reach = [math.ceil(4 * max(scale, 1)) for scale in scales]  # the widest filter reaches 3 pixels
    cut = (
        max(math.floor(box[0]) - reach[0], 0),
        max(math.floor(box[1]) - reach[1], 0),
        min(math.ceil(box[2]) + reach[0], image.width),
        min(math.ceil(box[3]) + reach[1], image.height),
    )
    # Pillow stores the box in single precision, so it is relative to the part and not to the whole picture
    inside = (box[0] - cut[0], box[1] - cut[1], min(box[2], image.width) - cut[0], min(box[3], image.height) - cut[1])
    resized = image.crop(cut).resize(kept_size, resample, inside)
    return resized.crop((crop[0] - kept[0], crop[1] - kept[1], crop[2] - kept[0], crop[3] - kept[1]))


def _start(length: int, wanted: int) -> int:
    """Return the start of a center crop, negative if it must pad; rounded as in torchvision."""
    return round((length - wanted) / 2) if wanted <= length else -((wanted - length) // 2)


def _masked(
    display: Callable[[object], NDArray[np.uint8]], mask: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "h w"]:
    """Pass the mask through `display` in white on black, and threshold the result."""
    drawn = np.where(mask, 255, 0).astype(np.uint8)
    return display(np.repeat(drawn[:, :, None], 3, axis=2))[:, :, 0] > 128


def _normalization(transform: object) -> tuple[Tensor, Tensor] | None:
    parts = [transform, *getattr(transform, "transforms", ())]
    for part in reversed(parts):
        mean, std = getattr(part, "mean", None), getattr(part, "std", None)
        if mean is not None and std is not None:
            return _column(mean), _column(std)
    return None


def _column(numbers: object) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float32).view(-1, 1, 1)


@contextmanager
def _failing_on(image: Image.Image) -> Iterator[None]:
    """Turn any exception of the block into an InputError about this picture."""
    try:
        yield
    except CamlensError:
        raise
    except Exception as error:  # user code may raise anything
        raise InputError(
            f"the preprocessing failed on an image of {image.width} x {image.height}: {type(error).__name__}: {error}",
            code="preprocess.failed",
            size=image.size,
        ) from error


def _check_proportions(image: Image.Image) -> None:
    """Raise InputError if resizing the shorter side would need too much memory."""
    if max(image.size) > MOST_ELONGATED * min(image.size):
        raise InputError(
            f"a picture of {image.width:,} x {image.height:,} pixels is too elongated for this model's preprocessing:"
            f" at most, the longer side may be {MOST_ELONGATED} times the shorter one. Crop the picture",
            code="preprocess.too-elongated",
            size=image.size,
            allowed=MOST_ELONGATED,
        )


def _transformed(transform: Callable[[Image.Image], object], image: Image.Image) -> Tensor:
    """Apply a custom transform; raise InputError if it fails or does not return a floating tensor (C, H, W)."""
    with _failing_on(image):
        _check_proportions(image)
        prepared = transform(image)
    if not isinstance(prepared, Tensor) or prepared.ndim != 3 or not prepared.is_floating_point():
        raise InputError(
            f"the preprocessing must return a floating tensor (C, H, W), not {_described(prepared)}: end it with"
            " torchvision's ToTensor(), or with torch.from_numpy(array).permute(2, 0, 1).float() / 255",
            code="preprocess.not-a-tensor",
            returned=type(prepared).__name__,
            shape=tuple(getattr(prepared, "shape", ())),
        )
    return prepared


def _undone(transform: Callable[[Image.Image], Tensor], image: Image.Image) -> NDArray[np.uint8]:
    """Convert the tensor of a transform back to a picture."""
    values = _transformed(transform, image).detach().float()
    normalization = _normalization(transform)
    if normalization is not None:
        mean, std = normalization
        values = values * std + mean
    elif values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / (values.max() - values.min()).clamp_min(torch.finfo().tiny)
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return pixels.expand(-1, -1, 3).contiguous().numpy()
