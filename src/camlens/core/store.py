"""Writing results: all or nothing, and never over a file that camlens has not written."""

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
"""Names the maker inside figures and pages, so that a later run may replace them."""


@contextmanager
def atomic_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, and is removed when it does not."""
    if path.exists() and not force:
        raise StoreError(
            f"{path} exists already: choose another path, or pass force=True to replace it",
            code="output.exists",
            path=str(path),
        )
    unfinished = path.with_name(f".{path.name}.{token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(exist_ok=False)  # with the rights that any new file of this user has
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where its directory cannot be, it is not there either
            unfinished.unlink(missing_ok=True)


@contextmanager
def result_directory(directory: Path) -> Iterator[Path]:
    """A staging directory whose files move into `directory` when the block ends well; nothing moves if it fails.

    The staged manifest decides what stays: files that only the earlier manifest lists are removed. Any other file is
    left alone: StoreError if one has a name that is needed. A block that stages no file writes nothing.
    """
    check_writable(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    except OSError as error:
        raise _cannot_write(directory, error) from error
    try:
        yield staging
        _move_into(directory, staging)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_writable(directory: Path, *, force: bool = True) -> None:
    """Raise StoreError if `directory` is a file, or holds a manifest that camlens has not written.

    Without `force` an earlier result is refused as well.
    """
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory} is a file: choose a directory", code="output.is-a-file", path=str(directory))
    if (directory / MANIFEST).exists() and not earlier_manifest(directory):
        raise _foreign(directory, [MANIFEST])
    if earlier_manifest(directory) and not force:
        raise StoreError(
            f"{directory} holds an earlier result: choose another directory, or pass force=True to replace it",
            code="output.exists",
            path=str(directory),
        )


def earlier_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a result that camlens has written to `directory`, or an empty one."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return manifest if isinstance(manifest["files"], dict | list) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def own_files(manifest: Mapping[str, Any]) -> set[str]:
    """Names of the files that a manifest lists, itself included; paths out of its directory do not count."""
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
        f"{directory} holds files that camlens has not written and would have to replace ({shown}): choose another"
        " output directory",
        code="output.foreign-file",
        path=str(directory),
        files=list(names),
    )


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot write {path}: {error}", code="output.not-writable", path=str(path))


def write_bundle(
    directory: Path,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Mapping[str, Any],
    *,
    pictures: Mapping[str, bytes] = MappingProxyType({}),
    force: bool = False,
) -> Path:
    """Write arrays as `NAME.npy`, PNG files as `NAME.png` and a `manifest.json` that names them; return the directory.

    `force` replaces an earlier result, and nothing else.
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
