"""The simple model that stands in for the network near one image: a linear one, fitted for every target by captum."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.attributions.libraries import library
from camlens.core.execution.draws import SeededDraws

_SELECTING = 0.01  # the ridge of the fit that only ranks segments


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Score = intercept + sum of the weights of the segments that are there; how well that holds.

    Attributes:
        weights: (t, s), in the scores' dtype; zero for segments that were not chosen.
        intercept: (t,).
        r_squared: (t,), the weighted share of the score's variance that is explained; at most 1.
        chosen: bool (t, s).
    """

    weights: Tensor
    intercept: Tensor
    r_squared: Tensor
    chosen: Tensor


Fit = Callable[[Float[Tensor, "m s"], Float[Tensor, "m t"], Float[Tensor, " m"]], Surrogate]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The images near one image that a surrogate is fitted to, each of them its segments that are present.

    Attributes:
        draws: captum's perturb_func: a generator function that is given all segments as (1, s) ones and yields
            such rows of 0 and 1. It may draw from torch as it likes.
        samples: how many of them are taken.
        nearness: how much a row (1, s) counts in the fit.
    """

    draws: Callable[..., Iterator[Tensor]]
    samples: int
    nearness: Callable[[Tensor], float]


def fitted_surrogate(
    fit: Fit,
    near: Neighbourhood,
    segments: int,
    scores: Callable[[Bool[Tensor, "m s"]], Float[Tensor, "m t"]],
    *,
    batch_size: int,
    generator: torch.Generator,
) -> Surrogate:
    """What captum's LimeBase makes of draws, scores and a fit; all targets are asked at once.

    To captum the function that is explained is one of the segments that are present, and `scores` makes the images
    of a whole batch: one image at a time, as captum's own transform would, costs as much as a small network.
    """
    with SeededDraws(generator) as draws:

        def answered(present: Tensor) -> Tensor:
            with draws.paused():
                model.scores.append(scores(present.bool()))
            return model.scores[-1][:, 0]

        model = _EveryTarget(fit)
        lime = library("captum.attr").LimeBase(
            answered,
            model,
            similarity_func=lambda _whole, _perturbed, present, **_: near.nearness(present),
            perturb_func=near.draws,
            perturb_interpretable_space=True,
            from_interp_rep_transform=lambda present, _whole, **_: present,
            to_interp_rep_transform=None,
        )
        lime.attribute(
            torch.ones(1, segments),
            n_samples=near.samples,
            perturbations_per_eval=batch_size,
            num_interp_features=segments,
        )
    fitted, dtype = model.found[0], model.scores[0].dtype
    return Surrogate(fitted.weights.to(dtype), fitted.intercept.to(dtype), fitted.r_squared.to(dtype), fitted.chosen)


@dataclass(frozen=True, eq=False)
class _EveryTarget:
    """captum's protocol of an interpretable model, which is handed one score per sample: it keeps all targets'."""

    surrogate: Fit
    scores: list[Tensor] = field(default_factory=list)
    found: list[Surrogate] = field(default_factory=list)

    def fit(self, train_data: Any, **_: object) -> None:
        """Fit the surrogate to the segments that are present, their nearness, and every target's scores."""
        present, _first, nearness = train_data.dataset.tensors  # its loader would fetch and stack row by row
        self.found.append(self.surrogate(present.double(), torch.cat(self.scores).double(), nearness.double()))

    def representation(self) -> Tensor:
        """The weights (t, s)."""
        return self.found[0].weights


def ridge_surrogate(
    present: Float[Tensor, "m s"],
    scores: Float[Tensor, "m t"],
    nearness: Float[Tensor, " m"],
    *,
    ridge: float,
    features: int | None,
) -> Surrogate:
    """Weighted ridge regression of the scores on which segments are present.

    With `features` a first fit ranks the segments by magnitude, and a second is fitted to the best of them.
    """
    segments, targets = present.shape[1], scores.shape[1]
    chosen = torch.ones(targets, segments, dtype=torch.bool)
    if features is not None and features < segments:
        ranked, _ = _ridge(present, scores, nearness, _SELECTING)
        best = ranked.abs().topk(features, dim=1).indices
        chosen = torch.zeros_like(chosen).scatter(1, best, True)
        fits = [_ridge(present[:, row], scores[:, [t]], nearness, ridge) for t, row in enumerate(chosen)]
        weights = torch.zeros(targets, segments, dtype=torch.float64).masked_scatter(
            chosen, torch.cat([weight[0] for weight, _ in fits])
        )
        intercept = torch.cat([one for _, one in fits])
    else:
        weights, intercept = _ridge(present, scores, nearness, ridge)
    fitted = present @ weights.T + intercept
    return Surrogate(weights, intercept, r_squared(scores, fitted, nearness), chosen)


def additive_surrogate(
    present: Float[Tensor, "m s"],
    scores: Float[Tensor, "m t"],
    nearness: Float[Tensor, " m"],
    *,
    nothing: Float[Tensor, " t"],
    everything: Float[Tensor, " t"],
) -> Surrogate:
    """Weighted least squares under two exact conditions: nothing present scores `nothing`, all of it `everything`.

    The weights then add up to the difference of the two. The last weight is eliminated by that condition.
    """
    gain = everything - nothing
    design = present[:, :-1] - present[:, -1:]
    rest = scores - nothing - present[:, -1:] * gain
    model = library("sklearn.linear_model").LinearRegression(fit_intercept=False)
    model.fit(design.numpy(), rest.numpy(), sample_weight=nearness.numpy())
    first = torch.from_numpy(model.coef_).reshape(scores.shape[1], -1)
    weights = torch.cat([first, gain[:, None] - first.sum(dim=1, keepdim=True)], dim=1)
    fitted = present @ weights.T + nothing
    chosen = torch.ones_like(weights, dtype=torch.bool)
    return Surrogate(weights, nothing, r_squared(scores, fitted, nearness), chosen)


def r_squared(
    scores: Float[Tensor, "m t"], fitted: Float[Tensor, "m t"], nearness: Float[Tensor, " m"]
) -> Float[Tensor, " t"]:
    """The weighted coefficient of determination of each target; 1 where a constant score is fitted exactly."""
    shares = (nearness / nearness.sum())[:, None]
    residual = (shares * (scores - fitted).square()).sum(dim=0)
    total = (shares * (scores - (shares * scores).sum(dim=0)).square()).sum(dim=0)
    rounding = 1e-12 * scores.square().amax(dim=0)  # scores come as float32
    exact = torch.where(residual <= rounding, 1.0, 0.0).to(total)
    return torch.where(total > rounding, 1 - residual / total.where(total > 0, 1), exact)


def _ridge(present: Tensor, scores: Tensor, nearness: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights (t, s) and intercepts (t,)."""
    linear = library("sklearn.linear_model")
    model = linear.Ridge(alpha=ridge) if ridge > 0 else linear.LinearRegression()
    model.fit(present.numpy(), scores.numpy(), sample_weight=nearness.numpy())
    weights = torch.from_numpy(model.coef_).reshape(scores.shape[1], -1)
    return weights, torch.from_numpy(model.intercept_).reshape(-1).to(weights)
