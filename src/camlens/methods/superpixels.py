"""LIME and KernelSHAP: contributions of superpixels, from scores of the image without some of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from math import comb, exp, sqrt
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.core.arguments import checked_count, checked_strength
from camlens.core.baselines import Baseline, baseline_image, segment_means
from camlens.core.details import Found, padded_rows
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.methods.draws import same_draws
from camlens.methods.libraries import library
from camlens.methods.segments import checked_segments, segmented
from camlens.methods.surrogate import (
    Fit,
    Neighborhood,
    Surrogate,
    additive_surrogate,
    fitted_surrogate,
    ridge_surrogate,
)

Segmentation = Literal["slic", "quickshift"]
Present = Bool[Tensor, "m s"]
_AT_ONCE = 100  # samples that LIME draws at once


@register_method(
    "lime",
    paper="Ribeiro et al. 2016, Why Should I Trust You? (LIME), arXiv 1602.04938",
    needs="probe",
    good_for="regions that support or oppose the target, with a fidelity score (R squared)",
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
    """Fit a linear model of the score near the image, with the presence of each superpixel as features.

    w = argmin sum_i pi(z_i) (Y(z_i) - w_0 - w z_i)^2 + ridge |w|^2, z_i uniform in {0, 1}^segments and
    pi(z) = sqrt(exp(-d^2 / kernel_width^2)), d the cosine distance to the whole image (Ribeiro et al. 2016,
    arXiv 1602.04938, eq. 1 and section 3.4; sampled and run by captum, with the whole image as the first sample, and
    fitted by scikit-learn). The map shows the weight w of each segment: positive supports the target. Segments are
    computed by SLIC or quickshift, or given as a tensor of labels. Absent segments are filled with `baseline`: "mean"
    for the mean color of the segment, or a number or image in the units of the model's inputs.
    With `features`, the linear model is fitted again to that many segments of the largest weights, and the others
    get 0. Seeded; all targets share the forward passes. `details` holds segments (n, *spatial), segment_counts (n,),
    weights and chosen (n, t, segments), intercept and r_squared (n, t), the fidelity, at most 1.

        explain(model, images, method="lime", options={"segments": 100, "samples": 1000, "features": 10})
    """
    _check(segments, samples, features)
    width, strength = checked_strength("kernel_width", kernel_width), checked_strength("ridge", ridge)
    if width == 0:
        raise InputError(
            "kernel_width must be above 0, not 0",
            code="argument.invalid",
            name="kernel_width",
            value=0,
        )

    def sampling(count: int) -> tuple[Neighborhood, Fit]:
        near = Neighborhood(fair_draws, samples, partial(_closeness, segments=count, width=width))
        return near, partial(ridge_surrogate, ridge=strength, features=features)

    return _explained(probe, segments, segmentation, baseline, samples, features, sampling)


@register_method(
    "kernelshap",
    paper="Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions, arXiv 1705.07874",
    needs="probe",
    good_for="Shapley values of regions, which add up to the score",
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
    """Estimate Shapley values of the superpixels by a weighted least-squares fit.

    phi = argmin sum_z pi(z) (Y(z) - Y(nothing) - phi z)^2 subject to sum_j phi_j = Y(image) - Y(nothing),
    pi(z) = (s - 1) / (C(s, |z|) |z| (s - |z|)) (Lundberg and Lee 2017, arXiv 1705.07874, theorem 2).
    Coalitions are sampled by captum in proportion to pi, each followed by its complement. If there are at most
    `samples` coalitions, 2^s - 2, all are used and the values are exact. They are also exact if the score is additive
    over segments. The fit is ours, since captum's satisfies the constraint only approximately. Segments, `baseline`,
    seeding and `details` are as for LIME; `features` only hides the weaker segments from the map.

        explain(model, images, method="kernelshap", options={"segments": 50, "samples": 1000})
    """
    _check(segments, samples, features)

    def sampling(count: int) -> tuple[Neighborhood, Fit]:
        if samples < count:
            raise InputError(
                f"samples must be at least the number of segments ({count}), not {samples}",
                code="argument.invalid",
                name="samples",
                value=samples,
                segments=count,
            )
        return _coalitions(samples, count), _shares

    return _explained(probe, segments, segmentation, baseline, samples, features, sampling)


@dataclass(frozen=True, eq=False)
class _SegmentedImage:
    """One segmented image, whose segments can be masked."""

    probe: InputProbe
    row: int
    labels: Tensor
    absent: Tensor
    samples: int

    def scorer(self) -> Callable[[Present], Float[Tensor, "m t"]]:
        """Return a function from present segments to scores on the CPU, which reports progress."""
        image, labels = self.probe.inputs[self.row], self.labels.long().to(self.probe.inputs.device)
        total, before = len(self.probe.inputs) * self.samples, self.row * self.samples
        done = 0

        def scores(present: Present) -> Float[Tensor, "m t"]:
            nonlocal done
            shown = present.to(image.device)[:, labels][:, None]
            # the images have no name here, so that their memory is freed when they are copied to channels-last
            values = self.probe.input_scores(torch.where(shown, image, self.absent), self.row).cpu()
            done = min(done + len(present), self.samples)
            self.probe.progress(before + done, total)
            return values

        return scores


def _explained(
    probe: InputProbe,
    segments: object,
    segmentation: object,
    baseline: object,
    samples: int,
    features: int | None,
    sampling: Callable[[int], tuple[Neighborhood, Fit]],
) -> Found:
    """Fit a surrogate to each image; `sampling` maps the number of segments to how it is sampled and fitted."""
    size, seed = probe.inputs.shape[2:], probe.generator.initial_seed()
    maps, labels, surrogates = [], [], []
    for row, image in enumerate(probe.inputs):
        image_labels = segmented(image, segments, segmentation, row, seed)
        count = int(image_labels.max()) + 1
        absent = segment_means(image, image_labels, count) if baseline == "mean" else baseline_image(baseline, image)
        near, fit = sampling(count)
        scores = _SegmentedImage(probe, row, image_labels, absent, min(samples, near.samples)).scorer()
        generator = same_draws(probe.generator)
        surrogate = fitted_surrogate(fit, near, count, scores, batch_size=probe.batch_size, generator=generator)
        shown = surrogate.weights if features is None else _strongest(surrogate.weights, features)
        maps.append(shown[:, image_labels.long()].view(-1, *size))
        labels.append(image_labels)
        surrogates.append(surrogate)
    return Found(
        torch.stack(maps).to(probe.inputs.device),
        {
            "segments": torch.stack(labels),
            "segment_counts": torch.tensor([surrogate.weights.shape[1] for surrogate in surrogates]),
            "weights": padded_rows([surrogate.weights[None] for surrogate in surrogates]),
            "chosen": padded_rows([surrogate.chosen[None] for surrogate in surrogates]),
            "intercept": torch.stack([surrogate.intercept for surrogate in surrogates]),
            "r_squared": torch.stack([surrogate.r_squared for surrogate in surrogates]),
        },
    )


def _strongest(weights: Float[Tensor, "t s"], features: int) -> Float[Tensor, "t s"]:
    """Set all but the `features` largest weights of each target to zero."""
    best = weights.abs().topk(min(features, weights.shape[1]), dim=1).indices
    return torch.zeros_like(weights).scatter(1, best, weights.gather(1, best))


def fair_draws(whole: Float[Tensor, "1 s"], **_: object) -> Iterator[Tensor]:
    """Yield all segments, then captum's samples without end, in which each segment is present with probability 1/2."""
    perturbed, count = library("captum.attr._core.lime").default_perturb_func, whole.shape[1]
    yield whole
    while True:  # one long sample has the same random numbers as many short ones
        yield from perturbed(whole, num_interp_features=_AT_ONCE * count).view(_AT_ONCE, count).split(1)


