"""A user's own network: "package.module:factory" builds it, a weights file fills it."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from camlens.core.errors import CamlensError, ModelError
from camlens.models.loading import LoadedModel, ModelRequest, class_list, unknown_module
from camlens.models.preprocess import Preprocess, adopt
from camlens.models.weight_files import load_weights, read_weights, seeded

_RETURNS = "a module, (module, preprocess, class_names) or a LoadedModel"


def load(request: ModelRequest) -> LoadedModel:
    """What the factory returns, completed.

    The factory is called without arguments, or with `num_classes` where that was asked for. A bare module
    with three input channels gets ImageNet's usual preprocessing at 224 pixels; a model that wants another
    returns (module, preprocess, class_names), where preprocess is any callable from a PIL image to a float
    tensor (C, H, W).
    """
    factory = _factory(request)
    with seeded(request.seed):
        try:
            made = factory(**_arguments(request, factory))
        except CamlensError:
            raise
        except Exception as error:  # the user's code: whatever it raises is the reason
            raise ModelError(
                f"the factory {request.spec!r} failed: {type(error).__name__}: {error}",
                code="model.factory-failed",
                spec=request.spec,
            ) from error
    loaded = _completed(request, made)
    if request.weights is not None and not request.random:
        state = read_weights(request.weights, trust_pickle=request.trust_pickle)
        load_weights(loaded.model, state, source=request.weights)
    return loaded


def _factory(request: ModelRequest) -> Callable[..., object]:
    module_name, _, name = request.name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ModelError(
                f"{module_name!r} cannot be imported: {error}", code="model.import-failed", module=module_name
            ) from error
        raise unknown_module(request.spec) from error
    except Exception as error:  # importing runs the user's code
        raise ModelError(
            f"{module_name!r} cannot be imported: {type(error).__name__}: {error}",
            code="model.import-failed",
            module=module_name,
        ) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        callables = [known for known in vars(module) if callable(getattr(module, known)) and not known.startswith("_")]
        close = difflib.get_close_matches(name, callables, n=3)
        hint = f", did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(
            f"{module_name!r} has no callable {name!r}{hint} A factory returns {_RETURNS}",
            code="model.no-factory",
            module=module_name,
            name=name,
        )
    made: Callable[..., object] = factory
    return made


def _arguments(request: ModelRequest, factory: Callable[..., object]) -> dict[str, int]:
    if request.num_classes is None:
        return {}
    parameters = inspect.signature(factory).parameters
    if "num_classes" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise ModelError(
            f"the factory {request.spec!r} takes no num_classes: leave it out, or give it that parameter",
            code="model.num-classes",
            spec=request.spec,
        )
    return {"num_classes": request.num_classes}


def _completed(request: ModelRequest, made: object) -> LoadedModel:
    if isinstance(made, LoadedModel):
        return replace(made, spec=request.spec)
    if isinstance(made, nn.Module):
        return LoadedModel(made, _usual(request, made), class_list(_class_count(request, made)), None, request.spec)
    if isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], nn.Module) and callable(made[1]):
        model, transform, class_names = made
        if class_names is not None and (isinstance(class_names, str) or not isinstance(class_names, Sequence)):
            raise ModelError(
                f"the factory {request.spec!r} returned class names {class_names!r}: a list is needed",
                code="model.factory-result",
                spec=request.spec,
            )
        named = class_list(_class_count(request, model)) if class_names is None else [str(n) for n in class_names]
        return LoadedModel(model, adopt(transform), named, None, request.spec)
    raise ModelError(
        f"the factory {request.spec!r} returned {type(made).__name__}: it has to return {_RETURNS}",
        code="model.factory-result",
        spec=request.spec,
        type=type(made).__name__,
    )


def _usual(request: ModelRequest, model: nn.Module) -> Preprocess:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3:
        raise ModelError(
            f"the factory {request.spec!r} returned a module that takes no RGB image in its first"
            " convolution, so its"
            " preprocessing cannot be guessed: return (module, preprocess, class_names)",
            code="model.no-preprocessing",
            spec=request.spec,
        )
    return Preprocess()


def _class_count(request: ModelRequest, model: nn.Module) -> int:
    """The size of the classifier: as asked for, as the model says, or as its last linear layer is wide."""
    own = getattr(model, "num_classes", None)
    linear = [module.out_features for module in model.modules() if isinstance(module, nn.Linear)]
    if request.num_classes is not None:
        return request.num_classes
    if isinstance(own, int):
        return own
    return linear[-1] if linear else 0
