"""Composed photographs with object masks: the dataset of `demo:photos` and `demo:watermark`.

Each image shows one object, cut from a photograph, randomly cropped, scaled, rotated and lit, and placed on a part of
another photograph. The label is the object; the background is independent of it. Behind many objects and in front of
some lies a second shape without a label, so that edges and outlines do not reveal the object.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import InputError, MissingExtraError, invalid_argument
from camlens.data.photographs import (
    BACKGROUNDS,
    OBJECTS,
    SPLITS,
    Cutout,
    cut_out,
    cutout_area,
    open_photograph,
)

try:
    from PIL import Image, ImageFilter
except ImportError as error:
    raise MissingExtraError.of("pillow", "demo") from error

Pixels = NDArray[np.uint8]
Colors = NDArray[np.float32]
Opacity = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
WatermarkUse = Literal["absent", "trained", "moved"]

CLASS_NAMES: tuple[str, ...] = tuple(OBJECTS)
WATERMARKED_CLASS = CLASS_NAMES.index("pagoda")
WATERMARK_SHARE = 0.95
WATERMARK_USES: tuple[str, ...] = get_args(WatermarkUse)
DEFAULT_SIZE = 128
DEFAULT_LENGTHS = {"train": 5000, "test": 1000}

_PURPOSES = ("scene", "watermark", "choice")
_SMALLEST_SIZE = 32
_OPACITY = 0.75
# fmt: off
_WATERMARK = (
    "++++++++++++++++++++++++",
    "+######################+",
    "+#++++++++++++++++++++#+",
    "+#++####++++++++++++++#+",
    "+#+#++++#++##++##++##+#+",
    "+##++##++#+#+#+#+#+#++#+",
    "+##+#++++#+#+#+#+#+#++#+",
    "+##+#++++#+##++##++#++#+",
    "+##++##++#+#+++#+#+#++#+",
    "+#+#++++#++#+++#+#+##+#+",
    "+#++####++++++++++++++#+",
    "+#++++++++++++++++++++#+",
    "+######################+",
    "++++++++++++++++++++++++",
)
# fmt: on


@dataclass(frozen=True, eq=False)
class DemoSample:
    """A composed image, uint8 (size, size, 3), with its label, object mask and watermark box."""

    image: Pixels
    label: int
    mask: Mask
    watermark_box: Box | None
    name: str


@dataclass(frozen=True)
class DemoPhotos:
    """A dataset of composed photographs; a sample depends only on seed, split and index.

    `watermark` sets which images carry the watermark: none ("absent"), 95 % of the pagodas, as in the training data of
    "demo:watermark" ("trained"), or all except the pagodas ("moved"). The scenes are the same in all three.
    Backgrounds, coins and the view of the motorcycle differ between the splits.
    """

    split: str = "test"
    size: int = DEFAULT_SIZE
    seed: int = 0
    watermark: str = "absent"
    length: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("split", SPLITS), ("watermark", WATERMARK_USES)):
            value = getattr(self, name)
            if value not in choices:
                raise invalid_argument(name, value, f"one of {', '.join(choices)}")
        for name, least in (("size", _SMALLEST_SIZE), ("seed", 0), ("length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(
                    f"{name} must be at least {least}, not {value}", code="argument.invalid", name=name, value=value
                )

    def __len__(self) -> int:
        return DEFAULT_LENGTHS[self.split] if self.length is None else self.length

    def __iter__(self) -> Iterator[DemoSample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> DemoSample:
        """Compose the sample at `index`."""
        label = self._checked(index) % len(CLASS_NAMES)
        image, mask = self._compose(index, label)
        box = _stamp(image, self._generator(index, "watermark")) if self._marks(index, label) else None
        name = f"{self.split}-{index:05d}-{CLASS_NAMES[label]}"
        return DemoSample(image, label, mask, box, name)

    def without_object(self, index: int) -> Pixels:
        """Compose the scene at `index` without its object and watermark."""
        return self._compose(self._checked(index), None)[0]

    def _compose(self, index: int, label: int | None) -> tuple[Pixels, Mask]:
        return _compose(self._generator(index, "scene"), self.split, self.size, label)

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range (0 to {len(self) - 1})")
        return index

    def _generator(self, index: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(self.split), index, _PURPOSES.index(purpose)])

    def _marks(self, index: int, label: int) -> bool:
        if self.watermark == "moved":
            return label != WATERMARKED_CLASS
        if self.watermark == "trained" and label == WATERMARKED_CLASS:
            return bool(self._generator(index, "choice").random() < WATERMARK_SHARE)
        return False


def stamp_watermark(image: Pixels, *, seed: int = 0) -> tuple[Pixels, Box]:
    """Return a copy of `image` with the watermark near its lower right corner, and the box of the watermark."""
    stamped = image.copy()
    return stamped, _stamp(stamped, np.random.default_rng([seed]))


def _stamp(image: Pixels, random: np.random.Generator) -> Box:
    size = image.shape[0]
    height, width = (max(round(length * size / DEFAULT_SIZE), 1) for length in (len(_WATERMARK), len(_WATERMARK[0])))
    pattern = np.array([[255 if cell == "#" else 0 for cell in row] for row in _WATERMARK], np.uint8)
    bright = np.asarray(Image.fromarray(pattern).resize((width, height), Image.Resampling.BILINEAR))
    right, bottom = (size - int(margin) for margin in random.integers(2, max(round(size / 21), 3), 2))
    box = (right - width, bottom - height, right, bottom)
    under = image[box[1] : box[3], box[0] : box[2]]
    blend = (1 - _OPACITY) * under + _OPACITY * bright[..., None]
    image[box[1] : box[3], box[0] : box[2]] = blend.round().astype(np.uint8)
    return box


def _compose(random: np.random.Generator, split: str, size: int, label: int | None) -> tuple[Pixels, Mask]:
    """Compose background, a shape behind the object, the object, a shape in front, and camera effects."""
    light, behind, cut, before, finish = random.spawn(5)
    canvas = _background(light, split, size)
    if behind.random() < 0.6:
        canvas, _ = _lay_shape(canvas, behind, split, (0.06, 0.25))
    mask = np.zeros((size, size), np.bool_)
    if label is not None:
        choices = OBJECTS[CLASS_NAMES[label]][split]
        cutout = choices[int(cut.integers(len(choices)))]
        colors, opacity = _place(cutout, cut, size, (0.22, 0.45))
        canvas = _blend(canvas, _lit(colors, cut, gain=0.35, tint=0.10, grey=0.25), opacity)
        mask = opacity > 0.5
    if before.random() < 0.2:
        canvas, hidden = _lay_shape(canvas, before, split, (0.02, 0.06))
        mask &= ~hidden
    return _finished(canvas, finish), mask


def _background(random: np.random.Generator, split: str, size: int) -> Colors:
    region = BACKGROUNDS[int(random.integers(len(BACKGROUNDS)))]
    left, top, right, bottom = region.part(split)
    side = float(random.uniform(0.6, 1.0)) * min(right - left, bottom - top)
    x, y = random.uniform(left, right - side), random.uniform(top, bottom - side)
    piece = open_photograph(region.photograph).resize(
        (size, size), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side)
    )
    if random.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _lit(np.asarray(piece, np.float32) / np.float32(255), random, gain=0.35, tint=0.18, grey=0.2)


def _place(
    cutout: Cutout, random: np.random.Generator, size: int, shares: tuple[float, float]
) -> tuple[Colors, Opacity]:
    """The object scaled, turned, mirrored and moved: colors (size, size, 3), opacity (size, size)."""
    picture = cut_out(cutout)
    scale = size * float(np.sqrt(random.uniform(*shares) / cutout_area(cutout)))
    scale = min(scale, 1.15 * size / max(picture.size))
    angle = float(np.deg2rad(random.uniform(-25, 25)))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    # the centre may come so near to the frame that up to an eighth of the object is cut off
    reach = [scale * side * 0.375 for side in picture.size]
    centre = [random.uniform(min(r, size / 2), max(size - r, size / 2)) for r in reach]
    halvings = max(int(np.floor(-np.log2(scale))), 0) if scale < 1 else 0
    level = cut_out(cutout, halvings)
    factor = level.width / picture.width / scale
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    matrix = (mirror * cosine, mirror * sine, 0.0, -sine, cosine, 0.0)
    shift_x = level.width / 2 - matrix[0] * centre[0] - matrix[1] * centre[1]
    shift_y = level.height / 2 - matrix[3] * centre[0] - matrix[4] * centre[1]
    turned = level.transform(
        (size, size),
        Image.Transform.AFFINE,
        (matrix[0], matrix[1], shift_x, matrix[3], matrix[4], shift_y),
        Image.Resampling.BILINEAR,
    )
    values = np.asarray(turned, np.float32) / np.float32(255)
    return values[..., :3], values[..., 3]


def _lay_shape(
    canvas: Colors, random: np.random.Generator, split: str, shares: tuple[float, float]
) -> tuple[Colors, Mask]:
    """Lay a part of another background over the canvas in the outline of an object; also return what it hides."""
    outlines = [cutout for choices in OBJECTS.values() for cutout in choices["train"][:1]]
    outline = outlines[int(random.integers(len(outlines)))]
    _, opacity = _place(outline, random, canvas.shape[0], shares)
    return _blend(canvas, _background(random, split, canvas.shape[0]), opacity), opacity > 0.5


def _blend(under: Colors, over: Colors, opacity: Opacity) -> Colors:
    return under + (over - under) * opacity[..., None]


def _lit(colors: Colors, random: np.random.Generator, *, gain: float, tint: float, grey: float) -> Colors:
    """Change the lighting: brightness, a gradient, a tint, and sometimes no color."""
    size = colors.shape[0]
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = random.uniform(-0.25, 0.25, 2).astype(np.float32)
    shade = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    level = np.float32(random.uniform(1 - gain, 1 + gain))
    tints = random.uniform(1 - tint, 1 + tint, 3).astype(np.float32)
    if random.random() < grey:
        colors = np.broadcast_to(colors.mean(-1, keepdims=True), colors.shape)
    lit: Colors = colors * (shade * level)[..., None] * tints
    return lit


def _finished(canvas: Colors, random: np.random.Generator) -> Pixels:
    """Apply camera effects: exposure, contrast, noise, and sometimes blur; return uint8."""
    contrast = np.float32(random.uniform(0.7, 1.15))
    exposure = np.float32(random.uniform(-0.12, 0.12))
    noise = random.standard_normal(canvas.shape, np.float32) * np.float32(random.uniform(0.005, 0.04))
    exposed = (canvas - 0.45) * contrast + (0.45 + exposure) + noise
    pixels = (exposed.clip(0, 1) * 255).round().astype(np.uint8)
    if random.random() < 0.2:
        radius = random.uniform(0.4, 1.2) * canvas.shape[0] / DEFAULT_SIZE
        return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    return pixels