def _closeness(present: Float[Tensor, "1 s"], segments: int, width: float) -> float:
    """LIME's kernel, a function of the cosine distance to the whole image."""
    distance = 1 - sqrt(float(present.sum()) / segments)
    return sqrt(exp(-(distance**2) / width**2))


def _coalitions(samples: int, segments: int) -> Neighborhood:
    """Return all coalitions if there are at most `samples` besides the full and the empty one, else sampled ones."""
    if 2**segments - 2 > samples:
        return Neighborhood(paired_draws, samples + 2, lambda _present: 1.0)
    kernel = [1.0, *((segments - 1) / (comb(segments, n) * n * (segments - n)) for n in range(1, segments)), 1.0]

    def every(whole: Tensor, **_: object) -> Iterator[Tensor]:
        yield whole
        for size in range(segments):
            for members in combinations(range(segments), size):
                yield torch.zeros_like(whole).index_fill(1, torch.tensor(members, dtype=torch.long), 1)

    return Neighborhood(every, 2**segments, lambda present: kernel[int(present.sum())])


def paired_draws(whole: Float[Tensor, "1 s"], **settings: Any) -> Iterator[Tensor]:
    """Yield all segments, none, then captum's samples from the Shapley kernel without end, each with its complement.

    Pairs reduce the variance, since interactions of two segments cancel in them.
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
    """Fit Shapley values with exact values for the first two rows, all segments and none."""
    everything, nothing = scores[:2]
    return additive_surrogate(present[2:], scores[2:], nearness[2:], nothing=nothing, everything=everything)


def _check(segments: object, samples: object, features: object) -> None:
    """Raise InputError for numbers that allow no fit."""
    if checked_count("samples", samples) < 2:
        raise InputError(
            f"samples must be 2 or more, as the first sample is the whole image, not {samples}",
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
            f"features must be at most the number of segments ({wanted}), not {shown}",
            code="argument.invalid",
            name="features",
            value=shown,
            segments=wanted,
        )
