"""Superpixels: parts of one image that hang together in place and colour."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from camlens.attributions.libraries import library
from camlens.core.errors import InputError

SEGMENTATIONS = ("slic", "quickshift")
Labels = Int[Tensor, "*spatial"]


def segmented(
    image: Float[Tensor, "c *spatial"], segments: object, segmentation: object, row: int, seed: int
) -> Labels:
    """Labels 0 to S-1 of one image's segments, every number taken, at least two of them.

    `segments` is how many are wanted, or the labels themselves as an integer tensor (*spatial), or
    (n, *spatial) of which `row` is taken.
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
            raise InputError(
                f"there is no segmentation {segmentation!r}; there are {', '.join(SEGMENTATIONS)}",
                code="argument.invalid",
                name="segmentation",
                value=segmentation,
            )
    numbers, places = torch.unique(labels, return_inverse=True)
    if len(numbers) < 2:
        raise InputError(
            f"the segmentation of image {row} ({tuple(labels.shape)}) found a single segment, and one segment "
            f"cannot be told from another: ask for more segments, or pass labels of your own as segments=",
            code="segments.single",
            image=row,
        )
    return torch.as_tensor(places).view(image.shape[1:]).to(torch.int32)


def checked_segments(segments: object) -> int:
    """How many segments are wanted, at least 2, or an InputError."""
    if isinstance(segments, bool) or not isinstance(segments, int) or segments < 2:
        raise InputError(
            f"segments must be an int of 2 or more, or a tensor of labels, not {segments!r}",
            code="argument.invalid",
            name="segments",
            value=segments,
        )
    return segments


def _given(segments: Tensor, image: Tensor, row: int) -> Tensor:
    size = image.shape[1:]
    labels = segments[row] if segments.ndim == len(size) + 1 and row < len(segments) else segments
    if labels.shape != size or labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"labels of segments must be whole numbers of shape {tuple(size)}, or one such map per image, "
            f"not {segments.dtype} {tuple(segments.shape)}",
            code="segments.labels",
            shape=tuple(size),
            dtype=str(segments.dtype),
        )
    return labels.cpu()


def _pixels(image: Tensor) -> NDArray[np.float64]:
    """The image as (*spatial, c) in [0, 1], whatever the model's own units are."""
    values = image.detach().double().cpu()
    low, high = torch.aminmax(values)
    return ((values - low) / (high - low).clamp_min(1e-12)).movedim(0, -1).numpy()


def _slic(pixels: NDArray[np.float64], wanted: int) -> Tensor:
    """SLIC, made more compact until at least half of the segments wanted are there: in noise they fall apart."""
    colour, on_a_line = pixels.shape[-1] == 3, pixels.ndim == 2
    labels = np.zeros(pixels.shape[:-1], dtype=np.int64)
    for times in (1.0, 10.0, 100.0, 1000.0):
        found = library("skimage.segmentation").slic(
            pixels[None] if on_a_line else pixels,
            n_segments=wanted,
            compactness=times * (10.0 if colour else 0.1),  # distances in Lab run to 100, in other channels to 1
            convert2lab=colour,
            start_label=0,
            channel_axis=-1,
        )
        labels = np.ascontiguousarray(found[0] if on_a_line else found)
        if len(np.unique(labels)) >= wanted / 2:
            break
    return torch.from_numpy(labels)


def _quickshift(pixels: NDArray[np.float64], wanted: int, seed: int) -> Tensor:
    """Quickshift's tree of pixels, cut at its longest links until there are as many segments as wanted.

    Quickshift itself cuts at a fixed length; how many segments that gives cannot be said beforehand. Where the
    tree is in more pieces than wanted, the smallest are merged into the neighbour that is most like them.
    """
    if pixels.ndim != 3:
        raise InputError(
            f"quickshift is for images with two axes, not {pixels.ndim - 1}: take segmentation='slic'",
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
    """The tree with its longest links removed, so that `wanted` trees are left, if there were not more."""
    places = np.arange(len(parents))
    links = places[parents != places]
    cuts = max(0, wanted - (len(places) - len(links)))
    longest = links[np.argsort(-lengths[links], kind="stable")[:cuts]]
    return np.where(np.isin(places, longest), places, parents)


def _merged(labels: NDArray[Any], pixels: NDArray[np.float64], wanted: int) -> NDArray[Any]:
    """The smallest segments joined to the neighbour whose mean colour is nearest, until `wanted` are left."""
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(pixels.shape[:-1])
    sizes = np.bincount(labels.reshape(-1)).astype(float)
    colours = np.stack([np.bincount(labels.reshape(-1), one.reshape(-1)) for one in np.moveaxis(pixels, -1, 0)], 1)
    beside = np.zeros((len(sizes), len(sizes)), dtype=bool)
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        beside[first, second] = beside[second, first] = True
    np.fill_diagonal(beside, False)
    joined = np.arange(len(sizes))
    for _ in range(len(sizes) - wanted):
        small = int(np.where(sizes > 0, sizes, np.inf).argmin())
        means = colours / np.maximum(sizes, 1)[:, None]
        distance = np.linalg.norm(means - means[small], axis=1)
        near = int(np.where(beside[small], distance, np.inf).argmin())
        joined = np.where(joined == small, near, joined)
        sizes[near], colours[near] = sizes[near] + sizes[small], colours[near] + colours[small]
        beside[near] |= beside[small]
        beside[:, near] |= beside[:, small]
        sizes[small], beside[small], beside[:, small], beside[near, near] = 0, False, False, False
    return joined[labels]
