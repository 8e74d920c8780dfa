"""LIME and KernelSHAP: which segments of the image the score needs, by taking some of them away."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camlens.attributions.baselines import Baseline, baseline_image, segment_means
from camlens.attributions.segments import checked_segments, segmented
from camlens.attributions.surrogate import Surrogate, additive_surrogate, ridge_surrogate
from camlens.core.details import Found, padded_rows
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.methods.draws import same_draws
from camlens.methods.options import checked_count, checked_strength

Segmentation = Literal["slic", "quickshift"]
Present = Bool[Tensor, "m s"]


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
    arXiv 1602.04938, eq. 1 and section 3.4). The map shows each segment's weight w: above zero supports the
    target. Segments come from SLIC or quickshift, or as labels of your own. A segment that is taken away is
    filled with `baseline`: "mean" its own mean colour, or a number or image in the model's own units.
    With `features` only the strongest so many segments get a weight, and the model is fitted to them again.
    Seeded; all targets share the forward passes. `details` hold segments (n, *spatial), segment_counts (n,),
    weights and chosen (n, t, segments), intercept and r_squared (n, t): the fidelity, 1 being perfect.

        explain(model, images, method="lime", options={"segments": 100, "samples": 1000, "features": 10})
    """
    _check(segments, samples, features)
    width, strength = checked_strength("kernel_width", kernel_width), checked_strength("ridge", ridge)
    if width == 0:
        raise InputError("kernel_width must be above 0: at 0 nothing is near the image")

    def fit(asked: "_Asked", generator: torch.Generator) -> Surrogate:
        present = _drawn(samples, asked.count, generator)
        shares = present.double().mean(dim=1)
        distances = 1 - shares.sqrt()
        nearness = (-(distances.square()) / width**2).exp().sqrt()
        scores = asked.scores(present)
        return ridge_surrogate(present.double(), scores.double(), nearness, ridge=strength, features=features)

    return _explained(probe, segments, segmentation, baseline, samples, features, fit)


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
    Coalitions are drawn in proportion to pi, each with its opposite; where all 2^s - 2 of them are no more than
    `samples` they are all asked, and the values are exact. A score that adds up over segments gets its exact
    values in any case. Segments, `baseline`, seeding and `details` are as for LIME; `features` only hides the
    weaker segments from the map, since every segment has its share.

        explain(model, images, method="kernelshap", options={"segments": 50, "samples": 1000})
    """
    _check(segments, samples, features)

    def fit(asked: "_Asked", generator: torch.Generator) -> Surrogate:
        if samples < asked.count:
            raise InputError(
                f"samples must be at least the number of segments ({asked.count}) for Shapley values, not {samples}"
            )
        present, nearness = _coalitions(samples, asked.count, generator)
        ends = torch.stack([torch.zeros(asked.count, dtype=torch.bool), torch.ones(asked.count, dtype=torch.bool)])
        scores = asked.scores(torch.cat([ends, present])).double()
        return additive_surrogate(present.double(), scores[2:], nearness, nothing=scores[0], everything=scores[1])

    return _explained(probe, segments, segmentation, baseline, samples, features, fit)


@dataclass(frozen=True, eq=False)
class _Asked:
    """One image cut into segments, and how the model is asked about some of them."""

    probe: InputProbe
    row: int
    labels: Tensor
    count: int
    absent: Tensor
    samples: int

    def scores(self, present: Present) -> Float[Tensor, "m t"]:
        """Scores of the image with only these segments present, on the CPU."""
        image, labels = self.probe.inputs[self.row], self.labels.long().to(self.probe.inputs.device)
        total, found = len(self.probe.inputs) * self.samples, []
        for start in range(0, len(present), self.probe.batch_size):
            shown = present[start : start + self.probe.batch_size].to(image.device)
            tried = torch.where(shown[:, labels][:, None], image, self.absent)
            found.append(self.probe.input_scores(tried, self.row).cpu())
            self.probe.progress(min(self.row * self.samples + start + len(shown), total), total)
        return torch.cat(found)


def _explained(
    probe: InputProbe,
    segments: object,
    segmentation: object,
    baseline: object,
    samples: int,
    features: int | None,
    fit: Callable[[_Asked, torch.Generator], Surrogate],
) -> Found:
    """Maps and details of a surrogate that is fitted for each image by itself."""
    size, seed = probe.inputs.shape[2:], probe.generator.initial_seed()
    maps, labels, fits = [], [], []
    for row, image in enumerate(probe.inputs):
        found = segmented(image, segments, segmentation, row, seed)
        count = int(found.max()) + 1
        absent = segment_means(image, found, count) if baseline == "mean" else baseline_image(baseline, image)
        one = fit(_Asked(probe, row, found, count, absent, samples), same_draws(probe.generator))
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


def _drawn(samples: int, count: int, generator: torch.Generator) -> Present:
    """The whole image, then segments that are present or not with equal chance."""
    drawn = torch.rand(samples - 1, count, generator=generator) < 0.5
    return torch.cat([torch.ones(1, count, dtype=torch.bool), drawn])


def _coalitions(samples: int, count: int, generator: torch.Generator) -> tuple[Present, Float[Tensor, " m"]]:
    """Coalitions that are neither empty nor whole, and how much each counts."""
    if 2**count - 2 <= samples:
        sizes = range(1, count)
        members = [(chosen, size) for size in sizes for chosen in combinations(range(count), size)]
        present = torch.zeros(len(members), count, dtype=torch.bool)
        rows = torch.tensor([row for row, (_, size) in enumerate(members) for _ in range(size)])
        columns = torch.tensor([column for chosen, _ in members for column in chosen])
        kernel = [(count - 1) / (comb(count, size) * size * (count - size)) for _, size in members]
        return present.index_put((rows, columns), torch.tensor(True)), torch.tensor(kernel, dtype=torch.float64)
    sizes_drawn = torch.arange(1, count, dtype=torch.float64)
    chances = 1 / (sizes_drawn * (count - sizes_drawn))
    pairs = (samples + 1) // 2
    chosen = torch.multinomial(chances, pairs, replacement=True, generator=generator) + 1
    order = torch.rand(pairs, count, generator=generator).argsort(dim=1).argsort(dim=1)
    half = order < chosen[:, None]
    present = torch.stack([half, ~half], dim=1).flatten(0, 1)[:samples]
    return present, torch.ones(len(present), dtype=torch.float64)


def _check(segments: object, samples: object, features: object) -> None:
    """Refuse numbers that no fit can be made of, before anything is computed."""
    if checked_count("samples", samples) < 2:
        raise InputError("samples must be 2 or more: one sample is the image itself, and nothing can be fitted to it")
    wanted = None if isinstance(segments, Tensor) else checked_segments(segments)
    if features is None:
        return
    shown = checked_count("features", features)
    if wanted is not None and shown > wanted:
        raise InputError(f"features must be no more than segments ({wanted}), not {shown}")
