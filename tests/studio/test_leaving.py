"""Clients that disconnect, quick requests during slow ones, and interrupted uploads."""

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from camlens.studio import explaining
from camlens.studio.app import create_app
from camlens.studio.images import Uploads
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, PATIENCE, ask_until, is_settled, listening, until

QUESTION = {"image": "s0", "methods": ["rise"]}


class Reporting:
    """Replace the computation of maps by a job that reports repeatedly until it is told to end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()

        def compute(_bench: Any, _request: Any, _methods: Any, report: Any) -> Any:
            self.started.set()
            try:
                while not self.go.wait(0.002):
                    report(1, 2)
            finally:
                self.ended.set()
            return {}

        monkeypatch.setattr(explaining, "_computed", compute)


@pytest.fixture
def ready(photos: Path) -> Iterator[tuple[str, httpx.Client]]:
    with listening(StudioSettings(data=str(photos))) as address, httpx.Client(base_url=address) as client:
        until(lambda: is_settled(client.get("/api/status").json()))
        yield address, client


def sent(address: str, request: bytes) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)), timeout=PATIENCE)
    line.sendall(request)
    return line


def test_a_job_stops_when_its_only_client_disconnects(
    ready: tuple[str, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, client = ready
    work = Reporting(monkeypatch)
    body = b'{"image": "s0", "methods": ["rise"]}'
    head = f"POST /api/explanations?wait=100 HTTP/1.1\r\nhost: {address[7:]}\r\ncontent-type: application/json\r\n"
    line = sent(address, head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
    assert work.started.wait(PATIENCE)
    line.close()
    assert work.ended.wait(PATIENCE)
    assert not work.go.is_set()
    until(lambda: client.get("/api/status").json()["jobs"] == 0)


def test_a_job_stops_when_its_event_streams_close(
    ready: tuple[str, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, client = ready
    work = Reporting(monkeypatch)
    job = client.post("/api/explanations?wait=0", json=QUESTION).json()
    line = sent(address, f"GET /api/jobs/{job['id']}/events HTTP/1.1\r\nhost: {address[7:]}\r\n\r\n".encode())
    assert line.recv(1000).startswith(b"HTTP/1.1 200")
    assert work.started.wait(PATIENCE)
    line.close()
    assert work.ended.wait(PATIENCE)


def test_a_second_cancel_does_not_cancel_the_job_of_another_client(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        ask_until(client, is_settled)
        work = Reporting(monkeypatch)
        mine, theirs = (client.post("/api/explanations?wait=0", json=QUESTION).json() for _ in range(2))
        assert mine["id"] != theirs["id"]
        for _ in range(3):
            assert client.delete(f"/api/jobs/{mine['id']}").status_code == 200
        assert client.get(f"/api/jobs/{theirs['id']}").json()["state"] in ("waiting", "running")
        assert not work.ended.is_set()
        client.delete(f"/api/jobs/{theirs['id']}")
        assert work.ended.wait(PATIENCE)


def test_slow_requests_do_not_block_quick_ones(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, busy = threading.Event(), threading.Event()

    def add(_uploads: Uploads, _body: bytes) -> str:
        busy.set()
        assert go.wait(PATIENCE)
        return "u0000000000000000"

    monkeypatch.setattr(Uploads, "add", add)
    with (
        TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client,
        ThreadPoolExecutor(60) as users,
    ):
        ask_until(client, is_settled)
        uploads = [users.submit(client.post, "/api/uploads", content=b"x") for _ in range(60)]
        assert busy.wait(PATIENCE)
        assert client.get("/api/samples").status_code == 200
        assert not any(one.done() for one in uploads)
        go.set()
        assert {one.result().status_code for one in uploads} == {422}  # the upload does not exist


def test_an_interrupted_upload_logs_no_error(
    ready: tuple[str, httpx.Client], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, client = ready
    ended = threading.Semaphore(0)
    really = Request.body

    async def body(request: Request) -> bytes:
        try:
            return await really(request)
        finally:
            ended.release()

    monkeypatch.setattr(Request, "body", body)
    server_log = logging.getLogger("uvicorn.error")  # it does not propagate its records
    server_log.addHandler(caplog.handler)
    try:
        for _ in range(3):
            head = f"POST /api/uploads HTTP/1.1\r\nhost: {address[7:]}\r\ncontent-length: 100000\r\n\r\n"
            sent(address, head.encode() + b"x" * 1000).close()
            assert ended.acquire(timeout=PATIENCE)
        assert client.get("/api/health").status_code == 200
    finally:
        server_log.removeHandler(caplog.handler)
    assert caplog.records == []
