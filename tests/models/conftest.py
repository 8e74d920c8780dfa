"""Caches and a file server of the tests' own, instead of the user's caches and the network."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _detect_agent
from transformers.utils import hub as transformers_hub

_COMMIT = "0" * 40


@dataclass
class FileServer:
    """What a loopback server holds, by path, and which paths it was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of torch and of the hub."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A file server on this machine that also stands for the hub; the network is allowed to reach it."""
    held = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            content = self._answer()
            self.wfile.write(content)

        def _answer(self) -> bytes:
            held.asked.append(self.path)
            content = held.files.get(self.path.replace(f"/resolve/{_COMMIT}/", "/resolve/main/"))
            repository = "/".join(self.path.removeprefix("/api/models").split("/")[:3])
            is_known = any(path.startswith(f"{repository}/resolve/") for path in held.files)
            if is_known and self.path == f"/api/models{repository}":
                content = json.dumps({"id": repository[1:], "sha": _COMMIT}).encode()
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound" if is_known else "RepoNotFound")
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", f'"{abs(hash(self.path)):x}"')
            self.send_header("X-Repo-Commit", _COMMIT)
            self.end_headers()
            return content or b""

        def log_message(self, *_words: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.address = f"http://127.0.0.1:{listening.server_port}"
    for variable in ("CAMLENS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", held.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", held.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(_detect_agent, "_registry", None)  # else only the first request of a process asks for it
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))
    monkeypatch.setattr(transformers_hub, "_hf_api", None)  # else it keeps the address of another test's server
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield held
    close_session()  # else a connection to this server stays open until it is garbage
    listening.shutdown()
    thread.join()
    listening.server_close()
