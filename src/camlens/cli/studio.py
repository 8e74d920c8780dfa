"""`camlens studio`: serve the studio and open it in the browser."""

import os
import socket
import sys
import threading
import time
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from camlens.cli import options
from camlens.cli.terminal import print_error

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="As for explain (default: the model of the run, or demo:imagenet).",
        rich_help_panel="Model",
    ),
]
Audit = Annotated[
    Path | None,
    typer.Option(
        "--audit", "-a", metavar="RUN", help="Directory written by `camlens audit`; adds pages about the run."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", "-d", metavar="DIR", help="Images: one folder per class, a flat folder, demo:gallery or demo:photos."
    ),
]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on. Other than loopback needs a token.")]
Port = Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0 for any free port.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET",
        envvar="CAMLENS_STUDIO_TOKEN",
        help="Access token (default: random); 'none' disables it on loopback.",
    ),
]
TrustRun = Annotated[
    bool,
    typer.Option(
        "--trust-run",
        help="Allow the run's model factory to be imported, which runs its code.",
        rich_help_panel="Model",
    ),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Refuse uploads and do not write to the run.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Additional host name to accept. Can be repeated."),
]


def studio(
    model: Model = None,
    data: Data = None,
    audit: Audit = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    trust_pickle: options.TrustPickle = False,
    trust_run: TrustRun = False,
    activation: options.Activation = None,
    task: options.Task = None,
    output_key: options.OutputKey = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    no_browser: NoBrowser = False,
    token: Token = None,
    read_only: ReadOnly = False,
    allow_host: AllowHost = None,
) -> None:
    """Open the studio: explain images interactively in the browser.

    By default it listens on loopback only. The printed URL contains the access
    token. Press Ctrl-C to stop.

    With --audit, model, weights and data default to those of the run.

    Examples:

      camlens studio

      camlens studio --model resnet50 --data photos/

      camlens studio --audit runs/photos

      camlens studio --host 0.0.0.0 --token "$SECRET" --no-browser
    """
    from camlens.core.errors import MissingExtraError, ModelError

    try:
        from camlens.studio.app import create_app
        from camlens.studio.safety.serving import server
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error.name or "fastapi", "studio") from error
    from camlens.models.loading import check_spec, is_factory
    from camlens.studio.settings import RunDefaults, StudioSettings, fresh_token

    if model is not None and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # for model factories, as with `python -m`
    defaults = RunDefaults(options.DEFAULT_MODEL) if audit is None else RunDefaults.of(audit)
    if model is None and not trust_run and is_factory(defaults.model):
        raise ModelError(
            f"loading the model of the run, {defaults.model!r}, imports its module and runs its code: pass --model"
            f" {defaults.model} if it is your own, or --trust-run if you trust the run",
            code="model.untrusted-run",
            model=defaults.model,
        )
    settings = StudioSettings(
        model=defaults.model if model is None else model,
        data=defaults.data if data is None else data,
        weights=defaults.weights if model is None and weights is None else weights,
        audit=None if audit is None else str(audit),
        trust_pickle=trust_pickle,
        device=device,
        offline=offline,
        activation=activation.value if activation is not None else defaults.activation if model is None else None,
        task=None if task is None else task.value,
        output_key=defaults.output_key if model is None and output_key is None else output_key,
        host=host,
        port=port,
        token={None: fresh_token(), "none": None}.get(token, token),
        read_only=read_only,
        hosts=tuple(allow_host or ()),
    )
    if model is not None:
        check_spec(model)
    listening = _listen(host, port)
    settings = replace(settings, port=listening.getsockname()[1])
    address = settings.address
    typer.echo(f"camlens studio: {address}")
    print_error("Press Ctrl-C to stop.")
    if not no_browser and os.environ.get("CI") is None:
        threading.Thread(target=_open, args=(address,), daemon=True).start()
    server(create_app(settings)).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Bind a socket before the address is printed; raise InputError if that fails."""
    from camlens.core.errors import InputError

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; pass another --port, or 0 for any free port",
            code="studio.address",
            host=host,
            port=port,
        ) from error
    return bound


def _open(address: str) -> None:
    time.sleep(0.6)  # until the server answers
    webbrowser.open(address)
