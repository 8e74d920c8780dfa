"""The `camlens` command: what it offers, and what becomes of errors."""

import importlib
import os
import sys
import traceback
import warnings
from importlib.util import find_spec
from typing import Annotated, Any

try:  # torch takes seconds to import, in which Ctrl-C must not show a traceback
    import typer
    from typer.core import TyperGroup

    from camlens.cli.compare import compare
    from camlens.cli.demo import demo
    from camlens.cli.explain import explain
    from camlens.cli.layers import layers
    from camlens.cli.methods import methods
    from camlens.cli.predict import predict
    from camlens.core.errors import CamlensError
except KeyboardInterrupt:
    sys.stderr.write("interrupted: nothing was done\n")
    sys.exit(130)

# commands that need an extra: module, imported when the command is called, and the line in --help
OPTIONAL = {
    "studio": ("camlens.cli.studio", "Open the interactive page in the browser."),
    "report": ("camlens.cli.report", "Write one self-contained HTML page with live overlays."),
    "audit": ("camlens.cli.audit", "Explain a whole data set and look for patterns."),
}
INTERRUPTED = 130


class Commands(TyperGroup):
    """Turns what a user can cause into one line and an exit code; a traceback is shown only with --debug."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            try:
                return super().invoke(ctx)
            except CamlensError as error:
                if ctx.params.get("debug"):
                    traceback.print_exception(error)
                typer.echo(f"error: {' '.join(str(error).split())}", err=True)
                raise typer.Exit(2) from error
            except KeyboardInterrupt as error:
                typer.echo("interrupted: nothing half-written was left behind", err=True)
                raise typer.Exit(INTERRUPTED) from error


_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="camlens",
    cls=Commands,
    help="See where a PyTorch vision model looks, and whether that can be trusted.",
    epilog="First steps:  camlens demo  ·  camlens explain cat.jpg  ·  camlens explain --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"camlens {version('camlens')}")
        raise typer.Exit


def _warn(message: Warning | str, category: type[Warning], *_place: Any, **_more: Any) -> None:
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """See where a PyTorch vision model looks, and whether that can be trusted."""


for command in (explain, compare, layers, methods, predict, demo):
    app.command(name=command.__name__)(command)


def _add_optional(name: str, module: str, summary: str) -> None:
    """A command whose module, and what that needs, is imported when it is called.

    The module holds a function of the command's name, with typer's annotations.
    """

    def forward(context: typer.Context) -> None:
        inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=_HELP)
        inner.command(name=name)(getattr(importlib.import_module(module), name))
        code = typer.main.get_command(inner).main(args=context.args, prog_name=f"camlens {name}", standalone_mode=False)
        if isinstance(code, int) and code:
            raise typer.Exit(code)

    app.command(
        name=name,
        help=summary,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(forward)


for name, (module, summary) in OPTIONAL.items():
    if find_spec(module) is not None:
        _add_optional(name, module, summary)


def run() -> None:
    """Run the command line; neither Ctrl-C nor a reader that goes away early, as `head` does, shows a traceback."""
    try:
        app(prog_name="camlens")
    except KeyboardInterrupt:  # before or after a command
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush is quiet too
        sys.exit(1)
