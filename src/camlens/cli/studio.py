"""`camlens studio`: the interactive page."""

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
from camlens.cli.terminal import complain

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="As for every command; without it the run's, or demo:imagenet.",
        rich_help_panel="Model",
    ),
]
Audit = Annotated[
    Path | None,
    typer.Option("--audit", "-a", metavar="RUN", help="A run of `camlens audit`: three more pages over its rows."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", "-d", metavar="DIR", help="A folder per class, a flat folder, demo:gallery or demo:photos."),
]
Host = Annotated[str, typer.Option(help="Where to listen. Anything but this machine alone needs a token.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET",
        envvar="CAMLENS_STUDIO_TOKEN",
        help="The secret in the address, random by default; 'none' lets everybody on this machine in.",
    ),
]
TrustRun = Annotated[
    bool,
    typer.Option(
        "--trust-run",
        help="Import the model factory that the run names. That runs its code.",
        rich_help_panel="Model",
    ),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Refuse uploads, and write nothing into the run.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="One more name of this host."),
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
    """Open the interactive page: choose image, layer, class and method, and see where the model looks.

    It listens on this machine only, and the printed address holds a secret. Ctrl-C ends it.

    Over an audit run, model, weights and data are those of the run where nothing else is said.

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
        sys.path.append(str(Path.cwd()))  # a model factory may live here, as for `python -m`
    usual = RunDefaults(options.DEFAULT_MODEL) if audit is None else RunDefaults.of(audit)
    if model is None and not trust_run and is_factory(usual.model):
        raise ModelError(
            f"the run names the model {usual.model!r}, and to load it runs code: pass --model {usual.model} to take it"
            " from the working directory or an installed package, or --trust-run to import it as the run names it",
            code="model.untrusted-run",
            model=usual.model,
        )
    settings = StudioSettings(
        model=usual.model if model is None else model,
        data=usual.data if data is None else data,
        weights=usual.weights if model is None and weights is None else weights,
        audit=None if audit is None else str(audit),
        trust_pickle=trust_pickle,
        device=device,
        offline=offline,
        activation=activation.value if activation is not None else usual.activation if model is None else None,
        task=None if task is None else task.value,
        output_key=usual.output_key if model is None and output_key is None else output_key,
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
    complain("Ctrl-C ends it.")
    if not no_browser and os.environ.get("CI") is None:
        threading.Thread(target=_open, args=(address,), daemon=True).start()
    server(create_app(settings)).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that the printed address is true and a taken port is said in one line."""
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
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port, or 0 for any",
            code="studio.address",
            host=host,
            port=port,
        ) from error
    return bound


def _open(address: str) -> None:
    time.sleep(0.6)  # the server answers by then
    webbrowser.open(address)
