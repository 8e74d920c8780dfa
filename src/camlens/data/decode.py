"""Decode an untrusted image file or upload into an RGB uint8 array.

The format is detected from the content, not from the file name. The size is checked in the header, before decoding.
No global state is changed (Pillow limits, warning filters), so several threads may decode at once.
"""

import io
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import DataError, MissingExtraError

try:
    from PIL import (
        BmpImagePlugin,
        ExifTags,
        Image,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )
except ImportError as error:
    raise MissingExtraError.of("pillow", "vision") from error

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WebP", "BMP", "TIFF")
MAX_PIXELS = 100_000_000

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    source: str | Path | bytes,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int | None = None,
    enough: int | None = None,
) -> Pixels:
    """Decode a PNG, JPEG, WebP, BMP or TIFF into RGB uint8 (H, W, 3), rotated according to its EXIF data.

    Transparent pixels are blended with white. 16-bit gray is scaled from 0..65535 without clipping. Float TIFFs in
    [0, 1] are scaled by 255; other float and 32-bit images from their minimum to their maximum, with non-finite
    values as 0. Color profiles are not applied. Only the first frame is read.

    Args:
        source: a path or the content of a file.
        name: the name of the image in error messages.
        max_pixels: checked in the header, before decoding.
        max_bytes: checked before parsing.
        enough: a JPEG whose longer side has at least twice this number of pixels may be decoded at a half, a quarter
            or an eighth of its size, but not smaller than this.

    Raises:
        DataError: the image cannot be read. The message is one line with its name.
    """
    label = name or ("the uploaded image" if isinstance(source, bytes) else str(source))
    try:
        with _opened(source, label, max_bytes) as stream:
            return _rgb(_loaded(stream, label, max_pixels, enough))
    except DataError:
        raise
    except Exception as error:  # decoders raise errors of many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{label} cannot be decoded, it is damaged or truncated: {reason}", code="image.damaged", image=label
        ) from error


def _opened(
    source: str | Path | bytes, label: str, max_bytes: int | None
) -> io.BufferedReader | nullcontext[io.BytesIO]:
    if isinstance(source, bytes):
        _check_bytes(len(source), label, max_bytes)
        return nullcontext(io.BytesIO(source))
    path = Path(source)
    if path.is_dir():
        raise DataError(
            f"{label} is a directory, not an image: pass a file in it, or open it as a source",
            code="image.is-a-directory",
            image=label,
        )
    if not path.exists():
        raise DataError(f"{label} does not exist", code="image.absent", image=label)
    if not path.is_file():
        raise DataError(f"{label} is not a regular file", code="image.not-a-file", image=label)
    _check_bytes(path.stat().st_size, label, max_bytes)
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(
            f"{label} cannot be opened: {error.strerror}", code="image.not-readable", image=label
        ) from error


def _check_bytes(size: int, label: str, max_bytes: int | None) -> None:
    if size == 0:
        raise DataError(f"{label} is empty (0 bytes)", code="image.empty", image=label)
    if max_bytes is not None and size > max_bytes:
        raise DataError(
            f"{label} has {size:,} bytes, more than the {max_bytes:,} allowed: send a smaller file",
            code="image.too-many-bytes",
            image=label,
            bytes=size,
            allowed=max_bytes,
        )


def _loaded(stream: io.BufferedReader | io.BytesIO, label: str, max_pixels: int, enough: int | None) -> Image.Image:
    """Detect the format, check the size in the header, then decode."""
    start = stream.read(64)
    stream.seek(0)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        _check_size(_webp_size(start), label, max_pixels)  # its plugin allocates the canvas on opening
    image = _open_plugin(start, stream, label)
    _check_size(image.size, label, max_pixels)
    if enough is not None and max(image.size) >= 2 * enough:
        share = enough / max(image.size)
        image.draft(None, (max(1, round(image.width * share)), max(1, round(image.height * share))))
    image.load()
    return upright(image)


def _open_plugin(start: bytes, stream: io.BufferedReader | io.BytesIO, label: str) -> Image.Image:
    """Open with the plugin of the format. Image.open would warn about large images, which is process-wide."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile(stream)
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile(stream)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(stream)
    if start.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile(stream)
    if start[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return TiffImagePlugin.TiffImageFile(stream)
    raise DataError(
        f"{label} is {_guess(start)}, not a supported image ({', '.join(FORMATS)})",
        code="image.format",
        image=label,
        format=_guess(start),
    )


def _guess(start: bytes) -> str:
    """Describe the file type by its first bytes."""
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "a GIF"
    if start.startswith(b"%PDF"):
        return "a PDF"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        return "an SVG, XML or HTML document"
    if all(byte >= 0x20 or byte in b"\t\r\n" for byte in start):
        return "a text file"
    return "of an unknown type"


def _check_size(size: tuple[int, int], label: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise DataError(
            f"{label} has no pixels ({width} x {height})", code="image.empty", image=label, width=width, height=height
        )
    if width * height > max_pixels:
        raise DataError(
            f"{label} has {width:,} x {height:,} pixels, more than the {max_pixels:,} allowed:"
            " downscale it, or raise max_pixels",
            code="image.too-many-pixels",
            image=label,
            width=width,
            height=height,
            allowed=max_pixels,
        )


def _webp_size(start: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk of a WebP file (RFC 9649)."""
    kind = start[12:16]
    if kind == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    if kind == b"VP8L":
        packed = int.from_bytes(start[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; an image with a broken EXIF block is returned unchanged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  # the pixels are still good
        return image
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        return _gray(_from_16_bit(np.asarray(image).astype(np.uint16)))
    if image.mode in ("I", "F"):
        return _gray(_from_numbers(np.asarray(image)))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    return np.array(image.convert("RGB"))


def _gray(values: Pixels) -> Pixels:
    return np.repeat(values[:, :, None], 3, axis=2)


def _from_16_bit(values: NDArray[np.uint16]) -> Pixels:
    """Scale 0..65535 to 0..255, rounded to nearest."""
    scaled = (values.astype(np.uint32) * 255 + 32767) // 65535
    return scaled.astype(np.uint8)


def _from_numbers(values: NDArray[np.float32] | NDArray[np.int32]) -> Pixels:
    """Scale floats in [0, 1] by 255, and other values from their minimum to their maximum."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    span = (high - low) or 1.0
    fractions = np.where(finite, (values.astype(np.float64) - low) / span, 0)
    return np.round(fractions * 255).astype(np.uint8)
