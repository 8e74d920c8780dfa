"""Atomic and durable writing of files."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camlens.core.store import atomic_file, cannot_write


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an exception.

    The file and its directory are flushed to disk, so that a crash leaves either the old file or the new one.
    Raises StoreError if the file cannot be written, for example because the disk is full.
    """
    with atomic_file(path, force=True, unfinished=path.with_name(f".{path.name}.{_owner()}.unfinished")) as unfinished:
        yield unfinished
        _flush(unfinished)
    try:
        _flush(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def sweep(directory: Path) -> None:
    """Remove temporary files of processes on this machine that no longer run."""
    for path in directory.glob(".*.unfinished"):
        owner = re.search(r"\.([^.]+)-(\d+)\.unfinished$", path.name)
        if owner and owner[1] == _host() and not _alive(int(owner[2])):
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there, and only files opened for writing can be flushed
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _owner() -> str:
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname()) or "host"


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier process with the same id: this one has not written anything yet
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
