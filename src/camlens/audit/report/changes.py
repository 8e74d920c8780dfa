"""The section of the report on what changed since an earlier run."""

from collections.abc import Sequence
from contextlib import suppress
from html import escape

from camlens.audit.findings.comparison import ClassChange, Comparison, ImageChange, points
from camlens.audit.findings.reading import Run
from camlens.audit.report.evidence import webp
from camlens.core.errors import CamlensError

_CLASSES, _IMAGES, _SIDE = 40, 24, 144
_COLUMNS = ("Images", "Before", "After", "Fixed", "Broken", "p")
_LOOKS = {"better": "good", "worse": "bad", "unchanged": ""}


def changes_section(run: Run, comparison: Comparison) -> str:
    """Return the difference in accuracy, the classes, and images that were fixed or broken, as HTML."""
    overall = comparison.overall
    low, high = overall.interval
    accuracies = f"{_percent(overall.before.value)} → {_percent(overall.after.value)}"
    tiles = (
        ("Accuracy", f"{points(overall.difference)}<small> points</small>", accuracies),
        ("95 % interval", f"{points(low)} to {points(high)}", f"p = {overall.p:.2g}"),
        ("Fixed", f"{len(comparison.fixed):,}", "images that are now correct"),
        ("Broken", f"{len(comparison.broken):,}", "images that are no longer correct"),
    )
    boxes = "".join(
        f'<div class="tile"><span>{name}</span><strong>{value}</strong><em>{detail}</em></div>'
        for name, value, detail in tiles
    )
    return (
        f'<p class="lead">Compared with {escape(comparison.before)}: {overall.images:,} images in both'
        f"{comparison.left_out_in_words()}. The p-value is McNemar's; those of classes are corrected for their number."
        "</p>"
        f'<div class="tiles even">{boxes}</div>{_classes(comparison.classes)}'
        f"{_images(run, 'Broken images', comparison.broken)}{_images(run, 'Fixed images', comparison.fixed)}"
    )


def _classes(changes: Sequence[ClassChange]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(change.name)}</th><td class="number">{change.counts.images:,}</td>'
        f'<td class="number">{_percent(change.counts.before.value)}</td>'
        f'<td class="number">{_percent(change.counts.after.value)}</td>'
        f'<td class="number">{change.counts.fixed:,}</td><td class="number">{change.counts.broken:,}</td>'
        f'<td class="number">{change.corrected:.2g}</td>'
        f'<td><span class="chip {_LOOKS[change.verdict]}">{change.verdict}</span></td></tr>'
        for change in changes[:_CLASSES]
    )
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in _COLUMNS)
    left_out = len(changes) - _CLASSES
    note = f"<p class=note>{left_out:,} unchanged classes are not shown.</p>" if left_out > 0 else ""
    return (
        '<div class="panel"><h3>Recall by class</h3><div class="scroll tall"><table class="plain"><thead><tr>'
        f'<th scope="col">Class</th>{head}<th scope="col">Change</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f"{note}</div>"
    )


def _images(run: Run, title: str, changes: Sequence[ImageChange]) -> str:
    if not changes:
        return ""
    shown = changes[:: -(-len(changes) // _IMAGES)]  # of all classes, by which they are sorted
    figures = "".join(
        f"<figure>{_picture(run, change)}<figcaption><b>{escape(change.label)}</b><span>{escape(change.before)} →"
        f" {escape(change.after)}</span><span>{escape(change.id)}</span></figcaption></figure>"
        for change in shown
    )
    left_out = len(changes) - len(shown)
    note = f"<p class=note>{left_out:,} more are listed in summary.json.</p>" if left_out > 0 else ""
    return f'<div class="panel"><h3>{title}</h3><div class="means">{figures}</div>{note}</div>'


def _picture(run: Run, change: ImageChange) -> str:
    """Return the image of a row; an empty string if it can no longer be read."""
    with suppress(CamlensError, OSError):
        return f'<img src="data:image/webp;base64,{webp(run.image(change.row_after), _SIDE)}" alt="">'
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f}&nbsp;%"
