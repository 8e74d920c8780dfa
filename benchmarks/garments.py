"""Drawn garments: gray objects of ten classes on black, aligned and filling the image, as in Fashion-MNIST.

Proportions, brightness and patterns vary within a class, and some classes differ in little but sleeves or length.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

GARMENTS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_DRAWN = 112  # pixels per side, before scaling down
Point = tuple[float, float]


def garments(length: int, size: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (length, size, size, 3) and labels; an image depends on the seed and its index only."""
    labels = np.arange(length) % len(GARMENTS)
    draws = [np.random.default_rng([seed, index]) for index in range(length)]
    images = [_garment(GARMENTS[label], size, draw) for label, draw in zip(labels, draws, strict=True)]
    return np.stack(images), labels.astype(np.int64)


def _garment(name: str, size: int, draws: np.random.Generator) -> NDArray[np.uint8]:
    outline = Image.new("L", (_DRAWN, _DRAWN))
    pen = ImageDraw.Draw(outline)
    for polygon in _polygons(name, draws):
        pen.polygon([(x * _DRAWN, y * _DRAWN) for x, y in polygon], fill=255)
    outline = outline.rotate(
        draws.uniform(-12, 12), Image.Resampling.BILINEAR, translate=tuple(draws.integers(-7, 8, 2))
    )
    ink = np.asarray(outline.resize((size, size), Image.Resampling.BOX), float) / 255
    gray = ink * _cloth(size, draws) * 255 + draws.normal(0, 12, (size, size)) * (ink > 0)
    return np.repeat(gray.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _cloth(size: int, draws: np.random.Generator) -> NDArray[np.float64]:
    """Return the brightness (size, size) of cloth, some of it with stripes, checks or a lighter half."""
    x, y = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    level, depth = draws.uniform(0.35, 0.95), draws.uniform(0.1, 0.5)
    period, phase = draws.uniform(0.12, 0.4), draws.random()
    waves = [np.sin(2 * np.pi * (axis / period + phase)) > 0 for axis in (x, y)]
    pattern = (np.zeros_like(x), waves[0], waves[1], waves[0] ^ waves[1], y > draws.uniform(0.3, 0.7))
    shade = 1 + draws.uniform(-0.3, 0.3) * (x - 0.5) + draws.uniform(-0.3, 0.3) * (y - 0.5)
    return level * shade * (1 - depth * pattern[int(draws.choice(5, p=[0.4, 0.15, 0.15, 0.1, 0.2]))])


def _polygons(name: str, draws: np.random.Generator) -> list[list[Point]]:
    """Return the outline of a garment as polygons of points (x, y) in [0, 1]."""
    wide, high, flare = draws.uniform(0.1, 0.22), draws.uniform(0.03, 0.15), draws.uniform(-0.04, 0.08)
    neck = draws.uniform(0.06, 0.1)
    match name:
        case "t-shirt":
            return [_body(wide, high, 0.95, flare, neck), *_sleeves(wide, high, draws.uniform(0.3, 0.55))]
        case "shirt":
            collar = [(0.5 - neck, high - 0.02), (0.5, high + 0.1), (0.5 + neck, high - 0.02)]
            sleeve = draws.uniform(0.35, 0.95)
            return [_body(wide, high, 0.97, flare, neck / 2), collar, *_sleeves(wide, high, sleeve)]
        case "pullover":
            return [_body(wide + 0.02, high, 0.93, flare, neck), *_sleeves(wide + 0.02, high, draws.uniform(0.7, 0.95))]
        case "coat":
            left = [(0.48 - wide, high), (0.495, high), (0.495, 0.99), (0.48 - wide - 0.06 - flare, 0.99)]
            right = [(1 - x, y) for x, y in left]
            return [left, right, *_sleeves(wide + 0.02, high, draws.uniform(0.8, 0.95))]
        case "dress":
            waist, hem = draws.uniform(0.06, 0.18), draws.uniform(0.1, 0.28)
            half = [(0.5 - 0.1, high), (0.5 - waist, 0.4), (0.5 - hem, 0.98)]
            return [half + [(1 - x, y) for x, y in reversed(half)]]
        case "trousers":
            leg, end = draws.uniform(0.09, 0.13), draws.uniform(0.03, 0.08)
            left = [(0.36, high), (0.5, high), (0.5, 0.3), (0.46, 0.97), (0.46 - leg, 0.97), (0.36 - end, 0.4)]
            return [left, [(1 - x, y) for x, y in left]]
        case "bag":
            top, width = draws.uniform(0.35, 0.5), draws.uniform(0.32, 0.45)
            handle = draws.uniform(0.1, 0.25)
            body = [(0.5 - width, top), (0.5 + width, top), (0.5 + width + 0.02, 0.9), (0.5 - width - 0.02, 0.9)]
            straps = [[(0.5 + side * (width - 0.1), top), (0.5, top - handle), (0.5, top - handle - 0.05),
                       (0.5 + side * (width - 0.04), top)] for side in (-1, 1)]  # fmt: skip
            return [body, *straps]
        case "sneaker":
            sole, toe = draws.uniform(0.72, 0.8), draws.uniform(0.55, 0.65)
            return [[(0.05, sole), (0.07, 0.42), (0.3, 0.4), (0.5, toe - 0.05), (0.9, toe), (0.96, sole)]]
        case "boot":
            sole, shaft = draws.uniform(0.78, 0.95), draws.uniform(0.1, 0.45)
            return [[(0.12, sole), (0.15, shaft), (0.5, shaft), (0.52, shaft + 0.1), (0.9, sole - 0.2), (0.95, sole)]]
        case _:
            sole, heel = draws.uniform(0.75, 0.85), draws.uniform(0.3, 0.5)
            strap = draws.uniform(0.35, 0.6)
            return [
                [(0.05, heel), (0.15, heel), (0.4, sole - 0.1), (0.95, sole - 0.08), (0.95, sole), (0.3, sole)],
                [(0.05, heel), (0.1, heel), (0.1, 0.95), (0.05, 0.95)],
                [(strap, sole), (strap + 0.12, heel + 0.02), (strap + 0.18, heel + 0.02), (strap + 0.12, sole)],
            ]


def _body(wide: float, top: float, bottom: float, flare: float, neck: float) -> list[Point]:
    half = [
        (0.5, top + neck),
        (0.5 - neck, top),
        (0.5 - wide, top + 0.02),
        (0.5 - wide, 0.4),
        (0.5 - wide - flare, bottom),
    ]
    return half + [(1 - x, y) for x, y in reversed(half)]


def _sleeves(wide: float, top: float, end: float) -> list[list[Point]]:
    """Return both sleeves, which end at height `end`."""
    out = 0.5 - wide - 0.12 - 0.1 * end
    left = [(0.5 - wide + 0.02, top + 0.01), (out, end - 0.08), (out + 0.1, end), (0.5 - wide + 0.02, top + 0.25)]
    return [left, [(1 - x, y) for x, y in left]]
