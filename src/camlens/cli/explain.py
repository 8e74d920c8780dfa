"""`camlens explain`: a panel, a map and a manifest for each image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, complain, say_json

if TYPE_CHECKING:
    from camlens.panels.writing import Gallery

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where panels, maps and manifest go.")]


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
    segments: options.Segments = None,
    samples: options.Samples = None,
    features: options.Features = None,
    option: options.Option = None,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
    crop: options.Crop = False,
) -> None:
    """Show where the model looks: a panel and a map for each image, and a manifest of how they were made.

    Results of earlier runs in the same directory stay, except those of images that are explained again; --force
    removes them all. Files that camlens has not written are never touched. If an image cannot be read, the others
    are still explained and the exit code is 1.

    Examples:

      camlens explain cat.jpg

      camlens explain photos/*.jpg --model resnet50 --output maps

      camlens explain cat.jpg --method layercam --layer blocks.4 --class 281

      camlens explain cat.jpg --class "tabby" --top-k 3 --json

      camlens explain cat.jpg --method lime --segments 50 --samples 200 --features 10 --seed 0

      camlens explain cat.jpg --method occlusion --option window=56 --option stride=28
    """
    from camlens.core.store import check_writable
    from camlens.panels.explaining import explain_files, prepare
    from camlens.panels.naming import class_index
    from camlens.panels.writing import write_gallery
    from camlens.render.theme import Look

    check_writable(output)
    settings = options.method_options({"segments": segments, "samples": samples, "features": features}, option)
    loaded = model.load()
    wanted = None if target is None else class_index(target, loaded.class_names)
    with bar("Explaining", len(images)) as progress:
        place = prepare(loaded, method=method, layer=layer, seed=seed, options=settings, progress=progress.within)
        found = explain_files(place, images, target=wanted, top_k=top_k)
        gallery = write_gallery(
            output, place, progress.each(found), look=Look(colormap.value, alpha, crop=crop), force=force
        )
    _present(gallery, loaded.task, json=json)
    if gallery.failed:
        raise typer.Exit(1)


def _present(gallery: "Gallery", task: str, *, json: bool) -> None:
    for failure in gallery.failed:
        complain(f"error: {failure.reason}")
    for entry in gallery.manifest["images"]:
        for text in entry["warnings"]:
            complain(f"warning: {entry['image']}: {text}")
    if json:
        where = None if gallery.directory is None else str(gallery.directory)
        say_json({"output": where, **gallery.manifest})
        return
    for entry in gallery.manifest["images"]:
        typer.echo(f"{entry['image']}: {_summary(entry, task)} -> {gallery.directory}/{entry['panel']}")


def _summary(entry: dict[str, Any], task: str) -> str:
    confidence = entry["confidence"]
    form = ".4g" if task == "regression" else ".1%"
    sure = "" if confidence is None else f" ({confidence:{form}})"
    fidelity = entry.get("details", {}).get("r_squared")
    faithful = "" if fidelity is None else f", R squared {fidelity[0]:.2f}"
    return f"{entry['class_name']}{sure}, {entry['layer']}{faithful}"
