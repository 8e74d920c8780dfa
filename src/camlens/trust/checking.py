"""`Explanation.check`: facts about a map, and a test of it against measured effects."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camlens.core.arguments import checked_count
from camlens.core.details import finite, json_values
from camlens.core.probabilities import class_name
from camlens.core.registry import METHODS
from camlens.core.targets import TargetLike
from camlens.core.types import Pictures, Scores, SelectOutput, TargetMaps
from camlens.explanation import Explanation
from camlens.metrics.similarity import pearson
from camlens.models.loading import LoadedModel
from camlens.trust.again import inputs_of, repeated, targets_for
from camlens.trust.deletion import patch_masks
from camlens.trust.experiment import experiment
from camlens.trust.facts import Fact, facts_of, same_map

_LIMITS = (
    "Not tested: details within a patch, patches in combination, and whether the evidence is a good reason for the"
    " class."
)


@dataclass(frozen=True, eq=False)
class Check:
    """Facts about the maps of n images for t targets, and a test of each map against measured effects.

    The test deletes one patch of the image at a time, measures the drop of the score, and compares the drops with the
    heat of the patches by rank. What is compared is the heat map, or the signed map if it is drawn with both signs.

    Attributes:
        effect: (n, t) rank correlation (Spearman) of the map with the measured effects; NaN if the map is empty.
        p_value: (n, t) exact one-sided p-value of `effect` among random permutations of the map's patches.
        symmetry_p_value: (n, t) the same among all shifts, reflections and rotations of the map, which are as smooth
            as the map. Neighboring patches are similar, in maps and in effects, so this test is the stricter one.
        facts: for each image and target a list of facts.
        effects: (n, t, patches, ...) measured drops of the score, the mean over both fills.
        by_fill: the rank correlation (n, t) for each fill: "mean", the image's mean color, and "blur".
        runner_up: (n, t) correlation with the map of the most likely other class; NaN if there is none.
        labels: for each image and target a label.
        patches, permutations, seed: the settings of the test.
    """

    effect: Scores
    p_value: Scores
    symmetry_p_value: Scores
    facts: list[list[list[Fact]]]
    effects: TargetMaps
    by_fill: dict[str, Scores]
    runner_up: Scores
    labels: list[list[str]]
    patches: int
    permutations: int
    seed: int

    def sentence(self, image: int = 0, target: int = 0) -> str:
        """Return the result of the test of one map in a sentence, and one about what was not tested."""
        return f"{self._result(image, target)} {_LIMITS}"

    def text(self) -> str:
        """Return facts and test of every map as lines of text."""
        lines = []
        for image, facts_of_image in enumerate(self.facts):
            for target, facts in enumerate(facts_of_image):
                if len(self.facts) > 1 or len(facts_of_image) > 1:
                    lines.append(f"image {image}, {self.labels[image][target]}:")
                lines += [fact.text for fact in facts]
                lines.append(self._result(image, target))
        return "\n".join([*lines, _LIMITS])

    def _result(self, image: int, target: int) -> str:
        effect, p, strict = (
            float(values[image, target]) for values in (self.effect, self.p_value, self.symmetry_p_value)
        )
        grid = " x ".join(map(str, self.effects.shape[2:]))
        label = self.labels[image][target]
        if math.isnan(effect):
            return f"Not tested for {label}: the heat, or the effect of filling a patch, is the same everywhere."
        return (
            f"The hot patches matter more to the score of {label} than in {1 - p:.1%} of random rearrangements of the"
            f" map (p = {p:.3f}) and in {1 - strict:.1%} of its shifted and mirrored copies (p = {strict:.3f}): the"
            f" rank correlation of the heat with the drop of the score if one of {grid} patches is filled is"
            f" {effect:.2f}."
        )

    def to_dict(self, image: int = 0, target: int = 0) -> dict[str, Any]:
        """Return the result for one map as JSON values."""
        return {
            "effect": finite(float(self.effect[image, target])),
            "p_value": finite(float(self.p_value[image, target])),
            "symmetry_p_value": finite(float(self.symmetry_p_value[image, target])),
            "by_fill": {name: finite(float(values[image, target])) for name, values in self.by_fill.items()},
            "runner_up": finite(float(self.runner_up[image, target])),
            "effects": json_values(self.effects[image, target]),
            "facts": [
                {"code": fact.code, "value": finite(fact.value), "text": fact.text}
                for fact in self.facts[image][target]
            ],
            "sentence": self.sentence(image, target),
            "patches": self.patches,
            "permutations": self.permutations,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        images, targets = self.effect.shape
        return f"<Check: {images} image(s), {targets} target(s), effect {self.effect.nanmean():.2f} on average>"


def check(
    explanation: Explanation,
    model: nn.Module | LoadedModel,
    inputs: Tensor | Pictures | None,
    *,
    patches: int,
    permutations: int,
    seed: int,
    layer: str | None,
    target: TargetLike,
    output: SelectOutput | None,
) -> Check:
    """Check every map of an explanation; see `Explanation.check`."""
    checked_count("permutations", permutations)
    checked_count("seed", seed, least=0)
    explained = inputs_of(explanation, model, inputs)
    patch_masks(explanation.input_size, patches)
    name = explanation._layer(layer)
    test = experiment(
        explanation,
        model,
        explained,
        patches=patches,
        permutations=permutations,
        seed=seed,
        layer=name,
        target=target,
        output=output,
    )
    images, targets = explanation.scores.shape
    runner_up, runners = _runner_up(explanation, model, explained, name, output)
    facts = [
        [
            facts_of(explanation, name, image, index, patches)
            + same_map(float(runner_up[image, index]), runners[image][index])
            for index in range(targets)
        ]
        for image in range(images)
    ]
    return Check(
        effect=test.effect,
        p_value=test.p_value,
        symmetry_p_value=test.symmetry_p_value,
        facts=facts,
        effects=test.effects,
        by_fill=test.by_fill,
        runner_up=runner_up,
        labels=[[explanation.label(image, index) for index in range(targets)] for image in range(images)],
        patches=patches,
        permutations=permutations,
        seed=seed,
    )


def _runner_up(
    explanation: Explanation, model: nn.Module | LoadedModel, inputs: Tensor, layer: str, output: SelectOutput | None
) -> tuple[Scores, list[list[str]]]:
    """Correlation (n, t) of each map with that of the most likely other class, and the names of these classes.

    NaN if there is no such class, or if the method is a function that is not registered.
    """
    classes = _runner_up_classes(explanation)
    if explanation.method not in METHODS or classes is None:
        images, targets = explanation.scores.shape
        return torch.full((images, targets), torch.nan), [[""] * targets] * images
    again = repeated(explanation, model, inputs, targets_for(explanation, classes), output=output)
    maps = explanation.maps[layer]
    similarity = pearson(maps.flatten(0, 1), again.maps[layer].to(maps).flatten(0, 1)).view(maps.shape[:2])
    return similarity, [[class_name(index, explanation.class_names) for index in row] for row in classes.tolist()]


def _runner_up_classes(explanation: Explanation) -> Tensor | None:
    """The most likely class of each image other than the explained and the contrasted one, (n, t)."""
    logits, classes = explanation.logits, explanation.classes
    if logits is None or classes is None or explanation.task == "regression":
        return None
    taken = [classes.cpu()]
    if explanation.against is not None:
        rivals = explanation.against.cpu()
        taken.append(torch.where(rivals < 0, taken[0], rivals))
    if logits.shape[1] <= len(taken):
        return None
    columns = [
        logits.cpu().scatter(1, torch.stack([part[:, index] for part in taken], dim=1), -torch.inf).argmax(dim=1)
        for index in range(classes.shape[1])
    ]
    return torch.stack(columns, dim=1)
