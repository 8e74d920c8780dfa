"""Map the labels of a dataset to the classes of a model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from camlens.core.errors import DataError

LabelsBy = Literal["name", "place"]
How = Literal["by name", "by place", "none"]


@dataclass(frozen=True)
class Translation:
    """The model's class of each label of the data, or None, and how the classes were matched.

    `problem` is set if some label has no class.
    """

    classes: tuple[int | None, ...]
    how: How
    problem: DataError | None = None

    def __call__(self, label: int | None) -> int | None:
        """Return the model's class for a label of the data."""
        return None if label is None else self.classes[label]


def translated(data_names: Sequence[str], model_names: Sequence[str], *, by: LabelsBy | None = None) -> Translation:
    """Match the classes of the data with the classes of the model.

    They are matched by name if any name occurs in both; case, spaces and underscores are ignored. They are matched by
    place if the names are numbers ("class 3"), or if no name matches and the counts are equal. `by` overrides this.
    The translation has a `problem` (labels.unmatched, labels.ambiguous, labels.too-many) if some class of the data is
    not a class of the model.
    """
    if not data_names:
        return Translation((), "none")
    plain = [_plain(name) for name in data_names]
    places = {name: place for place, name in enumerate(map(_plain, model_names))}
    counts = Counter(map(_plain, model_names))
    numbered = all(name == f"class {place}" for place, name in enumerate(plain))
    unmatched = [name for name, key in zip(data_names, plain, strict=True) if key not in places]
    if by is None:
        foreign = len(unmatched) == len(data_names) == len(model_names)
        by = "place" if foreign or (numbered and len(data_names) <= len(model_names)) else "name"
    if by == "place":
        if len(data_names) > len(model_names):
            return Translation((None,) * len(data_names), "none", _too_many(data_names, model_names))
        return Translation(tuple(range(len(data_names))), "by place")
    ambiguous = [name for name, key in zip(data_names, plain, strict=True) if counts[key] > 1]
    problem = _unmatched(unmatched, data_names, model_names) if unmatched else None
    if ambiguous:
        problem = DataError(
            f"several classes of the model are named {ambiguous[0]!r}: use class indices as labels, in a manifest",
            code="labels.ambiguous",
            ambiguous=ambiguous,
        )
    return Translation(tuple(None if counts[key] > 1 else places.get(key) for key in plain), "by name", problem)


def _unmatched(unmatched: Sequence[str], data_names: Sequence[str], model_names: Sequence[str]) -> DataError:
    return DataError(
        f"{len(unmatched)} of the data's {len(data_names)} classes are not classes of the model: {_few(unmatched)}. "
        f"Rename them ({_few(model_names)}), use class indices as labels in a manifest, or, if the classes are in "
        'the order of the model, pass --labels-by place (labels_by="place")',
        code="labels.unmatched",
        unmatched=list(unmatched),
        data_classes=len(data_names),
        model_classes=len(model_names),
    )


def _too_many(data_names: Sequence[str], model_names: Sequence[str]) -> DataError:
    return DataError(
        f"the data has {len(data_names)} classes but the model {len(model_names)}: they cannot be matched by place",
        code="labels.too-many",
        data_classes=len(data_names),
        model_classes=len(model_names),
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
