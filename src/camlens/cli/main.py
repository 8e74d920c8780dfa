"""The `camlens` command: its subcommands and the handling of errors."""

import importlib
import os
import sys
import traceback
import warnings
from importlib.util import find_spec
from typing import Annotated, Any

try:  # importing torch takes seconds; Ctrl-C must not show a traceback
    import typer
    from typer.core import TyperGroup

    from camlens.cli.calibrate import calibrate
    from camlens.cli.compare import compare
    from camlens.cli.demo import demo
    from camlens.cli.evaluate import evaluate
    from camlens.cli.explain import explain
    from camlens.cli.layers import layers
    from camlens.cli.methods import methods
    from camlens.cli.plant import plant
    from camlens.cli.predict import predict
    from camlens.core.errors import CamlensError
except KeyboardInterrupt:
    sys.stderr.write("interrupted: nothing was done\n")
    sys.exit(130)

# commands that need an extra: the module, imported on first use, and the summary in --help
OPTIONAL = {
    "studio": ("camlens.cli.studio", "Open the studio in the browser."),
    "report": ("camlens.cli.report", "Write one HTML file with interactive opacity, threshold and colors."),
    "audit": ("camlens.cli.audit", "Run a model over a whole dataset and find patterns in its errors."),
}
INTERRUPTED = 130


class Commands(TyperGroup):
    """Reports errors in one line and with an exit code; --debug shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand."""
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
                typer.echo("interrupted: no partial results were written", err=True)
                raise typer.Exit(INTERRUPTED) from error


_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="camlens",
    cls=Commands,
    help="Show where a PyTorch vision model looks.",
    epilog="Start with: camlens demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"camlens {version('camlens')}")
        raise typer.Exit


def _warn(message: Warning | str, category: type[Warning], *_place: Any, **_more: Any) -> None:
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Show where a PyTorch vision model looks."""


for command in (explain, calibrate, evaluate, compare, layers, methods, predict, demo, plant):
    app.command(name=command.__name__)(command)


def _add_optional(name: str, module: str, summary: str) -> None:
    """Add a command whose module is imported when the command is called.

    The module defines a function with the name of the command and typer's annotations.
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
    """Run the command line. Ctrl-C and a closed pipe (as with `head`) show no traceback."""
    try:
        app(prog_name="camlens")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail
        sys.exit(1)
