"""Sanity checks: dependence of the map on the class and on the parameters of the model."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from camlens.core.arguments import check_choice, checked_count
from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import PerImage, answer_of, draws, tensor_of
from camlens.metrics.randomisation import copy_of, randomize, recorded_uses, restored, stages_of
from camlens.metrics.similarity import spearman

Order = Literal["cascading", "independent"]
Similarity = Callable[[Tensor, Tensor], Tensor]
"""similarity(first (n, *size), second (n, *size)) -> (n,)."""
ExplainClasses = Callable[[Tensor, Tensor], Tensor]
"""explain(inputs (n, c, *spatial), classes (n,)) -> maps (n, *size)."""
ExplainModel = Callable[[nn.Module, Tensor], Tensor]
"""explain(model, inputs (n, c, *spatial)) -> maps (n, *size), always for the same classes."""


@register_metric(
    "random_logit_similarity",
    paper="Sixt et al. 2020, When Explanations Lie, arXiv 1912.09818",
    needs="explain, inputs, classes",
    good_for="dependence of the map on the class",
    better="lower",
    cost="seconds",
)
def random_logit_similarity(
    explain: ExplainClasses,
    inputs: Images,
    classes: Int[Tensor, " n"],
    *,
    number_of_classes: int,
    similarity: Similarity = spearman,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Similarity of the maps of each image's class and of another class drawn at random.

    Methods that are independent of the class (Eigen-CAM, KPCA-CAM, FEM) give 1 by design.
    """
    count = checked_count("number_of_classes", number_of_classes, least=2)
    if count <= int(tensor_of("classes", classes).max()):
        raise InputError(
            f"number_of_classes must be above the highest class, {int(classes.max())}, not {count}",
            code="argument.invalid",
            name="number_of_classes",
            value=count,
        )
    step = torch.randint(1, count, (1,), generator=draws(generator)).to(classes)
    own, other = (answer_of("explain", explain, inputs, asked) for asked in (classes, (classes + step) % count))
    return similarity(own, other)


@register_metric(
    "parameter_randomisation",
    paper="Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292",
    needs="model, explain, inputs",
    good_for="dependence of the map on the learned parameters",
    better="lower",
    cost="minutes",
)
def parameter_randomisation(
    model: nn.Module,
    explain: ExplainModel,
    inputs: Images,
    *,
    order: Order = "cascading",
    stages: int | None = None,
    similarity: Similarity = spearman,
    generator: torch.Generator | None = None,
) -> PerImage:
    """Mean similarity of the map and the maps of the model with randomized parameters, over all stages.

    Stages whose maps are constant or not finite are left out of the mean. `randomisation_curve` returns the value of
    each stage, as plotted in the paper.
    """
    curve = randomisation_curve(
        model, explain, inputs, order=order, stages=stages, similarity=similarity, generator=generator
    )
    return torch.stack(list(curve.values())).nanmean(dim=0)


def randomisation_curve(
    model: nn.Module,
    explain: ExplainModel,
    inputs: Images,
    *,
    order: Order = "cascading",
    stages: int | None = None,
    similarity: Similarity = spearman,
    generator: torch.Generator | None = None,
) -> dict[str, PerImage]:
    """Similarity of the maps before and after the randomization of each stage, by name of the stage.

    `explain(model, inputs)` must explain the same classes every time. A copy of the model is randomized. "cascading"
    randomizes stages one after the other, from the output to the input; "independent" randomizes one stage at a time.
    By default a stage is one module with parameters of its own; `stages` limits their number. Parameters become
    normal random values of the same root mean square, and running statistics are reset.
    """
    check_choice("order", order, ("cascading", "independent"))
    copy, generator = copy_of(model), draws(generator)
    with recorded_uses(copy) as uses:
        before = answer_of("explain", explain, copy, inputs).detach().clone()
    curve = {}
    for stage in stages_of(copy, uses, stages):
        with restored(copy, stage) if order == "independent" else nullcontext():
            randomize(copy, stage, generator)
            curve[stage.name] = similarity(before, answer_of("explain", explain, copy, inputs))
    return curve
