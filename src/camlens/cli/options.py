"""Options that several commands share, and loading the model that they name."""

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camlens.models.loading import default_model

if TYPE_CHECKING:
    from camlens.models import LoadedModel

DEFAULT_MODEL = default_model()


class Colormap(StrEnum):
    """Colour maps to draw heat maps with."""

    turbo = "turbo"
    viridis = "viridis"
    inferno = "inferno"
    jet = "jet"
    grey = "grey"


class ActivationName(StrEnum):
    """What makes probabilities of logits."""

    softmax = "softmax"
    sigmoid = "sigmoid"


class TaskName(StrEnum):
    """What a model's outputs are."""

    classification = "classification"
    regression = "regression"


Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", show_default=False, help="Image files to look at.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="demo:imagenet, resnet50, timm:NAME, hf:NAME_OR_DIRECTORY or package.module:factory.",
        rich_help_panel="Model",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Weights: safetensors or a plain state dict (FILE#KEY: one of several); or 'random'.",
        rich_help_panel="Model",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|mps",
        help="Where the model runs; auto is the fastest device of this computer.",
        rich_help_panel="Model",
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", help="Never download weights (CAMLENS_OFFLINE=1 does the same).", rich_help_panel="Model"
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
Activation = Annotated[
    ActivationName | None,
    typer.Option(
        "--activation",
        help="What makes probabilities of the model's logits (default: sigmoid for one logit, else softmax).",
        rich_help_panel="Model",
    ),
]
Task = Annotated[
    TaskName | None,
    typer.Option("--task", help="What the model's outputs are (default: classification).", rich_help_panel="Model"),
]
OutputKey = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Part of the model's output that holds the logits (default: detected).",
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
Segments = Annotated[
    int | None,
    typer.Option(min=2, help="Superpixels to cut the image into (lime, kernelshap).", rich_help_panel="Method"),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1, help="Perturbed images to ask the model about (lime, smoothgrad ...).", rich_help_panel="Method"
    ),
]
Features = Annotated[
    int | None,
    typer.Option(min=1, help="Show only the strongest so many segments (lime, kernelshap).", rich_help_panel="Method"),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Any other setting of the method, as often as wanted: --option window=32.",
        rich_help_panel="Method",
    ),
]
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
Crop = Annotated[
    bool,
    typer.Option("--crop", help="Show what the model saw, not the whole photograph.", rich_help_panel="Looks"),
]


def method_options(given: Mapping[str, int | None], pairs: Sequence[str] | None) -> dict[str, Any]:
    """The method's own settings: those that have an option of their own, and NAME=VALUE pairs."""
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for pair in pairs or ():
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise typer.BadParameter(f"--option takes NAME=VALUE, such as window=32, not {pair!r}")
        if name in found:
            raise typer.BadParameter(f"{name} is given twice")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    """A number, a tuple, True, False or None where the text is one, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@dataclass(frozen=True)
class ModelOptions:
    """The options that name a model and where it runs, shared by every command that runs one."""

    model: Model = DEFAULT_MODEL
    weights: Weights = None
    device: Device = "auto"
    offline: Offline = False
    trust_pickle: TrustPickle = False
    activation: Activation = None
    task: Task = None
    output_key: OutputKey = None

    def load(self) -> "LoadedModel":
        """Load the model; a factory may live in the working directory, as for `python -m`."""
        from camlens.models import load_model

        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        with redirect_stdout(sys.stderr):  # torch reports downloads on stdout, which is for results
            return load_model(
                self.model,
                weights=self.weights,
                device=self.device,
                offline=self.offline,
                trust_pickle=self.trust_pickle,
                activation=None if self.activation is None else self.activation.value,
                task=None if self.task is None else self.task.value,
                output_key=self.output_key,
            )


PHOTOS = ModelOptions("demo:photos")


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `model: ModelOptions` by one option for each of its fields.

    The parameter's own default, if it has one, holds the defaults of the options.
    """
    names = [field.name for field in fields(ModelOptions)]

    @wraps(command)
    def call(**given: Any) -> None:
        model = ModelOptions(**{name: given.pop(name) for name in names})
        command(model=model, **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword) for parameter in inspect.signature(command).parameters.values()]
    place = [parameter.name for parameter in parameters].index("model")
    own = parameters[place].default
    usual = own if isinstance(own, ModelOptions) else ModelOptions()
    parameters[place : place + 1] = [
        inspect.Parameter(field.name, keyword, default=getattr(usual, field.name), annotation=field.type)
        for field in fields(ModelOptions)
    ]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
