"""The report's file: everything inside, nothing loaded from anywhere, bounded whatever the size of the run."""

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from camlens.audit.findings.overview import Overview, percent
from camlens.audit.findings.reading import Run
from camlens.audit.findings.reasons import Reasoner
from camlens.audit.report.attention import attention_section, mean_classes
from camlens.audit.report.evidence import Limits, as_bytes, gather
from camlens.audit.report.figures import calibration_figure
from camlens.audit.report.tables import class_table, confusion_table, fact_list, failure_table, pair_list
from camlens.audit.store.commit import committed
from camlens.audit.summary import Summary, summarise, write_summary
from camlens.core.probe import Progress, silent
from camlens.models.loading import Preprocessing
from camlens.render.interactive.page import built_script

_SCRIPT = "audit.js"


def write_report(
    run: Run,
    *,
    preprocess: Preprocessing | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> tuple[Path, Summary]:
    """Write `report.html` and `summary.json` into the run's directory, replacing older ones atomically.

    Args:
        run: the run, complete or not.
        preprocess: the preprocessing of the model (`loaded.preprocess`), which places the maps on the images; by
            default they cover the whole images.
        limits: how many images the report shows.
        progress: called as `progress(pictures done, pictures in total)`.

    Raises:
        MissingExtraError: the report's script is not built, or Pillow is not installed.
    """
    script = built_script(_SCRIPT)
    overview = Overview.of(run)
    summary = summarise(run, overview)
    write_summary(summary, run.path / "summary.json")
    reasoner = Reasoner.of(run)
    evidence = gather(run, overview, reasoner, preprocess=preprocess, limits=limits or Limits(), progress=progress)
    shown = mean_classes(overview)
    evidence["means"] = {str(index): as_bytes(overview.means.maps[index]) for index in shown}
    page = report_page(run, overview, summary, evidence, script)
    with committed(run.path / "report.html") as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")  # of a directory's name
    return run.path / "report.html", summary


def report_page(run: Run, overview: Overview, summary: Summary, evidence: dict[str, Any], script: str) -> str:
    """The whole file as text."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    # '<' is written as an escape, so that no text in the data can end the element that holds it
    text = json.dumps(evidence, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    style = files("camlens.audit.report").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{run.manifest.model or run.manifest.model_type} on {run.manifest.data or 'a data set'}"
    sections = [
        ("summary", "Summary", _summary(overview, summary)),
        ("errors", "Errors", _errors(overview)),
        ("gallery", "Gallery", _gallery()),
        ("calibration", "Calibration", _calibration(overview)),
        ("attention", "Attention", attention_section(run, overview)),
        *([("failures", "Could not be read", failure_table(summary))] if summary.failed else []),
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
        "<noscript><p>The gallery and the maps are drawn by a script inside this file; it is switched off here.</p>"
        f"</noscript>{body}</main>"
        f'<script type="application/json" id="evidence">{text}</script><script>{script}</script></body></html>\n'
    )


def _summary(overview: Overview, summary: Summary) -> str:
    right = summary.accuracy
    tiles = []
    if right.total:
        bar = (
            f'<span class="interval wide"><i style="left:{100 * right.low:.2f}%;'
            f'width:{100 * (right.high - right.low):.2f}%"></i><b style="left:{100 * right.value:.2f}%"></b></span>'
        )
        tiles.append(
            f'<div class="tile main"><span>Accuracy</span><strong>{100 * right.value:.1f}<small> %</small></strong>'
            f"{bar}<em>95 % interval {100 * right.low:.1f} to {100 * right.high:.1f} %</em></div>"
        )
        tiles.append(_tile("Wrong", f"{summary.wrong:,}", f"of {right.total:,} with a label"))
        promise = "promises too much" if summary.overconfidence > 0 else "promises too little"
        detail = f"{promise}, by {100 * abs(summary.overconfidence):.1f} points"
        tiles.append(_tile("Calibration error", f"{summary.ece:.3f}", detail))
    else:
        tiles.append(_tile("Accuracy", "–", "no image has both a label and a prediction"))
    tiles.append(_tile("Images", f"{summary.images:,}", _rest(summary)))
    said = "".join(f"<li>{_sentence(words)}.</li>" for words in _standing_out(summary))
    return (
        f'<div class="tiles">{"".join(tiles)}</div><div class="panel"><h3>What stands out</h3>'
        f'<ul class="findings">{said or "<li>Nothing does.</li>"}</ul></div>'
    )


def _sentence(words: str) -> str:
    """The words as HTML, with a capital, and no break before a per cent sign."""
    return escape(words[0].upper() + words[1:]).replace(" %", "&nbsp;%")


def _rest(summary: Summary) -> str:
    kinds = (("without a label", summary.unlabelled), ("could not be read", summary.failed), ("to do", summary.missing))
    return ", ".join(f"{count:,} {words}" for words, count in kinds if count) or "all read"


def _tile(name: str, value: str, detail: str) -> str:
    return f'<div class="tile"><span>{name}</span><strong>{value}</strong><em>{escape(detail)}</em></div>'


def _standing_out(summary: Summary) -> list[str]:
    """The attention sentences, the most frequent confusion and the worst class."""
    said = list(summary.attention)
    if summary.pairs and summary.pairs[0].count > 1:
        pair = summary.pairs[0]
        said.append(
            f"{summary.name(pair.true)} is taken for {summary.name(pair.predicted)} most often: {pair.count:,} times,"
            f" {percent(pair.share)} of its images"
        )
    if summary.worst:
        worst = summary.worst[0]
        said.append(
            f"{worst.name} is recognised least: {worst.recall.hits:,} of {worst.recall.total:,}"
            f" ({100 * worst.recall.low:.0f} to {100 * worst.recall.high:.0f} % with 95 % confidence)"
        )
    return said


def _errors(overview: Overview) -> str:
    return (
        '<p class="lead">Choose a cell to see its images below. Colours are shares of a row.</p><div class="columns">'
        f'<div class="panel">{confusion_table(overview)}</div>'
        f'<div class="panel"><h3>Most confused</h3>{pair_list(overview)}</div></div>'
        f'<div class="panel"><h3>Classes</h3><p class="note">The band is the 95 % interval.</p>'
        f"{class_table(overview.classes)}</div>"
    )


def _gallery() -> str:
    return (
        '<p class="lead">Every pair of classes has its turn, the most confident answers first. A likely reason is what'
        " is unusual about an image beside all others, not a proven cause.</p>"
        '<form id="filters" class="panel"></form><p id="status" role="status" class="note"></p><div id="cards"></div>'
    )


def _calibration(overview: Overview) -> str:
    found = overview.calibrated
    if not found.counts.sum():
        return '<p class="lead">Nothing to compare: no image has both a label and a prediction.</p>'
    promise = "more" if found.overconfidence > 0 else "less"
    return (
        f'<div class="panel beside">{calibration_figure(found)}<div><h3>Is 80 % right in 80 of 100 cases?</h3>'
        "<p>Bars are how often answers of a confidence are right. Outlined is the gap to what the model said, red where"
        " it promised too much. The line is a model that is as right as it says.</p>"
        f"<dl><dt>Expected error</dt><dd>{found.ece:.3f}</dd><dt>Largest gap</dt><dd>{found.mce:.3f}</dd>"
        f"<dt>On average</dt><dd>says {100 * abs(found.overconfidence):.1f} points {promise} than is right</dd></dl>"
        "</div></div>"
    )
