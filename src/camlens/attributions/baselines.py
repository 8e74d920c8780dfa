"""What stands in for a part of the image that is taken away: checks of the `baseline` option."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError

Baseline = float | int | Tensor


def baseline_image(baseline: object, image: Float[Tensor, "c *spatial"]) -> Float[Tensor, "c *spatial"]:
    """An image that is all baseline: a number in the model's own units, or a tensor that fits the image.

    In a model's own units 0 is the mean colour of its training data where the preprocessing subtracts a
    mean, and black where it does not.
    """
    if isinstance(baseline, Tensor):
        try:
            return baseline.to(image).expand(image.shape)
        except RuntimeError:
            raise InputError(
                f"a baseline of shape {tuple(baseline.shape)} does not fit an image {tuple(image.shape)}",
                code="baseline.shape",
                shape=tuple(baseline.shape),
                image=tuple(image.shape),
            ) from None
    if isinstance(baseline, bool) or not isinstance(baseline, int | float) or not math.isfinite(baseline):
        raise InputError(
            f"baseline must be a finite number or a tensor (c, *spatial), not {baseline!r}",
            code="argument.invalid",
            name="baseline",
            value=baseline,
        )
    return torch.full_like(image, float(baseline))


def segment_means(image: Float[Tensor, "c *spatial"], labels: Tensor, count: int) -> Float[Tensor, "c *spatial"]:
    """The image with every segment filled with its own mean colour."""
    flat, places = image.flatten(1).double(), labels.flatten().long().to(image.device)
    totals = flat.new_zeros(len(image), count).index_add(1, places, flat)
    sizes = torch.bincount(places, minlength=count)
    return (totals / sizes)[:, places].to(image.dtype).view_as(image)
