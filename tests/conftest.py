"""What every test runs under: checked shapes, few threads, no network, no window, nothing left behind."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for forced in ("PY_COLORS", "FORCE_COLOR", "GITHUB_ACTIONS"):  # typer would draw help as for a terminal
    os.environ.pop(forced, None)
os.environ.update(MPLBACKEND="Agg", CAMLENS_OFFLINE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from jaxtyping import install_import_hook  # noqa: E402

# Before anything imports camlens. Left out are the public functions, which raise their own errors for wrong types, and
# the methods on top of captum, which looks for generator functions and does not find them inside a wrapper.
_METHODS = (Path(__file__).parents[1] / "src" / "camlens" / "methods").glob("*.py")
_CHECKED = [f"methods.{path.stem}" for path in _METHODS if "camlens.methods.libraries" not in path.read_text("utf-8")]
_CHECKED += ["core", "metrics", "models", "data", "render", "explanation", "studio", "audit"]
install_import_hook([f"camlens.{name}" for name in _CHECKED], "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from torch.nn.modules import module as torch_module  # noqa: E402

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background

pytest_plugins = ["tests.browser"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def connect_nearby(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise OSError(f"tests have no network, and this one asked for {address}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect_nearby)
    yield
    patch.undo()


def _process_state() -> dict[str, object]:
    """What torch holds for the whole process, and what a library must therefore leave alone."""
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "global forward hooks": len(torch_module._global_forward_hooks),
        "global forward pre-hooks": len(torch_module._global_forward_pre_hooks),
        "global backward hooks": len(torch_module._global_backward_hooks),
    }


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test after which torch's state of the process is not what it was."""
    before = _process_state()
    yield
    after = _process_state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    torch.set_grad_enabled(bool(before["grad mode"]))
    assert not changed, f"left behind (before, after): {changed}"
