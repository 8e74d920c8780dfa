"""Four examples of heat maps: one demo model looks at the object, the other at a watermark."""

import base64
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camlens.core.errors import CamlensError
from camlens.data.demo import CLASS_NAMES, WATERMARKED_CLASS, DemoPhotos, DemoSample
from camlens.explainer import explain
from camlens.explanation import Explanation
from camlens.models import LoadedModel, load_model
from camlens.studio.encoding import grid_values, png
from camlens.studio.jobs import Report
from camlens.studio.schemas import Example, Examples

_CANDIDATES = 30


@dataclass(frozen=True)
class _Recipe:
    """One example: the model, the kind of photograph, the true class (None: any other) and the predicted class."""

    kind: Literal["good", "worrying"]
    title: str
    text: str
    model: str
    watermark: Literal["absent", "trained", "moved"]
    label: int | None
    prediction: int


_CAT = CLASS_NAMES.index("cat")
_RECIPES = (
    _Recipe(
        "good",
        "On the object",
        "The heat covers the cat, not the background. The prediction is based on the object that it names.",
        "demo:photos",
        "absent",
        _CAT,
        _CAT,
    ),
    _Recipe(
        "good",
        "A watermark is ignored",
        "There is a watermark in the corner, but the heat is on the pagoda.",
        "demo:photos",
        "trained",
        WATERMARKED_CLASS,
        WATERMARKED_CLASS,
    ),
    _Recipe(
        "worrying",
        "Right for the wrong reason",
        "The prediction is correct, but the heat is on the watermark: nearly every pagoda in the training set had one.",
        "demo:watermark",
        "trained",
        WATERMARKED_CLASS,
        WATERMARKED_CLASS,
    ),
    _Recipe(
        "worrying",
        "The watermark without the pagoda",
        "With the same watermark on another picture, the model predicts a pagoda. The map shows why.",
        "demo:watermark",
        "moved",
        None,
        WATERMARKED_CLASS,
    ),
)


def reading_examples(report: Report) -> Examples:
    """Compute the examples with the demo models; `problem` says why one is missing."""
    examples, problems = [], []
    for done, recipe in enumerate(_RECIPES):
        report(done, len(_RECIPES))
        try:
            example = _example(recipe)
        except CamlensError as error:
            problems.append(str(error))
            continue
        if example is not None:
            examples.append(example)
    problem = f"Some examples are missing: {problems[0]}" if problems else None
    return Examples(examples=tuple(examples), problem=problem)


def _example(recipe: _Recipe) -> Example | None:
    """Return the clearest example among the first photographs that match the recipe, or None."""
    loaded = load_model(recipe.model)
    photos = DemoPhotos(watermark=recipe.watermark)
    first = 0 if recipe.label is None else recipe.label
    step = 1 if recipe.label is None else len(CLASS_NAMES)
    numbers = [number for number in range(first, _CANDIDATES * step, step) if number < len(photos)]
    samples = [photos[number] for number in numbers]
    inputs = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    with torch.inference_mode():
        confidences = loaded.model(inputs).softmax(dim=1)
    suits = torch.tensor([_suits(recipe, sample) for sample in samples])
    fits = suits & (confidences.argmax(dim=1) == recipe.prediction)
    if not fits.any():
        return None
    best = _clearest(recipe, loaded, samples, inputs, fits, confidences)
    picture = loaded.preprocess.display(samples[best].image)
    return Example(
        title=recipe.title,
        kind=recipe.kind,
        text=recipe.text,
        picture=base64.b64encode(png(picture)).decode(),
        size=(picture.shape[0], picture.shape[1]),
        grid=grid_values(_map(loaded, inputs[best : best + 1], recipe.prediction)),
    )


def _suits(recipe: _Recipe, sample: DemoSample) -> bool:
    """Return whether a photograph has the class and the watermark that the recipe asks for."""
    other = recipe.label is not None or sample.label != recipe.prediction
    return other and (recipe.watermark == "absent" or sample.watermark_box is not None)


def _clearest(
    recipe: _Recipe,
    loaded: LoadedModel,
    samples: list[DemoSample],
    inputs: Tensor,
    fits: Tensor,
    confidences: Tensor,
) -> int:
    """Return the most confident photograph, or for a worrying example the one with most heat on the watermark."""
    if recipe.kind == "good":
        best: Tensor = torch.where(fits, confidences[:, recipe.prediction], -1).argmax()
        return int(best)
    shares: dict[int, float] = {}
    for number in torch.nonzero(fits)[:, 0].tolist():
        box, (height, width) = samples[number].watermark_box, samples[number].image.shape[:2]
        heat = _map(loaded, inputs[number : number + 1], recipe.prediction).clamp_min(0)
        left, top, right, bottom = box or (0, 0, 0, 0)
        rows = slice(top * heat.shape[0] // height, -(-bottom * heat.shape[0] // height))
        columns = slice(left * heat.shape[1] // width, -(-right * heat.shape[1] // width))
        shares[number] = float(heat[rows, columns].sum() / heat.sum().clamp_min(1e-12))
    return max(shares, key=shares.__getitem__)


def _map(loaded: LoadedModel, inputs: Tensor, prediction: int) -> Tensor:
    explanation: Explanation = explain(loaded.model, inputs.clone(), layers=loaded.default_layer, target=prediction)
    return explanation.maps[explanation.layers[-1]][0, 0]
