"""`camlens predict`: the most likely classes of each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, print_error, print_json

if TYPE_CHECKING:
    from camlens.gradcam import Prediction
    from camlens.models import LoadedModel


@options.takes_model
def predict(
    images: options.Images,
    model: options.ModelOptions,
    top_k: options.TopK = 5,
    json: options.Json = False,
) -> None:
    """Print the most likely classes of each image with their confidences.

    Examples:

      camlens predict cat.jpg

      camlens predict photos/*.jpg --model resnet50 --top-k 3 --json
    """
    loaded = model.load()
    with bar("Predicting", len(images)) as progress:
        results = list(progress.each(_predictions(loaded, images, top_k)))
    failed = [(path, result) for path, result in results if isinstance(result, str)]
    predicted = [(path, result) for path, result in results if not isinstance(result, str)]
    for _, reason in failed:
        print_error(f"error: {reason}")
    if json:
        print_json(
            {
                "model": model.model,
                "images": [{"image": str(path), "predictions": predictions} for path, predictions in predicted],
                "failed": [{"image": str(path), "error": reason} for path, reason in failed],
            }
        )
    else:
        for path, predictions in predicted:
            typer.echo(str(path))
            for prediction in predictions:
                value = prediction["confidence"]
                confidence = f"{value:6.1%}" if loaded.task == "classification" else f"{value:8.4g}"
                typer.echo(f"  {confidence}  {prediction['class_name']} ({prediction['class_idx']})")
    if failed:
        raise typer.Exit(1)


def _predictions(
    loaded: "LoadedModel", paths: Sequence[Path], top_k: int
) -> Iterator[tuple[Path, "list[Prediction] | str"]]:
    """Yield each file with its most likely classes, or with the reason why it cannot be predicted."""
    from camlens.cli.explaining import most_likely
    from camlens.core.engine import Session
    from camlens.core.errors import DataError, InputError
    from camlens.data.decode import decode_image

    for path in paths:
        try:
            inputs = loaded.preprocess(decode_image(path))[None]
            output = Session.of(loaded.model, inputs.to(loaded.device), output=loaded.reader).predict()
            logits = (output.class_scores() if loaded.task == "classification" else output.logits())[0]
        except (DataError, InputError) as error:
            yield path, str(error)
        else:
            yield path, most_likely(loaded, logits, top_k)
