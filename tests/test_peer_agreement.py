"""Agreement with captum and pytorch-grad-cam on clean post-ReLU layers of real architectures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from camlens import explain
from tests.nets import images, seeded

captum_attr = pytest.importorskip("captum.attr")
pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
ClassifierOutputTarget = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning"),
    # the peers' own: captum warns of its hooks, pytorch-grad-cam divides by zero now and then
    pytest.mark.filterwarnings("ignore::UserWarning:captum"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:pytorch_grad_cam"),
]

# name -> a layer whose output is non-negative and is not written to in place afterwards
ARCHITECTURES = {
    "resnet18": "layer4",
    "resnet50": "layer3",
    "resnet34": "layer4",
    "shufflenet_v2_x1_0": "stage4",
    "vgg11": "features",
    "vgg11_bn": "features",
    "squeezenet1_1": "features",
    "regnet_y_400mf": "trunk_output",
    "regnet_x_400mf": "trunk_output",
    "shufflenet_v2_x0_5": "conv5",
    "densenet121": "features.transition3.relu",
    "googlenet": "inception5b",
    "mnasnet0_5": "layers.16",
}
EXTRA: dict[str, dict[str, Any]] = {"googlenet": {"init_weights": False, "aux_logits": False}}
SIZE = (64, 64)
CLASSES = 6


def network(name: str) -> nn.Module:
    return seeded(lambda: getattr(torchvision.models, name)(num_classes=CLASSES, **EXTRA.get(name, {})))


def without_in_place(model: nn.Module) -> nn.Module:
    """For the peers, whose stored activations an in-place ReLU would overwrite."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def min_max(maps: np.ndarray) -> np.ndarray:
    """Each map from 0 to 1, as pytorch-grad-cam does again after resizing."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-12)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_gradcam_equals_captums(name: str) -> None:
    # in double precision, so that what is compared is the method and not the network's rounding
    model, inputs, layer = network(name).double(), images(2, SIZE).double(), ARCHITECTURES[name]
    ours = explain(model, inputs, layers=layer, target=3).maps[layer][:, 0]
    theirs = captum_attr.LayerGradCam(without_in_place(model), model.get_submodule(layer)).attribute(inputs, 3)
    torch.testing.assert_close(ours, theirs[:, 0].detach(), rtol=0, atol=1e-12 * float(theirs.detach().abs().max()))


PEERS: dict[str, Callable[..., Any]] = {
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "eigencam": pytorch_grad_cam.EigenCAM,
    "gradcam-elementwise": pytorch_grad_cam.GradCAMElementWise,
}


class Louder(nn.Module):
    """The same model with its logits multiplied: peers put a fixed epsilon beside squared gradients."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner = inner
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) * self.factor


def peer_maps(method: str, model: nn.Module, layer: str, inputs: Tensor, **options: Any) -> np.ndarray:
    cam = PEERS[method](model=model, target_layers=[model.get_submodule(layer)], **options)
    cam.batch_size = 16
    targets = [ClassifierOutputTarget(3)] * len(inputs)
    return np.asarray(cam(inputs, targets=targets))


# the peer decomposes channels x channels in full: seconds for one image where a layer has a thousand of them
MANY_CHANNELS = ("resnet50", "densenet121", "googlenet", "shufflenet_v2_x0_5")
PAIRS = [
    (name, method) for name in ARCHITECTURES for method in PEERS if method != "eigencam" or name not in MANY_CHANNELS
]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_gradient_methods_equal_pytorch_grad_cams(name: str, method: str) -> None:
    inner, inputs, layer = network(name), images(2, SIZE), f"inner.{ARCHITECTURES[name]}"
    model = Louder(inner, 1e5).eval()
    ours = explain(model, inputs, method=method, layers=layer, target=3).heatmaps()[:, 0].numpy()
    theirs = peer_maps(method, without_in_place(model), layer, inputs)
    agreed = np.abs(min_max(ours) - min_max(theirs)).max()
    if method == "eigencam" and agreed > 1e-4:  # the peer leaves the component's sign to chance
        turned = explain(model, inputs, method=method, layers=layer, target=3).maps[layer]
        cells = torch.nn.functional.interpolate(-turned.clamp_max(0), SIZE, mode="bilinear")[:, 0].numpy()
        each = np.minimum(
            np.abs(min_max(cells) - min_max(theirs)).max(axis=(1, 2)),
            np.abs(min_max(ours) - min_max(theirs)).max(axis=(1, 2)),
        )
        agreed = each.max()
    assert agreed < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_scorecam_equals_pytorch_grad_cams(name: str) -> None:
    # a random network's channel scores are nearly equal: in float32 their softmax carries another batch size's rounding
    model, inputs, layer = network(name).double(), images(1, SIZE).double(), ARCHITECTURES[name]
    PEERS.setdefault("scorecam", pytorch_grad_cam.ScoreCAM)
    ours = explain(model, inputs, method="scorecam", layers=layer, target=3).heatmaps()[:, 0].numpy()
    theirs = peer_maps("scorecam", without_in_place(model), layer, inputs)
    assert np.abs(min_max(ours) - min_max(theirs)).max() < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1"])
def test_ablationcam_equals_pytorch_grad_cams(name: str) -> None:
    model, inputs, layer = network(name), images(1, SIZE), ARCHITECTURES[name]
    PEERS.setdefault("ablationcam", pytorch_grad_cam.AblationCAM)
    ours = explain(model, inputs, method="ablationcam", layers=layer, target=3).heatmaps()[:, 0].numpy()
    theirs = peer_maps("ablationcam", without_in_place(model), layer, inputs)
    assert np.abs(min_max(ours) - min_max(theirs)).max() < 1e-4
