"""The section of the report on where the model looks."""

from html import escape

import numpy as np

from camlens.audit.findings.attention import groups_of, peaks, quantiles
from camlens.audit.findings.overview import MEASURES, Overview, percent
from camlens.audit.findings.reading import Run, numbers
from camlens.audit.report.figures import distribution_figure, peaks_figure, strips_figure

MOST_MEAN_MAPS = 40
_FINEST_PEAKS = 16


def attention_section(run: Run, overview: Overview) -> str:
    """Return distributions, peaks, mean maps and measures by class, as HTML."""
    legend = (
        '<p class="lead">Maps explain the predicted class, and cover the part of the image that the model saw.'
        ' <span class="key good">correct</span> <span class="key bad">incorrect</span></p>'
    )
    charts = "".join(_measure(overview, name, words) for name, words in MEASURES.items())
    return (
        f'{legend}<div class="charts">{charts}</div>{_peaks(run, overview)}'
        '<div class="panel"><h3>Mean map of each class</h3>'
        '<p class="note">All maps have the same weight. Notable classes come first.</p>'
        f'<div class="means">{_means(overview)}</div></div>{_strips(overview)}'
    )


def _measure(overview: Overview, name: str, words: str) -> str:
    distribution = overview.distributions[name]
    title = name.replace("_", " ").capitalize()
    means = [
        f"{words} {distribution.means[group]:.2f}"
        for group, words in (("correct", "correct"), ("incorrect", "incorrect"), ("unlabelled", "no label"))
        if distribution.counts[group].sum()
    ]
    apart = (
        ""
        if distribution.superiority != distribution.superiority
        else f"; incorrect is higher in {percent(distribution.superiority)} of pairs"
    )
    return (
        f'<div class="panel"><h3>{title}</h3><p class="note">{words}</p>{distribution_figure(distribution, title)}'
        f'<p class="note">{"mean " + ", ".join(means) if means else "no map"}{apart}</p></div>'
    )


def _peaks(run: Run, overview: Overview) -> str:
    cells = (min(run.grid[0], _FINEST_PEAKS), min(run.grid[1], _FINEST_PEAKS))
    down, across = numbers(run, "peak_y"), numbers(run, "peak_x")
    words = {"correct": "Correct", "incorrect": "Incorrect", "unlabelled": "No label"}
    figures = []
    for group, mask in groups_of(overview.outcomes).items():
        counts = peaks(down, across, mask, cells=cells)
        if counts.sum():
            figure = peaks_figure(counts, f"Peaks, {words[group].lower()}")
            figures.append(f"<figure>{figure}<figcaption>{words[group]}, {int(counts.sum()):,}</figcaption></figure>")
    if not figures:
        return ""
    return f'<div class="panel"><h3>Peaks of the maps</h3><div class="peaks">{"".join(figures)}</div></div>'


def mean_classes(overview: Overview) -> list[int]:
    """Return the classes whose mean map is shown: notable ones first, then by the number of maps."""
    counts = overview.means.counts
    leaning = [lean.index for lean in overview.leaning]
    others = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index] and index not in leaning]
    return [*leaning, *others][:MOST_MEAN_MAPS]


def _means(overview: Overview) -> str:
    leaning = {lean.index: lean for lean in overview.leaning}
    figures = []
    for index in mean_classes(overview):
        corners = overview.means.corners(index)
        corner, most, _ = overview.favourite(index)
        name, lean = escape(overview.outcomes.name(index)), leaning.get(index)
        chip = f'<span class="chip">{corner} {percent(most)}</span>' if lean else ""
        others = f", others {percent(lean.others)}" if lean and lean.measure == "corner_energy" else ""
        figures.append(
            f'<figure{" class=marked" if lean else ""}><canvas data-mean="{index}" role="img"'
            f' aria-label="Mean map of {name}"></canvas><figcaption><b>{name}</b>{chip}'
            f"<span>corners {percent(sum(corners.values()))}{others}</span>"
            f"<span>{int(overview.means.counts[index]):,} maps</span></figcaption></figure>"
        )
    left_out = int(np.count_nonzero(overview.means.counts)) - len(figures)
    note = f'<p class="note">{left_out:,} more classes are not shown.</p>' if left_out > 0 else ""
    return ("".join(figures) or "<p>No map has positive evidence.</p>") + note


def _strips(overview: Overview) -> str:
    shown = mean_classes(overview)
    if not shown:
        return ""
    leaning = {lean.index for lean in overview.leaning}
    names, marked = [overview.outcomes.name(index) for index in shown], [index in leaning for index in shown]
    figures = []
    for name in ("corner_energy", "entropy"):
        points = quantiles(overview.measures[name], overview.outcomes.predicted, overview.outcomes.classes)[shown]
        title = f"{name.replace('_', ' ').capitalize()} by class"
        figures.append(
            f'<div class="panel"><h3>{title}</h3><p class="note">Line: 10 to 90 % quantiles; box: quartiles;'
            f" mark: median.</p>{strips_figure(names, points, title, marked)}</div>"
        )
    return f'<div class="columns even">{"".join(figures)}</div>'
