"""Networks of torchvision with seeded random weights, and Grad-CAM by other libraries."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Candidate

FORWARD = "forward"
CLASS = 3


def network(name: str) -> nn.Module:
    """Build a torchvision model in evaluation mode; linear layers filled with zeros get random weights."""
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)
    return model.eval()


def two_convolutions() -> nn.Module:
    """Build a network that is so small that a call costs more than its forward pass."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()


def pictures(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def plain_forward(model: nn.Module, inputs: Tensor) -> Candidate:
    """Return a call that runs the model eagerly under inference mode."""

    def run() -> object:
        with torch.inference_mode():
            return model(inputs)

    return run


def bare_hook(model: nn.Module, layer: str, inputs: Tensor) -> Candidate:
    """Return a minimal Grad-CAM without any protection of the model: a lower bound of the cost."""
    module = model.get_submodule(layer)

    def run() -> object:
        kept: list[Tensor] = []

        def begin(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            kept.append(output.detach().requires_grad_())
            torch.set_grad_enabled(True)
            return kept[0].clone()  # the network may write to it

        handle = module.register_forward_hook(begin)
        try:
            with torch.no_grad():
                score = model(inputs)[:, CLASS].sum()
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(score, kept)
        return (gradient.mean(dim=(2, 3), keepdim=True) * kept[0].detach()).sum(dim=1)

    return run


def peers(model: nn.Module, layer: str, inputs: Tensor) -> dict[str, Candidate]:
    """Return Grad-CAM by every installed library, each on its own copy because their hooks remain."""
    makers: dict[str, Callable[[nn.Module, str, Tensor], Candidate]] = {
        "captum": _captum,
        "pytorch-grad-cam": _pytorch_grad_cam,
        "torchcam": _torchcam,
    }
    candidates: dict[str, Candidate] = {}
    for name, maker in makers.items():
        try:
            candidates[name] = maker(copy.deepcopy(model), layer, inputs)
        except ImportError:
            continue
    return candidates


def _captum(model: nn.Module, layer: str, inputs: Tensor) -> Candidate:
    from captum.attr import LayerGradCam

    method = LayerGradCam(model, model.get_submodule(layer))
    return lambda: method.attribute(inputs, target=CLASS)


def _pytorch_grad_cam(model: nn.Module, layer: str, inputs: Tensor) -> Candidate:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    method = GradCAM(model=model, target_layers=[model.get_submodule(layer)])
    targets = [ClassifierOutputTarget(CLASS) for _ in inputs]
    return lambda: method(input_tensor=inputs, targets=targets)


def _torchcam(model: nn.Module, layer: str, inputs: Tensor) -> Candidate:
    from torchcam.methods import GradCAM

    method = GradCAM(model, target_layer=layer)
    return lambda: method(CLASS, model(inputs))
