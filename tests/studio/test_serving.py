"""The server under half-open, trickling, unread and countless connections, and its log."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from camlens.studio.safety import serving
from camlens.studio.safety.serving import Throttle
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import PATIENCE, listening

Connect = Callable[[bytes], socket.socket]


@contextmanager
def studio_lines() -> Iterator[tuple[str, Connect]]:
    """Run a studio with a token; return its address and a function that opens connections and sends bytes."""
    lines: list[socket.socket] = []
    with listening(StudioSettings(token="secret")) as address:
        host, port = address.removeprefix("http://").split(":")

        def connect(sent: bytes) -> socket.socket:
            line = socket.create_connection((host, int(port)), timeout=PATIENCE)
            lines.append(line)
            line.sendall(sent)
            return line

        yield address, connect
        for line in lines:
            line.close()


def ended(line: socket.socket) -> bool:
    """Read until the server has closed the connection; a timeout is an error."""
    try:
        while line.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def healthy(address: str) -> bool:
    return httpx.get(f"{address}/api/health", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /api/health HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_a_connection_without_a_complete_head_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.05)
    with studio_lines() as (_address, connect):
        assert ended(connect(sent))


def test_trickling_bytes_do_not_extend_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    with studio_lines() as (_address, connect):
        line = connect(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\nx: ")
        line.settimeout(0.01)
        with pytest.raises(ConnectionError):  # noqa: PT012  # it takes as many bytes as it takes
            while True:
                try:
                    line.sendall(b"a")
                    if line.recv(1) == b"":
                        raise ConnectionError
                except TimeoutError:
                    continue


@pytest.mark.parametrize("path", ["/api/uploads", "/api/health"])
def test_a_missing_body_closes_the_connection(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.05)
    with studio_lines() as (_address, connect):
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\ncontent-length: 999\r\n\r\n"
        assert ended(connect(head.encode() + b"x"))


def test_a_client_that_reads_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "READ_SECONDS", 0.05)
    request = b"GET /api/openapi.json HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\n\r\n"
    with studio_lines() as (_address, connect):
        line = connect(b"")
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(100_000):  # until the buffers are full
                line.sendall(request)


def test_the_longest_waiting_connection_is_closed_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 8)
    with studio_lines() as (address, connect):
        lines = [connect(b"GET /api/health HTTP/1.1\r\n") for _ in range(40)]
        assert healthy(address)
        assert all(ended(line) for line in lines[:32])


def test_keep_alive_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 8)
    with studio_lines() as (address, _connect), httpx.Client(base_url=address) as client:
        assert [client.get("/api/health").status_code for _ in range(20)] == [200] * 20
        token = {"authorization": "Bearer secret"}
        assert client.post("/api/uploads", content=b"no image", headers=token).status_code == 422
        assert client.get("/api/health").status_code == 200


def test_repeated_log_messages_are_throttled() -> None:
    throttle = Throttle()

    def passed(second: float, line: int) -> str | None:
        record = logging.LogRecord("asyncio", logging.ERROR, "selector.py", line, "no descriptor is left", None, None)
        record.created = second
        return record.getMessage() if throttle.filter(record) else None

    first = [passed(second / 100, 1) for second in range(1000)]
    assert [message is not None for message in first] == [True] * 5 + [False] * 995
    assert str(first[4]).startswith(str(first[0]))
    assert first[4] != first[0]
    assert passed(9.0, 2) is not None, "each message has its own count"
    assert passed(61.0, 1) is not None
