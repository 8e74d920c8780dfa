"""Bad requests to a studio in its own process: each is refused and raises the peak memory by less than 50 MB."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.studio.test_uploads import photograph, png_of_nothing

MEBIBYTE = 2**20
TOKEN = "of-this-test"
HUGE = 400
Answer = tuple[int, bytes]


@dataclass
class Running:
    """A studio in its own process, and raw requests to it."""

    process: psutil.Process
    port: int

    def rise(self, ask: Callable[["Running"], Answer]) -> tuple[Answer, int]:
        """Return the answer, and the rise of the peak memory above the memory before, as the kernel counts it."""
        self.forget_peak()
        before = self.process.memory_info().rss
        answer = ask(self)
        return answer, self.peak() - before

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024

    def send(self, path: str, body: Iterator[bytes] | bytes = b"", method: str = "POST", **headers: str) -> Answer:
        """Send a raw request and read the answer, even if the server hangs up early."""
        named = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {TOKEN}"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes) and "Transfer-Encoding" not in named:
            named.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            try:
                line.sendall("\r\n".join(lines).encode())
                for piece in [body] if isinstance(body, bytes) else body:
                    line.sendall(piece)
            except OSError:
                pass  # the server may hang up
            return _answer(line)


def _answer(line: socket.socket) -> Answer:
    """Status and body; status 0 where the line was cut before all of it had come.

    A server that hangs up on a body it does not want resets the line, and what the kernel had received of the
    answer by then may be lost: nothing, its head, or all of it arrives.
    """
    received = b""
    try:
        while piece := line.recv(65536):
            received += piece
            head, found, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if found and length and len(body) >= int(length[1]):
                return int(head.split()[1]), body
    except OSError:
        pass
    return 0, b""


def pieces(count: int, *, chunked: bool) -> Iterator[bytes]:
    """Yield a body of `count` MiB."""
    for _ in range(count):
        yield b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n" if chunked else bytes(MEBIBYTE)


def cut_photograph() -> bytes:
    """Return the first half of a JPEG of 48 megapixels, whose upper half could be decoded."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((8000, 6000), Image.Resampling.NEAREST).save(stream, "JPEG", quality=60)
    body = stream.getvalue()
    return body[: len(body) // 2]


@pytest.fixture(scope="module")
def running(photos: Path) -> Iterator[Running]:
    code = "from camlens.cli.main import run; run()"
    options = ["studio", "--port", "0", "--no-browser", "--token", TOKEN, "--data", str(photos)]
    started = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "CI": "true"},
    )
    try:
        assert started.stdout is not None
        port = int(re.findall(r":(\d+)/", started.stdout.readline())[0])
        studio = Running(psutil.Process(started.pid), port)
        try:
            studio.forget_peak()
        except OSError:
            pytest.skip("the kernel does not let us begin a new memory mark")
        _settle(studio)
        yield studio
    finally:
        started.terminate()
        started.communicate(timeout=20)


def _settle(studio: Running) -> None:
    """Wait for the predictions, and use once everything that is loaded on first use."""
    address = f"http://127.0.0.1:{studio.port}/api/status"
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {TOKEN}"})
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if b'"done":24,"total":24' in answer.read():
                    break
        except OSError:
            pass
        time.sleep(0.1)
    for kind in ("PNG", "JPEG"):
        assert studio.send("/api/uploads", photograph(kind))[0] == 200


BAD: dict[str, tuple[int, str, Callable[[Running], Answer]]] = {
    "13,000 x 13,000 PNG": (422, "image.too-many-pixels", lambda it: it.send("/api/uploads", png_of_nothing(13_000))),
    "30,000 x 30,000 PNG": (422, "image.too-many-pixels", lambda it: it.send("/api/uploads", png_of_nothing(30_000))),
    "text named .png": (
        422,
        "image.format",
        lambda it: it.send("/api/uploads", b"no picture, whatever it is called", Content_Type="image/png"),
    ),
    "SVG with script": (
        422,
        "image.format",
        lambda it: it.send("/api/uploads", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    ),
    "HTML": (422, "image.format", lambda it: it.send("/api/uploads", b"<!doctype html><script>alert(1)</script>")),
    "400 MB with a length": (
        413,
        "request.too-large",
        lambda it: it.send("/api/uploads", pieces(HUGE, chunked=False), Content_Length=str(HUGE * MEBIBYTE)),
    ),
    "400 MB without a length": (
        413,
        "request.too-large",
        lambda it: it.send("/api/uploads", pieces(HUGE, chunked=True), Transfer_Encoding="chunked"),
    ),
    "400 MB for a small route": (
        413,
        "request.too-large",
        lambda it: it.send("/api/explanations", pieces(HUGE, chunked=True), Transfer_Encoding="chunked"),
    ),
    "truncated JPEG": (422, "image.damaged", lambda it: it.send("/api/uploads", cut_photograph())),
    "path traversal in a sample id": (
        404,
        "request.route",
        lambda it: it.send("/api/images/..%2f..%2f..%2fetc%2fpasswd", method="GET"),
    ),
    "path traversal in a request": (
        422,
        "request.invalid",
        lambda it: it.send("/api/explanations", b'{"image": "../../etc/passwd"}', Content_Type="application/json"),
    ),
    "foreign Host": (421, "request.host", lambda it: it.send("/api/uploads", photograph(), Host="evil.example")),
    "foreign Origin": (
        403,
        "request.origin",
        lambda it: it.send("/api/uploads", photograph(), Origin="http://evil.example"),
    ),
    "no token": (401, "request.token", lambda it: it.send("/api/uploads", photograph(), Authorization="")),
    "no token and 400 MB": (
        401,
        "request.token",
        lambda it: it.send("/api/uploads", pieces(HUGE, chunked=True), Transfer_Encoding="chunked", Authorization=""),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_raises_the_peak_by_less_than_50_megabytes(running: Running, name: str) -> None:
    expected, code, ask = BAD[name]
    (status, body), rise = running.rise(ask)
    assert rise < 50e6, f"{rise / 1e6:.1f} MB"
    assert status == expected or (status == 0 and "400 MB" in name)  # closed before the answer was read
    assert status == 0 or json.loads(body)["code"] == code
    assert b"root:" not in body


def test_the_studio_still_answers_afterwards(running: Running) -> None:
    assert running.send("/api/uploads", photograph())[0] == 200
