"""`camlens predict`: the best classes of each image, without a map."""

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, complain, say_json


@options.takes_model
def predict(
    images: options.Images,
    model: options.ModelOptions,
    top_k: options.TopK = 5,
    json: options.Json = False,
) -> None:
    """Say what the model sees: the best classes of each image with their confidences.

    Examples:

      camlens predict cat.jpg

      camlens predict photos/*.jpg --model resnet50 --top-k 3 --json
    """
    from camlens.panels.explaining import FailedImage
    from camlens.panels.predicting import predict_files

    loaded = model.load()
    with bar("Predicting", len(images)) as progress:
        found = list(progress.each(predict_files(loaded, images, top_k=top_k)))
    failed = [one for one in found if isinstance(one, FailedImage)]
    done = [one for one in found if not isinstance(one, FailedImage)]
    for failure in failed:
        complain(f"error: {failure.reason}")
    if json:
        say_json(
            {
                "model": model.model,
                "images": [{"image": str(one.path), "predictions": one.predictions} for one in done],
                "failed": [{"image": str(one.path), "error": one.reason} for one in failed],
            }
        )
    else:
        for one in done:
            typer.echo(str(one.path))
            for guess in one.predictions:
                value = guess["confidence"]
                shown = f"{value:6.1%}" if loaded.task == "classification" else f"{value:8.4g}"
                typer.echo(f"  {shown}  {guess['class_name']} ({guess['class_idx']})")
    if failed:
        raise typer.Exit(1)
