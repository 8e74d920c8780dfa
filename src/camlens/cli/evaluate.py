"""`camlens evaluate`: compare methods and layers by metrics on a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import print_error, print_json, table, throughput

if TYPE_CHECKING:
    from camlens.trust.evaluating import Evaluation

Methods = Annotated[str, typer.Option(metavar="A,B,...", help="Methods to compare; `camlens methods` lists them.")]
Layers = Annotated[str | None, typer.Option(metavar="A,B,...", help="Layers (default: the best layer of the model).")]
Metrics = Annotated[str, typer.Option(metavar="A,B,...", help="Metrics; those of masks need masks in the data.")]
Number = Annotated[int, typer.Option("--n", min=1, metavar="N", help="Number of images, drawn at random.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep the results of each image, to resume.")
]


@options.takes_model
def evaluate(
    data: options.Data,
    model: options.ModelOptions,
    methods: Methods = "gradcam,layercam,random",
    layers: Layers = None,
    metrics: Metrics = "single_deletion",
    n: Number = 100,
    seed: options.Seed = 0,
    output: Output = None,
    json: options.Json = False,
) -> None:
    """Find the method and layer that is best for a model, and by how much.

    Prints the mean of each metric with its 95 % bootstrap interval, and a
    recommendation: the best candidate on one half of the images, and its
    regret on the other half. Run the same command again to resume.

    Examples:

      camlens evaluate demo:photos --model demo:photos --n 20

      camlens evaluate demo:photos --model demo:photos --methods gradcam,random --metrics energy_inside,entropy --n 8
    """
    from camlens.data.sources import open_source
    from camlens.trust.evaluating import evaluate

    loaded = model.load()
    source = open_source(data, seed=seed)
    with throughput("Evaluating", "images") as report:
        evaluation = evaluate(
            source,
            loaded,
            methods=methods.split(","),
            layers=None if layers is None else layers.split(","),
            metrics=metrics.split(","),
            n=n,
            seed=seed,
            output=output,
            progress=report,
        )
    for error in evaluation.failed.values():
        print_error(f"error: {error}")
    if json:
        print_json(evaluation.to_dict())
    else:
        _print(evaluation)


def _print(evaluation: "Evaluation") -> None:
    for metric, facts in evaluation.to_dict()["metrics"].items():
        rows = [
            (name, f"{mean:.3f}", f"{low:.3f} to {high:.3f}", str(count))
            for name, (mean, low, high, count) in evaluation.means(metric).items()
        ]
        better = "" if facts["better"] == "neither" else f" ({facts['better']} is better)"
        table(f"{metric}{better}", ("candidate", "mean", "95 % interval", "images"), rows)
        typer.echo(facts["recommendation"]["text"])
