"""Settings of the studio: model, data, address and limits."""

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.errors import InputError
from camlens.core.probabilities import Activation, Task

DEMO = "demo:photos"
DEMOS = ("demo:imagenet", "demo:photos", "demo:watermark")
ANY_ADDRESS = ("0.0.0.0", "::")
MEBIBYTE = 2**20


@dataclass(frozen=True)
class StudioSettings:
    """Settings of one studio.

    Attributes:
        model: a spec for `load_model`.
        data: a folder or another spec for `open_source`; None opens the demo data of a demo model.
        weights: a weights file for the model.
        trust_pickle: load a pickled weights file, which can run code.
        device: the device of the model; "auto" picks the fastest one.
        offline: never download weights.
        activation, task, output_key: how to read the model's output, as in `load_model`.
        audit: directory of an audit run to open; None for none.
        host, port: the address to listen on. A host that other machines can reach requires a token.
        token: the secret that grants access; None admits everybody on this machine.
        read_only: refuse uploads, and write nothing into the run.
        hosts: additional host names to accept.
        cache_bytes, upload_bytes, upload_pixels, kept_uploads_bytes, waiting_jobs: limits.
    """

    model: str = DEMO
    data: str | None = None
    weights: str | None = None
    trust_pickle: bool = False
    device: str = "auto"
    offline: bool = False
    audit: str | None = None
    activation: Activation | None = None
    task: Task | None = None
    output_key: str | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    read_only: bool = False
    hosts: tuple[str, ...] = ()
    cache_bytes: int = 256 * MEBIBYTE
    upload_bytes: int = 20 * MEBIBYTE
    upload_pixels: int = 50_000_000
    kept_uploads_bytes: int = 64 * MEBIBYTE
    waiting_jobs: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(
                f"port {self.port} is out of range: pass 0 to 65535",
                code="argument.invalid",
                name="port",
                value=self.port,
            )
        if not self.loopback and not self.token:
            raise InputError(
                f"host {self.host!r} can be reached from other machines and requires a token: "
                "pass --token SECRET, or listen on 127.0.0.1",
                code="studio.token-needed",
                host=self.host,
            )
        if self.token is not None and (not self.token.isascii() or not self.token.isprintable() or ";" in self.token):
            raise InputError(
                "the token must be printable ASCII without ';', such as secrets.token_urlsafe() returns",
                code="studio.token",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the studio."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def demos(self) -> tuple[str, ...]:
        """Demo models that the page can switch to; none unless the studio runs a demo model on its own photographs."""
        plain_demo = self.model in DEMOS and self.data is None and self.weights is None and self.audit is None
        return DEMOS if plain_demo and not self.read_only else ()

    @property
    def address(self) -> str:
        """URL of the page, with the token."""
        name = "localhost" if self.host in ANY_ADDRESS else self.host
        name = f"[{name}]" if ":" in name else name
        query = f"?token={quote(self.token)}" if self.token else ""
        return f"http://{name}:{self.port}/{query}"


def fresh_token() -> str:
    """Return a random token."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True)
class RunDefaults:
    """Model ("" if it has no spec), data, weights and output settings of an audit run."""

    model: str = ""
    data: str | None = None
    weights: str | None = None
    activation: Activation | None = None
    output_key: str | None = None

    @classmethod
    def of(cls, run: Path) -> "RunDefaults":
        """Read the settings of the run in a directory; raise StoreError if there is none."""
        manifest = Manifest.read(RunDirectory(run.expanduser()).manifest_path)
        return cls(
            manifest.model or "",
            manifest.data,
            manifest.weights_file,
            manifest.activation,
            manifest.output_key,
        )
