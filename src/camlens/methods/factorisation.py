"""Deep feature factorization: the features of a layer as a few concepts, each with a direction and a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.anatomy.activations import activations
from camlens.core.arguments import checked_count
from camlens.core.details import Found
from camlens.core.engine import Session, choose_layer
from camlens.core.errors import InputError
from camlens.core.heatmaps import resized
from camlens.core.layers import checked_model
from camlens.core.layouts import Kind
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import Features
from camlens.methods.libraries import library

_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concepts of one layer in n images, sorted by their total weight.

    Attributes:
        layer: the layer's name.
        maps: float32 (n, concepts, *grid), nonnegative: the weight of each concept in each cell.
        directions: float32 (concepts, k), nonnegative, of norm 1: the channels of each concept.
        error: the relative error of the factorization, |F - WH| / |F|, from 0 to 1.
    """

    layer: str
    maps: Float[Tensor, "n concepts *grid"]
    directions: Float[Tensor, "concepts k"]
    error: float

    @property
    def features(self) -> Features:
        """The features (n, k, *grid) reconstructed from the concepts: sum_j maps_j directions_j."""
        return torch.einsum("nj...,jk->nk...", self.maps, self.directions)

    def heatmaps(self, size: Sequence[int]) -> Float[Tensor, "n concepts *size"]:
        """The maps resized to `size` in [0, 1], each concept divided by its maximum over all images."""
        highest = self.maps.transpose(0, 1).flatten(1).amax(dim=1)
        scale = highest.where(highest > 0, 1).reshape(-1, *[1] * (self.maps.ndim - 2))
        if len(size) != self.maps.ndim - 2 or any(length < 1 for length in size):
            raise InputError(
                f"size must have {self.maps.ndim - 2} positive integers, not {tuple(size)}",
                code="size.invalid",
                size=tuple(size),
            )
        return resized(self.maps / scale, size)

    def __repr__(self) -> str:
        images, count = self.maps.shape[:2]
        return f"<Concepts: {count} of {self.layer} in {images} image(s), relative error {self.error:.0%}>"


def concepts(
    model: nn.Module,
    inputs: Tensor,
    layer: str | nn.Module | None = None,
    *,
    count: int = 4,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    layout: Kind | None = None,
) -> Concepts:
    """Factorize the features of `layer` for all `inputs` together into concepts that the images share.

    F = WH for the (n * cells, k) matrix F of the layer's features, with negative ones set to zero; W and H are
    nonnegative (Collins et al. 2018, Deep Feature Factorization, arXiv 1806.10206). Computed by scikit-learn's NMF
    from its nndsvda start with a fixed seed, so results are reproducible. If `layer` is None, the last layer with a
    spatial grid is used. The model is left unchanged.

    Raises MissingExtraError without scikit-learn (extra `attributions`), InputError if `count` exceeds the layer's
    channels or cells, and LayerError as `activations` does.

        concepts(model, images, "layer4", count=4).heatmaps((224, 224))
    """
    checked_count("count", count)
    inner = checked_model(model)
    if layer is None:
        session = Session.of(inner, inputs, args=args, kwargs=kwargs)
        layer = choose_layer(session, kind=layout).layer.label
    (seen,) = activations(inner, inputs, layer, args=args, kwargs=kwargs, layout=layout).values()
    maps, directions, error = factorised(seen.features, count)
    return Concepts(seen.layer, maps, directions, error)


