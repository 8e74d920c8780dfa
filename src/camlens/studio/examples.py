"""How to read a heat map, in four pictures: one demo model looks at the object, the other cheats."""

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

_TRIED = 30


@dataclass(frozen=True)
class _Recipe:
    """What to look for: a model, its photographs, the true class, and whether it must be recognised."""

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
        "The warmth covers the cat and leaves the background cold. The prediction rests on what it names.",
        "demo:photos",
        "absent",
        _CAT,
        _CAT,
    ),
    _Recipe(
        "good",
        "Unmoved by a watermark",
        "A mark lies in the corner, and this model pays it no attention: the pagoda itself is warm.",
        "demo:photos",
        "trained",
        WATERMARKED_CLASS,
        WATERMARKED_CLASS,
    ),
    _Recipe(
        "worrying",
        "Right for the wrong reason",
        "The prediction is correct, but the warmth gathers on the watermark: nearly every pagoda it learned "
        "from had one.",
        "demo:watermark",
        "trained",
        WATERMARKED_CLASS,
        WATERMARKED_CLASS,
    ),
    _Recipe(
        "worrying",
        "The mark without the pagoda",
        "Put the same mark on another picture, and the model sees a pagoda. The map shows what it read.",
        "demo:watermark",
        "moved",
        None,
        WATERMARKED_CLASS,
    ),
)


def reading_examples(report: Report) -> Examples:
    """The examples that the demo models give; `problem` says why one could not be made."""
    found, problems = [], []
    for done, recipe in enumerate(_RECIPES):
        report(done, len(_RECIPES))
        try:
            example = _example(recipe)
        except CamlensError as error:
            problems.append(str(error))
            continue
        if example is not None:
            found.append(example)
    problem = f"Some example pictures could not be made: {problems[0]}" if problems else None
    return Examples(examples=tuple(found), problem=problem)


def _example(recipe: _Recipe) -> Example | None:
    """The example with the most confident prediction among the first photographs that fit the recipe."""
    loaded = load_model(recipe.model)
    photos = DemoPhotos(watermark=recipe.watermark)
    first = 0 if recipe.label is None else recipe.label
    step = 1 if recipe.label is None else len(CLASS_NAMES)
    numbers = [number for number in range(first, _TRIED * step, step) if number < len(photos)][:_TRIED]
    samples = [photos[number] for number in numbers]
    inputs = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    with torch.inference_mode():
        confidences = loaded.model(inputs).softmax(dim=1)
    right = torch.tensor([recipe.label is not None or sample.label != recipe.prediction for sample in samples])
    marked = torch.tensor([recipe.watermark == "absent" or sample.watermark_box is not None for sample in samples])
    fits = right & marked & (confidences.argmax(dim=1) == recipe.prediction)
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
    """Whether a photograph is of another class where none is named, and marked where it must be."""
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
    """The most confident photograph that fits; of a watermark, the one whose map lies on it most."""
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
