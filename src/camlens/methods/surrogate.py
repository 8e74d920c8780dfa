"""Linear surrogate models of the network near one image, one for each target."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.engine import SeededDraws
from camlens.methods.libraries import library

_SELECTING = 0.01  # ridge of the fit that selects segments


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Linear models: score = intercept + sum of the weights of the present segments.

    Attributes:
        weights: (t, s), in the dtype of the scores; zero for segments that were not chosen.
        intercept: (t,).
        r_squared: (t,), the weighted coefficient of determination; at most 1.
        chosen: bool (t, s).
    """

    weights: Tensor
    intercept: Tensor
    r_squared: Tensor
    chosen: Tensor


Fit = Callable[[Float[Tensor, "m s"], Float[Tensor, "m t"], Float[Tensor, " m"]], Surrogate]


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """The samples near one image that a surrogate is fitted to; a sample tells which segments are present.

    Attributes:
        draws: captum's perturb_func: a generator function that takes ones (1, s) and yields rows (1, s) of 0 and 1.
            It may use torch's global random state.
        samples: the number of samples.
        nearness: the weight of a row (1, s) in the fit.
    """

    draws: Callable[..., Iterator[Tensor]]
    samples: int
    nearness: Callable[[Tensor], float]


def fitted_surrogate(
    fit: Fit,
    near: Neighborhood,
    segments: int,
    scores: Callable[[Bool[Tensor, "m s"]], Float[Tensor, "m t"]],
    *,
    batch_size: int,
    generator: torch.Generator,
) -> Surrogate:
    """Run captum's LimeBase for all targets at once.

    For captum the explained function takes the present segments, and `scores` makes the images of a whole batch.
    captum's own transform would make one image at a time, which costs as much as a small network.
    """
    with SeededDraws(generator) as draws:

        def first_target_scores(present: Tensor) -> Tensor:
            with draws.paused():
                model.scores.append(scores(present.bool()))
            return model.scores[-1][:, 0]

        model = _EveryTarget(fit)
        lime = library("captum.attr").LimeBase(
            first_target_scores,
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
    fitted, dtype = model.surrogates[0], model.scores[0].dtype
    return Surrogate(fitted.weights.to(dtype), fitted.intercept.to(dtype), fitted.r_squared.to(dtype), fitted.chosen)


@dataclass(frozen=True, eq=False)
class _EveryTarget:
    """captum's interface of an interpretable model, for the scores of all targets instead of one."""

    fit_surrogate: Fit
    scores: list[Tensor] = field(default_factory=list)
    surrogates: list[Surrogate] = field(default_factory=list)

    def fit(self, train_data: Any, **_: object) -> None:
        """Fit the surrogate to the present segments, their weights and the scores of all targets."""
        present, _first, nearness = train_data.dataset.tensors  # iterating over the loader would be slow
        scores = torch.cat(self.scores)
        self.surrogates.append(self.fit_surrogate(present.double(), scores.double(), nearness.double()))

    def representation(self) -> Tensor:
        """The weights (t, s)."""
        return self.surrogates[0].weights


def ridge_surrogate(
    present: Float[Tensor, "m s"],
    scores: Float[Tensor, "m t"],
    nearness: Float[Tensor, " m"],
    *,
    ridge: float,
    features: int | None,
) -> Surrogate:
    """Weighted ridge regression of the scores on the present segments.

    With `features`, a first fit selects that many segments of the largest weights for the final fit.
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
        intercept = torch.cat([fit_intercept for _, fit_intercept in fits])
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
    """Weighted least squares with exact scores `nothing` for no segments and `everything` for all segments.

    The weights add up to the difference of the two, which eliminates the last weight.
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
    """Weighted coefficient of determination of each target; 1 if a constant score is fitted exactly."""
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
