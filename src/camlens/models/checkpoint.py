"""Custom models from a factory, "package.module:factory"."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from camlens.core.errors import CamlensError, ModelError
from camlens.models.loading import LoadedModel, ModelRequest, class_list, unknown_module
from camlens.models.preprocess import Preprocess, adopt
from camlens.models.weight_files import seeded

_RETURNS = "a module, (module, preprocess, class_names) or a LoadedModel"


def load(request: ModelRequest) -> LoadedModel:
    """Call the factory and complete its result to a LoadedModel.

    The factory is called without arguments, or with `num_classes` if that was passed. A bare module with three input
    channels gets the usual ImageNet preprocessing at 224 pixels. For other preprocessing return
    (module, preprocess, class_names), where preprocess is a callable from a PIL image to a float tensor (C, H, W).
    """
    factory = _factory(request)
    with seeded(request.seed):
        try:
            result = factory(**_arguments(request, factory))
        except CamlensError:
            raise
        except Exception as error:  # user code may raise anything
            raise ModelError(
                f"the factory {request.spec!r} failed: {type(error).__name__}: {error}",
                code="model.factory-failed",
                spec=request.spec,
                reason=repr(error),
            ) from error
    loaded = _completed(request, result)
    request.load_weights_file(loaded.model)
    return loaded


def _factory(request: ModelRequest) -> Callable[..., object]:
    module_name, _, name = request.name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ModelError(
                f"{module_name!r} cannot be imported: {error}",
                code="model.import-failed",
                module=module_name,
                reason=repr(error),
            ) from error
        raise unknown_module(request.spec) from error
    except Exception as error:  # importing runs user code
        raise ModelError(
            f"{module_name!r} cannot be imported: {type(error).__name__}: {error}",
            code="model.import-failed",
            module=module_name,
            reason=repr(error),
        ) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        callables = [known for known in vars(module) if callable(getattr(module, known)) and not known.startswith("_")]
        close = difflib.get_close_matches(name, callables, n=3)
        hint = f", did you mean {' or '.join(close)}?" if close else ":"
        raise ModelError(
            f"{module_name!r} has no callable {name!r}{hint} a factory must return {_RETURNS}",
            code="model.no-factory",
            module=module_name,
            name=name,
            suggestions=close,
        )
    build: Callable[..., object] = factory
    return build


def _arguments(request: ModelRequest, factory: Callable[..., object]) -> dict[str, int]:
    if request.num_classes is None:
        return {}
    parameters = inspect.signature(factory).parameters
    if "num_classes" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise ModelError(
            f"the factory {request.spec!r} has no parameter num_classes: do not pass num_classes, or add the parameter",
            code="model.num-classes",
            spec=request.spec,
        )
    return {"num_classes": request.num_classes}


def _completed(request: ModelRequest, result: object) -> LoadedModel:
    if isinstance(result, LoadedModel):
        return replace(result, spec=request.spec)
    if isinstance(result, nn.Module):
        class_names = class_list(_class_count(request, result))
        return LoadedModel(result, _default_preprocess(request, result), class_names, None, request.spec)
    if isinstance(result, tuple) and len(result) == 3 and isinstance(result[0], nn.Module) and callable(result[1]):
        model, transform, names = result
        if names is not None and (isinstance(names, str) or not isinstance(names, Sequence)):
            raise ModelError(
                f"the factory {request.spec!r} returned class names {names!r}: they must be a list",
                code="model.factory-result",
                spec=request.spec,
                class_names=names,
            )
        class_names = class_list(_class_count(request, model)) if names is None else [str(name) for name in names]
        return LoadedModel(model, adopt(transform), class_names, None, request.spec)
    raise ModelError(
        f"the factory {request.spec!r} returned {type(result).__name__}: it must return {_RETURNS}",
        code="model.factory-result",
        spec=request.spec,
        type=type(result).__name__,
    )


def _default_preprocess(request: ModelRequest, model: nn.Module) -> Preprocess:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3:
        raise ModelError(
            f"the first convolution of the module returned by {request.spec!r} does not take RGB images, so its"
            " preprocessing is unknown: return (module, preprocess, class_names)",
            code="model.no-preprocessing",
            spec=request.spec,
        )
    return Preprocess()


def _class_count(request: ModelRequest, model: nn.Module) -> int:
    """Return the number of classes: as requested, as `model.num_classes`, or of the last linear layer."""
    own = getattr(model, "num_classes", None)
    linear = [module.out_features for module in model.modules() if isinstance(module, nn.Linear)]
    if request.num_classes is not None:
        return request.num_classes
    if isinstance(own, int):
        return own
    return linear[-1] if linear else 0
