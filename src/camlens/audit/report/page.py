"""The report as one self-contained HTML file of bounded size."""

import base64
import hashlib
import json
import warnings
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from camlens.audit.findings.comparison import Comparison
from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.findings.reasons import Reasoner
from camlens.audit.report.attention import attention_section, mean_classes
from camlens.audit.report.changes import changes_section
from camlens.audit.report.evidence import Limits, as_bytes, gather
from camlens.audit.report.figures import calibration_figure
from camlens.audit.report.shortcuts import shortcut_section
from camlens.audit.report.tables import class_table, confusion_table, fact_list, failure_table, pair_list
from camlens.audit.store.commit import committed
from camlens.audit.summary import Summary, summarise, write_summary
from camlens.core.errors import MissingExtraError
from camlens.core.probe import Progress, silent
from camlens.models.loading import Preprocessing
from camlens.render.interactive.page import built_script

_SCRIPT = "audit.js"
_TYPICAL = (
    '<p class="lead">The correctly predicted images nearest to the center of their class in feature space, with the map'
    ' of the class: what the model looks at if it is right.</p><div id="classes"></div>'
)


def write_report(
    run: Run,
    *,
    preprocess: Preprocessing | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
    comparison: Comparison | None = None,
) -> tuple[Path, Summary]:
    """Write `report.html` and `summary.json` into the run's directory, replacing older ones atomically.

    Args:
        run: the run, complete or not.
        preprocess: the preprocessing of the model (`loaded.preprocess`), which places the maps on the images; by
            default they cover the whole images.
        limits: how many images the report shows.
        progress: called as `progress(pictures done, pictures in total)`.
        comparison: the run compared with an earlier one, if any.

    Raises:
        MissingExtraError: the report's script is not built, or Pillow is not installed.
    """
    script = built_script(_SCRIPT)
    overview = Overview.of(run)
    summary = summarise(run, overview, comparison)
    write_summary(summary, run.path / "summary.json")
    reasoner = Reasoner.of(run)
    evidence = gather(run, overview, reasoner, preprocess=preprocess, limits=limits or Limits(), progress=progress)
    shown = mean_classes(overview)
    evidence["means"] = {str(index): as_bytes(overview.means.maps[index]) for index in shown}
    page = report_page(run, overview, summary, evidence, script)
    with committed(run.path / "report.html") as unfinished:
        # a directory's name may not be valid Unicode
        unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")
    return run.path / "report.html", summary


def write_findings(run: Run, *, preprocess: Preprocessing, report: bool, comparison: Comparison | None) -> None:
    """Write `summary.json` and, if `report` is true, `report.html` into the run's directory.

    Warns:
        UserWarning: the report's script is not built, or Pillow is not installed; only the summary is written.
    """
    if report:
        try:
            write_report(run, preprocess=preprocess, comparison=comparison)
            return
        except MissingExtraError as error:
            warnings.warn(f"report.html is not written: {error}", stacklevel=4)
    write_summary(summarise(run, comparison=comparison), run.path / "summary.json")


