"""Options that several commands share."""

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
    """Color maps for heat maps."""

    turbo = "turbo"
    viridis = "viridis"
    inferno = "inferno"
    jet = "jet"
    grey = "grey"


class GradientsName(StrEnum):
    """Backward rules."""

    plain = "plain"
    balanced = "balanced"


class ActivationName(StrEnum):
    """Functions from logits to probabilities."""

    softmax = "softmax"
    sigmoid = "sigmoid"


class TaskName(StrEnum):
    """What the outputs of a model are."""

    classification = "classification"
    regression = "regression"


Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", show_default=False, help="Image files.")]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A folder of images, a CSV or Parquet manifest, a saved dataset, a URL, or demo:photos.",
    ),
]
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
        help="Safetensors file or state dict, FILE#KEY if it holds several, or 'random' (default: pretrained).",
        rich_help_panel="Model",
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto (the fastest), cpu, cuda or mps.", rich_help_panel="Model"),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Never download weights. So does CAMLENS_OFFLINE=1.", rich_help_panel="Model"),
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Load pickled weights. A pickle can run arbitrary code: trust its source.",
        rich_help_panel="Model",
    ),
]
Activation = Annotated[
    ActivationName | None,
    typer.Option(
        "--activation",
        metavar="NAME",
        help="softmax or sigmoid (default: sigmoid for a single logit, else softmax).",
        rich_help_panel="Model",
    ),
]
Task = Annotated[
    TaskName | None,
    typer.Option("--task", metavar="NAME", help="classification (default) or regression.", rich_help_panel="Model"),
]
OutputKey = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Key of the logits in the model's output (default: detected).",
        rich_help_panel="Model",
    ),
]
Method = Annotated[str, typer.Option(metavar="NAME", help="Explanation method; `camlens methods` lists them.")]
Layer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Layer to explain; `camlens layers` lists them (default: the best layer of the model)."
    ),
]
Class = Annotated[
    str | None,
    typer.Option(
        "--class", "-c", metavar="CLASS", help="Index or name of the class to explain (default: the predicted class)."
    ),
]
TopK = Annotated[int, typer.Option("--top-k", metavar="K", min=1, help="Number of most likely classes to show.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")]
Gradients = Annotated[
    GradientsName,
    typer.Option(
        "--gradients",
        metavar="NAME",
        help="plain, or balanced: backward rules of LibraGrad, for transformers.",
        rich_help_panel="Method",
    ),
]
Segments = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, help="Number of superpixels (lime, kernelshap).", rich_help_panel="Method"),
]
Samples = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Number of perturbed images (lime, smoothgrad, ...).", rich_help_panel="Method"
    ),
]
Features = Annotated[
    int | None,
    typer.Option(
        metavar="K", min=1, help="Keep only the K strongest superpixels (lime, kernelshap).", rich_help_panel="Method"
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Any other option of the method, such as window=32. Can be repeated.",
        rich_help_panel="Method",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace earlier results.")]
ColormapName = Annotated[
    Colormap,
    typer.Option(
        "--colormap",
        metavar="NAME",
        help="turbo, viridis, inferno, jet or grey. Signed maps use their own.",
        rich_help_panel="Appearance",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(metavar="A", min=0.0, max=1.0, help="Opacity of the heat map.", rich_help_panel="Appearance"),
]
Crop = Annotated[
    bool,
    typer.Option("--crop", help="Show the model's input instead of the whole image.", rich_help_panel="Appearance"),
]


def method_options(named: Mapping[str, int | None], pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return the options of a method from those with a flag of their own and from NAME=VALUE pairs."""
    options: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    for pair in pairs or ():
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise typer.BadParameter(f"--option takes NAME=VALUE, such as window=32, not {pair!r}")
        if name in options:
            raise typer.BadParameter(f"{name} is given twice")
        options[name] = _value(text)
    return options


def _value(text: str) -> Any:
    """Return the text as a Python literal if it is one, else as a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@dataclass(frozen=True)
class ModelOptions:
    """The options that choose a model and its device."""

    model: Model = DEFAULT_MODEL
    weights: Weights = None
    device: Device = "auto"
    offline: Offline = False
    trust_pickle: TrustPickle = False
    activation: Activation = None
    task: Task = None
    output_key: OutputKey = None

    def load(self) -> "LoadedModel":
        """Load the model. The working directory is searched for model factories, as with `python -m`."""
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
    """Replace a command's parameter `model: ModelOptions` by one option per field.

    The default of the parameter, if it has one, holds the defaults of the options.
    """
    names = [field.name for field in fields(ModelOptions)]

    @wraps(command)
    def call(**arguments: Any) -> None:
        model = ModelOptions(**{name: arguments.pop(name) for name in names})
        command(model=model, **arguments)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword) for parameter in inspect.signature(command).parameters.values()]
    position = [parameter.name for parameter in parameters].index("model")
    own = parameters[position].default
    defaults = own if isinstance(own, ModelOptions) else ModelOptions()
    parameters[position : position + 1] = [
        inspect.Parameter(field.name, keyword, default=getattr(defaults, field.name), annotation=field.type)
        for field in fields(ModelOptions)
    ]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
