"""Bad uploads are refused at once and without using memory; good ones are re-encoded."""

import contextlib
import io
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from camlens.core.errors import DataError
from camlens.studio.app import create_app
from camlens.studio.images import Uploads
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, ask_until, is_settled

MEBIBYTE = 2**20


def png_of_nothing(side: int) -> bytes:
    """Return a valid black PNG of `side` x `side` pixels, small to send and huge to decode."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    squeeze = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    rows = b"".join(squeeze.compress(row) for _ in range(side)) if side <= 13_000 else b""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows + squeeze.flush()) + chunk(b"IEND", b"")


def photograph(kind: str = "PNG", size: tuple[int, int] = (90, 60)) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class Peak:
    """Measure the peak memory of this process during the block, above the memory before."""

    def __enter__(self) -> "Peak":
        process = psutil.Process()
        self.before = self.highest = process.memory_info().rss
        self._running = True

        def watch() -> None:
            while self._running:
                self.highest = max(self.highest, process.memory_info().rss)
                time.sleep(0.002)

        self._thread = threading.Thread(target=watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()

    @property
    def rise(self) -> int:
        return self.highest - self.before


BAD = {
    "13,000 x 13,000 PNG": (lambda: png_of_nothing(13_000), "image.too-many-pixels"),
    "30,000 x 30,000 PNG": (lambda: png_of_nothing(30_000), "image.too-many-pixels"),
    "text": (lambda: b"this is no picture at all, whatever its name says", "image.format"),
    "SVG with script": (
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "image.format",
    ),
    "HTML": (lambda: b"<!doctype html><script>alert(1)</script>", "image.format"),
    "GIF": (lambda: photograph("GIF"), "image.format"),
    "truncated JPEG": (lambda: photograph("JPEG")[:900], "image.damaged"),
    "empty": (lambda: b"", "image.empty"),
    "header only": (lambda: b"\x89PNG\r\n\x1a\n", "image.damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_upload_is_refused_without_using_memory(studio: TestClient, name: str) -> None:
    make, code = BAD[name]
    body = make()
    studio.post("/api/uploads", content=photograph())  # load first what is loaded on first use
    with Peak() as peak:
        answer = studio.post("/api/uploads", content=body, headers={"content-type": "image/png"})
    assert answer.status_code == 422
    assert answer.json()["kind"] == "data"
    assert answer.json()["code"] == code
    assert "\n" not in answer.json()["message"]
    assert peak.rise < 50 * MEBIBYTE


def test_the_13000_pixel_bomb_is_a_small_file() -> None:
    assert len(png_of_nothing(13_000)) < 0.6 * MEBIBYTE


def test_a_large_declared_length_is_refused_before_the_body(studio: TestClient) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += MEBIBYTE
            yield bytes(MEBIBYTE)

    with Peak() as peak:
        answer = studio.post("/api/uploads", content=b"", headers={"content-length": str(400 * MEBIBYTE)})
    assert answer.status_code == 413
    assert answer.json()["kind"] == "too_large"
    assert peak.rise < 50 * MEBIBYTE


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "abc"])
def test_an_invalid_length_is_refused(length: str) -> None:
    client = TestClient(create_app(StudioSettings()), base_url=BASE)
    answer = client.post("/api/uploads", content=b"", headers={"content-length": length})
    assert answer.status_code == 413


def test_other_routes_accept_small_bodies_only() -> None:
    client = TestClient(create_app(StudioSettings()), base_url=BASE)
    assert client.post("/api/explanations", content=b" " * 70_000).status_code == 413


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_every_allowed_format_can_be_uploaded_and_explained(studio: TestClient, kind: str) -> None:
    image = studio.post("/api/uploads", content=photograph(kind)).json()
    assert image["id"].startswith("u")
    answer = studio.post("/api/explanations", json={"image": image["id"]}).json()
    assert answer["state"] == "done"
    assert answer["result"]["image"]["label"] is None


def test_uploads_are_re_encoded(studio: TestClient) -> None:
    hidden = b"<script>alert('hidden')</script>"
    body = photograph("JPEG") + hidden
    image = studio.post("/api/uploads", content=body).json()["id"]
    for name in ("picture.png", "thumbnail.webp"):
        answer = studio.get(f"/api/images/{image}/{name}")
        assert answer.headers["content-type"] == ("image/png" if name.endswith("png") else "image/webp")
        assert hidden not in answer.content


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "s-1", "s1.png", "S1", "s99999999999", "u../../x", "%00"])
def test_an_image_id_is_never_a_path(studio: TestClient, name: str) -> None:
    for path in (f"/api/images/{name}/picture.png", f"/api/images/{name}"):
        answer = studio.get(path)
        assert answer.status_code in (404, 422)
        assert "root:" not in answer.text
    assert studio.post("/api/explanations", json={"image": name}).status_code == 422


def test_path_traversal_is_refused(server: str) -> None:
    import http.client

    place = server.removeprefix("http://")
    for path in ("/api/images/../../../etc/passwd", "/assets/../../../../etc/passwd", "/assets/..%2f..%2fapp.py"):
        with contextlib.closing(http.client.HTTPConnection(place, timeout=10)) as line:
            line.request("GET", path)
            answer = line.getresponse()
            assert b"root:" not in answer.read()
            assert answer.status == 404


def test_a_read_only_studio_refuses_uploads() -> None:
    client = TestClient(create_app(StudioSettings(read_only=True)), base_url=BASE)
    with client:
        answer = client.post("/api/uploads", content=photograph())
    assert answer.status_code == 403
    assert answer.json()["code"] == "studio.read-only"


def test_the_oldest_uploads_are_dropped() -> None:
    uploads = Uploads(StudioSettings(kept_uploads_bytes=40_000))
    first, second, third = (uploads.add(photograph(size=(80 + step, 60))) for step in range(3))
    with pytest.raises(DataError) as caught:
        uploads.find(first)
    assert caught.value.code == "image.dropped"
    assert [uploads.find(name).shape for name in (second, third)] == [(60, 81, 3), (60, 82, 3)]


def test_a_large_photograph_is_scaled_down() -> None:
    uploads = Uploads(StudioSettings())
    assert uploads.find(uploads.add(photograph("JPEG", size=(4000, 100)))).shape == (51, 2048, 3)


def test_an_upload_of_extreme_proportions_is_explained(studio: TestClient) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (1, 60_000)).save(stream, "PNG")
    name = studio.post("/api/uploads", content=stream.getvalue()).json()["id"]
    for path in (f"/api/images/{name}/picture.png", f"/api/images/{name}/thumbnail.webp"):
        assert studio.get(path).status_code == 200
    assert studio.post("/api/explanations", json={"image": name}).json()["state"] == "done"


@pytest.mark.skipif(os.name == "nt", reason="its file names are always Unicode")
def test_a_file_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"\xff\xfe.png", b"tea.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(photograph())
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        ask_until(client, is_settled)
        for path in ("/api/samples", "/api/start", "/"):
            assert client.get(path).status_code == 200
        samples = client.get("/api/samples").json()["samples"]
        assert len({sample["name"] for sample in samples}) == 3
        for sample in samples:
            answer = client.post("/api/explanations", json={"image": sample["id"]})
            assert (answer.status_code, answer.json()["state"]) == (200, "done")
            for file in ("panel.png", "report.html"):
                assert client.get(f"/api/explanations/{file}", params={"image": sample["id"]}).status_code == 200
