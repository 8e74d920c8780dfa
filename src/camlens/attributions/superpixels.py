"""LIME and KernelSHAP: which segments of the image the score needs, by taking some of them away."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from math import comb, exp, sqrt
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.attributions.baselines import Baseline, baseline_image, segment_means
from camlens.attributions.libraries import library
from camlens.attributions.segments import checked_segments, segmented
from camlens.attributions.surrogate import (
    Fit,
    Neighbourhood,
    Surrogate,
    additive_surrogate,
    fitted_surrogate,
    ridge_surrogate,
)
from camlens.core.details import Found, padded_rows
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.methods.draws import same_draws
from camlens.methods.options import checked_count, checked_strength

Segmentation = Literal["slic", "quickshift"]
Present = Bool[Tensor, "m s"]
_AT_ONCE = 100  # samples that LIME draws in one go


@register_method(
    "lime",
    paper="Ribeiro et al. 2016, Why Should I Trust You? (LIME), arXiv 1602.04938",
    needs="probe",
    good_for="which regions speak for and which against, with a number for how far that can be believed",
    cost="minutes",
    scope="input",
    diverging=True,
)
def lime(
    probe: InputProbe,
    *,
    segments: int | Tensor = 100,
    samples: int = 1000,
    features: int | None = None,
    segmentation: Segmentation = "slic",
    baseline: Baseline | Literal["mean"] = "mean",
    kernel_width: float = 0.25,
    ridge: float = 1.0,
) -> Found:
    """A linear model of the score over which superpixels are present, fitted near the image.

    w = argmin sum_i pi(z_i) (Y(z_i) - w_0 - w z_i)^2 + ridge |w|^2, z_i in {0, 1}^segments drawn fairly and
    pi(z) = sqrt(exp(-d^2 / kernel_width^2)), d the cosine distance to the whole image (Ribeiro et al. 2016,
    arXiv 1602.04938, eq. 1 and section 3.4; drawn and run by captum, the first sample being the whole image,
    fitted by scikit-learn). The map shows each segment's weight w: above zero supports the target. Segments come
    from SLIC or quickshift, or as labels of your own. A segment that is taken away is filled with `baseline`:
    "mean" its own mean colour, or a number or image in the model's own units.
    With `features` only the strongest so many segments get a weight, and the model is fitted to them again.
    Seeded; all targets share the forward passes. `details` hold segments (n, *spatial), segment_counts (n,),
    weights and chosen (n, t, segments), intercept and r_squared (n, t): the fidelity, 1 being perfect.

        explain(model, images, method="lime", options={"segments": 100, "samples": 1000, "features": 10})
    """
    _check(segments, samples, features)
    width, strength = checked_strength("kernel_width", kernel_width), checked_strength("ridge", ridge)
    if width == 0:
        raise InputError(
            "kernel_width must be above 0: at 0 nothing is near the image",
            code="argument.invalid",
            name="kernel_width",
            value=0,
        )

    def settle(count: int) -> tuple[Neighbourhood, Fit]:
        near = Neighbourhood(fair_draws, samples, partial(_closeness, segments=count, width=width))
        return near, partial(ridge_surrogate, ridge=strength, features=features)

    return _explained(probe, segments, segmentation, baseline, samples, features, settle)


@register_method(
    "kernelshap",
    paper="Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions, arXiv 1705.07874",
    needs="probe",
    good_for="regions' fair shares of the score, which add up to all of it",
    cost="minutes",
    scope="input",
    diverging=True,
)
def kernelshap(
    probe: InputProbe,
    *,
    segments: int | Tensor = 50,
    samples: int = 1000,
    features: int | None = None,
    segmentation: Segmentation = "slic",
    baseline: Baseline | Literal["mean"] = "mean",
) -> Found:
    """Shapley values of the superpixels, estimated by one weighted least-squares fit.

    phi = argmin sum_z pi(z) (Y(z) - Y(nothing) - phi z)^2 with sum_j phi_j = Y(image) - Y(nothing) kept
    exactly, pi(z) = (s - 1) / (C(s, |z|) |z| (s - |z|)) (Lundberg and Lee 2017, arXiv 1705.07874, theorem 2).
    Coalitions are drawn by captum in proportion to pi, and each is asked with its opposite; where all 2^s - 2 of
    them are no more than `samples` they are all asked, and the values are exact. captum's own fit only weighs the
    two ends heavily, so the fit is ours. A score that adds up over segments gets its exact
    values in any case. Segments, `baseline`, seeding and `details` are as for LIME; `features` only hides the
    weaker segments from the map, since every segment has its share.

        explain(model, images, method="kernelshap", options={"segments": 50, "samples": 1000})
    """
    _check(segments, samples, features)

    def settle(count: int) -> tuple[Neighbourhood, Fit]:
        if samples < count:
            raise InputError(
                f"samples must be at least the number of segments ({count}) for Shapley values, not {samples}",
                code="argument.invalid",
                name="samples",
                value=samples,
                segments=count,
            )
        return _coalitions(samples, count), _shares

    return _explained(probe, segments, segmentation, baseline, samples, features, settle)


@dataclass(frozen=True, eq=False)
class _Asked:
    """One image cut into segments, and how the model is asked about some of them."""

    probe: InputProbe
    row: int
    labels: Tensor
    absent: Tensor
    samples: int

    def scorer(self) -> Callable[[Present], Float[Tensor, "m t"]]:
        """Scores of the image with only these segments present, on the CPU; progress counts what has been asked."""
        image, labels = self.probe.inputs[self.row], self.labels.long().to(self.probe.inputs.device)
        total, before = len(self.probe.inputs) * self.samples, self.row * self.samples
        asked = 0

        def scores(present: Present) -> Float[Tensor, "m t"]:
            nonlocal asked
            shown = present.to(image.device)[:, labels][:, None]
            # no name for the images: held only by what runs, they make room for their own copy in channels-last
            found = self.probe.input_scores(torch.where(shown, image, self.absent), self.row).cpu()
            asked = min(asked + len(present), self.samples)
            self.probe.progress(before + asked, total)
            return found

        return scores


def _explained(
    probe: InputProbe,
    segments: object,
    segmentation: object,
    baseline: object,
    samples: int,
    features: int | None,
    settle: Callable[[int], tuple[Neighbourhood, Fit]],
) -> Found:
    """Maps and details of a surrogate that is fitted for each image by itself, as `settle` says for its segments."""
    size, seed = probe.inputs.shape[2:], probe.generator.initial_seed()
    maps, labels, fits = [], [], []
    for row, image in enumerate(probe.inputs):
        found = segmented(image, segments, segmentation, row, seed)
        count = int(found.max()) + 1
        absent = segment_means(image, found, count) if baseline == "mean" else baseline_image(baseline, image)
        near, fit = settle(count)
        scores = _Asked(probe, row, found, absent, min(samples, near.samples)).scorer()
        generator = same_draws(probe.generator)
        one = fitted_surrogate(fit, near, count, scores, batch_size=probe.batch_size, generator=generator)
        shown = one.weights if features is None else _strongest(one.weights, features)
        maps.append(shown[:, found.long()].view(-1, *size))
        labels.append(found)
        fits.append(one)
    return Found(
        torch.stack(maps).to(probe.inputs.device),
        {
            "segments": torch.stack(labels),
            "segment_counts": torch.tensor([one.weights.shape[1] for one in fits]),
            "weights": padded_rows([one.weights[None] for one in fits]),
            "chosen": padded_rows([one.chosen[None] for one in fits]),
            "intercept": torch.stack([one.intercept for one in fits]),
            "r_squared": torch.stack([one.r_squared for one in fits]),
        },
    )


def _strongest(weights: Float[Tensor, "t s"], features: int) -> Float[Tensor, "t s"]:
    """The weights with all but the strongest of each target set to zero."""
    best = weights.abs().topk(min(features, weights.shape[1]), dim=1).indices
    return torch.zeros_like(weights).scatter(1, best, weights.gather(1, best))


def fair_draws(whole: Float[Tensor, "1 s"], **_: object) -> Iterator[Tensor]:
    """All segments, then captum's draws without end: each of them present or not with equal chance."""
    perturbed, count = library("captum.attr._core.lime").default_perturb_func, whole.shape[1]
    yield whole
    while True:  # many samples as one long one: the numbers are those of one after the other
        yield from perturbed(whole, num_interp_features=_AT_ONCE * count).view(_AT_ONCE, count).split(1)


