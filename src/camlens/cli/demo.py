"""`camlens demo`: twenty demo photographs explained, with an index page."""

from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import bar, complain, say_json

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where panels and index page go.")]
Count = Annotated[int, typer.Option("--count", "-n", min=2, max=200, help="How many images to explain.")]


@options.takes_model
def demo(
    model: options.ModelOptions = options.PHOTOS,
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
    """Explain random demo photographs, right and wrong predictions among them, with an index page.

    Examples:

      camlens demo

      camlens demo --model demo:watermark --output cheating --count 12 --seed 3
    """
    from camlens.core.store import check_writable
    from camlens.panels.explaining import prepare
    from camlens.panels.showcase import draw_samples, write_showcase
    from camlens.render.theme import Look

    check_writable(output)
    loaded = model.load()
    with bar("Explaining", count) as progress:
        place = prepare(loaded, method=method, seed=seed, progress=progress.within)
        draw = draw_samples(loaded, count=count, seed=seed)
        look = Look(colormap.value, alpha, crop=crop)
        manifest = write_showcase(output, place, draw, look=look, force=force, each=progress.each)
    if json:
        say_json({"output": str(output), **manifest})
        return
    complain(draw.caption)
    typer.echo(str((output / "index.html").resolve()))
