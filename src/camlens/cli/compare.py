"""`camlens compare`: one labelled figure of several layers, methods or classes."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, complain, say_json

Image = Annotated[Path, typer.Argument(metavar="IMAGE", show_default=False, help="The image file to look at.")]
Several = Annotated[str | None, typer.Option(metavar="A,B,...", rich_help_panel="What to compare (one of these)")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The figure, a PNG file. Without it IMAGE-layers.png or so."),
]


@options.takes_model
def compare(
    image: Image,
    model: options.ModelOptions,
    layers: Several = None,
    methods: Several = None,
    classes: Several = None,
    method: options.Method = "gradcam",
    layer: options.Layer = None,
    target: options.Class = None,
    output: Output = None,
    json: options.Json = False,
    force: options.Force = False,
    seed: options.Seed = 0,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
    crop: options.Crop = False,
) -> None:
    """Draw several layers, methods or classes of one image side by side, from one pass through the model.

    Two classes also get the signed difference of their maps.

    Examples:

      camlens compare cat.jpg --layers blocks.2,blocks.4,bn2

      camlens compare cat.jpg --methods gradcam,layercam,eigencam

      camlens compare cat.jpg --classes "tabby,Egyptian cat" --output tabby-or-egyptian.png
    """
    from camlens.panels.comparing import Kind, Question, compare_image
    from camlens.panels.naming import class_index, split_list
    from camlens.panels.pictures import comparison_picture
    from camlens.panels.writing import check_figure_file, save_figure
    from camlens.render.theme import Look

    given: dict[Kind, str | None] = {"layers": layers, "methods": methods, "classes": classes}
    asked = [name for name, text in given.items() if text is not None]
    if len(asked) != 1:
        raise typer.BadParameter("say exactly one of --layers, --methods and --classes")
    kind = asked[0]
    place = output or Path(f"{image.stem}-{kind}.png")
    check_figure_file(place, force=force)
    loaded = model.load()
    members = split_list(given[kind] or "", loaded.class_names if kind == "classes" else ())
    with bar("Comparing", 1) as progress:
        question = Question(
            kind=kind,
            layers=tuple(members) if kind == "layers" else (() if layer is None else (layer,)),
            methods=tuple(members) if kind == "methods" else (method,),
            classes=tuple(
                class_index(text, loaded.class_names)
                for text in (members if kind == "classes" else [target] if target is not None else [])
            ),
            seed=seed,
        )
        comparison = compare_image(loaded, image, question, progress=progress.within)
        save_figure(comparison_picture(comparison, Look(colormap.value, alpha, crop=crop)), place, force=force)
    for text in comparison.warnings:
        complain(f"warning: {image}: {text}")
    if json:
        say_json({"output": str(place), "model": model.model, **comparison.to_dict()})
    else:
        typer.echo(str(place))
