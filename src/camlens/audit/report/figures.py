"""Figures of the report as SVG: calibration, distributions, peaks, and measures by class.

Colors are classes of the style sheet, so that figures follow the theme.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.attention import Distribution
from camlens.audit.findings.calibration import Calibration
from camlens.audit.findings.overview import percent

Length = float | int

_GROUPS = (("correct", "correct", "good"), ("incorrect", "incorrect", "bad"), ("unlabelled", "no label", "quiet"))


def calibration_figure(calibrated: Calibration) -> str:
    """Draw accuracy by confidence in bins, and the line of a perfectly calibrated model."""
    side, left, top = 260, 52, 12
    bins = len(calibrated.counts)
    width = side / bins
    parts = [_grid(left, top, side)]
    for place in range(bins):
        count = int(calibrated.counts[place])
        if not count:
            continue
        accuracy, confidence = float(calibrated.accuracy[place]), float(calibrated.confidence[place])
        x = left + place * width
        low, high = sorted((accuracy, confidence))
        words = (
            f"confidence {calibrated.edges[place]:.1f} to {calibrated.edges[place + 1]:.1f}: {count:,} images, mean"
            f" confidence {percent(confidence)}, accuracy {percent(accuracy)}"
        )
        parts.append(
            f"<g><title>{escape(words)}</title>"
            f'<rect class="bar-accent" x="{x + 1:.1f}" y="{top + side * (1 - accuracy):.1f}" width="{width - 2:.1f}"'
            f' height="{side * accuracy:.1f}"/>'
            f'<rect class="{"gap over" if confidence > accuracy else "gap under"}" x="{x + 1:.1f}"'
            f' y="{top + side * (1 - high):.1f}" width="{width - 2:.1f}" height="{side * (high - low):.1f}"/></g>'
        )
    parts.append(f'<line class="ideal" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
    parts.append(_counts(calibrated.counts, left, top + side + 34, side))
    parts.append(_text(left + side / 2, top + side + 28, "confidence", "middle"))
    parts.append(_text(left + side / 2, top + side + 84, "images by confidence", "middle"))
    parts.append(
        f'<text class="tick" transform="translate(10 {top + side / 2}) rotate(-90)" text-anchor="middle">'
        "accuracy</text>"
    )
    return _svg(left + side + 10, top + side + 92, "Accuracy by confidence", parts)


def distribution_figure(distribution: Distribution, title: str) -> str:
    """Draw the share of correct and incorrect predictions in each bin, one over the other."""
    width, height, left, top = 300, 96, 8, 8
    present = [(group, words, look) for group, words, look in _GROUPS if distribution.counts[group].sum()]
    shares = {group: distribution.counts[group] / distribution.counts[group].sum() for group, _, _ in present}
    highest = max((float(values.max()) for values in shares.values()), default=1.0)
    parts = [f'<line class="axis" x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}"/>']
    for group, words, look in present:
        steps = [f"M{left} {top + height}"]
        for place, share in enumerate(shares[group]):
            y = top + height * (1 - share / highest)
            start, stop = (_at(edge, left, width) for edge in distribution.edges[place : place + 2])
            steps.append(f"L{start} {y:.1f}L{stop} {y:.1f}")
        steps.append(f"L{left + width} {top + height}Z")
        mean, count = distribution.means[group], int(distribution.counts[group].sum())
        parts.append(
            f"<g><title>{words}: {count:,} images, mean {mean:.2f}</title>"
            f'<path class="area {look}" d="{"".join(steps)}"/>'
            f'<line class="mean {look}" x1="{_at(min(mean, 1), left, width)}" x2="{_at(min(mean, 1), left, width)}"'
            f' y1="{top}" y2="{top + height}"/></g>'
        )
    parts += [_text(left + width * place, top + height + 15, f"{place:g}", anchor) for place, anchor in _ENDS]
    return _svg(width + 2 * left, top + height + 20, title, parts)


def peaks_figure(counts: Int[np.ndarray, "down across"], title: str) -> str:
    """Draw how many maps have their peak in each cell."""
    rows, columns = counts.shape
    total, highest = int(counts.sum()), max(int(counts.max(initial=0)), 1)
    cell = 150 / max(rows, columns)
    parts = [f'<rect class="ground" width="{cell * columns:.1f}" height="{cell * rows:.1f}"/>']
    for (row, column), count in np.ndenumerate(counts):
        if count:
            parts.append(
                f'<rect class="heat" x="{column * cell:.2f}" y="{row * cell:.2f}" width="{cell - 0.5:.2f}"'
                f' height="{cell - 0.5:.2f}" opacity="{0.06 + 0.94 * count / highest:.3f}">'
                f"<title>{int(count):,} images, {percent(count / total)}</title></rect>"
            )
    return _svg(cell * columns, cell * rows, title, parts)


def strips_figure(
    names: Sequence[str], quantiles: Float[np.ndarray, "classes 5"], title: str, marked: Sequence[bool]
) -> str:
    """Draw a box plot of a measure for each class: 10 and 90 % quantiles, quartiles, median."""
    left, width, pitch = 124, 400, 22
    parts = [
        f'<line class="rule" x1="{left + width * place}" x2="{left + width * place}" y1="2"'
        f' y2="{pitch * len(names) + 2}"/>'
        for place in (0, 0.25, 0.5, 0.75, 1)
    ]
    for place, (name, points) in enumerate(zip(names, np.clip(quantiles, 0, 1), strict=True)):
        y = place * pitch + pitch / 2 + 2
        look = "strip marked" if marked[place] else "strip"
        short = name if len(name) <= 17 else name[:16] + "…"
        parts.append(
            f'<text class="name" x="{left - 8}" y="{y + 4}" text-anchor="end">'
            f"<title>{escape(name)}</title>{escape(short)}</text>"
        )
        if np.isfinite(points).all():
            at = [_at(point, left, width) for point in points]
            words = f"{name}: median {points[2]:.2f}, quartiles {points[1]:.2f} and {points[3]:.2f}"
            parts.append(
                f'<g class="{look}"><title>{escape(words)}</title><line x1="{at[0]}" x2="{at[4]}" y1="{y}" y2="{y}"/>'
                f'<rect x="{at[1]}" y="{y - 5}" width="{max(float(at[3]) - float(at[1]), 1):.1f}" height="10" rx="2"/>'
                f'<line class="median" x1="{at[2]}" x2="{at[2]}" y1="{y - 6}" y2="{y + 6}"/></g>'
            )
    bottom = pitch * len(names) + 16
    parts += [_text(left + width * place, bottom, f"{place:g}", anchor) for place, anchor in _ENDS]
    return _svg(left + width + 8, bottom + 6, title, parts)


_ENDS = ((0, "start"), (0.5, "middle"), (1, "end"))


def _grid(left: Length, top: Length, side: Length) -> str:
    lines = []
    for place in (0, 0.25, 0.5, 0.75, 1):
        y, x = top + side * (1 - place), left + side * place
        lines.append(f'<line class="rule" x1="{left}" x2="{left + side}" y1="{y}" y2="{y}"/>')
        lines.append(_text(left - 6, y + 4, f"{place:g}", "end"))
        lines.append(_text(x, top + side + 14, f"{place:g}", "middle"))
    return "".join(lines)


def _counts(counts: Int[np.ndarray, " bins"], left: Length, top: Length, side: Length) -> str:
    """Draw small bars for the number of images in each bin."""
    highest, width, height = max(int(counts.max(initial=0)), 1), side / len(counts), 36
    return "".join(
        f'<rect class="bar-quiet" x="{left + place * width + 1:.1f}" y="{top + height * (1 - count / highest):.1f}"'
        f' width="{width - 2:.1f}" height="{height * count / highest:.1f}"><title>{int(count):,} images</title></rect>'
        for place, count in enumerate(counts)
        if count
    )


def _at(share: Length | np.floating, left: Length, width: Length) -> str:
    return f"{left + width * float(share):.1f}"


def _text(x: Length, y: Length, words: str, anchor: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(width: Length, height: Length, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}">{"".join(parts)}</svg>'
    )
