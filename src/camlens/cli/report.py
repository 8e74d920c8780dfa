"""`camlens report`: one self-contained HTML page with live overlays."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, complain

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")]


@options.takes_model
def report(
    images: options.Images,
    model: options.ModelOptions,
    method: options.Method = "gradcam",
    layer: options.Layer = None,
    target: options.Class = None,
    top_k: options.TopK = 5,
    output: Output = Path("report.html"),
    force: options.Force = False,
    seed: options.Seed = 0,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
) -> None:
    """Write one HTML file with live opacity, threshold and colours, that opens from disk.

    An earlier page is replaced; any other file only with --force. If an image cannot be read, the others are still
    explained and the exit code is 1.

    Examples:

      camlens report cat.jpg

      camlens report photos/*.jpg --model resnet50 --output report.html
    """
    from camlens.panels.explaining import FailedImage, explain_files, prepare
    from camlens.panels.live import write_report
    from camlens.panels.naming import class_index
    from camlens.panels.writing import check_replaceable_file

    check_replaceable_file(output, force=force)
    loaded = model.load()
    wanted = None if target is None else class_index(target, loaded.class_names)
    with bar("Explaining", len(images)) as progress:
        place = prepare(loaded, method=method, layer=layer, seed=seed, progress=progress.within)
        found = list(progress.each(explain_files(place, images, target=wanted, top_k=top_k)))
    failed = [one for one in found if isinstance(one, FailedImage)]
    for failure in failed:
        complain(f"error: {failure.reason}")
    explained = [one for one in found if not isinstance(one, FailedImage)]
    if explained:
        write_report(output, place, explained, colormap=colormap.value, alpha=alpha, force=force)
        typer.echo(str(output))
    if failed:
        raise typer.Exit(1)
