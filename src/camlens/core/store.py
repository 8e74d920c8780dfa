"""Writing results: all or nothing, and never over something that stands there already."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import StoreError

MANIFEST = "manifest.json"


@contextmanager
def atomic_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, and is removed when it does not."""
    if path.exists() and not force:
        raise StoreError(f"{path} exists already: choose another place, or say force to overwrite it")
    unfinished = path.with_name(f".{path.name}.{token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(exist_ok=False)  # with the rights that any new file of this user has
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error
    finally:
        with suppress(OSError):  # where its directory cannot be, it is not there either
            unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_directory(directory: Path, *, force: bool = False) -> Iterator[Path]:
    """A new directory that becomes `directory` when the block ends well, and is removed when it does not."""
    check_replaceable(directory, force=force)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    except OSError as error:
        raise StoreError(f"cannot write {directory}: {error}") from error
    try:
        yield unfinished
        _exchange(unfinished, directory)
    except OSError as error:
        raise StoreError(f"cannot write {directory}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_replaceable(directory: Path, *, force: bool, place: str = "place", word: str = "force") -> None:
    """Raise StoreError unless `directory` is free, or `force` was said and it holds an earlier result alone.

    `place` and `word` are what the user calls the two ways out.
    """
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory} is a file: choose a directory")
    present = list(directory.iterdir()) if directory.is_dir() else []
    if present and not force:
        raise StoreError(f"{directory} is not empty: choose another {place}, or say {word} to replace it")
    written = _written_files(directory) if present else set()
    foreign = sorted(path.name for path in present if path.name not in written or path.is_dir())
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise StoreError(
            f"{directory} holds what no earlier run has written ({shown}), and {word} would remove it:"
            f" choose another {place}"
        )


def _written_files(directory: Path) -> set[str]:
    """What an earlier result's manifest says was written here: a list of file names, or names by what they hold."""
    try:
        files = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {MANIFEST, *map(str, files.values() if isinstance(files, dict) else files)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _exchange(unfinished: Path, directory: Path) -> None:
    """Put the finished directory in its place; what stood there is removed only afterwards."""
    unfinished.chmod(0o755)
    if not directory.exists():
        os.replace(unfinished, directory)
        return
    old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.old."))
    os.replace(directory, old / "was")
    try:
        os.replace(unfinished, directory)
    except OSError:
        os.replace(old / "was", directory)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_bundle(
    directory: Path,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Mapping[str, Any],
    *,
    force: bool = False,
) -> Path:
    """Write arrays as `NAME.npy` beside a `manifest.json` that names them, and return the directory.

    `force` replaces an earlier result, and nothing else.
    """
    with atomic_directory(directory, force=force) as unfinished:
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        named = {**manifest, "files": {name: f"{name}.npy" for name in arrays}}
        (unfinished / MANIFEST).write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    return directory
