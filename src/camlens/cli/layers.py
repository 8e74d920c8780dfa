"""`camlens layers`: every layer of a model, and whether it can carry a map."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.cli import options
from camlens.cli.terminal import say_json, table

if TYPE_CHECKING:
    from camlens.core.execution.survey import LayerStatus

InputSize = Annotated[
    str | None,
    typer.Option("--input-size", metavar="SIDE|HxW", help="Size of the example image. Without it the model's usual."),
]
Usable = Annotated[bool, typer.Option("--usable", help="Only layers that can carry a map.")]


@options.takes_model
def layers(
    model: options.ModelOptions,
    input_size: InputSize = None,
    usable: Usable = False,
    json: options.Json = False,
) -> None:
    """List the layers: output, grid, layout, parameters, and whether a map can be drawn there or why not.

    Examples:

      camlens layers --model resnet18

      camlens layers --model timm:vit_tiny_patch16_224 --weights random --usable

      camlens layers --model resnet18 --input-size 320x480 --json
    """
    from camlens.panels.survey import default_layer, layer_table

    size = None if input_size is None else _size(input_size)
    loaded = model.load()
    statuses = [one for one in layer_table(loaded, input_size=size) if one.usable or not usable]
    default, reason = default_layer(loaded, input_size=size)
    if json:
        chosen = {"default_layer": default, "reason": reason}
        say_json({"model": model.model, **chosen, "layers": [_facts(status) for status in statuses]})
        return
    columns = ("layer", "type", "output", "grid", "layout", "parameters", "target")
    table(
        f"Layers of {model.model}, in the order in which they finish",
        columns,
        [_row(status) for status in statuses],
    )
    typer.echo(f"\nWithout --layer: {default}, {reason}" if default else f"\nNo layer can carry a map: {reason}")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*([1-9]\d{0,4})\s*(?:[x×,]\s*([1-9]\d{0,4}))?\s*", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 224 or 320x480", param_hint="--input-size")
    height = int(found[1])
    return height, int(found[2] or height)


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
