"""`camlens demo`: real photographs explained, a model that cheats beside them, and an index page."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, say_json

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where panels and index page go.")]
Count = Annotated[int, typer.Option("--count", "-n", min=2, max=200, help="Images to explain.")]

_CHEATED = 4  # images that the cheating model is shown on


@options.takes_model
def demo(
    model: options.ModelOptions,
    output: Output = Path("camlens-demo"),
    count: Count = 20,
    seed: options.Seed = 0,
    method: options.Method = "gradcam",
    json: options.Json = False,
    force: options.Force = False,
    colormap: options.ColormapName = options.Colormap.turbo,
    alpha: options.Alpha = 0.5,
    crop: options.Crop = False,
) -> None:
    """Explain random photographs of demo:gallery, and a few with a model that cheats, with an index page.

    Examples:

      camlens demo

      camlens demo --model demo:photos --output photos --count 12 --seed 3
    """
    from camlens.core.store import check_writable
    from camlens.panels.explaining import prepare
    from camlens.panels.showcase import CHEATING_MODEL, draw_section, write_showcase
    from camlens.render.theme import Look

    check_writable(output)
    shown = [(model, count)]
    if model.model != CHEATING_MODEL:
        shown.append((options.ModelOptions(CHEATING_MODEL, device=model.device), _CHEATED))
    with bar("Explaining", sum(images for _, images in shown)) as progress:
        sections = []
        for chosen, images in shown:
            place = prepare(chosen.load(), method=method, seed=seed, progress=progress.within)
            sections.append(draw_section(place, count=images, seed=seed))
        manifest = write_showcase(output, sections, look=Look(colormap.value, alpha, crop=crop), each=progress.each)
    if json:
        say_json({"output": str(output), **manifest})
        return
    typer.echo(str((output / "index.html").resolve()))