def report_page(run: Run, overview: Overview, summary: Summary, evidence: dict[str, Any], script: str) -> str:
    """Return the HTML of the report."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    # escape "<", so that no text in the data can close the script element
    text = json.dumps(evidence, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    style = files("camlens.audit.report").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{run.manifest.model or run.manifest.model_type} on {run.manifest.data or 'a dataset'}"
    tested = summary.shortcuts
    sections = [
        *([("shortcuts", "Shortcuts", shortcut_section(run, overview.outcomes, tested))] if tested else []),
        ("summary", "Summary", _summary(overview, summary)),
        *([("changes", "Changes", changes_section(run, summary.comparison))] if summary.comparison else []),
        ("errors", "Errors", _errors(overview)),
        ("typical", "Typical images", _TYPICAL),
        ("gallery", "Gallery", _gallery(evidence)),
        ("calibration", "Calibration", _calibration(overview)),
        ("attention", "Attention", attention_section(run, overview)),
        *([("failures", "Unreadable images", failure_table(summary))] if summary.failed else []),
        ("about", "About this run", fact_list(run)),
    ]
    links = "".join(f'<a href="#{name}">{words}</a>' for name, words, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}" tabindex="-1">{words}</h2>{content}</section>'
        for name, words, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<header class="top"><div><h1>{escape(title)}</h1><p>{escape(summary.lines()[0])}</p></div>'
        f'<nav aria-label="Parts of the report">{links}</nav><form id="look"></form></header><main>'
        "<noscript><p>The gallery and the maps require JavaScript, which is disabled.</p>"
        f"</noscript>{body}</main>"
        f'<script type="application/json" id="evidence">{text}</script><script>{script}</script></body></html>\n'
    )


def _summary(overview: Overview, summary: Summary) -> str:
    accuracy = summary.accuracy
    tiles = []
    if accuracy.total:
        bar = (
            f'<span class="interval wide"><i style="left:{100 * accuracy.low:.2f}%;'
            f'width:{100 * (accuracy.high - accuracy.low):.2f}%"></i><b style="left:{100 * accuracy.value:.2f}%"></b>'
            "</span>"
        )
        tiles.append(
            f'<div class="tile main"><span>Accuracy</span><strong>{100 * accuracy.value:.1f}<small> %</small></strong>'
            f"{bar}<em>95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %</em></div>"
        )
        tiles.append(_tile("Incorrect", f"{summary.wrong:,}", f"of {accuracy.total:,} with a label"))
        direction = "overconfident" if summary.overconfidence > 0 else "underconfident"
        detail = f"{direction} by {100 * abs(summary.overconfidence):.1f} percentage points"
        tiles.append(_tile("Calibration error", f"{summary.ece:.3f}", detail))
    else:
        tiles.append(_tile("Accuracy", "–", "no image has both a label and a prediction"))
    tiles.append(_tile("Images", f"{summary.images:,}", _rest(summary)))
    findings = "".join(f"<li>{_sentence(words)}.</li>" for words in _notable(summary))
    return (
        f'<div class="tiles">{"".join(tiles)}</div><div class="panel"><h3>Notable findings</h3>'
        f'<ul class="findings">{findings or "<li>None.</li>"}</ul></div>'
    )


def _sentence(words: str) -> str:
    """Return the words as HTML, capitalized, with a non-breaking space before percent signs."""
    return escape(words[0].upper() + words[1:]).replace(" %", "&nbsp;%")


def _rest(summary: Summary) -> str:
    kinds = (
        ("without a label", summary.unlabelled),
        ("unreadable", summary.failed),
        ("not computed yet", summary.missing),
    )
    return ", ".join(f"{count:,} {words}" for words, count in kinds if count) or "all processed"


def _tile(name: str, value: str, detail: str) -> str:
    return f'<div class="tile"><span>{name}</span><strong>{value}</strong><em>{escape(detail)}</em></div>'


def _notable(summary: Summary) -> list[str]:
    """Return the sentences on attention, the most frequent confusion and the worst class."""
    sentences = ["shortcuts were not tested", *summary.attention] if summary.shortcuts is None else [*summary.attention]
    if summary.pairs and summary.pairs[0].count > 1:
        pair = summary.pairs[0]
        sentences.append(
            f"the most frequent confusion is {summary.class_names[pair.true]} predicted as"
            f" {summary.class_names[pair.predicted]}: {pair.count:,} images, {percent(pair.share)} of the class"
        )
    if summary.worst:
        worst = summary.worst[0]
        sentences.append(
            f"{worst.name} has the lowest recall: {worst.recall.hits:,} of {worst.recall.total:,} (95 % interval"
            f" {100 * worst.recall.low:.0f} to {100 * worst.recall.high:.0f} %)"
        )
    return sentences


def _errors(overview: Overview) -> str:
    return (
        '<p class="lead">Click a cell to see its images below. The color is the share of the row.</p>'
        '<div class="columns">'
        f'<div class="panel">{confusion_table(overview)}</div>'
        f'<div class="panel"><h3>Most frequent confusions</h3>{pair_list(overview)}</div></div>'
        f'<div class="panel"><h3>Classes</h3><p class="note">Bands are 95 % intervals.</p>'
        f"{class_table(overview.classes)}</div>"
    )


def _gallery(evidence: dict[str, Any]) -> str:
    cropped = any(picture["region"] for picture in evidence["pictures"].values())
    note = " Gray parts of an image were cropped away and not seen by the model." if cropped else ""
    return (
        '<p class="lead">Errors are grouped by confusion, the most confident first. A likely reason states how an image'
        f" differs from others; it is not a proven cause.{note}</p>"
        '<form id="filters" class="panel"></form><p id="status" role="status" class="note"></p><div id="cards"></div>'
    )


def _calibration(overview: Overview) -> str:
    calibrated = overview.calibrated
    if not calibrated.counts.sum():
        return '<p class="lead">No image has both a label and a prediction.</p>'
    direction = "overconfident" if calibrated.overconfidence > 0 else "underconfident"
    return (
        f'<div class="panel beside">{calibration_figure(calibrated)}<div><h3>Accuracy by confidence</h3>'
        "<p>Bars are the accuracy of predictions in each bin of confidence. Outlines are the gap to their mean"
        " confidence, red if the model is overconfident. The line is a perfectly calibrated model.</p>"
        f"<dl><dt>Expected calibration error</dt><dd>{calibrated.ece:.3f}</dd>"
        f"<dt>Maximum calibration error</dt><dd>{calibrated.mce:.3f}</dd><dt>On average</dt>"
        f"<dd>{direction} by {100 * abs(calibrated.overconfidence):.1f} percentage points</dd></dl>"
        "</div></div>"
    )
