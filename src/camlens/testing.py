"""Types and checks for authors of methods."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from camlens.core.details import Found
from camlens.core.errors import EvidenceWarning
from camlens.core.probe import InputProbe, Probe
from camlens.core.registry import METHODS, Entry, Registry, entry_of
from camlens.core.targets import ClassScore, TargetLike
from camlens.explainer import explain

__all__ = ["Entry", "Found", "InputProbe", "Probe", "Registry", "check_method"]

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLINGS: dict[int, Callable[..., nn.Module]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


def check_method(method: str | Callable[..., Any], *, options: Mapping[str, Any] | None = None) -> None:
    """Check a method, a registered name or a function, and raise AssertionError with the fault.

    On tiny networks with 1, 2 and 3 spatial axes the method must return one finite map per image and target, the same
    map on every call and for an image alone or in a batch, and no NaN if all features are zero. It must not write to
    the model or the inputs. A method of the input alone is checked without a layer, and its maps must have the input's
    size.

    Example:
        check_method("layercam")
        check_method(lambda activations, gradients: (activations * gradients).sum(dim=1))
    """
    if isinstance(method, str):
        METHODS[method]
    for axes in (1, 2, 3):
        model, inputs = _network(axes), _images(axes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EvidenceWarning)
            _check_on(model, inputs, method, dict(options or {}))


def _check_on(model: nn.Module, inputs: Tensor, method: str | Callable[..., Any], options: dict[str, Any]) -> None:
    where = f"with {inputs.ndim - 2} spatial axes"
    copy, weights = inputs.clone(), [parameter.detach().clone() for parameter in model.parameters()]
    about_input = entry_of(method).scope == "input"

    def maps(images: Tensor, target: TargetLike = 1, layers: Sequence[str] = ("0", "1")) -> Tensor:
        chosen = None if about_input else layers
        result = explain(model, images, method=method, layers=chosen, target=target, options=options)
        last: Tensor = list(result.maps.values())[-1]
        return last

    first = maps(inputs)
    assert first.shape[:2] == (len(inputs), 1), f"{where}: the maps have the shape {tuple(first.shape)}"
    assert not about_input or first.shape[2:] == inputs.shape[2:], (
        f"{where}: the maps do not have the size of the input"
    )
    assert torch.isfinite(first).all(), f"{where}: the maps contain NaN or infinite values"
    assert torch.equal(maps(inputs), first), (
        f"{where}: a second call returns other maps; use probe.generator for random numbers"
    )
    alone = torch.cat([maps(inputs[row : row + 1]) for row in range(len(inputs))])
    scale = float(first.abs().max()) or 1.0
    assert torch.allclose(alone, first, rtol=1e-3, atol=1e-4 * scale), (
        f"{where}: a map depends on the other images of the batch"
    )
    # only the first of several targets: a method may use new random numbers for the next
    several, single = maps(inputs, [ClassScore(0), ClassScore(1)]), maps(inputs, 0)
    assert torch.allclose(several[:, :1], single, rtol=1e-3, atol=1e-4 * scale), (
        f"{where}: the maps of several targets are in the wrong order"
    )
    assert torch.isfinite(maps(torch.zeros_like(inputs), layers=["1"])).all(), (
        f"{where}: NaN or infinite values if all features are zero"
    )
    assert torch.equal(inputs, copy), f"{where}: the inputs were written to"
    unchanged = all(torch.equal(*pair) for pair in zip(model.parameters(), weights, strict=True))
    assert unchanged, f"{where}: the weights of the model were written to"


def _network(axes: int) -> nn.Module:
    """Return a seeded network of conv without bias, ReLU, pooling and linear; torch's global seed is not used."""
    model = nn.Sequential(
        _CONVOLUTIONS[axes](2, 5, 3, bias=False), nn.ReLU(), _POOLINGS[axes](1), nn.Flatten(), nn.Linear(5, 3)
    )
    generator = torch.Generator().manual_seed(axes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _images(axes: int) -> Tensor:
    size = {1: (24,), 2: (9, 12), 3: (5, 6, 7)}[axes]
    return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(10 + axes))
