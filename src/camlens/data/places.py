"""Directories of images, local or at a URL that fsspec can read.

File names are relative to the directory, with slashes, and must lie inside it.
"""

import importlib
import os
import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final
from urllib.parse import unquote, urlparse

from camlens.core.errors import DataError, MissingExtraError
from camlens.data.decode import Pixels, decode_image
from camlens.data.samples import Box, Mask, Sample, bright_part, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff")
MAX_BYTES = 512 * 2**20


def is_url(place: object) -> bool:
    """Whether this is "scheme://..." and not a path."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


class Place(ABC):
    """A directory of images."""

    @abstractmethod
    def images(self) -> Mapping[str, str | None]:
        """Return the names of all visible image files, with a stamp if the listing has one."""

    @abstractmethod
    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Read a file. Raises DataError."""

    @abstractmethod
    def path(self, name: str) -> Path | None:
        """Return the path of a local file, else None."""

    @abstractmethod
    def url(self, name: str) -> str | None:
        """Return the URL of a remote file, else None."""

    @abstractmethod
    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """Return a function that decodes the image."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the path or URL."""

    def sample(
        self,
        name: str,
        max_pixels: int,
        *,
        id: str | None = None,  # noqa: A002  # the name of the field
        label: int | None = None,
        class_name: str | None = None,
        mask: str | None = None,
        box: Box | None = None,
        stamp: str | None = None,
    ) -> Sample:
        """Return the sample of the image `name`; `mask` is the name of a mask image."""
        return Sample(
            id=printable(name if id is None else id),
            path=self.path(name),
            label=label,
            class_name=class_name,
            read=self.pixels(name, max_pixels),
            read_mask=None if mask is None else partial(_mask, self.pixels(mask, max_pixels)),
            box=box,
            url=self.url(name),
            stamp=stamp,
        )


def _mask(read: Callable[[], Pixels]) -> Mask:
    return bright_part(read())


@final
@dataclass(frozen=True)
class LocalPlace(Place):
    """A local directory. Symbolic links are followed, but each directory is visited once."""

    root: Path

    def images(self) -> Mapping[str, str | None]:
        """Return the names of the images, without stamps."""
        paths: list[Path] = []
        visited: set[str] = set()
        for folder, folders, files in os.walk(self.root, onerror=_refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths += [Path(folder, name) for name in files if _is_image(name)]
        return dict.fromkeys(path.relative_to(self.root).as_posix() for path in sorted(paths))

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Read a file of the directory."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.root / name} cannot be read: {error.strerror or error}", code="data.unreadable", path=str(name)
            ) from error

    def path(self, name: str) -> Path | None:
        """Return the path of the file."""
        return self.root / name

    def url(self, name: str) -> str | None:
        """Return None: the file is local."""
        return None

    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """Return a function that decodes the file."""
        return partial(decode_image, self.root / name, max_pixels=max_pixels)

    def __str__(self) -> str:
        return str(self.root)


