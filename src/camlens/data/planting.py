"""Plant artefacts in images: marks at a place, and changes of the whole image.

An auditor that looks for shortcuts is tested by planting some. Everything is seeded: an image depends on the artefact
and on the seed of the image only.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlens.core.arguments import closest
from camlens.core.errors import InputError, MissingExtraError, invalid_argument
from camlens.data.decode import Pixels
from camlens.data.samples import Box

try:
    from PIL import Image, ImageFilter
except ImportError as error:
    raise MissingExtraError.of("pillow", "vision") from error

_POSITIONS = {
    "upper-left": (0.0, 0.0),
    "upper": (0.5, 0.0),
    "upper-right": (1.0, 0.0),
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "right": (1.0, 0.5),
    "lower-left": (0.0, 1.0),
    "lower": (0.5, 1.0),
    "lower-right": (1.0, 1.0),
}
PLACES = (*_POSITIONS, "wandering")
CORNERS = ("upper-left", "upper-right", "lower-left", "lower-right")
LOCAL_SIZES = MappingProxyType({"patch": 0.15, "glyph": 0.2, "stamp": 0.2, "line": 0.06, "frame": 0.05})
"""The kinds that lie at a place, with their default sizes."""

_COLORS = np.array(
    [[255, 255, 255], [235, 64, 52], [52, 199, 89], [10, 132, 255], [255, 204, 0], [191, 90, 242], [90, 200, 250]],
    float,
)
_GRID = 7


@dataclass(frozen=True)
class Artefact:
    """An artefact that can be planted in any image.

    Local kinds lie at a place: "patch" (a filled square), "glyph" (a symmetric sign), "stamp" (a framed label, twice as
    wide as high), "line" (across the whole image, vertical at "left" and "right") and "frame" (around the image).
    Global kinds change the whole image: "brightness", "tint", "contrast", "blur", "noise", "jpeg" and "aspect"
    (squeezed between two black bars).

    Attributes:
        kind: one of `KINDS`.
        place: one of `PLACES`; "wandering" draws a new place for each image. For local kinds only; a frame has none.
        size: height of the mark, or thickness of a line or frame, as a share of the shorter side of the image. For
            local kinds only; default: `LOCAL_SIZES`.
        strength: above 0 and at most 1. Opacity of a mark; for global kinds 1 is an obvious change.
        look: seed of the color and the sign, which are the same in all images.
    """

    kind: str = "patch"
    place: str | None = None
    size: float | None = None
    strength: float = 1.0
    look: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise _unknown("kind", self.kind, KINDS)
        if not self.is_local or self.kind == "frame":
            if self.place is not None:
                raise invalid_argument("place", self.place, f"left out: {self.kind} has no place")
        elif self.place not in (None, *PLACES):
            raise _unknown("place", self.place, PLACES)
        if not self.is_local and self.size is not None:
            raise invalid_argument("size", self.size, f"left out: {self.kind} changes the whole image")
        if self.size is not None and not 0 < self.size <= 0.5:
            raise invalid_argument("size", self.size, "above 0 and at most 0.5")
        if not 0 < self.strength <= 1:
            raise invalid_argument("strength", self.strength, "above 0 and at most 1")
        if self.look < 0:
            raise invalid_argument("look", self.look, "at least 0")

    @property
    def is_local(self) -> bool:
        """Whether the artefact is a mark at a place, not a change of the whole image."""
        return self.kind in LOCAL_SIZES


def plant(image: Pixels, artefact: Artefact, *, seed: int = 0) -> tuple[Pixels, Box | None]:
    """Return a copy of `image` (H, W, 3) uint8 with the artefact, and the box (left, top, right, bottom) of a mark.

    `seed` draws what differs between images: the place of a wandering mark and the noise. The box is in pixels, right
    and bottom exclusive; it is None for global kinds.

    Raises InputError if the image is not uint8 (H, W, 3).
    """
    _check_image(image)
    draws, look = np.random.default_rng([seed, 1]), np.random.default_rng([artefact.look, 2])
    if not artefact.is_local:
        return _GLOBAL[artefact.kind](image, artefact.strength, draws, look), None
    color, shape = _COLORS[look.integers(len(_COLORS))], image.shape[:2]
    height = max(round((artefact.size or LOCAL_SIZES[artefact.kind]) * min(shape)), 1)
    if artefact.kind == "frame":
        return _blended(image, (0, 0, shape[1], shape[0]), _ring(shape, height), color, artefact.strength)
    if artefact.kind == "line":
        vertical = artefact.place in ("left", "right")
        ink = np.ones((shape[0], height) if vertical else (height, shape[1]))
    elif artefact.kind == "patch":
        ink = np.ones((height, height))
    else:
        ink = _sign(look, height) if artefact.kind == "glyph" else _label(look, height)
    box = _placed(ink.shape, shape, artefact.place or "lower-right", draws)
    return _blended(image, box, ink[: box[3] - box[1], : box[2] - box[0]], color, artefact.strength)


def plant_decoy(image: Pixels, shade: int, *, seed: int = 0) -> tuple[Pixels, Box]:
    """Return a copy of `image` with a gray square in a random corner, a seventh of the side, and the box of the square.

    In Decoy-MNIST (Ross, Hughes and Doshi-Velez, 2017) the shade, 0 to 255, tells the class in the training images.
    """
    _check_image(image)
    draws = np.random.default_rng([seed, 1])
    side = max(round(min(image.shape[:2]) / 7), 1)
    box = _placed((side, side), image.shape[:2], CORNERS[int(draws.integers(4))], draws)
    return _blended(image, box, np.ones((side, side)), np.full(3, float(shade)), 1.0)


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"image must be uint8 (H, W, 3), not {image.dtype} {image.shape}",
            code="argument.invalid",
            name="image",
            value=f"{image.dtype} {image.shape}",
        )


def _unknown(name: str, value: object, choices: tuple[str, ...]) -> InputError:
    suggestion = closest(str(value), choices)
    hint = f", did you mean {suggestion}?" if suggestion else ""
    return InputError(
        f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}",
        code="argument.invalid",
        name=name,
        value=value,
        suggestion=suggestion,
    )


def _placed(mark: tuple[int, ...], image: tuple[int, ...], place: str, draws: np.random.Generator) -> Box:
    """Return the box of a mark (height, width) at a place of the image (height, width); marks are cut to the image."""
    height, width = (min(extent) for extent in zip(mark, image, strict=True))
    x, y = draws.random(2) if place == "wandering" else _POSITIONS[place]
    left, top = round(x * (image[1] - width)), round(y * (image[0] - height))
    return left, top, left + width, top + height


def _blended(
    image: Pixels, box: Box, ink: NDArray[np.float64], color: NDArray[np.float64], strength: float
) -> tuple[Pixels, Box]:
    """Blend the color into the box of a copy: `ink` (height, width) in [0, 1], times the strength, is the opacity."""
    blended = image.copy()
    left, top, right, bottom = box
    under = image[top:bottom, left:right].astype(float)
    opacity = strength * ink[..., None]
    blended[top:bottom, left:right] = (under + (color - under) * opacity).round().astype(np.uint8)
    return blended, box


def _ring(shape: tuple[int, ...], thickness: int) -> NDArray[np.float64]:
    ring = np.ones(shape)
    ring[thickness:-thickness, thickness:-thickness] = 0
    return ring


def _sign(look: np.random.Generator, height: int) -> NDArray[np.float64]:
    """Return the ink (height, height) of a random sign, symmetric about its vertical axis."""
    half = look.random((_GRID, _GRID // 2 + 1)) < 0.6
    return _scaled(np.hstack([half, half[:, -2::-1]]), height, height)


def _label(look: np.random.Generator, height: int) -> NDArray[np.float64]:
    """Return the ink (height, 2 * height) of a frame around random letters."""
    cells = np.pad(look.random((_GRID, 2 * _GRID)) < 0.5, 1)
    cells = np.pad(cells, 1, constant_values=True)
    return _scaled(cells, height, 2 * height)


def _scaled(cells: NDArray[np.bool_], height: int, width: int) -> NDArray[np.float64]:
    picture = Image.fromarray(cells.astype(np.uint8) * 255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX), float) / 255


def _pixels(values: NDArray[np.floating[Any]]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


def _brightness(image: Pixels, strength: float, _draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    return _pixels(image + 100.0 * strength)


def _tint(image: Pixels, strength: float, _draws: np.random.Generator, look: np.random.Generator) -> Pixels:
    """Multiply one channel by up to 1.5 and another by up to 0.5."""
    gains = np.ones(3)
    up, down = look.permutation(3)[:2]
    gains[up], gains[down] = 1 + strength / 2, 1 - strength / 2
    return _pixels(image * gains)


def _contrast(image: Pixels, strength: float, _draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    mean = image.mean()
    return _pixels(mean + (image - mean) * (1 - 0.8 * strength))


def _blur(image: Pixels, strength: float, _draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    radius = 0.05 * strength * min(image.shape[:2])
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _noise(image: Pixels, strength: float, draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    return _pixels(image + draws.normal(0, 50 * strength, image.shape))


def _jpeg(image: Pixels, strength: float, _draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    """Compress and decode the image with a quality from 90 down to 5."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(90 - 85 * strength))
    with Image.open(file) as decoded:
        return np.array(decoded.convert("RGB"))


def _aspect(image: Pixels, strength: float, _draws: np.random.Generator, _look: np.random.Generator) -> Pixels:
    """Squeeze the image to as little as half its height, between black bars."""
    height, width = image.shape[:2]
    bar = round(height * strength / 4)
    squeezed = np.asarray(Image.fromarray(image).resize((width, max(height - 2 * bar, 1)), Image.Resampling.BILINEAR))
    return np.pad(squeezed, ((bar, height - bar - len(squeezed)), (0, 0), (0, 0)))


_GLOBAL: dict[str, Callable[[Pixels, float, np.random.Generator, np.random.Generator], Pixels]] = {
    "brightness": _brightness,
    "tint": _tint,
    "contrast": _contrast,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "aspect": _aspect,
}
KINDS = (*LOCAL_SIZES, *_GLOBAL)
