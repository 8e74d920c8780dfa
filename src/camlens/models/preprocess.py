"""Preparing an image for a model, and showing what was left of it: one geometry for both."""

from collections.abc import Callable
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


@final
@dataclass(frozen=True)
class Preprocess:
    """Resize, crop at the centre, scale to [0, 1] and normalise, with torchvision's arithmetic.

    `resize` is the length of the shorter side, or (height, width) regardless of the shape, or None. `crop` is
    (height, width), padded with black where the image is smaller, or None. `interpolation` is a name that
    Pillow knows ("bilinear", "bicubic", ...). A `mean` of one number means a model of grey images.
    """

    resize: int | tuple[int, int] | None = 256
    crop: tuple[int, int] | None = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """The normalised float32 tensor of a PIL image or a uint8 array (H, W, 3)."""
        seen = self._arranged(as_rgb(image))
        pixels = np.array(seen.convert("L"))[:, :, None] if len(self.mean) == 1 else np.array(seen)
        values = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32) / 255
        return (values - _column(self.mean)) / _column(self.std)

    def display(self, image: object) -> NDArray[np.uint8]:
        """What the model sees, as uint8 (h, w, 3)."""
        return np.array(self._arranged(as_rgb(image)))

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """The mask as the model's view of the image has it."""
        return _masked(self.display, mask)

    def geometry(self, height: int, width: int) -> Geometry:
        """Which region of a picture of this size the input shows."""
        resized = (width, height) if self.resize is None else _resized((width, height), self.resize)
        crop = self.crop or resized[::-1]
        left, top = (_start(length, wanted) for length, wanted in zip(resized, crop[::-1], strict=True))
        across, down = width / resized[0], height / resized[1]
        region = (left * across, top * down, (left + crop[1]) * across, (top + crop[0]) * down)
        return Geometry((height, width), region, crop)

    def _arranged(self, image: Image.Image) -> Image.Image:
        if self.resize is not None:
            width, height = _resized(image.size, self.resize)
            image = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        if self.crop is not None:
            top, left = (_start(length, wanted) for length, wanted in zip(image.size[::-1], self.crop, strict=True))
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        return image


@final
@dataclass(frozen=True, eq=False)
class AdoptedPreprocess:
    """A preprocessing that is somebody else's: `transform` gives the tensor, `picture` what to show of it."""

    transform: Callable[[Image.Image], Tensor]
    picture: Callable[[Image.Image], NDArray[np.uint8]]

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """The tensor that the adopted transform makes of a PIL image or a uint8 array (H, W, 3)."""
        return _transformed(self.transform, as_rgb(image))

    def display(self, image: object) -> NDArray[np.uint8]:
        """What the model sees, as uint8 (h, w, 3)."""
        return self.picture(as_rgb(image))

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """The mask as the model's view of the image has it."""
        return _masked(self.display, mask)

    def geometry(self, height: int, width: int) -> Geometry | None:
        """Which region of a picture of this size the input shows, as measured; None if that cannot be told."""
        return measured_geometry(self.display, height, width)


def adopt(transform: Callable[[Image.Image], Tensor]) -> Preprocessing:
    """A user's transform: as it is if it is a Preprocessing, else with its normalisation undone for `display`.

    The normalisation is the last part of the transform with a `mean` and a `std` (torchvision's Normalize,
    alone or in a Compose); without one, values within [0, 1] are shown as they are, and others from minimum
    to maximum.
    """
    if isinstance(transform, Preprocessing):
        return transform
    return AdoptedPreprocess(transform, partial(_undone, transform))


def as_rgb(image: object) -> Image.Image:
    """The RGB image of a PIL image or a uint8 array (H, W, 3) or (H, W); transparency is laid onto white."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,)):
        return Image.fromarray(image).convert("RGB")
    if not isinstance(image, Image.Image) or image.mode.startswith(("I", "F")):
        raise InputError(
            "an image is a PIL image of 8 bits per channel or a uint8 array (H, W, 3), not"
            f" {_described(image)}:"
            " camlens.data.decode.decode_image makes one of any image file"
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
    """The (width, height) after resizing; the longer side is cut to a whole number, as torchvision does."""
    if not isinstance(wanted, int):
        return wanted[1], wanted[0]
    width, height = size
    if width <= height:
        return wanted, int(wanted * height / width)
    return int(wanted * width / height), wanted


def _start(length: int, wanted: int) -> int:
    """Where a centred crop begins, negative where it must pad; rounded as torchvision rounds."""
    return round((length - wanted) / 2) if wanted <= length else -((wanted - length) // 2)


def _masked(
    display: Callable[[object], NDArray[np.uint8]], mask: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "h w"]:
    """The mask's way through the geometry: drawn in white on black, and read back at half."""
    drawn = np.where(mask, 255, 0).astype(np.uint8)
    return display(np.repeat(drawn[:, :, None], 3, axis=2))[:, :, 0] > 128


def _normalisation(transform: object) -> tuple[Tensor, Tensor] | None:
    parts = [transform, *getattr(transform, "transforms", ())]
    for part in reversed(parts):
        mean, std = getattr(part, "mean", None), getattr(part, "std", None)
        if mean is not None and std is not None:
            return _column(mean), _column(std)
    return None


def _column(numbers: object) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float32).view(-1, 1, 1)


def _transformed(transform: Callable[[Image.Image], object], image: Image.Image) -> Tensor:
    """The tensor that somebody else's transform makes; its failure, or another result, is an InputError."""
    try:
        prepared = transform(image)
    except CamlensError:
        raise
    except Exception as error:  # the user's code: whatever it raises is the reason
        raise InputError(
            f"the preprocessing failed on an image of {image.width} x {image.height}: {type(error).__name__}: {error}",
            code="preprocess.failed",
            size=image.size,
        ) from error
    if not isinstance(prepared, Tensor) or prepared.ndim != 3 or not prepared.is_floating_point():
        raise InputError(
            f"the preprocessing returned {_described(prepared)}, but a floating tensor (C, H, W) is needed: end it with"
            " torchvision's ToTensor(), or with torch.from_numpy(array).permute(2, 0, 1).float() / 255",
            code="preprocess.not-a-tensor",
            returned=type(prepared).__name__,
            shape=tuple(getattr(prepared, "shape", ())),
        )
    return prepared


def _undone(transform: Callable[[Image.Image], Tensor], image: Image.Image) -> NDArray[np.uint8]:
    """The transform's tensor as a picture again."""
    values = _transformed(transform, image).detach().float()
    normalisation = _normalisation(transform)
    if normalisation is not None:
        mean, std = normalisation
        values = values * std + mean
    elif values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / (values.max() - values.min()).clamp_min(torch.finfo().tiny)
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return pixels.expand(-1, -1, 3).contiguous().numpy()
