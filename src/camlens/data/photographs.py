"""Photographs of scikit-image and scikit-learn, and the objects and backgrounds cut from them.

Nothing is downloaded: the files are part of the installed packages. Objects are outlined by hand (outlines.py);
backgrounds are rectangles without any of the objects.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from camlens.core.errors import DataError, MissingExtraError
from camlens.data.outlines import (
    ASTRONAUT,
    CAMERAMAN,
    CAT,
    COFFEE,
    MOTORCYCLE,
    MOTORCYCLE_RIGHT,
    PAGODA,
    SHUTTLE,
    Outline,
    ellipse,
)

try:
    from PIL import Image, ImageDraw, ImageFilter
except ImportError as error:
    raise MissingExtraError.of("pillow", "demo") from error

SPLITS = ("train", "test")

_FOLDERS = (("scikit-image", "skimage", "data"), ("scikit-learn", "sklearn", "datasets/images"))
_LARGEST_CUTOUT = 320
_TRAIN_SHARE = 0.6


@dataclass(frozen=True)
class Cutout:
    """An object in a photograph, inside `outline` (x, y pixels)."""

    photograph: str
    outline: Outline


@dataclass(frozen=True)
class Region:
    """A rectangle (left, top, right, bottom pixels) of a photograph without any of the objects."""

    photograph: str
    box: tuple[int, int, int, int]

    def part(self, split: str) -> tuple[int, int, int, int]:
        """Return the part of the rectangle that belongs to one split; the splits share no pixel."""
        left, top, right, bottom = self.box
        if right - left >= bottom - top:
            border = left + round((right - left) * _TRAIN_SHARE)
            return (left, top, border, bottom) if split == "train" else (border, top, right, bottom)
        border = top + round((bottom - top) * _TRAIN_SHARE)
        return (left, top, right, border) if split == "train" else (left, border, right, bottom)


@cache
def open_photograph(name: str) -> Image.Image:
    """Read a photograph from the installed packages as an RGB image."""
    for distribution, package, folder in _FOLDERS:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingExtraError.of(distribution, "demo")
        path = Path(spec.origin).parent / folder / name
        if path.is_file():
            with Image.open(path) as picture:
                return picture.convert("RGB")
    raise DataError(
        f"the photograph {name!r} is missing in scikit-image and scikit-learn: install scikit-image>=0.24 and"
        " scikit-learn>=1.5",
        code="data.no-photograph",
        photograph=name,
    )


@cache
def cut_out(cutout: Cutout, halvings: int = 0) -> Image.Image:
    """Return the object in RGBA with a soft edge, at most 320 pixels long, then halved `halvings` times."""
    if halvings:
        finer = cut_out(cutout, halvings - 1)
        return finer.resize((max(finer.width // 2, 1), max(finer.height // 2, 1)), Image.Resampling.BOX)
    photograph = open_photograph(cutout.photograph)
    columns, rows = zip(*cutout.outline, strict=True)
    margin = 6
    box = (
        max(min(columns) - margin, 0),
        max(min(rows) - margin, 0),
        min(max(columns) + margin, photograph.width),
        min(max(rows) + margin, photograph.height),
    )
    picture = photograph.crop(box)
    stencil = Image.new("L", picture.size)
    ImageDraw.Draw(stencil).polygon([(x - box[0], y - box[1]) for x, y in cutout.outline], fill=255)
    picture.putalpha(stencil.filter(ImageFilter.GaussianBlur(max(picture.size) / 160)))
    shrink = min(_LARGEST_CUTOUT / max(picture.size), 1.0)
    size = (round(picture.width * shrink), round(picture.height * shrink))
    return picture.resize(size, Image.Resampling.LANCZOS)


@cache
def cutout_area(cutout: Cutout) -> float:
    """Return the number of pixels of the object in the full-size cutout."""
    return float(np.asarray(cut_out(cutout).getchannel("A"), dtype=np.float64).sum() / 255)


def _coins(*places: tuple[int, int, int, int]) -> tuple[Cutout, ...]:
    return tuple(Cutout("coins.png", ellipse(*place)) for place in places)


def _both(cutout: Cutout) -> dict[str, tuple[Cutout, ...]]:
    return {"train": (cutout,), "test": (cutout,)}


OBJECTS: dict[str, dict[str, tuple[Cutout, ...]]] = {
    "astronaut": _both(Cutout("astronaut.png", ASTRONAUT)),
    "cameraman": _both(Cutout("camera.png", CAMERAMAN)),
    "cat": _both(Cutout("chelsea.png", CAT)),
    "coffee": _both(Cutout("coffee.png", COFFEE)),
    "coin": {
        "train": _coins(
            (155, 51, 23, 22), (335, 44, 28, 27), (271, 120, 24, 23), (275, 195, 21, 20), (46, 260, 27, 27),
            (244, 263, 23, 23), (301, 264, 24, 23), (44, 54, 21, 19), (102, 196, 21, 20), (358, 268, 21, 19),
        ),
        "test": _coins((215, 51, 22, 21), (212, 193, 22, 22), (347, 187, 31, 30), (172, 262, 27, 24)),
    },
    "flower": _both(Cutout("flower.jpg", ellipse(308, 222, 136, 134))),
    "motorcycle": {
        "train": (Cutout("motorcycle_left.png", MOTORCYCLE),),
        "test": (Cutout("motorcycle_right.png", MOTORCYCLE_RIGHT),),
    },
    "pagoda": _both(Cutout("china.jpg", PAGODA)),
    "retina": _both(Cutout("retina.jpg", ellipse(704, 706, 676, 684))),
    "shuttle": _both(Cutout("astronaut.png", SHUTTLE)),
}  # fmt: skip

BACKGROUNDS: tuple[Region, ...] = (
    Region("brick.png", (0, 0, 512, 512)),
    Region("grass.png", (0, 0, 512, 512)),
    Region("gravel.png", (0, 0, 512, 512)),
    Region("moon.png", (0, 0, 512, 512)),
    Region("ihc.png", (0, 0, 512, 512)),
    Region("hubble_deep_field.jpg", (0, 0, 1000, 872)),
    Region("text.png", (0, 0, 448, 172)),
    Region("page.png", (0, 0, 384, 191)),
    Region("rocket.jpg", (0, 0, 300, 427)),
    Region("rocket.jpg", (345, 0, 640, 427)),
    Region("china.jpg", (380, 0, 640, 427)),
    Region("flower.jpg", (0, 0, 165, 427)),
    Region("flower.jpg", (455, 0, 640, 427)),
    Region("coffee.png", (485, 0, 600, 400)),
    Region("motorcycle_left.png", (0, 0, 345, 118)),
    Region("motorcycle_left.png", (590, 0, 741, 250)),
    Region("camera.png", (335, 0, 512, 512)),
)
