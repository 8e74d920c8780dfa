"""`camlens report`: one self-contained HTML page with interactive overlays."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.explaining import ExplainedImage, FailedImage, Workplace, explain_files, prepare
from camlens.cli.gallery import check_replaceable_file
from camlens.cli.naming import class_index
from camlens.cli.terminal import bar, print_error
from camlens.core.store import atomic_file
from camlens.render.interactive.gather import live_images
from camlens.render.interactive.page import live_page

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")]


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
    """Write one HTML file with interactive opacity, threshold and colors.

    It needs no server. An earlier page is replaced, any other file only with
    --force. Unreadable images are skipped; then the exit code is 1.

    Examples:

      camlens report cat.jpg

      camlens report photos/*.jpg --model resnet50 --output report.html
    """
    check_replaceable_file(output, force=force)
    loaded = model.load()
    index = None if target is None else class_index(target, loaded.class_names)
    with bar("Explaining", len(images)) as progress:
        place = prepare(loaded, method=method, layer=layer, seed=seed, progress=progress.within)
        results = list(progress.each(explain_files(place, images, target=index, top_k=top_k)))
    failed = [result for result in results if isinstance(result, FailedImage)]
    for failure in failed:
        print_error(f"error: {failure.reason}")
    explained = [result for result in results if not isinstance(result, FailedImage)]
    if explained:
        page = _page(place, explained, colormap=colormap.value, alpha=alpha)
        check_replaceable_file(output, force=force)
        with atomic_file(output, force=True) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
        typer.echo(str(output))
    if failed:
        raise typer.Exit(1)


def _page(place: Workplace, explained: Sequence[ExplainedImage], *, colormap: str, alpha: float) -> str:
    count = f"{len(explained)} image{'' if len(explained) == 1 else 's'}"
    return live_page(
        [
            replace(
                live_images(image.explanation, [image.view.shown()], class_names=image.class_names)[0],
                title=image.path.name,
                predictions=[(prediction["class_name"], prediction["confidence"]) for prediction in image.predictions],
            )
            for image in explained
        ],
        title=f"Where {place.loaded.spec} looks",
        subtitle=f"{count}, explained by {explained[0].explanation.method}",
        opacity=alpha,
        colormap=colormap,
    )
