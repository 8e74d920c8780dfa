"""`camlens audit`: run a model over a dataset and report its errors."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import print_error, print_json, throughput

if TYPE_CHECKING:
    from camlens.audit import Audit
    from camlens.models import LoadedModel


class LabelsByName(StrEnum):
    """How labels of the data are mapped to classes of the model."""

    name = "name"
    place = "place"


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A folder per class, a CSV or Parquet manifest, a saved dataset, a URL, or demo:photos.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Directory of the run.")]
Embedding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Layer whose output is the embedding (default: the input of the classifier)."),
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Audit a random sample of N images.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Processes that load images (default: chosen for this machine)."),
]
BatchSize = Annotated[
    str,
    typer.Option("--batch-size", metavar="N|auto", help="Images per forward pass; auto depends on the free memory."),
]
ShardSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Rows per Parquet file (default: 512)."),
]
LabelsBy = Annotated[
    LabelsByName | None,
    typer.Option(
        "--labels-by",
        help="Map labels to classes of the model by name or by place in the list (default: by name if any matches).",
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the errors to a CSV file.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Remove an existing run and start a new one.")]


@options.takes_model
def audit(
    data: Data,
    model: options.ModelOptions = options.PHOTOS,
    output: Output = Path("camlens-audit"),
    layer: options.Layer = None,
    embedding: Embedding = None,
    method: options.Method = "gradcam",
    limit: Limit = None,
    workers: Workers = None,
    batch_size: BatchSize = "auto",
    shard_size: ShardSize = None,
    labels_by: LabelsBy = None,
    csv: Csv = None,
    no_report: NoReport = False,
    json: options.Json = False,
    force: Force = False,
    seed: options.Seed = 0,
) -> None:
    """Run a model over a dataset and store predictions, embeddings and maps of every image.

    The run can be stopped at any time: run the same command again to resume. Unreadable images are kept as rows with
    an error.

    Examples:

      camlens audit photos/ --model resnet50 --output runs/photos

      camlens audit demo:watermark --model demo:watermark --limit 300 --output runs/cheating

      camlens audit list.parquet --model timm:mobilenetv3_small_050 --limit 2000 --csv errors.csv
    """
    import camlens.audit

    at_once = _batch_size(batch_size)
    loaded = model.load()
    done = [0, 0]
    try:
        with throughput("Auditing", "images") as report:

            def progress(rows: int, total: int) -> None:
                done[:] = rows, total
                report(rows, total)

            run = camlens.audit.run(
                data,
                loaded,
                output,
                force=force,
                progress=progress,
                method=method,
                layer=layer,
                embedding=embedding,
                batch_size=at_once,
                workers=workers,
                shard_size=shard_size,
                limit=limit,
                seed=seed,
                labels_by=None if labels_by is None else labels_by.value,
            )
    except KeyboardInterrupt:
        print_error(f"stopped after {done[0]:,} of {done[1]:,} images: run the same command again to resume")
        raise typer.Exit(130) from None
    if csv is not None:
        from camlens.audit.exports.errors_csv import write_errors

        print_error(f"{write_errors(run, csv):,} errors -> {csv}")
    _present(run, loaded, report=not no_report, json=json)


def _batch_size(text: str) -> Any:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"must be a number of images or auto, not {text!r}", param_hint="--batch-size")
    return int(text)


def _present(run: "Audit", loaded: "LoadedModel", *, report: bool, json: bool) -> None:
    """Print the summary, and write the report if it is wanted and its dependencies are installed."""
    from camlens.audit.report.page import write_report
    from camlens.audit.summary import summarise, write_summary
    from camlens.core.errors import MissingExtraError

    page = None
    try:
        if not report:
            raise MissingExtraError
        with throughput("Reporting", "pictures") as progress:
            page, summary = write_report(run, preprocess=loaded.preprocess, progress=progress)
    except MissingExtraError as error:
        summary = summarise(run)
        write_summary(summary, run.path / "summary.json")
        if report:
            print_error(f"warning: report.html is not written: {error}")
    if json:
        print_json({**summary.to_dict(), "output": str(run.path), "report": None if page is None else str(page)})
        return
    for line in summary.lines():
        typer.echo(line)
    typer.echo(f"\n{page or run.path}")
