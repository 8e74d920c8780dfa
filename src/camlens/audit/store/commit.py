"""Committing a file: whole or not at all, and on the disk when the call returns."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from camlens.core.errors import StoreError

_MEND = "make room or choose another place, and run the same command again: what is committed stays"


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, replacing what stood there.

    The file's bytes and the directory's entry are flushed to the disk, so that a crash at any moment leaves
    either the old file or the new one. Raises StoreError where the system refuses, as on a full disk.
    """
    unfinished = path.with_name(f".{path.name}.{_here()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
        _flush(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; {_MEND}", code="output.not-writable", path=str(path)
        ) from error
    finally:
        with suppress(OSError):  # where its directory cannot be, it is not there either
            unfinished.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what processes of this machine that are gone have left unfinished."""
    for path in directory.glob(".*.unfinished"):
        found = re.search(r"\.([^.]+)-(\d+)\.unfinished$", path.name)
        if found and found[1] == _host() and not _alive(int(found[2])):
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if os.name == "nt":  # opens no directory, and flushes only what is open for writing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _here() -> str:
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname()) or "host"


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier process had the same number: this one is not writing yet
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
