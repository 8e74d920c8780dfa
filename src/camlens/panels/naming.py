"""Classes by name, and files named after images."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from camlens.core.errors import TargetError


def class_index(text: str, class_names: Sequence[str]) -> int:
    """The class that `text` means: its number, its name, or one of the names before and after its commas.

    Upper and lower case are the same. Raises TargetError with the names that come close.
    If the model has no names for its classes, how many it has is known only when it has run.
    """
    wanted = text.strip().casefold()
    if wanted.lstrip("-").isdigit():
        unnamed = all(name in (f"class {index}", f"output {index}") for index, name in enumerate(class_names))
        if int(wanted) >= 0 and (unnamed or int(wanted) < len(class_names)):
            return int(wanted)
        raise TargetError(
            f"class {wanted} is out of range: the model has {len(class_names)} classes (0 to {len(class_names) - 1})",
            code="target.out-of-range",
            value=int(wanted),
            classes=len(class_names),
        )
    whole = [index for index, name in enumerate(class_names) if name.casefold() == wanted]
    part = [index for index, name in enumerate(class_names) if wanted in _synonyms(name)]
    matches = whole or part
    if len(matches) == 1:
        return matches[0]
    if matches:
        numbers = ", ".join(f"{index} ({class_names[index]})" for index in matches)
        raise TargetError(
            f"{text!r} names several classes: {numbers}; pass the number",
            code="target.ambiguous",
            value=text,
            candidates=matches,
        )
    close = _suggested(wanted, class_names)
    hint = f"did you mean {', '.join(close)}?" if close else f"classes are {_some(class_names)}"
    raise TargetError(
        f"the model has no class named {text!r}; {hint}", code="target.unknown", value=text, suggestions=close
    )


def _suggested(wanted: str, class_names: Sequence[str], limit: int = 8) -> list[str]:
    """Names with the wanted word, else with words that contain it, else spelled alike."""
    spelled = {synonym: name for name in class_names for synonym in (name.casefold(), *_synonyms(name))}
    as_word = [name for name in class_names if wanted in name.casefold().replace(",", " ").split()]
    inside = [name for name in class_names if len(wanted) > 2 and wanted in name.casefold()]
    alike = [spelled[one] for one in difflib.get_close_matches(wanted, spelled, n=5)]
    return list(dict.fromkeys(as_word or alike or inside))[:limit]


def class_name(index: int, class_names: Sequence[str]) -> str:
    """The name of a class, or "class 7" where names do not reach that far."""
    return class_names[index] if index < len(class_names) else f"class {index}"


def split_list(text: str, class_names: Sequence[str] = ()) -> list[str]:
    """The parts of a comma-separated list; a class name that holds commas itself stays whole."""
    folded = {name.casefold() for name in class_names}
    parts = [part.strip() for part in text.split(",")]
    found: list[str] = []
    while parts:
        longest = next((size for size in range(len(parts), 1, -1) if ", ".join(parts[:size]).casefold() in folded), 1)
        found.append(", ".join(parts[:longest]))
        parts = parts[longest:]
    return list(dict.fromkeys(part for part in found if part))


def free_stem(path: Path, taken: set[str]) -> str:
    """A file name without ending for what is made of `path`, unlike all in `taken` and added to it."""
    stem = path.stem or "image"
    candidate, number = stem, 1
    while candidate.casefold() in taken:  # some file systems do not tell upper from lower case
        number += 1
        candidate = f"{stem}-{number}"
    taken.add(candidate.casefold())
    return candidate


def _synonyms(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def _some(class_names: Sequence[str], limit: int = 12) -> str:
    rest = len(class_names) - limit
    return ", ".join(class_names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def layer_in_words(name: str) -> str:
    """A map's layer for people; "input" stands for the image itself, and a plus for layers fused into one map."""
    return "the input" if name == "input" else name.replace("+", " + ")
