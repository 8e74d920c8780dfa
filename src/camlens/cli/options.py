"""Options that several commands share, and loading the model that they name."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from camlens.models import LoadedModel

DEFAULT_MODEL = "demo:photos"


class Colormap(StrEnum):
    """Colour maps to draw heat maps with."""

    turbo = "turbo"
    viridis = "viridis"
    inferno = "inferno"
    jet = "jet"
    grey = "grey"


Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", show_default=False, help="Image files to look at.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="demo:photos, resnet50, timm:NAME, hf:DIRECTORY or package.module:factory.",
        rich_help_panel="Model",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Weights: safetensors or a plain state dict; or 'random'.",
        rich_help_panel="Model",
    ),
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Open weights that can run any code of whoever made them.",
        rich_help_panel="Model",
    ),
]
Method = Annotated[str, typer.Option(metavar="NAME", help="How to explain: see `camlens methods`.")]
Layer = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which layer to look at: see `camlens layers`. Without it the best one."),
]
Class = Annotated[
    str | None,
    typer.Option("--class", "-c", metavar="CLASS", help="Number or name of a class. Without it the predicted one."),
]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="How many of the best classes to show.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn at random.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier result.")]
ColormapName = Annotated[
    Colormap,
    typer.Option(
        "--colormap",
        help="Colours of a heat map; evidence for and against has its own.",
        rich_help_panel="Looks",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="Opacity of the heat map over the image.", rich_help_panel="Looks"),
]


def loaded_model(spec: str, weights: str | None, trust_pickle: bool) -> "LoadedModel":
    """The model that the options name; a factory may live in the working directory, as for `python -m`."""
    from camlens.models import load_model

    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return load_model(spec, weights=weights, trust_pickle=trust_pickle)
