"""Class names on the command line, and file names for results."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from camlens.core.errors import TargetError


def class_index(text: str, class_names: Sequence[str]) -> int:
    """Return the class with this index, name, or synonym (one of the comma-separated parts of a name).

    Case is ignored. Raises TargetError with similar names if there is no such class or more than one. Indices are
    not checked if the model's classes have no names: their number is known only after a forward pass.
    """
    wanted = text.strip().casefold()
    if wanted.lstrip("-").isdigit():
        unnamed = all(name in (f"class {index}", f"output {index}") for index, name in enumerate(class_names))
        if int(wanted) >= 0 and (unnamed or int(wanted) < len(class_names)):
            return int(wanted)
        raise TargetError(
            f"class {wanted} is out of range: there are {len(class_names)} classes (0 to {len(class_names) - 1})",
            code="target.out-of-range",
            value=int(wanted),
            classes=len(class_names),
        )
    by_name = [index for index, name in enumerate(class_names) if name.casefold() == wanted]
    by_synonym = [index for index, name in enumerate(class_names) if wanted in _synonyms(name)]
    matches = by_name or by_synonym
    if len(matches) == 1:
        return matches[0]
    if matches:
        candidates = ", ".join(f"{index} ({class_names[index]})" for index in matches)
        raise TargetError(
            f"{text!r} is the name of several classes: {candidates}; pass the index",
            code="target.ambiguous",
            value=text,
            candidates=matches,
        )
    similar = _similar(wanted, class_names)
    hint = f"did you mean {', '.join(similar)}?" if similar else f"classes are {_some(class_names)}"
    raise TargetError(f"no class is named {text!r}; {hint}", code="target.unknown", value=text, suggestions=similar)


def _similar(wanted: str, class_names: Sequence[str], limit: int = 8) -> list[str]:
    """Return names that have `wanted` as a word, else names spelled alike, else names that contain it."""
    spellings = {spelling: name for name in class_names for spelling in (name.casefold(), *_synonyms(name))}
    as_word = [name for name in class_names if wanted in name.casefold().replace(",", " ").split()]
    inside = [name for name in class_names if len(wanted) > 2 and wanted in name.casefold()]
    alike = [spellings[match] for match in difflib.get_close_matches(wanted, spellings, n=5)]
    return list(dict.fromkeys(as_word or alike or inside))[:limit]


def split_list(text: str, class_names: Sequence[str] = ()) -> list[str]:
    """Split a comma-separated list, but not within a class name that contains commas; drop duplicates."""
    folded = {name.casefold() for name in class_names}
    parts = [part.strip() for part in text.split(",")]
    items: list[str] = []
    while parts:
        longest = next((size for size in range(len(parts), 1, -1) if ", ".join(parts[:size]).casefold() in folded), 1)
        items.append(", ".join(parts[:longest]))
        parts = parts[longest:]
    return list(dict.fromkeys(item for item in items if item))


def free_stem(path: Path, taken: set[str]) -> str:
    """Return the stem of `path`, numbered if it is in `taken`, and add it to `taken`."""
    stem = path.stem or "image"
    candidate, number = stem, 1
    while candidate.casefold() in taken:  # some file systems ignore case
        number += 1
        candidate = f"{stem}-{number}"
    taken.add(candidate.casefold())
    return candidate


def _synonyms(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def _some(class_names: Sequence[str], limit: int = 12) -> str:
    rest = len(class_names) - limit
    return ", ".join(class_names[:limit]) + (f" and {rest} more" if rest > 0 else "")