def _closeness(present: Float[Tensor, "1 s"], segments: int, width: float) -> float:
    """LIME's kernel of the cosine distance to the whole image."""
    distance = 1 - sqrt(float(present.sum()) / segments)
    return sqrt(exp(-(distance**2) / width**2))


def _coalitions(samples: int, segments: int) -> Neighbourhood:
    """The whole image, nothing of it, and coalitions between: all of them if `samples` allows, else drawn ones."""
    if 2**segments - 2 > samples:
        return Neighbourhood(paired_draws, samples + 2, lambda _present: 1.0)
    kernel = [1.0, *((segments - 1) / (comb(segments, n) * n * (segments - n)) for n in range(1, segments)), 1.0]

    def every(whole: Tensor, **_: object) -> Iterator[Tensor]:
        yield whole
        for size in range(segments):
            for members in combinations(range(segments), size):
                yield torch.zeros_like(whole).index_fill(1, torch.tensor(members, dtype=torch.long), 1)

    return Neighbourhood(every, 2**segments, lambda present: kernel[int(present.sum())])


def paired_draws(whole: Float[Tensor, "1 s"], **settings: Any) -> Iterator[Tensor]:
    """All segments, none, then captum's draws without end as Shapley's kernel weighs them, each with its opposite.

    A pair tells more than two draws: what the score has of interactions between two segments cancels in it.
    """
    count = whole.shape[1]
    sizes = torch.arange(1, count)
    chances = torch.cat([torch.zeros(1), (count - 1) / (sizes * (count - sizes))])
    shap = library("captum.attr").KernelShap(forward_func=None)
    drawn = shap.kernel_shap_perturb_generator(
        whole, num_select_distribution=torch.distributions.Categorical(chances), **settings
    )
    yield from islice(drawn, 2)
    for coalition in drawn:
        yield coalition
        yield 1 - coalition


def _shares(present: Float[Tensor, "m s"], scores: Float[Tensor, "m t"], nearness: Float[Tensor, " m"]) -> Surrogate:
    """Shapley's fit: the first two rows, all segments and none, are met exactly."""
    everything, nothing = scores[:2]
    return additive_surrogate(present[2:], scores[2:], nearness[2:], nothing=nothing, everything=everything)


def _check(segments: object, samples: object, features: object) -> None:
    """Refuse numbers that no fit can be made of, before anything is computed."""
    if checked_count("samples", samples) < 2:
        raise InputError(
            "samples must be 2 or more: one sample is the image itself, and nothing can be fitted to it",
            code="argument.invalid",
            name="samples",
            value=samples,
        )
    wanted = None if isinstance(segments, Tensor) else checked_segments(segments)
    if features is None:
        return
    shown = checked_count("features", features)
    if wanted is not None and shown > wanted:
        raise InputError(
            f"features must be no more than segments ({wanted}), not {shown}",
            code="argument.invalid",
            name="features",
            value=shown,
            segments=wanted,
        )
