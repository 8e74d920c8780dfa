"""`camlens calibrate`: find the margin above which maps are faithful, on images of the user."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import print_error, print_json, throughput

if TYPE_CHECKING:
    from camlens.data.decode import Pixels
    from camlens.data.samples import Source

Alpha = Annotated[
    float, typer.Option(metavar="A", help="Largest share of unfaithful maps among those called faithful.")
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Number of images, drawn at random.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The calibration, as JSON.")]


@options.takes_model
def calibrate(
    data: options.Data,
    model: options.ModelOptions,
    method: options.Method = "gradcam",
    layer: options.Layer = None,
    alpha: Alpha = 0.1,
    limit: Limit = 200,
    seed: options.Seed = 0,
    output: Output = Path("calibration.json"),
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Find the maps that can be called faithful, with a guarantee, from images of your own.

    Each map is tested as by `camlens explain --check`. The result is a
    threshold of the margin of the predicted class, for this model, method
    and layer. Use it with `camlens explain --calibration FILE`.

    Examples:

      camlens calibrate demo:photos --model demo:photos --limit 60 --output faithful.json

      camlens calibrate demo:photos --model demo:photos --method layercam --alpha 0.2 --limit 30
    """
    from camlens.data.sources import open_source
    from camlens.trust.calibrating import calibrate

    loaded = model.load()
    source = open_source(data, seed=seed)
    total = min(limit, len(source))
    with throughput("Calibrating", "images") as report:
        calibration = calibrate(
            loaded,
            _pictures(source, total, seed),
            method=method,
            layers=layer,
            alpha=alpha,
            seed=seed,
            progress=lambda done: report(done, total),
        )
    calibration.save(output, force=force)
    if json:
        print_json(calibration.to_dict())
    else:
        typer.echo(f"{calibration.text()} -> {output}")


def _pictures(source: "Source", count: int, seed: int) -> "Iterator[Pixels]":
    """Yield `count` random images; unreadable ones are left out with a message."""
    import numpy as np

    from camlens.core.errors import DataError

    for index in np.random.default_rng(seed).permutation(len(source))[:count].tolist():
        try:
            yield source[index].load()
        except DataError as error:
            print_error(f"error: {error}")
