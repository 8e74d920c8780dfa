"""The most likely classes as horizontal bars, with the true and the explained class marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from camlens.core.probabilities import Task
from camlens.render.canvas import Box, Canvas, text_width
from camlens.render.theme import LABEL, SMALL

Prediction = Mapping[str, Any]
"""An item of `get_top_predictions`: `class_idx`, `class_name` and `confidence`."""

Class = int | str
"""A class by its index or name."""

_BAR = 6.0
_PERCENT = 46.0


def is_class(prediction: Prediction, other: Class | None) -> bool:
    """Whether the prediction is for this class."""
    key = "class_name" if isinstance(other, str) else "class_idx"
    return other is not None and prediction.get(key) == other


def draw_predictions(
    canvas: Canvas,
    box: Box,
    predictions: Sequence[Prediction],
    *,
    true_class: Class | None = None,
    target: Class | None = None,
    task: Task = "classification",
) -> None:
    """Draw one row per class: its name, marks, confidence and a bar.

    For a regression the confidence is the output itself, drawn as a number without a bar.
    """
    absent = true_class is not None and not any(is_class(prediction, true_class) for prediction in predictions)
    pitch = min(46.0, box.height / max(len(predictions) + absent, 1))
    for number, prediction in enumerate(predictions):
        row = Box(box.left, box.top + number * pitch, box.width, pitch)
        marks = []
        if is_class(prediction, true_class):
            marks.append(("true", canvas.theme.good))
        if is_class(prediction, target):
            marks.append(("explained", canvas.theme.accent))
        _draw_row(canvas, row, prediction, marks, predicted=number == 0, task=task)
    if absent:
        label = true_class if isinstance(true_class, str) else f"class {true_class}"
        canvas.write(
            f"true: {label} (not shown)",
            box.left,
            box.top + len(predictions) * pitch + 11,
            width=box.width,
            color=canvas.theme.bad,
        )


def _draw_row(
    canvas: Canvas, row: Box, prediction: Prediction, marks: Sequence[tuple[str, str]], *, predicted: bool, task: Task
) -> None:
    theme = canvas.theme
    confidence = min(max(float(prediction["confidence"]), 0.0), 1.0)
    words = str(prediction["class_name"])
    marks_width = sum(text_width(mark, SMALL, bold=True) + 16 for mark, _ in marks)
    room = row.width - _PERCENT - marks_width
    baseline = row.top + 11
    ink = theme.text if predicted else theme.muted
    canvas.write(words, row.left, baseline, width=room, bold=predicted, color=ink)
    left = row.left + min(room, text_width(words, LABEL, bold=predicted)) + 6
    for mark, color in marks:
        width = text_width(mark, SMALL, bold=True) + 10
        canvas.fill(Box(left, baseline - 10.5, width, 14), theme.background, rounding=7, outline=color)
        canvas.write(mark, left, baseline, width=width, size=SMALL, bold=True, color=color, align="center")
        left += width + 6
    regression = task == "regression"
    value = f"{prediction['confidence']:.4g}" if regression else f"{100 * confidence:.1f} %"
    canvas.write(value, row.left, baseline, width=row.width, bold=predicted, color=ink, align="right")
    if regression:
        return
    track = Box(row.left, baseline + 7, row.width, _BAR)
    canvas.fill(track, theme.surface, rounding=_BAR / 2)
    if confidence * row.width >= 0.5:
        filled = Box(track.left, track.top, max(confidence * row.width, 2.0), _BAR)
        canvas.fill(filled, theme.accent if predicted else theme.quiet, rounding=_BAR / 2)
