"""From the labels of the data to the classes of the model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from camlens.core.errors import DataError


@dataclass(frozen=True)
class Translation:
    """The model's class for each label of the data, and how that was found: "by name", "by place" or "none"."""

    classes: tuple[int, ...]
    how: str

    def __call__(self, label: int | None) -> int | None:
        """The model's class for a label of the data."""
        return None if label is None else self.classes[label]


def translated(data_names: Sequence[str], model_names: Sequence[str]) -> Translation:
    """How labels of the data become classes of the model.

    By name, where every class of the data is called like exactly one of the model's (case, blanks and
    underscores do not count). By place, where names say nothing ("class 3"), or where there are as many
    classes as the model has. Raises DataError where neither is possible.
    """
    if not data_names:
        return Translation((), "none")
    ours = [_plain(name) for name in model_names]
    counts = Counter(ours)
    theirs = [_plain(name) for name in data_names]
    absent = [name for name, plain in zip(data_names, theirs, strict=True) if plain not in counts]
    numbered = all(plain == f"class {place}" for place, plain in enumerate(theirs))
    if not absent and not numbered and all(counts[plain] == 1 for plain in theirs):
        return Translation(tuple(ours.index(plain) for plain in theirs), "by name")
    if len(data_names) == len(model_names) or (numbered and len(data_names) < len(model_names)):
        return Translation(tuple(range(len(data_names))), "by place")
    raise DataError(
        f"the data has {len(data_names)} classes and the model {len(model_names)}, and {_said(absent)}: call the"
        f" classes as the model does ({', '.join(model_names[:3])}, ...), or label with its numbers in a manifest"
    )


def _said(absent: Sequence[str]) -> str:
    if not absent:
        return "several classes of the model have the same name"
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    return f"the model knows no {', '.join(absent[:3])}{more}"


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())
