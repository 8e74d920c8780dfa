"""`camlens compare`: one figure of several layers, methods or classes."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, print_error, print_json

_PANEL = "Compare (pass exactly one)"

Image = Annotated[Path, typer.Argument(metavar="IMAGE", show_default=False, help="Image file.")]
Layers = Annotated[str | None, typer.Option(metavar="A,B,...", help="Layers to compare.", rich_help_panel=_PANEL)]
Methods = Annotated[str | None, typer.Option(metavar="A,B,...", help="Methods to compare.", rich_help_panel=_PANEL)]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Classes to compare, by index or name.", rich_help_panel=_PANEL),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="PNG file to write (default: IMAGE-layers.png etc.)."),
]


@options.takes_model
def compare(
    image: Image,
    model: options.ModelOptions,
    layers: Layers = None,
    methods: Methods = None,
    classes: Classes = None,
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
    """Draw several layers, methods or classes of one image side by side.

    All maps come from one pass through the model.
    For two classes the signed difference of their maps is drawn as well.

    Examples:

      camlens compare cat.jpg --layers blocks.2,blocks.4,bn2

      camlens compare cat.jpg --methods gradcam,layercam,eigencam

      camlens compare cat.jpg --classes "tabby,Egyptian cat" -o cats.png
    """
    from camlens.cli.comparing import Kind, Question, compare_image, comparison_picture
    from camlens.cli.gallery import check_figure_file, save_figure
    from camlens.cli.naming import class_index, split_list
    from camlens.render.theme import Look

    lists: dict[Kind, str | None] = {"layers": layers, "methods": methods, "classes": classes}
    kinds = [kind for kind, text in lists.items() if text is not None]
    if len(kinds) != 1:
        raise typer.BadParameter("pass exactly one of --layers, --methods and --classes")
    kind = kinds[0]
    path = output or Path(f"{image.stem}-{kind}.png")
    check_figure_file(path, force=force)
    loaded = model.load()
    members = split_list(lists[kind] or "", loaded.class_names if kind == "classes" else ())
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
        save_figure(comparison_picture(comparison, Look(colormap.value, alpha, crop=crop)), path, force=force)
    for text in comparison.warnings:
        print_error(f"warning: {image}: {text}")
    if json:
        print_json({"output": str(path), "model": model.model, **comparison.to_dict()})
    else:
        typer.echo(str(path))
