"""Properties of whole images: measuring them, and rendering an image with another value.

The measures ignore content as far as possible: brightness is the black and the white level of an image rather than
its mean, and blur is the sharpness of its sharpest edges. Both differ little between classes of ordinary images.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor
from torch.nn.functional import avg_pool2d

from camlens.audit.findings.shortcuts import Kind, Region
from camlens.audit.shortcuts.candidates import SMALLEST_EFFECT, Rows
from camlens.audit.shortcuts.images import Pixels

Values = Float[np.ndarray, "_ _"]

_BLACK, _WHITE = 0.02, 0.98
_BLURS = (0.4, 0.6, 0.8, 1.0, 1.4, 1.8, 2.4, 3.2)
_NOISES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15)
_QUALITIES = (60, 40, 25, 15, 10, 5)


@dataclass(frozen=True)
class Property:
    """A property of an image.

    Attributes:
        name: its name.
        measure: returns its values for n images, one or more per image.
        render: returns images with given values; those that cannot be reached are approached.
        degrades: whether rendering destroys detail, so that it lowers the accuracy of any class.
    """

    name: str
    measure: Callable[[Pixels], Values]
    render: Callable[[Pixels, Values], Pixels]
    degrades: bool = False


def _levels(pixels: Pixels) -> Values:
    """Return the black and the white level."""
    gray = pixels.mean(1).flatten(1)
    return torch.stack([gray.quantile(_BLACK, 1), gray.quantile(_WHITE, 1)], 1).numpy()


def _with_levels(pixels: Pixels, values: Values) -> Pixels:
    black, white = (torch.from_numpy(level).float() for level in _levels(pixels).T)
    new_black, new_white = (torch.from_numpy(level).float() for level in values.T)
    gain = (new_white - new_black) / (white - black).clamp_min(0.02)
    column = (slice(None), None, None, None)
    return ((pixels - black[column]) * gain[column] + new_black[column]).clamp(0, 1)


def _cast(pixels: Pixels) -> Values:
    """Return the ratios of the white levels of red and blue to that of green, in logarithms."""
    white = pixels.flatten(2).quantile(_WHITE, 2) + 0.02
    return torch.stack([(white[:, 0] / white[:, 1]).log(), (white[:, 2] / white[:, 1]).log()], 1).numpy()


def _with_cast(pixels: Pixels, values: Values) -> Pixels:
    factors = torch.from_numpy(np.exp(values - _cast(pixels))).float()
    gains = torch.stack([factors[:, 0], torch.ones(len(factors)), factors[:, 1]], 1)
    gains = gains / gains.amax(1, keepdim=True)  # so that nothing is clipped
    return (pixels * gains[:, :, None, None]).clamp(0, 1)


def _sharpness(pixels: Pixels) -> Values:
    """Return the steepest edges relative to the range of the image."""
    gray = pixels.mean(1)
    steps = torch.cat([gray.diff(dim=1).flatten(1), gray.diff(dim=2).flatten(1)], 1).abs()
    levels = torch.from_numpy(_levels(pixels))
    return (steps.quantile(0.98, 1) / (levels[:, 1] - levels[:, 0]).clamp_min(0.05))[:, None].numpy()


def _blurred(pixels: Pixels, values: Values) -> Pixels:
    return _approached(pixels, values, _sharpness, [partial(_gaussian, sigma=sigma) for sigma in _BLURS])


def _graininess(pixels: Pixels) -> Values:
    """Return the fine structure in the smoothest fifth of the image."""
    fine = (pixels - avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)).square().mean(1, keepdim=True)
    blocks = avg_pool2d(fine, 4).flatten(1)
    return blocks.quantile(0.2, 1)[:, None].sqrt().numpy()


def _noisy(pixels: Pixels, values: Values) -> Pixels:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=tuple(pixels.shape[1:]))).float()
    changes = [partial(_with_noise, noise=strength * noise) for strength in _NOISES]
    return _approached(pixels, values, _graininess, [_smoothed, *changes])


def _blockiness(pixels: Pixels) -> Values:
    """Return how much larger the steps are at the edges of blocks of eight pixels than elsewhere."""
    gray = pixels.mean(1)
    ratios = []
    for steps in (gray.diff(dim=1).abs().mean(2), gray.diff(dim=2).abs().mean(1)):
        edge = torch.arange(steps.shape[1]) % 8 == 7
        ratios.append((steps[:, edge].mean(1) + 1e-3) / (steps[:, ~edge].mean(1) + 1e-3))
    return torch.stack(ratios, 1).mean(1, keepdim=True).log().numpy()


def _compressed(pixels: Pixels, values: Values) -> Pixels:
    return _approached(pixels, values, _blockiness, [partial(_jpeg, quality=quality) for quality in _QUALITIES])


def _approached(
    pixels: Pixels, values: Values, measure: Callable[[Pixels], Values], changes: Sequence[Callable[[Tensor], Tensor]]
) -> Pixels:
    """Return each image unchanged or with the change whose measure comes nearest to its value."""
    rendered = torch.stack([pixels, *(torch.stack([change(image) for image in pixels]) for change in changes)])
    gaps = np.stack([np.abs(measure(version)[:, 0] - values[:, 0]) for version in rendered])
    return rendered[torch.from_numpy(gaps.argmin(0)), torch.arange(len(pixels))]


def _gaussian(image: Float[Tensor, "3 h w"], sigma: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma)))


def _with_noise(image: Float[Tensor, "3 h w"], noise: Float[Tensor, "3 h w"]) -> Tensor:
    return (image + noise).clamp(0, 1)


def _smoothed(image: Float[Tensor, "3 h w"]) -> Tensor:
    return torch.from_numpy(median_filter(image.numpy(), (1, 3, 3)))


def _jpeg(image: Float[Tensor, "3 h w"], quality: int) -> Tensor:
    stream = io.BytesIO()
    Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(
        stream, "JPEG", quality=quality
    )
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1).float() / 255


PROPERTIES = (
    Property("brightness and contrast", _levels, _with_levels),
    Property("tint", _cast, _with_cast),
    Property("blur", _sharpness, _blurred, degrades=True),
    Property("noise", _graininess, _noisy, degrades=True),
    Property("JPEG compression", _blockiness, _compressed, degrades=True),
)


@dataclass(frozen=True, eq=False)
class GlobalCandidate:
    """A property of whole images. `values` are those of images of the class, `others` those of other images."""

    index: int
    changed: Property
    rows: Rows
    values: Values
    others: Values
    priority: float
    margin: float = SMALLEST_EFFECT
    sameness: float | None = None
    region: Region | None = None
    kind: Kind = "global"

    @property
    def name(self) -> str:
        """The name of the property."""
        return self.changed.name

    @property
    def drop_counts(self) -> bool:
        """Whether rendering keeps the detail of the image."""
        return not self.changed.degrades

    def removed(self, images: Pixels, random: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Render the images with values of other images; the control takes values of images of the class."""
        foreign = self.others[random.integers(len(self.others), size=len(images))]
        own = self.values[random.integers(len(self.values), size=len(images))]
        return self.changed.render(images, foreign), self.changed.render(images, own)

    def added(self, images: Pixels, donors: Pixels, controls: Pixels) -> tuple[Pixels, Pixels]:
        """Render the images with the values of the donors; the control takes those of a third class."""
        return (
            self.changed.render(images, self.changed.measure(donors)),
            self.changed.render(images, self.changed.measure(controls)),
        )

    def regions(self, images: Pixels) -> list[Region | None]:
        """Return no region for each image."""
        return [None] * len(images)
