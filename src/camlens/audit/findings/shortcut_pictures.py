"""The pictures of an example of a shortcut: captions, scores and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from camlens.audit.findings.shortcuts import Example, Region, Shortcut

Which = Literal["with", "without", "other", "other_with"]


@dataclass(frozen=True)
class ShortcutPicture:
    """One picture of an example, as the model sees it.

    Attributes:
        which: "with" and "without" are an image of the class with and without the property; "other" and "other_with"
            are an image of another class without and with it.
        row: row of the image.
        caption: the class of the image and what was changed.
        probability: probability of the (first) class of the shortcut.
        region: the region to outline, in [0, 1]; None if there is none.
        file: the picture, relative to the directory of the run; None if there is no picture.
    """

    which: Which
    row: int
    caption: str
    probability: float
    region: Region | None
    file: str | None


def pictures_of(
    shortcut: Shortcut, example: Example, class_names: Sequence[str], labels: Int[np.ndarray, " n"]
) -> tuple[ShortcutPicture, ...]:
    """Return the two or four pictures of an example. `labels` are the true classes of all rows, -1 for none."""

    def name(row: int) -> str:
        return class_names[int(labels[row])] if row < len(labels) and labels[row] >= 0 else "another image"

    what = shortcut.property or "property"
    own, region = class_names[shortcut.classes[0]], example.region
    removed = f"{what} covered" if shortcut.kind == "local" else f"{what} of other classes"
    added = f"{what} pasted in" if shortcut.kind == "local" else f"{what} of {own}"

    def picture(which: Which, row: int, caption: str, probability: float, marked: bool) -> ShortcutPicture:
        return ShortcutPicture(
            which, row, caption, probability, region if marked else None, example.pictures.get(which)
        )

    first = name(example.row)
    pictures = [
        picture("with", example.row, first, example.before, True),
        picture("without", example.row, f"{first}, {removed}", example.after, False),
    ]
    row, before, after = example.other_row, example.other_before, example.other_after
    if row is not None and before is not None and after is not None:
        other = name(row)
        pictures += [
            picture("other", row, other, before, False),
            picture("other_with", row, f"{other}, {added}", after, True),
        ]
    return tuple(pictures)


def picture_file(run: Path, file: str) -> Path | None:
    """Return the path of a picture in the directory of a run; None if it is missing or outside of `shortcuts/`."""
    path, home = (run / file).resolve(), (run / "shortcuts").resolve()
    return path if path.is_relative_to(home) and path.is_file() else None
