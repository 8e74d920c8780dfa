"""Tables of the report as HTML: confusion matrix, classes, confusions, unreadable images, facts."""

from collections.abc import Sequence
from html import escape

import numpy as np

from camlens.audit.findings.errors import ClassReport, Share
from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.summary import Summary

MOST_IN_MATRIX, MOST_IN_TABLE = 24, 40


def matrix_classes(overview: Overview) -> list[int]:
    """Return the classes in the confusion matrix: all that occur, or those with the most errors."""
    wrong = overview.matrix * ~np.eye(len(overview.matrix), dtype=bool)
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    occurring = overview.matrix.sum(axis=0) + overview.matrix.sum(axis=1)
    ranked = np.lexsort((np.arange(len(errors)), -occurring, -errors))
    return sorted(int(index) for index in ranked[:MOST_IN_MATRIX] if occurring[index])


def confusion_table(overview: Overview) -> str:
    """Return the confusion matrix with a button in every cell. Rows are true classes, colors are shares of the row."""
    places = matrix_classes(overview)
    if not places:
        return "<p>No image has both a label and a prediction.</p>"
    names = [escape(overview.outcomes.name(index)) for index in places]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(_cell(overview, true, predicted) for predicted in places)}</tr>'
        for true, name in zip(places, names, strict=True)
    )
    left_out = int(np.count_nonzero(overview.matrix.sum(axis=0) + overview.matrix.sum(axis=1))) - len(places)
    note = f"<p class=note>The {len(places)} classes with the most errors; {left_out:,} others are not shown.</p>"
    return (
        '<div class="scroll"><table id="matrix"><caption class="hidden">True classes in rows, predicted classes in'
        f' columns</caption><thead><tr><td><span class="corner">true ↓ &nbsp;predicted →</span></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note if left_out > 0 else ''}"
    )


def _cell(overview: Overview, true: int, predicted: int) -> str:
    count, total = int(overview.matrix[true, predicted]), int(overview.matrix[true].sum())
    share = count / total if total else 0.0
    words = f"{overview.outcomes.name(true)} predicted as {overview.outcomes.name(predicted)}"
    look = "hit" if true == predicted else "miss"
    strong = " strong" if share > 0.5 else ""
    return (
        f'<td><button type="button" class="{look}{strong}{"" if count else " none"}" style="--share:{share:.3f}"'
        f' data-label="{true}" data-predicted="{predicted}" aria-label="{escape(words)}: {count}, {percent(share)}"'
        f' title="{escape(words)}: {count:,} of {total:,}">{count or "·"}</button></td>'
    )


def class_table(classes: Sequence[ClassReport]) -> str:
    """Return precision and recall with their intervals, the class with the lowest recall first."""
    present = [report for report in classes if report.recall.total or report.precision.total]
    present.sort(key=lambda report: (report.recall.value if report.recall.total else 2.0, report.index))
    rows = "".join(
        f'<tr><th scope="row">{escape(report.name)}</th><td class="number">{report.recall.total:,}</td>'
        f"<td>{_interval(report.recall)}</td><td>{_interval(report.precision)}</td></tr>"
        for report in present[:MOST_IN_TABLE]
    )
    left_out = len(present) - MOST_IN_TABLE
    note = f"<p class=note>{left_out:,} classes with a higher recall are not shown.</p>" if left_out > 0 else ""
    return (
        '<div class="scroll tall"><table class="plain classes"><thead><tr><th scope="col">Class</th><th scope="col"'
        ' class="number">Images</th><th scope="col">Recall</th><th scope="col">Precision</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _interval(share: Share) -> str:
    """Return a proportion as a number and as a bar with its 95 % interval."""
    if not share.total:
        return '<span class="share">–</span>'
    words = f"{share.hits:,} of {share.total:,}, 95 % interval {100 * share.low:.1f} to {100 * share.high:.1f} %"
    return (
        f'<span class="share" title="{words}"><span class="number">{100 * share.value:.1f}</span>'
        f'<span class="interval"><i style="left:{100 * share.low:.1f}%;'
        f'width:{100 * (share.high - share.low):.1f}%"></i>'
        f'<b style="left:{100 * share.value:.1f}%"></b></span></span>'
    )


def pair_list(overview: Overview, most: int = 10) -> str:
    """Return the most frequent confusions as buttons that show their images."""
    highest = max((pair.count for pair in overview.pairs), default=1)
    rows = "".join(
        f'<li><button type="button" data-pair data-label="{pair.true}" data-predicted="{pair.predicted}">'
        f"<span>{escape(overview.outcomes.name(pair.true))} <i>predicted as</i>"
        f" {escape(overview.outcomes.name(pair.predicted))}"
        f'</span><span class="number">{pair.count:,} · {percent(pair.share)}</span>'
        f'<span class="bar"><span style="width:{100 * pair.count / highest:.0f}%"></span></span></button></li>'
        for pair in overview.pairs[:most]
    )
    return f'<ol class="pairs">{rows}</ol>' if rows else "<p>There are no confusions.</p>"


def failure_table(summary: Summary) -> str:
    """Return the unreadable images and their errors."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(error)}</td></tr>' for name, error in summary.failures
    )
    rest = summary.failed - len(summary.failures)
    note = f"<p class=note>{rest:,} more are not shown.</p>" if rest > 0 else ""
    return f'<div class="scroll"><table class="plain"><tbody>{rows}</tbody></table></div>{note}'


def fact_list(run: Run) -> str:
    """Return the model, data, layer and versions of the run."""
    facts = run.manifest
    listed = [
        ("Model", facts.model or "passed as an object"),
        ("Weights", facts.weights[:23] + (f", from {facts.weights_file}" if facts.weights_file else "")),
        ("Data", facts.data or "passed as an object"),
        ("Method", f"{facts.method} ({facts.method_reason})"),
        ("Layer", f"{facts.layer} ({facts.layer_reason})"),
        ("Embedding", facts.embedding),
        ("Map", f"{run.grid[0]} × {run.grid[1]} cells"),
        ("Started", facts.created),
        ("Versions", f"camlens {facts.camlens}, torch {facts.torch}"),
    ]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in listed) + "</dl>"
