"""What a studio is started with: model, data, address, and the bounds it keeps."""

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
    """One studio: which model explains which images, who may ask, and how much it may hold.

    Attributes:
        model: a spec that `load_model` understands.
        data: a folder or any spec that `open_source` understands; None is the model's own demo data.
        weights: a weights file for the model.
        trust_pickle: allow the weights file to run code when it is opened.
        device: where the model runs; "auto" is the fastest device of this computer.
        offline: never download weights.
        activation, task, output_key: about the model's output, as `load_model` takes them.
        audit: directory of an audit run, which gets pages of its own; None opens none.
        host, port: where to listen. A host that is not this machine alone needs a token.
        token: the secret in the start address; None lets everybody on this machine in.
        read_only: refuse uploads, and write nothing into the run.
        hosts: further host names under which the studio may be reached.
        cache_bytes, upload_bytes, upload_pixels, kept_uploads_bytes, waiting_jobs: bounds.
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
                f"port must be from 0 to 65535, not {self.port}", code="argument.invalid", name="port", value=self.port
            )
        if not self.loopback and not self.token:
            raise InputError(
                f"host {self.host!r} can be reached from other machines, so a token is needed: "
                "add --token SECRET, or listen on 127.0.0.1",
                code="studio.token-needed",
                host=self.host,
            )
        if self.token is not None and (not self.token.isascii() or not self.token.isprintable() or ";" in self.token):
            raise InputError(
                "a token is printable ASCII without ';', for example from secrets.token_urlsafe()", code="studio.token"
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
        """The demo models that may be opened, each on its own photographs: none if anything else was asked for."""
        own = self.model in DEMOS and self.data is None and self.weights is None and self.audit is None
        return DEMOS if own and not self.read_only else ()

    @property
    def address(self) -> str:
        """Where to open the page, with the token."""
        name = "localhost" if self.host in ANY_ADDRESS else self.host
        name = f"[{name}]" if ":" in name else name
        query = f"?token={quote(self.token)}" if self.token else ""
        return f"http://{name}:{self.port}/{query}"


def fresh_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True)
class RunDefaults:
    """Model ("" where the run's has no name), data and weights, as a run was made with them."""

    model: str = ""
    data: str | None = None
    weights: str | None = None
    activation: Activation | None = None
    output_key: str | None = None

    @classmethod
    def of(cls, run: Path) -> "RunDefaults":
        """The defaults of the run in a directory. Raises StoreError where there is none."""
        manifest = Manifest.read(RunDirectory(run.expanduser()).manifest_path)
        return cls(
            manifest.model or "",
            manifest.data,
            manifest.weights_file,
            manifest.activation,
            manifest.output_key,
        )
