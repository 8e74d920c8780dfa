"""Shortcuts: properties of images that decide predictions and are not the object, with the tests that show it.

Everything that was tested is a `Shortcut`, whether it was confirmed or not. The numbers are measured on the model by
`camlens.audit.shortcuts`; the sentences are made here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from camlens.audit.store.commit import committed
from camlens.core.errors import StoreError

Kind = Literal["local", "global", "slice"]
Status = Literal["confirmed", "unused", "object", "too-few"]
Level = Literal["quick", "full", "off"]
Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Effect:
    """A difference of two proportions of images, with its 95 % interval.

    Attributes:
        value: the difference, from -1 to 1.
        low, high: bounds of the 95 % interval.
        p: p-value of "at most the smallest effect that matters", not corrected for other tests.
        images: number of images on which it was measured.
    """

    value: float
    low: float
    high: float
    p: float
    images: int


@dataclass(frozen=True)
class Example:
    """Images on which the effect can be seen, as the model sees them, with the probability of the class.

    Attributes:
        row: row of an image of the class that has the property.
        region: left, top, right and bottom of the property in [0, 1] of the model's input; None if it is everywhere.
        before, after: probability of the class with the property, and without it.
        other_row: row of an image of another class, or None.
        other_before, other_after: probability of the (first) class without the property, and with it.
        pictures: PNG files in the directory of the run, by "with", "without", "other" and "other_with".
    """

    row: int
    region: Region | None
    before: float
    after: float
    other_row: int | None = None
    other_before: float | None = None
    other_after: float | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shortcut:
    """A property of images of some classes, and what the model does if it is removed or added.

    Attributes:
        classes: the classes whose images have the property.
        kind: "local" is a part of the image, "global" a property of the whole image such as its brightness, and
            "slice" a group of similar images.
        status: "confirmed" if the model's predictions depend on it; "unused" if they do not; "object" if they do, but
            it is a part of the object; "too-few" if there are not enough images for a test.
        effect: the larger of `drop` and `pull`; for a slice, the difference between the error rate in the slice and in
            the rest of its class.
        interval: 95 % interval of the effect.
        p: p-value of the effect, corrected for all tests of the run (Holm 1979); NaN without a test.
        region: left, top, right and bottom in [0, 1] of the model's input; None if it has no fixed place.
        property: what it is, such as "patch", "line", "frame", "wandering patch", "brightness" or "blur".
        images: number of images of the classes in which it was found.
        drop: loss of the classes' accuracy if the property is removed, beyond that of a control.
        pull: share of other images that become the class if the property is added, beyond that of a control.
        sameness: how alike the property is in its images, from 0 to 1; None if it was not measured.
        examples: the images on which the effect is largest.
        rows: rows of the images in which it was found, at most 200 of them.
    """

    classes: tuple[int, ...]
    kind: Kind
    status: Status
    effect: float
    interval: tuple[float, float]
    p: float
    region: Region | None
    property: str | None
    images: int
    drop: Effect | None = None
    pull: Effect | None = None
    sameness: float | None = None
    examples: tuple[Example, ...] = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tested:
    """One line of the list of what was looked for.

    Attributes:
        kind, property: what was looked for.
        classes: number of classes in which it was looked for.
        too_few: number of classes with too few images.
        candidates: number of candidates that were tested on the model.
        note: what limits the result, or an empty string.
    """

    kind: Kind
    property: str
    classes: int
    too_few: int
    candidates: int
    note: str = ""


@dataclass(frozen=True)
class Shortcuts:
    """The result of the shortcut tests of a run.

    Attributes:
        level: "quick" or "full".
        seed: seed of the draws.
        alpha: the largest corrected p-value that counts as evidence.
        passes, bound: forward passes of images that were used, and their bound, announced in advance.
        shortcuts: everything that was tested: confirmed ones first, the largest effect first.
        tested: what was looked for.
    """

    level: Level
    seed: int
    alpha: float
    passes: int
    bound: int
    shortcuts: tuple[Shortcut, ...]
    tested: tuple[Tested, ...]

    @property
    def confirmed(self) -> tuple[Shortcut, ...]:
        """The shortcuts on which the model relies, the largest effect first."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.status == "confirmed")

    def write(self, path: Path) -> None:
        """Write the result as JSON, atomically, with null for NaN."""
        with committed(path) as unfinished:
            text = json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)
            unfinished.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Shortcuts | None":
        """Read the result at `path`; None if there is none. Raises StoreError if it is damaged."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                **{
                    **facts,
                    "shortcuts": tuple(_shortcut(values) for values in facts["shortcuts"]),
                    "tested": tuple(Tested(**values) for values in facts["tested"]),
                }
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): delete it and run the same `camlens audit` command again",
                code="store.shortcuts-damaged",
                path=str(path),
            ) from error


def for_summary(shortcut: Shortcut, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the facts of a shortcut for `summary.json`, with the names of its classes and null for NaN."""
    facts: dict[str, Any] = _plain(
        {
            "classes": [class_names[index] for index in shortcut.classes],
            "kind": shortcut.kind,
            "status": shortcut.status,
            "effect": shortcut.effect,
            "interval": shortcut.interval,
            "p": shortcut.p,
            "region": shortcut.region,
            "property": shortcut.property,
            "images": shortcut.images,
            "drop": None if shortcut.drop is None else shortcut.drop.value,
            "pull": None if shortcut.pull is None else shortcut.pull.value,
            "sentence": sentence(shortcut, class_names),
        }
    )
    return facts


