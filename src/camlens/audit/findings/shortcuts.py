"""Shortcuts: properties of images that decide predictions and are not the object, with the tests that show it.

Everything that was tested is a `Shortcut`, whether it was confirmed or not. The numbers are measured on the model by
`camlens.audit.shortcuts`; the sentences are made here.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from camlens.audit.findings.overview import percent
from camlens.audit.store.commit import committed
from camlens.core.errors import StoreError

Kind = Literal["local", "global", "slice"]
Status = Literal["confirmed", "unused", "object", "too-few"]
Level = Literal["quick", "full", "off"]
Region = tuple[float, float, float, float]

STATUSES: dict[Status, str] = {
    "confirmed": "confirmed",
    "unused": "present, use not shown",
    "object": "on the object",
    "too-few": "too few images",
}
"""The results of a test, and their meaning."""

KINDS: dict[Kind, str] = {"local": "region", "global": "property", "slice": "group of images"}
"""What a shortcut of each kind is called if its property has no name."""

_SAME_FOR_ALL = {
    "blur": "Bring the images of all classes to the same sharpness",
    "noise": "Add noise to training images of all classes at random",
    "JPEG compression": "Compress the images of all classes alike",
    "resolution": "Scale the images of all classes down to the same resolution",
    "aspect ratio": "Crop the images of all classes to the same proportions",
    "padding": "Crop the padding of all images",
    "texture": "Remove the texture from all images",
}
_BORDER = 0.05
_NOTHING = 0.005


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
        status: "confirmed" if the model's predictions depend on it; "object" if they do, but it is a part of the
            object; "unused" if that was not shown; "too-few" if there are not enough images for a test.
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
        key: hash of everything on which the result depends.
    """

    level: Level
    seed: int
    alpha: float
    passes: int
    bound: int
    shortcuts: tuple[Shortcut, ...]
    tested: tuple[Tested, ...]
    key: str = ""

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
    """Return the classes, what was found and what was measured, in one sentence without a full stop."""
    names = _joined([class_names[index] for index in shortcut.classes])
    measured = ", ".join(_measured(shortcut, names))
    return f"{names}: {finding(shortcut)}" + (f"; {measured}" if measured else "")


def finding(shortcut: Shortcut) -> str:
    """Return what was found, without classes and measurements, as a clause."""
    what = described(shortcut)
    images = f"{shortcut.images:,} {'image' if shortcut.images == 1 else 'images'}"
    match shortcut.status, shortcut.kind:
        case "too-few", _:
            return f"there are not enough images to test the {what} ({images})"
        case "confirmed", "slice":
            return f"the model errs on {images} that look alike"
        case "confirmed", _:
            return f"the model relies on the {what} of {images}"
        case "object", _:
            return f"the {what} decides predictions, but it is a part of the object"
        case _, "slice":
            return f"{images} look alike, but the model does not err on them much more often"
        case _:
            return f"{images} have the {what} in common, but the model was not found to use it"


def described(shortcut: Shortcut) -> str:
    """Return what a shortcut is and where, such as "patch at the lower right"."""
    return " ".join(filter(None, (shortcut.property or KINDS[shortcut.kind], place_in_words(shortcut.region))))


def advice(shortcut: Shortcut, class_names: Sequence[str]) -> str:
    """Return what to do about a shortcut, in one or two sentences."""
    names = _joined([class_names[index] for index in shortcut.classes])
    what = shortcut.property or "property"
    match shortcut.status:
        case "too-few":
            return f"Add images of {names} and run the audit again."
        case "unused":
            return "Nothing to fix in this model. A model that is trained on these images may learn it."
        case "object":
            return "Check in the examples that the region lies on the object. If it does not, treat it as a shortcut."
    if shortcut.kind == "slice":
        return f"Check the labels of these images, and add images like them to the training data of {names}."
    if shortcut.kind == "global":
        change = _SAME_FOR_ALL.get(what, f"Vary the {what} of all training images at random")
        return f"{change}, or add images of {names} that differ in {what}. Then retrain and run the audit again."
    if shortcut.region is None:
        change = f"Add images of {names} without the {what}, or paste it into training images of all classes"
    elif _at_border(shortcut.region):
        change = f"Crop the border of all images, or add images of {names} without the {what}"
    else:
        change = f"Cover the region in all training images, or add images of {names} without the {what}"
    return f"{change}. Then retrain, at least the last layer, and run the audit again."


