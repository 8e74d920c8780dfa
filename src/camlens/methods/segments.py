"""Segmentation of an image into superpixels."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.errors import InputError, invalid_argument
from camlens.methods.libraries import library

SEGMENTATIONS = ("slic", "quickshift")
Labels = Int[Tensor, "*spatial"]


def segmented(
    image: Float[Tensor, "c *spatial"], segments: object, segmentation: object, row: int, seed: int
) -> Labels:
    """Return labels 0 to S - 1 of the segments of one image, with S of at least 2.

    `segments` is the wanted number of segments, or an integer tensor of labels, (*spatial) or (n, *spatial).
    """
    if isinstance(segments, Tensor):
        labels = _given(segments, image, row)
    else:
        wanted = checked_segments(segments)
        pixels = _pixels(image)
        if segmentation == "slic":
            labels = _slic(pixels, wanted)
        elif segmentation == "quickshift":
            labels = _quickshift(pixels, wanted, seed)
        else:
            raise invalid_argument("segmentation", segmentation, f"{' or '.join(map(repr, SEGMENTATIONS))}")
    values, renumbered = torch.unique(labels, return_inverse=True)
    if len(values) < 2:
        raise InputError(
            f"image {row} has a single segment, and at least two are needed: increase the number of segments, or "
            f"pass your own labels as segments=",
            code="segments.single",
            image=row,
        )
    return torch.as_tensor(renumbered).view(image.shape[1:]).to(torch.int32)


def checked_segments(segments: object) -> int:
    """Return the wanted number of segments, or raise InputError unless it is an int of at least 2."""
    if isinstance(segments, bool) or not isinstance(segments, int) or segments < 2:
        raise invalid_argument("segments", segments, "an int of 2 or more, or a tensor of labels")
    return segments


def _given(segments: Tensor, image: Tensor, row: int) -> Tensor:
    size = image.shape[1:]
    labels = segments[row] if segments.ndim == len(size) + 1 and row < len(segments) else segments
    if labels.shape != size or labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"labels of segments must be integers of shape {tuple(size)} or (n, *{tuple(size)}), "
            f"not {segments.dtype} {tuple(segments.shape)}",
            code="segments.labels",
            shape=tuple(size),
            dtype=str(segments.dtype),
        )
    return labels.cpu()


def _pixels(image: Tensor) -> NDArray[np.float64]:
    """Return the image as (*spatial, c), scaled to [0, 1] by min-max."""
    values = image.detach().double().cpu()
    low, high = torch.aminmax(values)
    return ((values - low) / (high - low).clamp_min(1e-12)).movedim(0, -1).numpy()


def _slic(pixels: NDArray[np.float64], wanted: int) -> Tensor:
    """Run SLIC with increasing compactness until it gives at least half of the wanted segments.

    On noisy images it gives too few with low compactness.
    """
    color, on_a_line = pixels.shape[-1] == 3, pixels.ndim == 2
    labels = np.zeros(pixels.shape[:-1], dtype=np.int64)
    for times in (1.0, 10.0, 100.0, 1000.0):
        result = library("skimage.segmentation").slic(
            pixels[None] if on_a_line else pixels,
            n_segments=wanted,
            compactness=times * (10.0 if color else 0.1),  # distances in Lab run to 100, in other channels to 1
            convert2lab=color,
            start_label=0,
            channel_axis=-1,
        )
        labels = np.ascontiguousarray(result[0] if on_a_line else result)
        if len(np.unique(labels)) >= wanted / 2:
            break
    return torch.from_numpy(labels)


def _quickshift(pixels: NDArray[np.float64], wanted: int, seed: int) -> Tensor:
    """Cut the pixel tree of quickshift at its longest links until there are `wanted` segments.

    Quickshift itself cuts links above a fixed length, which gives an unpredictable number of segments. If there are
    more trees than wanted, the smallest segments are merged into their most similar neighbor.
    """
    if pixels.ndim != 3:
        raise InputError(
            f"quickshift supports images with two axes, not {pixels.ndim - 1}: use segmentation='slic'",
            code="segments.axes",
            axes=pixels.ndim - 1,
        )
    _, parents, lengths = library("skimage.segmentation").quickshift(
        pixels,
        ratio=0.5,
        kernel_size=3,
        max_dist=float("inf"),
        return_tree=True,
        convert2lab=pixels.shape[-1] == 3,
        rng=seed,
        channel_axis=-1,
    )
    roots = _cut(np.asarray(parents).reshape(-1), np.asarray(lengths).reshape(-1), wanted)
    while not np.array_equal(roots, roots[roots]):
        roots = roots[roots]
    return torch.from_numpy(_merged(roots.reshape(pixels.shape[:2]), pixels, wanted))


def _cut(parents: NDArray[Any], lengths: NDArray[Any], wanted: int) -> NDArray[Any]:
    """Remove the longest links, so that there are at least `wanted` trees."""
    pixels = np.arange(len(parents))
    links = pixels[parents != pixels]
    cuts = max(0, wanted - (len(pixels) - len(links)))
    longest = links[np.argsort(-lengths[links], kind="stable")[:cuts]]
    return np.where(np.isin(pixels, longest), pixels, parents)


def _merged(labels: NDArray[Any], pixels: NDArray[np.float64], wanted: int) -> NDArray[Any]:
    """Merge the smallest segment into the neighbor with the nearest mean color until `wanted` are left."""
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(pixels.shape[:-1])
    sizes = np.bincount(labels.reshape(-1)).astype(float)
    channels = np.moveaxis(pixels, -1, 0)
    colors = np.stack([np.bincount(labels.reshape(-1), channel.reshape(-1)) for channel in channels], 1)
    beside = np.zeros((len(sizes), len(sizes)), dtype=bool)
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        beside[first, second] = beside[second, first] = True
    np.fill_diagonal(beside, False)
    joined = np.arange(len(sizes))
    for _ in range(len(sizes) - wanted):
        small = int(np.where(sizes > 0, sizes, np.inf).argmin())
        means = colors / np.maximum(sizes, 1)[:, None]
        distance = np.linalg.norm(means - means[small], axis=1)
        near = int(np.where(beside[small], distance, np.inf).argmin())
        joined = np.where(joined == small, near, joined)
        sizes[near], colors[near] = sizes[near] + sizes[small], colors[near] + colors[small]
        beside[near] |= beside[small]
        beside[:, near] |= beside[:, small]
        sizes[small], beside[small], beside[:, small], beside[near, near] = 0, False, False, False
    return joined[labels]
