"""`camlens explain`: a panel and a map for each image, and a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, print_error, print_json

if TYPE_CHECKING:
    from camlens.cli.gallery import Gallery

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory for panels, maps and manifest.")]

Checks = Annotated[
    bool, typer.Option("--check", help="Test each map against the effects of deleting patches of the image.")
]

CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="Give verdicts by a file that `camlens calibrate` has written."),
]


@options.takes_model
def explain(
    images: options.Images,
    model: options.ModelOptions,
    method: options.Method = "gradcam",
    layer: options.Layer = None,
    target: options.Class = None,
    top_k: options.TopK = 5,
    output: Output = Path("camlens-maps"),
    json: options.Json = False,
    force: options.Force = False,
    seed: options.Seed = 0,
    check: Checks = False,
    calibration: CalibrationFile = None,
    gradients: options.Gradients = options.GradientsName.plain,
    segments: options.Segments = None,
    samples: options.Samples = None,
    features: options.Features = None,
    option: options.Option = None,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
    crop: options.Crop = False,
) -> None:
    """Show where a model looks: a panel and a map for each image.

    A manifest records how the maps were made.
    Earlier results in the same directory are kept, unless the same image is
    explained again; --force removes them all. Other files are never touched.
    Unreadable images are skipped; then the exit code is 1.

    Examples:

      camlens explain cat.jpg

      camlens explain photos/*.jpg --model resnet50 --output maps

      camlens explain cat.jpg --method layercam --layer blocks.4 --class 281

      camlens explain cat.jpg --check

      camlens explain cat.jpg --class "tabby" --top-k 3 --json

      camlens explain cat.jpg --method lime --segments 50 --samples 200

      camlens explain cat.jpg --method occlusion --option window=56
    """
    from camlens.cli.explaining import explain_files, prepare
    from camlens.cli.gallery import write_gallery
    from camlens.cli.naming import class_index
    from camlens.core.store import check_writable
    from camlens.render.theme import Look
    from camlens.trust.calibrating import Calibration

    check_writable(output)
    settings = options.method_options({"segments": segments, "samples": samples, "features": features}, option)
    loaded = model.load()
    index = None if target is None else class_index(target, loaded.class_names)
    with bar("Explaining", len(images)) as progress:
        place = prepare(
            loaded,
            method=method,
            layer=layer,
            gradients=gradients.value,
            seed=seed,
            options=settings,
            progress=progress.within,
            checks=check,
            calibration=None if calibration is None else Calibration.load(calibration),
        )
        explained = progress.each(explain_files(place, images, target=index, top_k=top_k))
        gallery = write_gallery(output, place, explained, look=Look(colormap.value, alpha, crop=crop), force=force)
    _print(gallery, loaded.task, json=json)
    if gallery.failed:
        raise typer.Exit(1)


def _print(gallery: "Gallery", task: str, *, json: bool) -> None:
    for failure in gallery.failed:
        print_error(f"error: {failure.reason}")
    for entry in gallery.manifest["images"]:
        for text in entry["warnings"]:
            print_error(f"warning: {entry['image']}: {text}")
    if json:
        directory = None if gallery.directory is None else str(gallery.directory)
        print_json({"output": directory, **gallery.manifest})
        return
    for entry in gallery.manifest["images"]:
        typer.echo(f"{entry['image']}: {_summary(entry, task)} -> {gallery.directory}/{entry['panel']}")
        for text in _check_lines(entry):
            typer.echo(f"  {text}")


def _check_lines(entry: dict[str, Any]) -> list[str]:
    lines = [entry["verdict"]["text"]] if "verdict" in entry else []
    if "check" in entry:
        lines += [*(fact["text"] for fact in entry["check"]["facts"]), entry["check"]["sentence"]]
    return lines


def _summary(entry: dict[str, Any], task: str) -> str:
    value = entry["confidence"]
    confidence = "" if value is None else f" ({value:{'.4g' if task == 'regression' else '.1%'}})"
    r_squared = entry.get("details", {}).get("r_squared")
    fidelity = "" if r_squared is None else f", R squared {r_squared[0]:.2f}"
    return f"{entry['class_name']}{confidence}, {entry['layer']}{fidelity}"
