"""Tests of decoding images."""

import io
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from camlens.core.errors import DataError
from camlens.data.decode import decode_image
from tests.refusals import refused

GREY = np.tile(np.linspace(0, 255, 32, dtype=np.uint8), (24, 1))
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 90)], axis=2)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_zeros(width: int, height: int) -> bytes:
    """A true one-bit PNG of any size that costs little to make: what a bomb looks like."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_return_the_same_pixels(kind: str, options: dict[str, object]) -> None:
    decoded = decode_image(encoded(Image.fromarray(COLOUR), kind, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, COLOUR)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_returns_the_same_pixels(compression: str) -> None:
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(COLOUR), "TIFF", compression=compression)), COLOUR
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "subsampling": 0}])
def test_jpeg_comes_close_to_the_pixels(options: dict[str, object]) -> None:
    decoded = decode_image(encoded(Image.fromarray(COLOUR), "JPEG", quality=98, **options))
    assert np.abs(decoded.astype(int) - COLOUR).mean() < 3


def test_cmyk_jpeg_is_not_inverted() -> None:
    image = Image.new("RGB", (16, 16), (250, 30, 20)).convert("CMYK")
    decoded = decode_image(encoded(image, "JPEG", quality=98))
    assert np.abs(decoded.reshape(-1, 3).mean(0) - (250, 30, 20)).max() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :16] = (255, 0, 0)
    upright[16:, 32:] = (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        options = {"quality": 100, "subsampling": 0}
    decoded = decode_image(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() < 12


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_image_with_broken_exif_is_readable() -> None:
    jpeg = encoded(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f" + b"\xff" * 40)
    assert decode_image(jpeg).shape == COLOUR.shape


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_by_its_full_range_and_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 300, 32768], [40000, 65000, 65278, 65535]], dtype=np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), kind))
    expected = np.round(values / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(decoded, np.repeat(expected[:, :, None], 3, axis=2))


def test_big_endian_16_bit_tiff_is_read_in_its_own_byte_order() -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 0x8000, 0x0101))
    np.testing.assert_array_equal(decode_image(encoded(image, "TIFF"))[0, :, 0], [128, 1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [0, 128, 255]),
        ([[0.0, 0.25, 0.5]], [0, 64, 128]),
        ([[-2.0, 0.0, 2.0]], [0, 128, 255]),
        ([[0.0, 500.0, 1000.0]], [0, 128, 255]),
        ([[7.0, 7.0, 7.0]], [0, 0, 0]),
        ([[0.0, float("nan"), 1.0]], [0, 0, 255]),
        ([[float("inf"), 10.0, 20.0]], [0, 0, 255]),
    ],
)
def test_float_tiff_in_the_unit_range_is_kept_and_others_are_stretched(
    values: list[list[float]], expected: list[int]
) -> None:
    decoded = decode_image(encoded(Image.fromarray(np.array(values, dtype=np.float32)), "TIFF"))
    np.testing.assert_array_equal(decoded[0, :, 0], expected)


def test_32_bit_integer_tiff_is_stretched_between_its_minimum_and_maximum() -> None:
    image = Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32))
    np.testing.assert_array_equal(decode_image(encoded(image, "TIFF"))[0, :, 1], [0, 128, 255])


def test_gray_and_one_bit_become_equal_channels() -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(GREY), "PNG"))[:, :, 2], GREY)
    one_bit = Image.fromarray(GREY > 100)
    np.testing.assert_array_equal(decode_image(encoded(one_bit, "PNG"))[:, :, 0], np.where(GREY > 100, 255, 0))


def test_palette_colors_are_looked_up() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode_image(encoded(image, "PNG"))[0], [[10, 20, 30], [200, 100, 50]])


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_palette_entry_becomes_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, "PNG", transparency=transparency))
    np.testing.assert_array_equal(decoded[0], [[255, 255, 255], [200, 100, 50]])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_blended_with_white(kind: str) -> None:
    layer = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = decode_image(encoded(Image.fromarray(layer), kind, **options))
    np.testing.assert_array_equal(decoded[0], [[200, 0, 0], [255, 255, 255], [127, 127, 127]])


def test_gray_with_alpha_is_blended_with_white() -> None:
    image = Image.fromarray(np.array([[[50, 255], [50, 0]]], dtype=np.uint8), mode=None)
    assert image.mode == "LA"
    np.testing.assert_array_equal(decode_image(encoded(image, "PNG"))[0, :, 0], [50, 255])


def test_the_format_does_not_depend_on_the_file_name(tmp_path: Path) -> None:
    path = tmp_path / "really a png.jpg"
    path.write_bytes(encoded(Image.fromarray(COLOUR), "PNG"))
    np.testing.assert_array_equal(decode_image(path), COLOUR)
    np.testing.assert_array_equal(decode_image(str(path)), COLOUR)


SVG = b'<svg xmlns="x"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("content", "code", "facts"),
    [
        (b"", "image.empty", {}),
        (b"hello, I am a text\n", "image.format", {"format": "a text file"}),
        (SVG, "image.format", {"format": "an SVG, XML or HTML document"}),
        (b"<!DOCTYPE html><html></html>", "image.format", {"format": "an SVG, XML or HTML document"}),
        (pickle.dumps({"a": 1}), "image.format", {"format": "of an unknown type"}),
        (b"BM", "image.damaged", {}),
        (b"\x89PNG\r\n\x1a\n", "image.damaged", {}),
        (b"RIFF\x00\x00\x00\x00WEBP", "image.empty", {"width": 0, "height": 0}),
        (b"II*\x00\xff\xff\xff\xff", "image.damaged", {}),
        (b"\xff\xd8\xff\xe0", "image.damaged", {}),
    ],
)
def test_other_content_than_images_is_refused_in_one_line(
    tmp_path: Path, content: bytes, code: str, facts: dict[str, object]
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode_image(path)
    assert caught.value.code == code
    assert caught.value.facts.items() >= {"image": str(path), **facts}.items()
    assert "\n" not in str(caught.value)


def test_a_gif_is_refused_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "moving.png"
    path.write_bytes(encoded(Image.fromarray(GREY), "GIF"))
    with refused("image.format", DataError, image=str(path), format="a GIF"):
        decode_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_an_error_not_half_a_picture(kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    with refused("image.damaged", DataError, image="half.img"):
        decode_image(whole[: int(len(whole) * kept)], name="half.img")


def test_missing_file_directory_and_unreadable_file_are_named(tmp_path: Path) -> None:
    with refused("image.absent", DataError, image=str(tmp_path / "nothing.png")):
        decode_image(tmp_path / "nothing.png")
    with refused("image.is-a-directory", DataError, image=str(tmp_path)):
        decode_image(tmp_path)


def test_byte_cap_is_checked_before_parsing(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("not an image, but too long is the first thing to say")
    with refused("image.too-many-bytes", DataError, image=str(path), bytes=52, allowed=10):
        decode_image(path, max_bytes=10)
    with refused("image.too-many-bytes", DataError, bytes=11, allowed=10):
        decode_image(b"not a image", max_bytes=10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_pixel_cap_is_read_from_the_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.fromarray(COLOUR), kind)
    assert decode_image(content, max_pixels=32 * 24).shape == (24, 32, 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _image: pytest.fail("decoded before judging the size"))
    with refused("image.too-many-pixels", DataError, width=32, height=24, allowed=767):
        decode_image(content, max_pixels=32 * 24 - 1)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"quality": 50, "exif": Image.Exif()}])
def test_webp_size_is_checked_before_the_canvas_is_allocated(options: dict[str, object]) -> None:
    if "exif" in options:
        options["exif"][0x0112] = 1  # type: ignore[index]
    content = encoded(Image.fromarray(COLOUR), "WEBP", **options)
    with refused("image.too-many-pixels", DataError, width=32, height=24):
        decode_image(content[:64], max_pixels=100)


def test_a_decompression_bomb_is_refused_with_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"bomb {side}.png" for side in (13_000, 30_000)]
    for path, side in zip(paths, (13_000, 30_000), strict=True):
        path.write_bytes(png_of_zeros(side, side))
    program = """if True:
        import resource, sys
        from camlens.core.errors import DataError
        from camlens.data.decode import decode_image
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in sys.argv[1:]:
            try:
                decode_image(path)
            except DataError as error:
                assert (error.code, error.facts["allowed"]) == ("image.too-many-pixels", 100_000_000), error
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    command = [sys.executable, "-W", "error", "-c", program, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == 2
    assert max(grown) < 10_000  # KiB
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("size", "enough", "expected"),
    [
        ((800, 600), 200, (150, 200)),
        ((800, 600), 201, (300, 400)),
        ((800, 600), 500, (600, 800)),
        ((90, 800), 99, (100, 12)),
    ],
)
def test_a_large_jpeg_is_decoded_no_larger_than_enough(
    size: tuple[int, int], enough: int, expected: tuple[int, int]
) -> None:
    pixels = np.full((size[1], size[0], 3), (200, 120, 40), dtype=np.uint8)
    decoded = decode_image(encoded(Image.fromarray(pixels), "JPEG"), enough=enough)
    assert decoded.shape == (*expected, 3)
    assert np.abs(decoded.astype(int) - (200, 120, 40)).max() <= 3
    assert decode_image(encoded(Image.fromarray(pixels), "PNG"), enough=enough).shape == pixels.shape


def test_limits_of_pillow_are_neither_used_nor_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(COLOUR), "PNG")), COLOUR)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_threads_decode_good_and_bad_files_at_once() -> None:
    good = [encoded(Image.fromarray(np.full((40, 40, 3), value, np.uint8)), "PNG") for value in range(8)]
    wrong: list[str] = []

    def decode(value: int) -> None:
        for _ in range(20):
            if (decode_image(good[value]) != value).any():
                wrong.append("pixels of another thread")
            try:
                decode_image(good[value], max_pixels=10)
                wrong.append("not refused")
            except DataError:
                pass

    threads = [threading.Thread(target=decode, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
