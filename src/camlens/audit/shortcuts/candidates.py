"""Candidates for shortcuts: how to remove each from the images of its class, and how to add it to other images.

Every change has a control that is as large but does not touch the candidate, and its effect is the difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from camlens.audit.findings.shortcuts import Kind, Region
from camlens.audit.shortcuts.images import Pixels

SMALLEST_EFFECT = 0.05
"""The effect up to which the model counts as not using a property."""
OBJECT_EFFECT = 0.3
"""The largest share of images that a part of an object, pasted into them, usually turns into its class."""

WANDERING_EFFECT, ALIKE_EFFECT = 0.1, 0.5
"""The same share for a patch that recurs: if it is more alike than the patches of other classes, and if it is not."""

_LAYER = 5

Rows = Int[np.ndarray, " _"]
Masks = Bool[Tensor, "_ _ _"]


@runtime_checkable
class Candidate(Protocol):
    """A property of the images of a class that may be a shortcut.

    Attributes:
        index: the class.
        kind, name: what it is.
        rows: the rows that have it.
        region: where it is; None if it has no fixed place.
        sameness: how alike it is in its images; None if it was not measured.
        margin: the effect up to which it may be a part of the object.
        drop_counts: whether removing it would not lower the accuracy anyway, as covering a part of the object does.
        priority: how conspicuous it is, from 0 to 1; if there are too many candidates, the least are not tested.
    """

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> Kind: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def rows(self) -> Rows: ...  # noqa: D102
    @property
    def region(self) -> Region | None: ...  # noqa: D102
    @property
    def sameness(self) -> float | None: ...  # noqa: D102
    @property
    def margin(self) -> float: ...  # noqa: D102
    @property
    def priority(self) -> float: ...  # noqa: D102
    @property
    def drop_counts(self) -> bool: ...  # noqa: D102

    def removed(self, images: Pixels, random: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Return images of the class without the property, and the controls."""
        ...

    def added(self, images: Pixels, donors: Pixels, controls: Pixels) -> tuple[Pixels, Pixels]:
        """Return images of other classes with the property of `donors`, and with that of `controls` instead."""
        ...

    def regions(self, images: Pixels) -> list[Region | None]:
        """Return where each image has the property."""
        ...


@dataclass(frozen=True, eq=False)
class LocalCandidate:
    """Something in a part of the image. `find` returns where each image has it, as masks of one size."""

    index: int
    name: str
    rows: Rows
    region: Region | None
    sameness: float
    margin: float
    priority: float
    find: Callable[[Pixels], Masks]
    kind: Kind = "local"

    @property
    def drop_counts(self) -> bool:
        """Whether it is too much alike in all images to be a part of the object."""
        return self.margin <= SMALLEST_EFFECT

    def removed(self, images: Pixels, random: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Fill the part from its surroundings; the control fills an equal part elsewhere."""
        masks = self.find(images)
        return filled(images, masks), filled(images, elsewhere(masks, random))

    def added(self, images: Pixels, donors: Pixels, controls: Pixels) -> tuple[Pixels, Pixels]:
        """Paste the part from the donors; the control pastes the same part of the image from a third class."""
        masks = self.find(donors)[:, None]
        return torch.where(masks, donors, images), torch.where(masks, controls, images)

    def regions(self, images: Pixels) -> list[Region | None]:
        """Return the bounding box of the part in each image."""
        return [bounding_box(mask.numpy()) for mask in self.find(images)]


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> Region:
    """Return left, top, right and bottom of a mask, in [0, 1]."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return (
        float(columns.min() / width),
        float(rows.min() / height),
        float((columns.max() + 1) / width),
        float((rows.max() + 1) / height),
    )


def filled(images: Pixels, masks: Masks) -> Pixels:
    """Fill masked pixels from the pixels around them, layer by layer, each with the mean of its known neighbors."""
    known = (~masks)[:, None].float()
    result = images * known
    while not (known > 0).all():
        weights = avg_pool2d(known, _LAYER, 1, _LAYER // 2)
        if not (weights > 0).any():
            break  # nothing is known: the masks cover whole images
        means = avg_pool2d(result * known, _LAYER, 1, _LAYER // 2) / weights.clamp_min(1e-6)
        new = (known == 0) & (weights > 0)
        result, known = torch.where(new, means, result), torch.where(new, 1.0, known)
    return result


def elsewhere(masks: Masks, random: np.random.Generator) -> Masks:
    """Return masks of the same size at other places: mirrored or shifted, with the least overlap."""
    height, width = masks.shape[1:]
    moved = [masks.flip(2), masks.flip(1), masks.flip((1, 2))]
    moved += [masks.roll((height // 2, 0), (1, 2)), masks.roll((0, width // 2), (1, 2))]
    moved.append(masks.roll((height // 2, width // 2), (1, 2)))
    choices = torch.stack(moved)
    overlap = (choices & masks).sum((2, 3)).float()
    overlap += torch.from_numpy(random.random(tuple(overlap.shape))).float() * 0.5  # at random among equal ones
    best = overlap.argmin(0)
    return choices[best, torch.arange(len(masks))]
