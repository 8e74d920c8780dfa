"""The words of the LIME page: how an image is cut into segments, and what each of them does to the score."""

from typing import Literal

from pydantic import Field

from camlens.models.geometry import Region
from camlens.studio.schemas import ImageId, ImageInfo, Prediction, TargetChoice, Words

Effect = Literal["supports", "opposes", "none"]


class SegmentsRequest(Words):
    """One image, cut into about `segments` parts; `samples` pictures with some parts taken away are tried."""

    image: ImageId
    method: Literal["lime", "kernelshap"] = "lime"
    target: TargetChoice = TargetChoice()
    segments: int = Field(default=50, ge=2, le=300)
    samples: int = Field(default=500, ge=2, le=5000)
    seed: int = Field(default=0, ge=0, le=2**31)


class Labels(Words):
    """The number of the segment that each pixel belongs to, row by row, as base64 of little-endian uint16."""

    shape: tuple[int, int]
    values: str


class Segment(Words):
    """One segment: its weight, what it does to the score, and the share of the picture it covers."""

    index: int
    weight: float
    effect: Effect
    share: float


class SegmentsResult(Words):
    """Segments with the strongest first, and how far the sum of their weights can be believed.

    `r_squared` is the share of the score's variation over all samples that the weights account for, 1 at best;
    `sentence` says what that means. `score` is the explained score of the whole image; `region` and `target` are as
    in an explanation.
    """

    image: ImageInfo
    size: tuple[int, int]
    region: Region | None
    method: str
    target: str
    class_index: int | None
    class_name: str | None
    score: float | None
    predictions: tuple[Prediction, ...]
    label_confidence: float | None
    labels: Labels
    segments: tuple[Segment, ...]
    r_squared: float | None
    sentence: str
    seconds: float
    cached: bool
    python: str
    shell: str