@final
@dataclass(frozen=True)
class RemotePlace(Place):
    """A directory at a URL, read with fsspec; nothing is stored locally."""

    root: str

    def images(self) -> Mapping[str, str | None]:
        """Return the names of the images, with size and modification time as stamps if the listing has them."""
        system, root = self._system()
        try:
            listing = system.find(root, detail=True)
        except Exception as error:  # file systems raise errors of many kinds
            raise DataError(
                f"{self.root} cannot be listed: {_line(error)}", code="data.unreadable", path=str(self.root)
            ) from error
        prefix = root.rstrip("/") + "/"
        names = {name.removeprefix(prefix): facts for name, facts in listing.items() if name.startswith(prefix)}
        return {
            name: _stamp(facts)
            for name, facts in sorted(names.items(), key=lambda entry: entry[0].split("/"))
            if _is_image(posixpath.basename(name)) and not any(part.startswith(".") for part in name.split("/"))
        }

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Read a file of at most `max_bytes`."""
        most = MAX_BYTES if max_bytes is None else max_bytes
        try:
            with _fsspec().open(f"{self.root}/{name}", "rb") as stream:
                content: bytes = stream.read(most + 1)
        except MissingExtraError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"{self.root}/{name} does not exist", code="data.absent", path=str(name)) from error
        except Exception as error:  # file systems raise errors of many kinds
            raise DataError(
                f"{self.root}/{name} cannot be read: {_line(error)}", code="data.unreadable", path=str(name)
            ) from error
        if len(content) > most:
            raise DataError(
                f"{self.root}/{name} has more than the {most:,} bytes allowed",
                code="data.too-many-bytes",
                path=str(name),
                allowed=most,
            )
        return content

    def path(self, name: str) -> Path | None:
        """Return None: the file is remote."""
        return None

    def url(self, name: str) -> str | None:
        """Return the URL of the file."""
        return f"{self.root}/{name}"

    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """Return a function that reads and decodes the file."""
        return partial(_decoded, self, name, max_pixels)

    def holds(self, name: str) -> bool:
        """Whether the file exists."""
        system, root = self._system()
        return bool(system.isfile(f"{root.rstrip('/')}/{name}"))

    def is_directory(self) -> bool:
        """Whether the URL is a directory. Raises DataError if it does not exist."""
        system, root = self._system()
        try:
            if not system.exists(root):
                raise DataError(f"{self.root} does not exist", code="data.absent", path=str(self.root))
            return bool(system.isdir(root))
        except DataError:
            raise
        except Exception as error:  # file systems raise errors of many kinds
            raise DataError(
                f"{self.root} cannot be reached: {_line(error)}", code="data.unreadable", path=str(self.root)
            ) from error

    def __str__(self) -> str:
        return self.root

    def _system(self) -> tuple[Any, str]:
        """Return fsspec's file system and the path in it."""
        try:
            system, root = _fsspec().core.url_to_fs(self.root)
        except MissingExtraError:
            raise
        except (ValueError, ImportError) as error:
            raise DataError(
                f"{self.root} cannot be opened: {_line(error)}", code="data.unreadable", path=str(self.root)
            ) from error
        return system, str(root)


def _decoded(place: RemotePlace, name: str, max_pixels: int) -> Pixels:
    return decode_image(place.read(name), name=f"{place.root}/{name}", max_pixels=max_pixels)


def place_of(directory: str | Path) -> Place:
    """Return the directory at a path or URL; "file://..." is a path."""
    if isinstance(directory, str) and is_url(directory):
        if directory.startswith("file://"):
            return LocalPlace(Path(unquote(urlparse(directory).path)))
        return RemotePlace(directory.rstrip("/"))
    return LocalPlace(Path(directory).expanduser())


def split_url(url: str) -> tuple[str, str]:
    """Split a URL into that of the directory and the file name."""
    directory, _, name = url.rpartition("/")
    return directory, name


def inside(place: Place, name: str, where: str) -> str:
    """Return the normalized name relative to the directory; raise DataError if it lies outside."""
    root = str(place)
    relative = name.removeprefix(root.rstrip("/") + "/") if is_url(name) else name
    if isinstance(place, LocalPlace):
        base = Path(os.path.abspath(place.root))  # relative to ".", "../x" would count as inside
        path = Path(os.path.abspath(place.root / relative))
        if not is_url(relative) and path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    else:
        cleaned = posixpath.normpath(relative)
        if not is_url(relative) and not cleaned.startswith(("../", "/")) and cleaned != "..":
            return cleaned
    raise DataError(
        f"{where}: {name} lies outside of {root}: if that is intended, pass root=DIRECTORY",
        code="data.outside",
        row=where,
        path=str(name),
        root=str(root),
    )


def _refuse(error: OSError) -> None:
    """Raise DataError for a folder that cannot be listed; os.walk would skip it silently."""
    raise DataError(
        f"the folder {error.filename} cannot be read: {error.strerror}. Make it readable, or move it away",
        code="data.unreadable-folder",
        folder=error.filename,
    ) from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _stamp(facts: Mapping[str, Any]) -> str:
    when = next((facts[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if facts.get(key)), "")
    return f"{facts.get('size')} bytes, {when}".strip(", ")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fsspec() -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError as error:
        raise MissingExtraError.of("fsspec", "audit") from error
