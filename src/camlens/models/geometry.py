"""Which region of the original picture a model's input shows."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Geometry:
    """How a model's input lies on the original picture.

    Attributes:
        picture: (height, width) of the original in pixels.
        region: (left, top, right, bottom) of what the input shows, in pixels of the original. Fractions are
            exact; the region reaches beyond the picture if the preprocessing pads.
        size: (height, width) of the input.
    """

    picture: tuple[int, int]
    region: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def sees_everything(self) -> bool:
        """Whether no part of the picture was cropped away."""
        height, width = self.picture
        left, top, right, bottom = self.region
        return left <= 0 and top <= 0 and right >= width and bottom >= height
