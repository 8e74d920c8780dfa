"""Images of a run as the model sees them, and the model's answers to changed versions of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from camlens.audit.running.loading import PlannedImages
from camlens.audit.running.observing import Observer
from camlens.core.engine import Session
from camlens.core.errors import InputError
from camlens.core.probabilities import probabilities

Pixels = Float[Tensor, "_ 3 _ _"]
"""Images as the model sees them, before normalization, in [0, 1]."""

_CACHED = 256 * 2**20
_PROBED = 8
_LUMA = (0.299, 0.587, 0.114)
_TOLERANCE = 1.5 / 255


@dataclass(eq=False)
class SeenImages:
    """Reads images of a run as pixels, and passes changed pixels to the model.

    Changing pixels needs a preprocessing that, after resizing and cropping, only scales and shifts each channel. Its
    scale and shift are measured on a few images.
    """

    images: PlannedImages
    observer: Observer
    batch_size: int
    scale: Float[Tensor, "c 1 1"]
    shift: Float[Tensor, "c 1 1"]
    _kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    @classmethod
    def of(cls, images: PlannedImages, observer: Observer, batch_size: int, rows: Sequence[int]) -> "SeenImages":
        """Measure the normalization on some of the `rows`, which can be read.

        Raises InputError if the preprocessing does more than scale and shift the channels of the displayed image.
        """
        shown, inputs = [], []
        for row in rows[:_PROBED]:
            picture = images.source[images.places[row]].load()
            shown.append(_as_pixels(images.preprocess.display(picture)))
            inputs.append(images.preprocess(picture).float())
        pixels, values = torch.stack(shown), torch.stack(inputs)
        if values.shape[1] == 1:
            pixels = _gray(pixels)
        if values.shape != pixels.shape:
            raise _not_affine(f"its tensor has shape {tuple(values.shape[1:])}, its image {tuple(pixels.shape[1:])}")
        centered = pixels - pixels.mean((0, 2, 3), keepdim=True)
        variance = centered.square().sum((0, 2, 3))
        if not (variance > 0).all():
            raise _not_affine("the first images are uniform")
        scale = (centered * values).sum((0, 2, 3)) / variance
        shift = values.mean((0, 2, 3)) - scale * pixels.mean((0, 2, 3))
        scale, shift = scale[:, None, None], shift[:, None, None]
        residual = ((values - scale * pixels - shift) / scale).abs().amax()
        if not residual <= _TOLERANCE:
            raise _not_affine(f"it differs from a scaled and shifted image by {float(residual):.3f} of its range")
        return cls(images, observer, batch_size, scale, shift)

    def pixels(self, rows: Sequence[int] | Int[np.ndarray, " rows"]) -> Pixels:
        """Return the images of some rows, which must be readable."""
        return torch.stack([_as_pixels(self._read(int(row))) for row in rows])

    def answers(self, pixels: Pixels) -> Float[np.ndarray, "n classes"]:
        """Return the probability of each class for some images."""
        device = next(self.observer.model.parameters(), torch.empty(0)).device
        parts = []
        for part in pixels.split(self.batch_size):
            values = (_gray(part) if self.images.shape[0] == 1 else part) * self.scale + self.shift
            logits = Session.of(self.observer.model, values.to(device), output=self.observer.output).predict().logits()
            parts.append(probabilities(logits.float(), self.observer.activation).cpu())
        return torch.cat(parts).numpy()

    def _read(self, row: int) -> NDArray[np.uint8]:
        if row not in self._kept:
            picture = self.images.source[self.images.places[row]].load()
            shown = self.images.preprocess.display(picture)
            while self._kept and (len(self._kept) + 1) * shown.nbytes > _CACHED:
                del self._kept[next(iter(self._kept))]
            self._kept[row] = shown
        return self._kept[row]


def reduced(pixels: Pixels, longest: int) -> Pixels:
    """Return the images with sides of at most `longest` pixels, by averaging."""
    scale = longest / max(pixels.shape[2:])
    return pixels if scale >= 1 else interpolate(pixels, scale_factor=scale, mode="area")


def _as_pixels(shown: NDArray[np.uint8]) -> Float[Tensor, "3 h w"]:
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1).float() / 255


def _gray(pixels: Pixels) -> Float[Tensor, "n 1 h w"]:
    return (pixels * torch.tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def _not_affine(reason: str) -> InputError:
    return InputError(
        f"shortcut tests need a preprocessing that resizes, crops and normalizes: {reason}",
        code="shortcuts.preprocessing",
        reason=reason,
    )