def sentence(shortcut: Shortcut, class_names: Sequence[str]) -> str:
    """Return what was measured of a shortcut, in one sentence."""
    names = " and ".join(class_names[index] for index in shortcut.classes)
    where = place_in_words(shortcut.region)
    what = f"{shortcut.property}{f' {where}' if where else ''}"
    images = f"{shortcut.images:,} {'image' if shortcut.images == 1 else 'images'}"
    if shortcut.status == "too-few":
        return f"{names}: not enough images to test the {what} ({images})"
    if shortcut.kind == "slice":
        return f"{names}: {images} that look alike have an error rate {_points(shortcut.effect)} above the others"
    effects = []
    if shortcut.drop is not None:
        effects.append(f"removing it lowers the accuracy by {_points(shortcut.drop.value)}")
    if shortcut.pull is not None:
        effects.append(f"adding it to other images turns {_percent(shortcut.pull.value)} of them into {names}")
    measured = "; ".join(effects)
    match shortcut.status:
        case "confirmed":
            return f"{names}: the model relies on the {what} of {images}; {measured}"
        case "object":
            return f"{names}: the {what} decides predictions, but it is a part of the object; {measured}"
        case _:
            return f"{names}: {what} in {images}, not used by the model; {measured}"


def place_in_words(region: Region | None) -> str:
    """Return the place of a region in the image, such as "at the lower right"; an empty string if it has none."""
    if region is None:
        return ""
    left, top, right, bottom = region
    if right - left > 0.8 and bottom - top > 0.8:
        return ""
    down = ("upper", "", "lower")[min(int(3 * (top + bottom) / 2), 2)]
    across = ("left", "", "right")[min(int(3 * (left + right) / 2), 2)]
    return f"at the {' '.join(filter(None, (down, across))) or 'center'}"


def _points(share: float) -> str:
    return f"{100 * share:.0f} points"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _shortcut(facts: Mapping[str, Any]) -> Shortcut:
    """Return the shortcut with these facts, as read from JSON."""
    return Shortcut(
        **{
            **facts,
            "classes": tuple(facts["classes"]),
            "interval": tuple(_number(bound) for bound in facts["interval"]),
            "effect": _number(facts["effect"]),
            "p": _number(facts["p"]),
            "region": _region(facts["region"]),
            "drop": _effect(facts["drop"]),
            "pull": _effect(facts["pull"]),
            "examples": tuple(
                Example(**{**values, "region": _region(values["region"])}) for values in facts["examples"]
            ),
            "rows": tuple(facts["rows"]),
        }
    )


def _effect(facts: Mapping[str, Any] | None) -> Effect | None:
    return None if facts is None else Effect(**{name: _number(value) for name, value in facts.items()})


def _region(edges: Sequence[float] | None) -> Region | None:
    if edges is None:
        return None
    left, top, right, bottom = edges
    return left, top, right, bottom


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _plain(value: Any) -> Any:
    """Return values for JSON, with None for NaN."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and value != value else value
