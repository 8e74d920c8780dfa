"""Where image files lie: in a directory of this computer, or behind a URL that fsspec understands.

Both are asked the same: which images are there, and how to read the one called so. Names are relative to the
place, with slashes, and may not lead out of it.
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
    """Whether this is "scheme://..." rather than a path."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


class Place(ABC):
    """A directory of images."""

    @abstractmethod
    def images(self) -> Mapping[str, str | None]:
        """Every visible file below that is called like an image, by name, with a stamp where listing gives one."""

    @abstractmethod
    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """A file's bytes. Raises DataError."""

    @abstractmethod
    def path(self, name: str) -> Path | None:
        """The file, where it is one of this computer."""

    @abstractmethod
    def url(self, name: str) -> str | None:
        """The file's URL, where it has one."""

    @abstractmethod
    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """What decodes the image when it is called."""

    @abstractmethod
    def __str__(self) -> str:
        """The place as a user would write it."""

    def sample(
        self,
        name: str,
        max_pixels: int,
        *,
        id: str | None = None,  # noqa: A002  # as the sample calls it
        label: int | None = None,
        class_name: str | None = None,
        mask: str | None = None,
        box: Box | None = None,
        stamp: str | None = None,
    ) -> Sample:
        """The sample of the image called so; `mask` is the name of a mask image."""
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
    """A directory of this computer; links are followed, circles are not."""

    root: Path

    def images(self) -> Mapping[str, str | None]:
        """The images by path; a file's stamp is read when a plan is made, not here."""
        found: list[Path] = []
        walked: set[str] = set()
        for folder, folders, files in os.walk(self.root, onerror=_refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in walked:
                folders.clear()
                continue
            walked.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(folder, name) for name in files if _is_image(name)]
        return dict.fromkeys(path.relative_to(self.root).as_posix() for path in sorted(found))

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The bytes of a file in the directory."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.root / name} cannot be read: {error.strerror or error}", code="data.unreadable", path=str(name)
            ) from error

    def path(self, name: str) -> Path | None:
        """The file itself."""
        return self.root / name

    def url(self, name: str) -> str | None:
        """None: it is a path."""
        return None

    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """What decodes the file."""
        return partial(decode_image, self.root / name, max_pixels=max_pixels)

    def __str__(self) -> str:
        return str(self.root)


@final
@dataclass(frozen=True)
class RemotePlace(Place):
    """A directory behind a URL, read with fsspec; nothing is kept on this computer."""

    root: str

    def images(self) -> Mapping[str, str | None]:
        """The images by name, stamped with size and time of change as far as the listing has them."""
        system, root = self._system()
        try:
            listing = system.find(root, detail=True)
        except Exception as error:  # every file system has errors of its own
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
        """The bytes of a file, of which no more than `max_bytes` are taken."""
        most = MAX_BYTES if max_bytes is None else max_bytes
        try:
            with _fsspec().open(f"{self.root}/{name}", "rb") as stream:
                content: bytes = stream.read(most + 1)
        except MissingExtraError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"{self.root}/{name} does not exist", code="data.absent", path=str(name)) from error
        except Exception as error:  # every file system has errors of its own
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
        """None: it is no file of this computer."""
        return None

    def url(self, name: str) -> str | None:
        """The file's URL."""
        return f"{self.root}/{name}"

    def pixels(self, name: str, max_pixels: int) -> Callable[[], Pixels]:
        """What reads and decodes the file."""
        return partial(_decoded, self, name, max_pixels)

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        system, root = self._system()
        return bool(system.isfile(f"{root.rstrip('/')}/{name}"))

    def is_directory(self) -> bool:
        """Whether the URL is a directory. Raises DataError where nothing is there."""
        system, root = self._system()
        try:
            if not system.exists(root):
                raise DataError(f"{self.root} does not exist", code="data.absent", path=str(self.root))
            return bool(system.isdir(root))
        except DataError:
            raise
        except Exception as error:  # every file system has errors of its own
            raise DataError(
                f"{self.root} cannot be reached: {_line(error)}", code="data.unreadable", path=str(self.root)
            ) from error

    def __str__(self) -> str:
        return self.root

    def _system(self) -> tuple[Any, str]:
        """fsspec's file system and the path in it."""
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
    """The place that a path or a URL means; "file://..." is a path."""
    if isinstance(directory, str) and is_url(directory):
        if directory.startswith("file://"):
            return LocalPlace(Path(unquote(urlparse(directory).path)))
        return RemotePlace(directory.rstrip("/"))
    return LocalPlace(Path(directory).expanduser())


def split_url(url: str) -> tuple[str, str]:
    """The URL of the directory, and the file's name in it."""
    directory, _, name = url.rpartition("/")
    return directory, name


def inside(place: Place, name: str, where: str) -> str:
    """The name relative to the place, cleaned; a DataError where it leads out of it."""
    root = str(place)
    relative = name.removeprefix(root.rstrip("/") + "/") if is_url(name) else name
    if isinstance(place, LocalPlace):
        base = Path(os.path.abspath(place.root))  # from ".", even "../x" would count as inside
        path = Path(os.path.abspath(place.root / relative))
        if not is_url(relative) and path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    else:
        cleaned = posixpath.normpath(relative)
        if not is_url(relative) and not cleaned.startswith(("../", "/")) and cleaned != "..":
            return cleaned
    raise DataError(
        f"{where}: {name} lies outside of {root}; where that is meant, say root=DIRECTORY",
        code="data.outside",
        path=str(name),
        root=str(root),
    )


def _refuse(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed: without it, its images would be missing silently."""
    raise DataError(
        f"the folder {error.filename} cannot be read: {error.strerror}; make it readable, or move it away",
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
