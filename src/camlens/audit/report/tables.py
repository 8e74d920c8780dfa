"""The report's tables as HTML: the confusion matrix with a button in every cell, classes, facts, failures."""

from collections.abc import Sequence
from html import escape

import numpy as np

from camlens.audit.findings.errors import ClassReport, Share
from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.summary import Summary

MOST_IN_MATRIX, MOST_IN_TABLE = 24, 40


def matrix_classes(overview: Overview) -> list[int]:
    """The classes of the matrix: all that occur, or those with the most errors where that is too many."""
    wrong = overview.matrix * ~np.eye(len(overview.matrix), dtype=bool)
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    seen = overview.matrix.sum(axis=0) + overview.matrix.sum(axis=1)
    ranked = np.lexsort((np.arange(len(errors)), -seen, -errors))
    return sorted(int(index) for index in ranked[:MOST_IN_MATRIX] if seen[index])


def confusion_table(overview: Overview) -> str:
    """The confusion matrix: rows are true classes, columns predicted ones, colours shares of the row."""
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
    note = f"<p class=note>The {len(places)} classes with the most errors; {left_out:,} others are left out.</p>"
    return (
        '<div class="scroll"><table id="matrix"><caption class="hidden">True classes in rows, predicted ones in columns'
        f'</caption><thead><tr><td><span class="corner">true ↓ &nbsp;predicted →</span></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note if left_out > 0 else ''}"
    )


def _cell(overview: Overview, true: int, predicted: int) -> str:
    count, total = int(overview.matrix[true, predicted]), int(overview.matrix[true].sum())
    share = count / total if total else 0.0
    name, taken_for = overview.outcomes.name(true), overview.outcomes.name(predicted)
    words = f"{name} recognised" if true == predicted else f"{name} taken for {taken_for}"
    look = "hit" if true == predicted else "miss"
    strong = " strong" if share > 0.5 else ""
    return (
        f'<td><button type="button" class="{look}{strong}{"" if count else " none"}" style="--share:{share:.3f}"'
        f' data-label="{true}" data-predicted="{predicted}" aria-label="{escape(words)}: {count}, {percent(share)}"'
        f' title="{escape(words)}: {count:,} of {total:,}">{count or "·"}</button></td>'
    )


def class_table(classes: Sequence[ClassReport]) -> str:
    """Precision and recall with their intervals, the class with the least recall first."""
    present = [one for one in classes if one.recall.total or one.precision.total]
    present.sort(key=lambda one: (one.recall.value if one.recall.total else 2.0, one.index))
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td class="number">{one.recall.total:,}</td>'
        f"<td>{_interval(one.recall)}</td><td>{_interval(one.precision)}</td></tr>"
        for one in present[:MOST_IN_TABLE]
    )
    left_out = len(present) - MOST_IN_TABLE
    note = f"<p class=note>{left_out:,} classes with a higher recall are left out.</p>" if left_out > 0 else ""
    return (
        '<div class="scroll tall"><table class="plain classes"><thead><tr><th scope="col">Class</th><th scope="col"'
        ' class="number">Images</th><th scope="col">Recall</th><th scope="col">Precision</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _interval(share: Share) -> str:
    """A share as a number and as a bar with its 95 % interval."""
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
    """The most frequent confusions, each a button that opens its images."""
    highest = max((one.count for one in overview.pairs), default=1)
    rows = "".join(
        f'<li><button type="button" data-pair data-label="{one.true}" data-predicted="{one.predicted}">'
        f"<span>{escape(overview.outcomes.name(one.true))} <i>taken for</i>"
        f" {escape(overview.outcomes.name(one.predicted))}"
        f'</span><span class="number">{one.count:,} · {percent(one.share)}</span>'
        f'<span class="bar"><span style="width:{100 * one.count / highest:.0f}%"></span></span></button></li>'
        for one in overview.pairs[:most]
    )
    return f'<ol class="pairs">{rows}</ol>' if rows else "<p>No class is taken for another.</p>"


def failure_table(summary: Summary) -> str:
    """Images that could not be read, and why."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(error)}</td></tr>' for name, error in summary.failures
    )
    rest = summary.failed - len(summary.failures)
    note = f"<p class=note>And {rest:,} more.</p>" if rest > 0 else ""
    return f'<div class="scroll"><table class="plain"><tbody>{rows}</tbody></table></div>{note}'


def fact_list(run: Run) -> str:
    """Which model, data, layer and versions the run was made with."""
    facts = run.manifest
    known = [
        ("Model", facts.model or "given as an object"),
        ("Weights", facts.weights[:23] + (f", from {facts.weights_file}" if facts.weights_file else "")),
        ("Data", facts.data or "given as an object"),
        ("Method", facts.method),
        ("Layer", f"{facts.layer}: {facts.layer_reason}"),
        ("Features", facts.embedding),
        ("Map", f"{run.grid[0]} × {run.grid[1]} cells"),
        ("Made", facts.created),
        ("With", f"camlens {facts.camlens}, torch {facts.torch}"),
    ]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in known) + "</dl>"
