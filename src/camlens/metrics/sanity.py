"""Does the map depend on what it should: the class it is asked about, and what the model has learned?"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from camlens.core.arguments import checked_count
from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.core.types import Images
from camlens.metrics.arguments import PerImage, answer_of, draws, tensor_of
from camlens.metrics.randomisation import copy_of, forget, remembered, stages_of, uses_noted
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
    good_for="whether the map knows which class it was asked about",
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
    """Similarity of the map of each image's class and that of another class drawn at random.

    Methods that ask for no class (Eigen-CAM, KPCA-CAM, FEM) have 1 by design.
    """
    count = checked_count("number_of_classes", number_of_classes, least=2)
    if count <= int(tensor_of("classes", classes).max()):
        raise InputError(
            f"number_of_classes is {count}, and classes go up to {int(classes.max())}",
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
    good_for="whether the map shows what the model has learned",
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
    """Mean similarity of the map with the maps of the model as it forgets, over all stages of forgetting.

    Stages whose maps are constant or not finite are left out of the mean. The stages one by one, which the
    paper plots, are given by `randomisation_curve`.
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
    """Similarity of the map with that of the model after each stage of forgetting, by name of the stage.

    `explain(model, inputs)` must ask for the same classes every time. The model is copied and stays as it
    is. "cascading" forgets from the score downwards and keeps forgetting, "independent" forgets one stage at
    a time. By default a stage is one module with parameters of its own; `stages` limits their number.
    Forgetting means normal values of the size the parameters had, and fresh running statistics.
    """
    if order not in ("cascading", "independent"):
        raise InputError(
            f"order must be 'cascading' or 'independent', not {order!r}",
            code="argument.invalid",
            name="order",
            value=order,
        )
    twin, draw = copy_of(model), draws(generator)
    with uses_noted(twin) as uses:
        before = answer_of("explain", explain, twin, inputs).detach().clone()
    curve = {}
    for stage in stages_of(twin, uses, stages):
        with remembered(twin, stage) if order == "independent" else nullcontext():
            forget(twin, stage, draw)
            curve[stage.name] = similarity(before, answer_of("explain", explain, twin, inputs))
    return curve