def tested_in_words(shortcuts: Shortcuts) -> str:
    """Return what was tested and the number of results of each kind, in one line."""
    properties = list(dict.fromkeys(line.property for line in shortcuts.tested))
    classes = max((line.classes for line in shortcuts.tested), default=0)
    too_few = max((line.too_few for line in shortcuts.tested), default=0)
    candidates = sum(line.candidates for line in shortcuts.tested)
    counts = Counter(shortcut.status for shortcut in shortcuts.shortcuts)
    results = [f"{counts[status]:,} {STATUSES[status]}" for status in ("confirmed", "unused", "object")]
    return (
        f"tested ({shortcuts.level}): {_joined(properties) or 'nothing'} in {classes:,} class"
        f"{'' if classes == 1 else 'es'}, {candidates:,} candidate{'' if candidates == 1 else 's'}:"
        f" {'; '.join(results)}; {too_few:,} class{'' if too_few == 1 else 'es'} with too few images"
    )


def p_in_words(p: float) -> str:
    """Format a p-value, such as "0.012" or "< 0.001"; a dash for NaN."""
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _measured(shortcut: Shortcut, names: str) -> list[str]:
    """Return what happens if the property is removed and if it is added; for a slice, its error rate."""
    if shortcut.status == "too-few":
        return []
    if shortcut.kind == "slice":
        return [f"their error rate is {_error_rate(shortcut)}"]
    if shortcut.kind == "local":
        removing, adding = "covering it", "pasting it into images of other classes"
    else:
        removing, adding = "setting it to that of other classes", "giving it to images of other classes"
    phrases = []
    drop, pull = shortcut.drop, shortcut.pull
    if drop is not None and drop.value == drop.value:
        if drop.value < _NOTHING:
            phrases.append(f"{removing} does not lower the accuracy")
        else:
            phrases.append(
                f"{removing} lowers the accuracy by {_points(drop.value)} ({_interval(drop.low, drop.high)})"
            )
    if pull is not None and pull.value == pull.value:
        target = names if len(shortcut.classes) == 1 else "these classes"
        if pull.value < _NOTHING:
            phrases.append(f"{adding} does not turn them into {target}")
        else:
            share = f"{percent(pull.value)} of them into {target}"
            phrases.append(f"{adding} turns {share} ({_interval(pull.low, pull.high)})")
    return phrases


def _error_rate(shortcut: Shortcut) -> str:
    comparison = "above" if shortcut.effect >= 0 else "below"
    return (
        f"{_points(abs(shortcut.effect))} {comparison} that of the rest of the class ({_interval(*shortcut.interval)})"
    )


def _interval(low: float, high: float) -> str:
    return f"95 % interval {100 * low:.0f} to {100 * high:.0f}"


def _at_border(region: Region) -> bool:
    left, top, right, bottom = region
    return min(left, top, 1 - right, 1 - bottom) < _BORDER


def _joined(names: Sequence[str]) -> str:
    """Return names as "a", "a and b" or "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def place_in_words(region: Region | None) -> str:
    """Return the place of a region in the image, such as "at the lower right"; an empty string if it has none."""
    if region is None:
        return ""
    left, top, right, bottom = region
    if right - left > 0.8 and bottom - top > 0.8:
        return ""
    down = int(3 * (top + bottom) / 2)
    across = int(3 * (left + right) / 2)
    places = (
        ("at the upper left", "at the top", "at the upper right"),
        ("on the left", "at the center", "on the right"),
        ("at the lower left", "at the bottom", "at the lower right"),
    )
    return places[min(down, 2)][min(across, 2)]


def _points(share: float) -> str:
    points = f"{100 * share:.0f}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


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
                Example(
                    **{
                        **values,
                        "region": _region(values["region"]),
                        "before": _number(values["before"]),
                        "after": _number(values["after"]),
                    }
                )
                for values in facts["examples"]
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
