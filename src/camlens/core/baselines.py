"""The `baseline` of methods and metrics: the values that replace removed parts of an image."""

import math
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError, invalid_argument

Baseline = float | int | Tensor


def baseline_image(baseline: object, image: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the baseline in the shape of the image or images, from a number or a tensor in the units of the inputs.

    0 is the mean color of the training data if the preprocessing subtracts a mean, else black.
    """
    if isinstance(baseline, Tensor):
        try:
            return baseline.to(image).expand(image.shape)
        except RuntimeError:
            raise InputError(
                f"a baseline of shape {tuple(baseline.shape)} does not broadcast to an image {tuple(image.shape)}",
                code="baseline.shape",
                shape=tuple(baseline.shape),
                image=tuple(image.shape),
            ) from None
    if isinstance(baseline, bool) or not isinstance(baseline, Real) or not math.isfinite(baseline):
        raise invalid_argument("baseline", baseline, "a finite number or a tensor (c, *spatial)")
    return torch.full_like(image, float(baseline))


def segment_means(image: Float[Tensor, "c *spatial"], labels: Tensor, count: int) -> Float[Tensor, "c *spatial"]:
    """Fill every segment of the image with its mean color."""
    flat, places = image.flatten(1).double(), labels.flatten().long().to(image.device)
    totals = flat.new_zeros(len(image), count).index_add(1, places, flat)
    sizes = torch.bincount(places, minlength=count)
    return (totals / sizes)[:, places].to(image.dtype).view_as(image)
