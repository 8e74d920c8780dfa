"""The test of maps: the effect of deleting each patch, compared with the heat of the patches by rank."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.errors import InputError
from camlens.core.registry import METHODS
from camlens.core.targets import TargetLike, as_target
from camlens.core.types import Method, Scores, SelectOutput, TargetMaps
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.models.loading import LoadedModel
from camlens.trust.again import classes_of, quietly, targets_for
from camlens.trust.deletion import DELETION, FILLS, patch_means
from camlens.trust.ranking import permutation_p_values, rank_correlation, symmetry_p_values

_TOLERANCE = 0.02  # of scores in half precision, computed in batches of another size


@dataclass(frozen=True, eq=False)
class Experiment:
    """Measured effects, and the rank correlation of each map with them; see `Check` for the fields."""

    effect: Scores
    p_value: Scores
    symmetry_p_value: Scores
    effects: TargetMaps
    by_fill: dict[str, Scores]


def experiment(
    explanation: Explanation,
    model: nn.Module | LoadedModel,
    inputs: Tensor,
    *,
    patches: int,
    permutations: int,
    seed: int,
    layer: str,
    target: TargetLike = None,
    output: SelectOutput | None = None,
) -> Experiment:
    """Measure the effect of deleting each patch, and compare it with the maps."""
    deletion = deletion_effects(explanation, model, inputs, patches, target=target, output=output)
    heat = _patch_heat(explanation, layer, patches).flatten(0, 1)
    shape, axes = explanation.scores.shape, len(explanation.input_size)

    def flat(effects: object) -> Float[Tensor, "maps patches"]:
        return cast(Tensor, effects).cpu().flatten(2).flatten(0, 1)

    effects = flat(deletion.maps["input"])
    return Experiment(
        effect=rank_correlation(heat, effects).view(shape),
        p_value=permutation_p_values(heat, effects, permutations, seed).view(shape),
        symmetry_p_value=symmetry_p_values(heat, effects, patches, axes).view(shape),
        effects=deletion.maps["input"].cpu(),
        by_fill={fill: rank_correlation(heat, flat(deletion.details[fill])).view(shape) for fill in FILLS},
    )


def deletion_effects(
    explanation: Explanation,
    model: nn.Module | LoadedModel,
    inputs: Tensor,
    patches: int,
    *,
    target: TargetLike = None,
    output: SelectOutput | None = None,
) -> Explanation:
    """Measure the effect of deleting each patch on the explained scores.

    Raises InputError if the model's scores are not those of the explanation: then the model, the inputs or the target
    are others.
    """
    wanted: TargetLike = target if target is not None else targets_for(explanation, classes_of(explanation))
    retarget = METHODS[explanation.method].retarget if explanation.method in METHODS else None
    if retarget is not None:
        wanted = retarget(as_target(wanted))
    method = cast(list[Method], [DELETION])
    explainer = Explainer(model, method=method, options={DELETION.name: {"patches": patches}}, output=output)
    result = quietly(explainer, inputs, wanted)[DELETION.name]
    expected = explanation.scores.to(result.scores)
    allowed = _TOLERANCE * float(expected.abs().max())
    same = result.scores.shape == expected.shape and torch.allclose(result.scores, expected, rtol=0, atol=allowed)
    if not same:
        raise InputError(
            "the scores of these inputs are not those of the explanation: pass the explained inputs and model, and"
            " target= and output= as to explain if they were given there",
            code="check.other-scores",
            expected=expected.tolist(),
            given=result.scores.tolist(),
        )
    return result


def _patch_heat(explanation: Explanation, layer: str, patches: int) -> Float[Tensor, "n t patches"]:
    """Mean heat of each patch, as it is drawn: signed if the map is drawn with both signs."""
    heatmaps, signed = explanation.heatmaps(layer), explanation.signedmaps(layer)
    drawn = [
        (signed if explanation.shows_both_signs(target) else heatmaps)[:, target] for target in range(heatmaps.shape[1])
    ]
    return torch.stack([patch_means(maps.double().cpu(), patches) for maps in drawn], dim=1)
