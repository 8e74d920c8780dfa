"""Places where the images of a class are alike pixel by pixel, as they are under a stamp, a line or a frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from camlens.audit.shortcuts.images import Pixels, reduced

LARGEST_PATCH = 0.15
"""The largest share of the image that a patch covers."""
_LONGEST_SIDE = 72
_FLOOR = 4 / 255
_DIFFERS = 0.6
_NEARLY_SAME, _ALIKE, _PEAK, _CARRIES = 0.6, 0.3, 0.35, 0.5
_FEWEST_PIXELS, _STRONGEST = 3, 6
_FEWEST_CARRIERS = 6
_GAP = 2
_WHOLE = 0.3


@dataclass(frozen=True, eq=False)
class Place:
    """A place in the images of a class that looks the same in most of them, and different in other classes.

    Attributes:
        mask: the part of the place with fine structure, at the size of the model's input.
        whole: the place with its interior, which has no fine structure. Where objects are aligned, it may contain parts
            of them.
        carries: which of the class's images have it.
        sameness: share of the fine structure of these images that is common to all of them, from 0 to 1. It is close
            to 1 for something that was added to the images, and lower for parts of objects, whose edges vary.
        shape: "patch", "line" or "frame".
    """

    mask: Bool[np.ndarray, "h w"]
    whole: Bool[np.ndarray, "h w"]
    carries: Bool[np.ndarray, " n"]
    sameness: float
    shape: str

    def masks(self, images: Pixels) -> Bool[Tensor, "n h w"]:
        """Return the place in each image, which is the same in all of them."""
        return torch.from_numpy(self.mask).expand(len(images), -1, -1)


def common_places(images: Pixels, others: Pixels) -> list[Place]:
    """Return the places that most `images` of a class share and that `others` lack, the largest sameness first.

    Images are compared after a high-pass filter, because smooth content is alike in any two images.
    """
    size = images.shape[2:]
    small, small_others = reduced(images, _LONGEST_SIDE), reduced(others, _LONGEST_SIDE)
    fine, fine_others = _high_pass(small), _high_pass(small_others)
    alike = _sameness(fine, fine_others)
    flat = _differing(small, small_others) > _DIFFERS
    places = []
    for core in _cores(alike):
        if core.sum() < _FEWEST_PIXELS or _peak(alike, core) < _PEAK:
            continue
        carries = _correlations(fine, core) > _CARRIES
        if carries.sum() < _FEWEST_CARRIERS:
            continue
        sameness = _peak(_sameness(fine[torch.from_numpy(carries)], fine_others), core)
        whole = ndimage.binary_propagation(core, mask=core | flat)
        mask, filled = (_at_size(_boxed(part), size) for part in (core, whole))
        places.append(Place(mask, filled, carries, sameness, _shape(core)))
    return sorted(places, key=lambda place: -place.sameness)


def _cores(alike: Float[np.ndarray, "h w"]) -> Iterator[Bool[np.ndarray, "h w"]]:
    """Yield the connected parts that are alike; if one is too large for a patch, its parts that are nearly the same.

    A patch that touches an aligned object is thus separated from it.
    """
    for part in _connected(alike > _ALIKE):
        if _shape(part) != "patch" or _boxed(part).mean() <= LARGEST_PATCH:
            yield part
        else:
            for same in _connected(part & (alike > _NEARLY_SAME)):
                yield ndimage.binary_dilation(same, iterations=_GAP) & (alike > _ALIKE)


def _connected(mask: Bool[np.ndarray, "h w"]) -> Iterator[Bool[np.ndarray, "h w"]]:
    """Yield the connected parts of a mask, across small gaps."""
    labels, count = ndimage.label(ndimage.binary_dilation(mask, iterations=_GAP), np.ones((3, 3)))
    for label in range(1, count + 1):
        yield (labels == label) & mask


def _high_pass(pixels: Pixels) -> Pixels:
    return pixels - avg_pool2d(pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _sameness(fine: Pixels, others: Pixels) -> Float[np.ndarray, "h w"]:
    """Return the share of each pixel's energy that is common to all images, and absent from the mean of the others."""
    mean, variance = fine.mean(0), fine.var(0)
    common = torch.minimum(mean**2, (mean - others.mean(0)) ** 2) - variance / len(fine)
    common, spread = common.clamp_min(0).sum(0), variance.sum(0)
    share: Float[np.ndarray, "h w"] = (common / (common + spread + _FLOOR**2)).numpy()
    return share


def _differing(images: Pixels, others: Pixels) -> Float[np.ndarray, "h w"]:
    """Return the share of each pixel's deviation from the mean of the others that is common to all images.

    It is high inside a patch or a line, which has no fine structure.
    """
    shift = (images.mean(0) - others.mean(0)).square().sum(0)
    share: Float[np.ndarray, "h w"] = (shift / (shift + images.var(0).sum(0) + _FLOOR**2)).numpy()
    return share


def _peak(alike: Float[np.ndarray, "h w"], core: Bool[np.ndarray, "h w"]) -> float:
    """Return a high value of a place that does not depend on one pixel."""
    values = np.sort(alike[core])
    return float(values[-min(_STRONGEST, len(values))])


def _correlations(fine: Pixels, core: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
    """Return the correlation of each image with the mean of all images, within a place."""
    inside = fine[:, :, torch.from_numpy(core)].flatten(1)
    mean = inside.mean(0)
    correlations: Tensor = (inside @ mean) / (inside.norm(dim=1) * mean.norm() + 1e-6)
    return np.asarray(correlations.numpy())


def _boxed(core: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the bounding box of the place, unless that is most of the image, as of a frame."""
    rows, columns = np.nonzero(core)
    box = np.zeros_like(core)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box if box.mean() <= _WHOLE else np.asarray(ndimage.binary_dilation(core, np.ones((3, 3))))


def _shape(core: Bool[np.ndarray, "h w"]) -> str:
    rows, columns = np.nonzero(core)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    if height >= 0.8 * core.shape[0] and width >= 0.8 * core.shape[1]:
        return "frame"
    return "line" if max(height, width) >= 4 * min(height, width) else "patch"


def _at_size(mask: Bool[np.ndarray, "h w"], size: torch.Size) -> Bool[np.ndarray, "height width"]:
    enlarged = interpolate(torch.from_numpy(mask)[None, None].float(), size=tuple(size), mode="nearest-exact")
    return np.asarray(enlarged[0, 0].numpy() > 0)
