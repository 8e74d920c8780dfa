"""The result of shortcut tests with its pictures, for tests and views of summary, report and studio.

    write_shortcuts(run.path)

A patch in the lower right corner and the brightness are confirmed, and so is a slice. A line is not used by the model,
a region is on the object, and one class has too few images.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from camlens.audit import Effect, Example, Shortcut, Shortcuts, Tested
from camlens.audit.findings.shortcuts import Region

CORNER: Region = (0.7, 0.72, 0.95, 0.97)
CENTER: Region = (0.35, 0.35, 0.65, 0.65)
SIDE = 96


def shortcuts(pictures: tuple[dict[str, str], ...] = ({}, {}), *, last: int = 2) -> Shortcuts:
    """Return the result for a run of at least three classes; `last` is the class that relies on the patch."""
    patch = tuple(
        Example(place, CORNER, 0.97 - 0.03 * place, 0.08 + 0.02 * place, place + 3, 0.02, 0.91, named)
        for place, named in enumerate(pictures)
    )
    brightness = (Example(1, None, 0.84, 0.31, 4, 0.05, 0.62, pictures[0]),)
    return Shortcuts(
        level="quick",
        seed=0,
        alpha=0.05,
        passes=812,
        bound=1000,
        shortcuts=(
            Shortcut(
                (last,), "local", "confirmed", 0.85, (0.74, 0.93), 1e-6, CORNER, "patch", 30,
                drop=Effect(0.62, 0.44, 0.78, 1e-5, 30), pull=Effect(0.85, 0.74, 0.93, 1e-8, 60),
                sameness=0.96, examples=patch, rows=(0, 1, 2),
            ),
            Shortcut(
                (0, 1), "global", "confirmed", 0.34, (0.21, 0.47), 0.012, None, "brightness", 48,
                drop=Effect(0.34, 0.21, 0.47, 0.0004, 48), pull=Effect(-0.01, -0.06, 0.04, 0.7, 60),
                examples=brightness, rows=(1, 4),
            ),
            Shortcut((0,), "slice", "confirmed", 0.3, (0.12, 0.48), 0.03, None, None, 12, rows=(0, 1, 2)),
            Shortcut(
                (1,), "local", "unused", 0.01, (-0.04, 0.06), 1.0, (0.0, 0.9, 1.0, 1.0), "line", 22,
                drop=Effect(0.01, -0.04, 0.06, 0.6, 22), pull=Effect(0.0, -0.03, 0.03, 0.8, 60), sameness=0.99,
            ),
            Shortcut(
                (1,), "local", "object", 0.4, (0.28, 0.52), 1.0, CENTER, "region", 25,
                drop=Effect(0.4, 0.28, 0.52, 0.001, 25), sameness=0.21,
            ),
            Shortcut((0,), "local", "too-few", float("nan"), (float("nan"),) * 2, float("nan"), None, "patch", 4),
        ),
        tested=(
            Tested("local", "patch", 3, 1, 9),
            Tested("local", "line", 3, 0, 4),
            Tested("global", "brightness", 3, 0, 3),
            Tested("slice", "group of images", 2, 1, 2, "classes with at least 20 images"),
        ),
    )  # fmt: skip


def write_shortcuts(run: Path, *, last: int = 2) -> Shortcuts:
    """Write `shortcuts.json` and the pictures of the first two examples into the directory of a run."""
    result = shortcuts(tuple(_pictures(run, number) for number in range(2)), last=last)
    result.write(run / "shortcuts.json")
    return result


def _pictures(run: Path, number: int) -> dict[str, str]:
    """Write four pictures: a gray gradient with and without a patch, and another one without and with it."""
    (run / "shortcuts").mkdir(parents=True, exist_ok=True)
    left, top, right, bottom = (round(SIDE * edge) for edge in CORNER)
    names = {}
    for which in ("with", "without", "other", "other_with"):
        ramp = np.linspace(40, 200, SIDE, dtype=np.uint8)
        gray = np.tile(ramp[None] if which.startswith("other") else ramp[:, None], (SIDE, 1))[:SIDE, :SIDE]
        gray = np.broadcast_to(gray, (SIDE, SIDE))
        picture = np.stack([gray, gray, np.full_like(gray, 40 + 60 * number)], axis=2)
        if which.endswith("with"):
            picture[top:bottom, left:right] = (230, 60, 40)
        name = names[which] = f"shortcuts/{number}-{which}.png"
        Image.fromarray(picture).save(run / name)
    return names
