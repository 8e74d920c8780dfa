"""Deep feature factorisation: a layer's features as a few concepts, each with a direction and a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.anatomy.activations import activations
from camlens.attributions.libraries import library
from camlens.core.details import Found
from camlens.core.errors import InputError
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import choose_layer
from camlens.core.heatmaps import resized
from camlens.core.layers import checked_model
from camlens.core.layouts import Kind
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import Features
from camlens.methods.options import checked_count

_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Concepts:
    """What one layer's features of n images are made of, the weightiest concept first.

    Attributes:
        layer: the layer's name.
        maps: float32 (n, concepts, *grid), never negative: how much of each concept is where.
        directions: float32 (concepts, k), never negative, each of length 1: what a concept is in channels.
        error: the part of the features that the concepts leave out, |F - WH| / |F|, from 0 to 1.
    """

    layer: str
    maps: Float[Tensor, "n concepts *grid"]
    directions: Float[Tensor, "concepts k"]
    error: float

    @property
    def features(self) -> Features:
        """The features (n, k, *grid) that the concepts stand for: sum_j maps_j directions_j."""
        return torch.einsum("nj...,jk->nk...", self.maps, self.directions)

    def heatmaps(self, size: Sequence[int]) -> Float[Tensor, "n concepts *size"]:
        """The maps in [0, 1] at `size`, each concept divided by its highest value in any image."""
        highest = self.maps.transpose(0, 1).flatten(1).amax(dim=1)
        scale = highest.where(highest > 0, 1).reshape(-1, *[1] * (self.maps.ndim - 2))
        if len(size) != self.maps.ndim - 2 or any(length < 1 for length in size):
            raise InputError(
                f"size must be {self.maps.ndim - 2} positive lengths, not {tuple(size)}",
                code="size.invalid",
                size=tuple(size),
            )
        return resized(self.maps / scale, size)

    def __repr__(self) -> str:
        images, count = self.maps.shape[:2]
        return f"<Concepts: {count} of {self.layer} in {images} image(s), {self.error:.0%} of the features left out>"


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
    """Factorise what `layer` sees in all `inputs` together, so that images share their concepts.

    F = WH for the (n * cells, k) matrix F of the layer's features, negative ones set to zero; W and H are
    never negative (Collins et al. 2018, Deep Feature Factorization, arXiv 1806.10206). scikit-learn's NMF from
    its nndsvda start with a fixed seed: the same inputs give the same concepts. `layer` None is the last one
    with a spatial grid. The model is left bit for bit as it was.

    Raises MissingExtraError without scikit-learn (extra `attributions`), InputError where `count` is more than
    the layer's channels or cells, LayerError as `activations` does.

        concepts(model, images, "layer4", count=4).heatmaps((224, 224))
    """
    checked_count("count", count)
    inner = checked_model(model)
    if layer is None:
        session = Session(inner, checked_inputs(inputs), tuple(args), dict(kwargs or {}))
        layer = choose_layer(session, kind=layout).layer.label
    (seen,) = activations(inner, inputs, layer, args=args, kwargs=kwargs, layout=layout).values()
    maps, directions, error = factorised(seen.features, count)
    return Concepts(seen.layer, maps, directions, error)


def factorised(
    features: Features, count: int
) -> tuple[Float[Tensor, "n count *grid"], Float[Tensor, "count k"], float]:
    """Maps, directions of length 1 and relative error of the positive part of features, weightiest concept first."""
    channels, cells = features.shape[1], len(features) * features.shape[2:].numel()
    if count > min(channels, cells):
        raise InputError(
            f"concepts must be at most the layer's channels ({channels}) and cells ({cells}), not {count}",
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
    whole = float(rows.norm())
    error = float((rows - weights @ directions).norm()) / whole if whole > 0 else 0.0
    maps = weights.reshape(len(features), *features.shape[2:], count).movedim(-1, 1)
    return maps.to(features).contiguous(), directions.to(features), error


def _nmf(rows: Float[Tensor, "p k"], count: int) -> tuple[Float[Tensor, "p count"], Float[Tensor, "count k"]]:
    """Factors of rows that are not negative; zeros of zeros."""
    nmf = library("sklearn.decomposition").NMF
    if not rows.any():
        return rows.new_zeros(len(rows), count), rows.new_zeros(count, rows.shape[1])
    # without a tolerance every run takes all its steps, and none warns that it did not settle
    model = nmf(count, init="nndsvda", tol=0.0, max_iter=_ITERATIONS, random_state=0)
    weights = model.fit_transform(rows.numpy())
    return torch.from_numpy(weights), torch.from_numpy(model.components_)


@register_method(
    "dff",
    paper="Collins et al. 2018, Deep Feature Factorization, arXiv 1806.10206",
    needs="probe",
    good_for="what the layer tells apart, part by part, and which of it the score rests on",
    cost="seconds",
    diverging=True,
    replays=True,
)
def dff(probe: Probe, *, concepts: int = 4) -> Found:
    """The layer's concepts, each laid where it is and weighed by what the score loses without it.

    L = sum_j c_j W_j / sum_cells W_j, with F = WH the factorised features of one image and c_j = Y(F) - Y(F -
    W_j H_j), what the score loses when concept j is taken out (factorisation by Collins et al. 2018, arXiv
    1806.10206; the weighing is ours, as the paper's concepts know no class). The map sums to the concepts'
    contributions. After the last convolution of a network that ends in pooling + linear this is Grad-CAM of
    the features that the concepts stand for.

    Each image has concepts of its own, so that a map does not depend on its neighbours; `camlens.concepts`
    shares them over a batch. Details: `concepts` (n, concepts, *grid), `contributions` (n, t, concepts),
    `error` (n,), the share of the features left out.

        explain(model, images, method="dff", layers="layer4", options={"concepts": 4})
    """
    checked_count("concepts", concepts)
    maps, contributions, errors = [], [], []
    for row, features in enumerate(probe.activations):
        one, directions, error = factorised(features[None], concepts)
        maps.append(one[0])
        errors.append(error)
        contributions.append(_contributions(probe, row, one[0], directions))
        probe.progress(row + 1, len(probe.activations))
    stacked, gained = torch.stack(maps), torch.stack(contributions)
    amounts = stacked.flatten(2).sum(dim=2)
    shares = gained / amounts.where(amounts > 0, torch.inf)[:, None]
    weighted = torch.einsum("ntj,nj...->nt...", shares, stacked)
    return Found(weighted, {"concepts": stacked, "contributions": gained, "error": torch.tensor(errors)})


def _contributions(
    probe: Probe, row: int, maps: Float[Tensor, "concepts *grid"], directions: Float[Tensor, "concepts k"]
) -> Float[Tensor, "t concepts"]:
    """What each target's score loses when one concept is taken out of the features of image `row`."""
    without = probe.activations[row] - torch.einsum("j...,jk->jk...", maps, directions)
    scores = [probe.feature_scores(chunk, row) for chunk in without.split(probe.batch_size)]
    return (probe.scores[row] - torch.cat(scores)).T
