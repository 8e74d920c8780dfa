"""Repeat an explanation: the same model, method, layers, options and seed, for other inputs or targets."""

import warnings
from typing import cast

from torch import Tensor, nn

from camlens.core.errors import EvidenceWarning, InputError, MisfitError
from camlens.core.probe import InputProbe
from camlens.core.registry import Entry
from camlens.core.targets import Target, TargetLike
from camlens.core.types import Classes, Method, Pictures, SelectOutput, TargetMaps
from camlens.explainer import Explainer, Result
from camlens.explanation import Explanation
from camlens.models.loading import LoadedModel
from camlens.pictures import prepared
from camlens.targets import ClassScore, Contrast


def _nothing(probe: InputProbe) -> TargetMaps:
    return probe.scores.new_zeros(*probe.scores.shape, *[1] * (probe.inputs.ndim - 2))


_SCORES = Entry("scores", _nothing, paper="none", needs="probe", good_for="scores without maps", scope="input")


def inputs_of(explanation: Explanation, model: nn.Module | LoadedModel, inputs: Tensor | Pictures | None) -> Tensor:
    """Return the explained inputs as a tensor; None are the explained pictures.

    Raises InputError if there are none, or not as many as explained, and MisfitError if they have another size.
    """
    if not isinstance(inputs, Tensor):
        if not isinstance(model, LoadedModel):
            raise InputError(
                "inputs must be the explained tensor: only a LoadedModel can preprocess pictures",
                code="input.not-a-tensor",
            )
        pictures = [view.picture for view in explanation.views] if inputs is None else inputs
        inputs, _ = prepared(model, pictures)
    if len(inputs) != len(explanation.scores) or tuple(inputs.shape[2:]) != explanation.input_size:
        raise MisfitError(
            f"inputs must be the {len(explanation.scores)} explained image(s) of size {explanation.input_size},"
            f" not {tuple(inputs.shape)}",
            code="input.other-images",
            shape=tuple(inputs.shape),
        )
    return inputs


def classes_of(explanation: Explanation) -> Classes:
    """Return the explained classes (n, t); raise InputError if the targets are not classes."""
    if explanation.classes is None:
        raise InputError(
            f"the explained target, {', '.join(explanation.targets)}, is not a class: pass target= as to explain",
            code="target.needed",
            targets=explanation.targets,
        )
    return explanation.classes


def targets_for(explanation: Explanation, classes: Classes) -> list[Target]:
    """Return the explained targets, classes or contrasts, with `classes` (n, t) in place of the explained ones."""
    columns: list[Target] = []
    for index, column in enumerate(classes.T.tolist()):
        rivals = [-1] if explanation.against is None else explanation.against[:, index].tolist()
        columns.append(Contrast(column, rivals) if min(rivals) >= 0 else ClassScore(column))
    return columns


def repeated(
    explanation: Explanation,
    model: nn.Module | LoadedModel,
    inputs: Tensor,
    target: TargetLike,
    *,
    output: SelectOutput | None = None,
) -> Explanation:
    """Explain `inputs` for `target` with the method, layers, options and seed of an explanation."""
    source = explanation.provenance
    explainer = Explainer(
        model,
        method=explanation.method,
        layers=list(source["layer_choice"]) or None,
        seed=source["seed"],
        options=source["options"],
        output=output,
    )
    return quietly(explainer, inputs, target)


def scored(
    model: nn.Module | LoadedModel, inputs: Tensor, target: TargetLike, output: SelectOutput | None
) -> Explanation:
    """Compute scores and logits of inputs, with the model left as it was."""
    explainer = Explainer(model, method=cast(list[Method], [_SCORES]), output=output)
    return quietly(explainer, inputs, target)[_SCORES.name]


def quietly(explainer: Explainer[Result], inputs: Tensor, target: TargetLike) -> Result:
    """Explain without warnings about empty maps, which are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)
        return explainer(inputs, target=target)