def factorised(
    features: Features, count: int
) -> tuple[Float[Tensor, "n count *grid"], Float[Tensor, "count k"], float]:
    """Return maps, directions of norm 1 and the relative error for the positive part of features, sorted by weight."""
    channels, cells = features.shape[1], len(features) * features.shape[2:].numel()
    if count > min(channels, cells):
        raise InputError(
            f"concepts must be at most the number of channels ({channels}) and of cells ({cells}), not {count}",
            code="argument.invalid",
            name="concepts",
            value=count,
            channels=channels,
            cells=cells,
        )
    rows = features.clamp_min(0).movedim(1, -1).reshape(-1, channels).double().cpu()
    weights, directions = _nmf(rows, count)
    lengths = directions.norm(dim=1)
    directions = directions / lengths.where(lengths > 0, 1)[:, None]
    weights = weights * lengths
    order = weights.sum(dim=0).argsort(descending=True, stable=True)
    weights, directions = weights[:, order], directions[order]
    norm = float(rows.norm())
    error = float((rows - weights @ directions).norm()) / norm if norm > 0 else 0.0
    maps = weights.reshape(len(features), *features.shape[2:], count).movedim(-1, 1)
    return maps.to(features).contiguous(), directions.to(features), error


def _nmf(rows: Float[Tensor, "p k"], count: int) -> tuple[Float[Tensor, "p count"], Float[Tensor, "count k"]]:
    """Nonnegative factors of nonnegative rows; zero for zero rows."""
    nmf = library("sklearn.decomposition").NMF
    if not rows.any():
        return rows.new_zeros(len(rows), count), rows.new_zeros(count, rows.shape[1])
    # with tol=0 every run takes all iterations, and there is no ConvergenceWarning
    model = nmf(count, init="nndsvda", tol=0.0, max_iter=_ITERATIONS, random_state=0)
    weights = model.fit_transform(rows.numpy())
    return torch.from_numpy(weights), torch.from_numpy(model.components_)


@register_method(
    "dff",
    paper="Collins et al. 2018, Deep Feature Factorization, arXiv 1806.10206",
    needs="probe",
    good_for="the concepts that a layer distinguishes, and how much each contributes to the score",
    cost="seconds",
    diverging=True,
    replays=True,
)
def dff(probe: Probe, *, concepts: int = 4) -> Found:
    """Sum the concepts of the layer, each weighted by the drop of the score without it.

    L = sum_j c_j W_j / sum_cells W_j, with F = WH the factorized features of one image and c_j = Y(F) - Y(F -
    W_j H_j), the drop of the score if concept j is removed (factorization by Collins et al. 2018, arXiv
    1806.10206, whose concepts are independent of the class; the weights are ours). The map sums to the contributions
    of the concepts. After the last convolution of a network that ends in pooling + linear this is Grad-CAM of the
    reconstructed features.

    Concepts are computed for each image separately, so a map does not depend on the batch; `camlens.concepts` shares
    them over a batch. Details: `concepts` (n, concepts, *grid), `contributions` (n, t, concepts) and the relative
    `error` (n,).

        explain(model, images, method="dff", layers="layer4", options={"concepts": 4})
    """
    checked_count("concepts", concepts)
    maps, contributions, errors = [], [], []
    for row, features in enumerate(probe.activations):
        (image_maps,), directions, error = factorised(features[None], concepts)
        maps.append(image_maps)
        errors.append(error)
        contributions.append(_contributions(probe, row, image_maps, directions))
        probe.progress(row + 1, len(probe.activations))
    stacked, drops = torch.stack(maps), torch.stack(contributions)
    amounts = stacked.flatten(2).sum(dim=2)
    weights = drops / amounts.where(amounts > 0, torch.inf)[:, None]
    weighted = torch.einsum("ntj,nj...->nt...", weights, stacked)
    return Found(weighted, {"concepts": stacked, "contributions": drops, "error": torch.tensor(errors)})


def _contributions(
    probe: Probe, row: int, maps: Float[Tensor, "concepts *grid"], directions: Float[Tensor, "concepts k"]
) -> Float[Tensor, "t concepts"]:
    """The drop of each target's score if a concept is removed from the features of image `row`."""
    without = probe.activations[row] - torch.einsum("j...,jk->jk...", maps, directions)
    scores = [probe.feature_scores(chunk, row) for chunk in without.split(probe.batch_size)]
    return (probe.scores[row] - torch.cat(scores)).T
