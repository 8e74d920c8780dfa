"""Models that overwrite tensors which autograd has saved can be explained."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.testing import assert_close

from camlens import METHODS, compute_gradcam, explain
from camlens.core.execution.saved_tensors import despite_writing
from tests.nets import images, seeded


class Overwriting(nn.Module):
    """relu_ then an in-place product: what the backward pass of the first needs is gone."""

    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        self.in_place = in_place

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.norm(self.conv(inputs))
        if self.in_place:
            features.relu_()
            features *= 2
            features.sigmoid_().add_(1)
        else:
            features = (relu(features) * 2).sigmoid() + 1
        return self.head(features.mean(dim=(2, 3)))


def twins() -> tuple[nn.Module, nn.Module]:
    """The network that overwrites, and one with the same weights that does not."""
    model, plain = seeded(Overwriting), Overwriting(in_place=False)
    plain.load_state_dict(model.state_dict())
    return model.eval(), plain.eval()


def test_plain_autograd_fails() -> None:
    model, _ = twins()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(images().requires_grad_()).sum().backward()


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "saliency", "fullgrad", "smoothgradcam++", "ablationcam"])
@pytest.mark.parametrize("layer", ["conv", "norm", None])
def test_maps_equal_those_of_the_network_without_in_place_operations(method: str, layer: str | None) -> None:
    model, plain = twins()
    layers = layer if METHODS[method].scope == "layer" else "norm"
    ours = explain(model, images(), method=method, layers=layers, target=1)
    seen = ours.layers[0] if METHODS[method].scope == "layer" else layers
    theirs = explain(plain, images(), method=method, layers=seen, target=1)
    for name, one in ours.maps.items():
        assert_close(one, theirs.maps[name])


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_the_three_functions_support_such_models() -> None:
    model, plain = twins()
    ours = compute_gradcam(model, "cpu", images(1)[0], model.conv, 2)
    theirs = compute_gradcam(plain, "cpu", images(1)[0], plain.conv, 2)
    assert abs(ours[0] - theirs[0]).max() < 1e-5
    assert ours[1:] == theirs[1:]


def test_other_errors_are_raised_unchanged() -> None:
    def fail() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        despite_writing(fail)


def test_a_model_built_in_inference_mode_is_explained_and_not_changed() -> None:
    plain = Overwriting(in_place=False).eval()
    with torch.inference_mode():
        model = Overwriting(in_place=False).eval()
        model.load_state_dict(plain.state_dict())
    for layer in ("conv", model.conv, None):
        ours = explain(model, images(), layers=layer, target=1)
        theirs = explain(plain, images(), layers=ours.layers[0], target=1)
        assert_close(ours.maps[ours.layers[0]], theirs.maps[ours.layers[0]])
        assert ours.provenance["weights"] == theirs.provenance["weights"]
    heatmap, _, _ = compute_gradcam(model, "cpu", images(1)[0], model.conv, 1)
    assert heatmap.shape == images(1).shape[2:]
    assert all(one.is_inference() for one in model.parameters())
