"""The best classes as horizontal bars, with the true and the explained one marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from camlens.core.probabilities import Task
from camlens.render.canvas import Box, Canvas, text_width
from camlens.render.theme import LABEL, SMALL

Prediction = Mapping[str, Any]
"""What `get_top_predictions` gives: `class_idx`, `class_name` and `confidence` of one class."""

Class = int | str
"""A class by its number or by its name."""

_BAR = 6.0
_PERCENT = 46.0


def is_class(prediction: Prediction, wanted: Class | None) -> bool:
    """Whether the prediction is about this class."""
    key = "class_name" if isinstance(wanted, str) else "class_idx"
    return wanted is not None and prediction.get(key) == wanted


def class_label(wanted: Class) -> str:
    """The class in words."""
    return wanted if isinstance(wanted, str) else f"class {wanted}"


def draw_predictions(
    canvas: Canvas,
    box: Box,
    predictions: Sequence[Prediction],
    *,
    true_class: Class | None = None,
    target: Class | None = None,
    task: Task = "classification",
) -> None:
    """One row per class, best first: its name, whether it is true or explained, its confidence, a bar.

    For a regression the confidence is the output itself: a plain number without a bar.
    """
    absent = true_class is not None and not any(is_class(one, true_class) for one in predictions)
    pitch = min(46.0, box.height / max(len(predictions) + absent, 1))
    for number, prediction in enumerate(predictions):
        row = Box(box.left, box.top + number * pitch, box.width, pitch)
        marks = []
        if is_class(prediction, true_class):
            marks.append(("true", canvas.theme.good))
        if is_class(prediction, target):
            marks.append(("explained", canvas.theme.accent))
        _draw_row(canvas, row, prediction, marks, predicted=number == 0, task=task)
    if absent and true_class is not None:
        canvas.write(
            f"true: {class_label(true_class)}, not among these",
            box.left,
            box.top + len(predictions) * pitch + 11,
            width=box.width,
            colour=canvas.theme.bad,
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
    canvas.write(words, row.left, baseline, width=room, bold=predicted, colour=ink)
    left = row.left + min(room, text_width(words, LABEL, bold=predicted)) + 6
    for mark, colour in marks:
        width = text_width(mark, SMALL, bold=True) + 10
        canvas.fill(Box(left, baseline - 10.5, width, 14), theme.background, rounding=7, outline=colour)
        canvas.write(mark, left, baseline, width=width, size=SMALL, bold=True, colour=colour, align="center")
        left += width + 6
    measured = task == "regression"
    value = f"{prediction['confidence']:.4g}" if measured else f"{100 * confidence:.1f} %"
    canvas.write(value, row.left, baseline, width=row.width, bold=predicted, colour=ink, align="right")
    if measured:
        return
    track = Box(row.left, baseline + 7, row.width, _BAR)
    canvas.fill(track, theme.surface, rounding=_BAR / 2)
    if confidence * row.width >= 0.5:
        filled = Box(track.left, track.top, max(confidence * row.width, 2.0), _BAR)
        canvas.fill(filled, theme.accent if predicted else theme.quiet, rounding=_BAR / 2)
