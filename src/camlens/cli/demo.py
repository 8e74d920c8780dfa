"""`camlens demo`: real photographs explained, a model that uses a shortcut, and an index page."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, print_json

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory for panels and index page.")]
Count = Annotated[int, typer.Option("--count", "-n", metavar="N", min=2, max=200, help="Number of images to explain.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the results of another command.")]

_SHORTCUT_IMAGES = 4


@options.takes_model
def demo(
    model: options.ModelOptions,
    output: Output = Path("camlens-demo"),
    count: Count = 20,
    seed: options.Seed = 0,
    method: options.Method = "gradcam",
    json: options.Json = False,
    force: Force = False,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
    crop: options.Crop = False,
) -> None:
    """Explain random photographs and write an index page of the panels.

    A few images are explained with a model that learned a watermark instead
    of the objects. An earlier demo in the same directory is replaced.

    Examples:

      camlens demo

      camlens demo --model demo:photos --output photos --count 12 --seed 3
    """
    from camlens.cli.explaining import prepare
    from camlens.cli.showcase import SHORTCUT_MODEL, check_directory, draw_section, write_showcase
    from camlens.render.theme import Look

    check_directory(output, force=force)
    parts = [(model, count)]
    if model.model != SHORTCUT_MODEL:
        parts.append((options.ModelOptions(SHORTCUT_MODEL, device=model.device), _SHORTCUT_IMAGES))
    with bar("Explaining", sum(images for _, images in parts)) as progress:
        sections = []
        for part, images in parts:
            place = prepare(part.load(), method=method, seed=seed, progress=progress.within)
            sections.append(draw_section(place, count=images, seed=seed))
        manifest = write_showcase(output, sections, look=Look(colormap.value, alpha, crop=crop), each=progress.each)
    if json:
        print_json({"output": str(output), **manifest})
        return
    typer.echo(str((output / "index.html").resolve()))
