"""Atomic writing of results, which never replaces files that camlens has not written."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import StoreError

MANIFEST = "manifest.json"
SIGNATURE = "written by camlens"
"""Written into figures and pages, so that a later run may replace them."""


@contextmanager
def atomic_file(path: Path, *, force: bool = False, unfinished: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` after the block, or removed if the block raises.

    `unfinished` is the temporary path (default: a random hidden name in the same directory).
    """
    if path.exists() and not force:
        raise StoreError(
            f"{path} already exists: choose another path, or pass force=True to replace it",
            code="output.exists",
            path=str(path),
        )
    if unfinished is None:
        unfinished = path.with_name(f".{path.name}.{token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(b"")  # with the default permissions of the user
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # its directory may not exist
            unfinished.unlink(missing_ok=True)


@contextmanager
def result_directory(directory: Path) -> Iterator[Path]:
    """Yield a staging directory whose files move to `directory` after the block; if the block raises, none moves.

    Files that only the earlier manifest lists are removed. Other files are kept, and StoreError is raised if a staged
    file would replace one of them. If no file is staged, nothing is written.
    """
    check_writable(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    except OSError as error:
        raise cannot_write(directory, error) from error
    try:
        yield staging
        _move_into(directory, staging)
    except OSError as error:
        raise cannot_write(directory, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_writable(directory: Path, *, force: bool = True) -> None:
    """Raise StoreError if `directory` is a file, or contains a manifest that camlens has not written.

    Unless `force` is True, also raise StoreError if it contains an earlier result.
    """
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory} is a file: choose a directory", code="output.is-a-file", path=str(directory))
    if (directory / MANIFEST).exists() and not earlier_manifest(directory):
        raise _foreign(directory, [MANIFEST])
    if earlier_manifest(directory) and not force:
        raise StoreError(
            f"{directory} contains an earlier result: choose another directory, or pass force=True to replace it",
            code="output.exists",
            path=str(directory),
        )


def earlier_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest that camlens has written to `directory`, or an empty one."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return manifest if isinstance(manifest["files"], dict | list) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def own_files(manifest: Mapping[str, Any]) -> set[str]:
    """Return the manifest and the files that it lists, except paths outside of its directory."""
    files = manifest.get("files", ())
    names = map(str, files.values() if isinstance(files, dict) else files)
    return {MANIFEST, *(name for name in names if name == Path(name).name)}


def _move_into(directory: Path, staging: Path) -> None:
    names = sorted((path.name for path in staging.iterdir()), key=lambda name: name == MANIFEST)  # the manifest last
    if not names:
        return
    staging.chmod(0o755)
    if not directory.exists():
        os.replace(staging, directory)
        return
    own = own_files(earlier_manifest(directory))
    foreign = [
        name for name in names if (directory / name).is_dir() or ((directory / name).exists() and name not in own)
    ]
    if foreign:
        raise _foreign(directory, foreign)
    for name in names:
        os.replace(staging / name, directory / name)
    for name in own - own_files(earlier_manifest(directory)):
        with suppress(OSError):
            (directory / name).unlink(missing_ok=True)


def _foreign(directory: Path, names: Sequence[str]) -> StoreError:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return StoreError(
        f"{directory} contains files that camlens has not written and would replace ({shown}): choose another output"
        " directory",
        code="output.foreign-file",
        path=str(directory),
        files=list(names),
    )


def cannot_write(path: Path, error: OSError) -> StoreError:
    """Return the error for a file or directory that cannot be written."""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; free some space or choose another directory",
        code="output.not-writable",
        path=str(path),
    )


def write_bundle(
    directory: Path,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Mapping[str, Any],
    *,
    pictures: Mapping[str, bytes] = MappingProxyType({}),
    force: bool = False,
) -> Path:
    """Write arrays as `NAME.npy`, PNG files as `NAME.png` and a `manifest.json` that lists them; return the directory.

    `force` replaces an earlier result.
    """
    check_writable(directory, force=force)
    with result_directory(directory) as unfinished:
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        for name, content in pictures.items():
            (unfinished / f"{name}.png").write_bytes(content)
        files = {name: f"{name}.npy" for name in arrays} | {name: f"{name}.png" for name in pictures}
        named = {**manifest, "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    return directory
