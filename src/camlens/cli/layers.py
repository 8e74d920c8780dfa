"""`camlens layers`: the layers of a model, and which of them can be explained."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import print_json, table

if TYPE_CHECKING:
    from camlens.core.engine import LayerStatus, Session
    from camlens.models import LoadedModel

_NOISE_SIDE = 256

InputSize = Annotated[
    str | None,
    typer.Option("--input-size", metavar="SIDE|HxW", help="Size of the example input (default: the model's own)."),
]
Usable = Annotated[bool, typer.Option("--usable", help="List only layers that can be explained.")]


@options.takes_model
def layers(
    model: options.ModelOptions,
    input_size: InputSize = None,
    usable: Usable = False,
    json: options.Json = False,
) -> None:
    """List the layers of a model and whether they can be explained.

    Each row shows a layer's output shape, grid, layout and number of parameters.

    Examples:

      camlens layers --model resnet18

      camlens layers --model timm:vit_tiny_patch16_224 --weights random

      camlens layers --model resnet18 --input-size 320x480 --usable --json
    """
    from camlens.core.engine import survey_session

    size = None if input_size is None else _size(input_size)
    loaded = model.load()
    session = _session(loaded, size)
    statuses = [status for status in survey_session(session) if status.usable or not usable]
    default, reason = _default_layer(loaded, session)
    if json:
        chosen = {"default_layer": default, "reason": reason}
        print_json({"model": model.model, **chosen, "layers": [_facts(status) for status in statuses]})
        return
    columns = ("layer", "type", "output", "grid", "layout", "parameters", "usable")
    table(f"Layers of {model.model}, in execution order", columns, [_row(status) for status in statuses])
    typer.echo(f"\nDefault layer: {default} ({reason})" if default else f"\nNo layer can be explained: {reason}")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*([1-9]\d{0,4})\s*(?:[x×,]\s*([1-9]\d{0,4}))?\s*", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 224 or 320x480", param_hint="--input-size")
    height = int(match[1])
    return height, int(match[2] or height)


def _session(loaded: "LoadedModel", size: tuple[int, int] | None) -> "Session":
    """Return the model on one image of noise: unlike a blank image it excites every layer."""
    import numpy as np
    import torch

    from camlens.core.engine import Session

    noise = np.random.default_rng(0).integers(0, 256, (_NOISE_SIDE, _NOISE_SIDE, 3), dtype=np.uint8)
    inputs = loaded.preprocess(noise)[None]
    if size is not None:
        shape = (1, inputs.shape[1], *size)
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
    return Session.of(loaded.model, inputs.to(loaded.device), output=loaded.reader)


def _default_layer(loaded: "LoadedModel", session: "Session") -> tuple[str | None, str]:
    """Return the layer that is explained by default, and why."""
    from camlens.core.engine import choose_layer
    from camlens.core.errors import CamlensError

    if loaded.default_layer is not None:
        return loaded.default_layer, "set by the model family"
    try:
        choice = choose_layer(session)
    except CamlensError as error:
        return None, str(error)
    return choice.layer.label, choice.reason


def _facts(status: "LayerStatus") -> dict[str, Any]:
    return {
        "name": status.name,
        "type": status.type,
        "shape": None if status.shape is None else list(status.shape),
        "grid": None if status.grid is None else list(status.grid),
        "layout": None if status.layout is None else str(status.layout),
        "parameters": status.parameters,
        "usable": status.usable,
        "reason": status.reason,
    }


def _row(status: "LayerStatus") -> tuple[str, ...]:
    return (
        status.name,
        status.type,
        _lengths(status.shape),
        _lengths(status.grid),
        "" if status.layout is None else status.layout.kind,
        f"{status.parameters:,}",
        "yes" if status.usable else f"no: {status.reason}",
    )


def _lengths(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " × ".join(map(str, shape))
