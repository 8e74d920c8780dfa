"""`camlens audit`: run a model over a dataset and report its errors."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import print_error, print_json, throughput

if TYPE_CHECKING:
    from camlens.audit.summary import Summary


class LabelsByName(StrEnum):
    """How labels of the data are mapped to classes of the model."""

    name = "name"
    place = "place"


class FailOn(StrEnum):
    """What makes a finished audit fail."""

    confirmed = "confirmed"


class ShortcutTests(StrEnum):
    """How thoroughly shortcuts are tested."""

    quick = "quick"
    full = "full"
    off = "off"


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
Method = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Method of the maps; `camlens methods` lists them (default: fits the network)."),
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
Compare = Annotated[
    Path | None,
    typer.Option("--compare", metavar="RUN", help="Also state what changed since an earlier run on the same images."),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the errors to a CSV file.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")]
Tests = Annotated[
    ShortcutTests,
    typer.Option(
        "--shortcuts",
        help="Test what the model relies on besides the object: with at most as many changed images as the run has"
        " (quick), ten times as many (full), or not at all (off).",
    ),
]
Fail = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Exit with code 1 if any shortcut is confirmed."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Remove an existing run and start a new one.")]


@options.takes_model
def audit(
    data: Data,
    model: options.ModelOptions = options.PHOTOS,
    output: Output = Path("camlens-audit"),
    layer: options.Layer = None,
    embedding: Embedding = None,
    method: Method = None,
    limit: Limit = None,
    workers: Workers = None,
    batch_size: BatchSize = "auto",
    shard_size: ShardSize = None,
    labels_by: LabelsBy = None,
    shortcuts: Tests = ShortcutTests.quick,
    compare: Compare = None,
    csv: Csv = None,
    no_report: NoReport = False,
    fail_on: Fail = None,
    json: options.Json = False,
    force: Force = False,
    seed: options.Seed = 0,
) -> None:
    """Run a model over a dataset and store predictions, embeddings and maps of every image.

    The run can be stopped at any time: run the same command again to resume. New images, or a larger --limit, extend
    it. Unreadable images are kept as rows with an error; the exit code is 1 if no image can be read, or if DATA names
    the images and one of them cannot be read.

    Examples:

      camlens audit photos/ --model resnet50 --output runs/photos

      camlens audit demo:watermark --model demo:watermark --limit 300 --output runs/cheating

      camlens audit list.parquet --model timm:mobilenetv3_small_050 --limit 2000 --csv errors.csv
    """
    import camlens.audit
    from camlens.audit.summary import summarise
    from camlens.core.errors import DataError
    from camlens.data.sources import names_images

    if fail_on is not None and shortcuts == ShortcutTests.off:
        raise typer.BadParameter("needs the shortcut tests: pass --shortcuts quick or full", param_hint="--fail-on")
    at_once = _batch_size(batch_size)
    loaded = model.load()
    done = [0, 0]
    try:
        with throughput("Auditing", "images") as report, throughput("Testing shortcuts", "images") as testing:

            def progress(rows: int, total: int) -> None:
                done[:] = rows, total
                report(rows, total)

            run = camlens.audit.run(
                data,
                loaded,
                output,
                force=force,
                report=not no_report,
                compare=compare,
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
                shortcuts=shortcuts.value,
                testing=testing,
            )
    except KeyboardInterrupt:
        print_error(f"stopped after {done[0]:,} of {done[1]:,} images: run the same command again to resume")
        raise typer.Exit(130) from None
    except DataError as error:
        if error.code != "data.all-unreadable":
            raise
        print_error(f"error: {error}")
        raise typer.Exit(1) from error
    if csv is not None:
        from camlens.audit.exports.errors_csv import write_errors

        print_error(f"{write_errors(run, csv):,} errors -> {csv}")
    summary = summarise(run, comparison=None if compare is None else camlens.audit.compare(compare, run))
    page = run.path / "report.html"
    _print(summary, run.path, None if no_report or not page.is_file() else page, json=json)
    has_flag = fail_on is not None and summary.shortcuts is not None and summary.shortcuts.confirmed
    if has_flag or summary.failed == summary.images or (summary.failed and names_images(data)):
        raise typer.Exit(1)


def _batch_size(text: str) -> Any:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"must be a number of images or auto, not {text!r}", param_hint="--batch-size")
    return int(text)


def _print(summary: "Summary", path: Path, page: Path | None, *, json: bool) -> None:
    """Print the summary and the location of the report, or of the run without one."""
    if json:
        print_json({**summary.to_dict(), "output": str(path), "report": None if page is None else str(page)})
        return
    for line in summary.lines():
        typer.echo(line)
    typer.echo(f"\n{page or path}")
