"""Faults that were reproduced in other libraries, and that ours does not have.

The ones that concern one module have their test beside that module's: V1, V5-V16, V20 and V24 with the engine,
V21 with the metrics, V23 with the overlays, V25 with the projections.
"""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from camlens import METHODS, Explainer, LayerError, ModelError, explain
from camlens.core.capture import capture
from camlens.testing import check_method
from tests.nets import TinyVit, images, plain_cnn, seeded
from tests.refusals import refused


def test_v1b_densenets_documented_layer_keeps_its_negative_activations() -> None:
    model = seeded(lambda: torchvision.models.densenet121(num_classes=5))
    inputs = images(1, (64, 64))
    seen = capture(model, inputs, "features", 1).activations["features"]
    with torch.no_grad():
        expected = model.features(inputs)
    assert expected.min() < 0
    assert_close(seen, expected, rtol=1e-4, atol=1e-5)


def test_v2_gradcam_plus_plus_applies_its_denominator() -> None:
    model, inputs = seeded(plain_cnn), images()
    record = capture(model, inputs, "5", 1).records["5"]
    activations, gradients = record.activations.double(), record.gradients[:, 0].double()
    sums = activations.sum(dim=(2, 3), keepdim=True)
    squares, cubes = gradients**2, gradients**3
    alpha = squares / torch.where(gradients != 0, 2 * squares + sums * cubes, 1.0)
    weights = (alpha * gradients.clamp_min(0)).sum(dim=(2, 3))
    expected = torch.einsum("nk,nkij->nij", weights, activations)
    seen = explain(model, inputs, method="gradcam++", layers="5", target=1).maps["5"][:, 0]
    assert_close(seen, expected.float(), rtol=1e-4, atol=1e-7)
    undivided = torch.einsum("nk,nkij->nij", (squares * gradients.clamp_min(0)).sum(dim=(2, 3)), activations)
    assert not torch.allclose(seen / seen.max(), (undivided / undivided.max()).float(), atol=1e-2)


def test_v3_a_failing_ablation_leaves_the_model_usable() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    expected = explain(model, inputs, method="ablationcam", layers="5", target=1).maps["5"]
    calls = 0

    def strike(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls >= 3:
            raise RuntimeError("struck")

    handle = model[8].register_forward_pre_hook(strike)
    with pytest.raises(RuntimeError, match="struck"):
        explain(model, inputs, method="ablationcam", layers="5", target=1)
    handle.remove()
    assert_close(explain(model, inputs, method="ablationcam", layers="5", target=1).maps["5"], expected)
    assert type(model[5]) is nn.ReLU


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "fullgrad", "gradcam", "eigencam"])
def test_v18_methods_work_on_one_two_and_three_axes(method: str) -> None:
    check_method(method)


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning", "ignore::camlens.ClassBlindWarning")
@pytest.mark.parametrize("method", [name for name in METHODS if name != "deeplift"])
def test_v19_every_method_works_on_a_transformer_as_it_is(method: str) -> None:
    few = {"samples": 2}
    options = {"smoothgradcam++": few, "sscam": few, "iscam": few, "rise": {"masks": 40}}.get(method)
    result = explain(seeded(TinyVit), images(), method=method, layers="block1", target=1, options=options)
    (maps,) = result.maps.values()
    assert torch.isfinite(maps).all()
    about_the_input = METHODS[method].scope in ("input", "model")
    assert maps.shape[2:] == ((16, 16) if about_the_input else (4, 4))


def test_v19_deeplift_has_no_rule_for_attention_and_says_so_instead_of_drawing() -> None:
    with refused("model.not-additive", ModelError, type="TinyVit"):
        explain(seeded(TinyVit), images(), method="deeplift", target=1)


def test_v22_two_identical_calls_give_identical_maps() -> None:
    model, inputs = seeded(plain_cnn), images()
    explainer = Explainer(model, method="smoothgradcam++", layers="2", options={"samples": 4})
    torch.manual_seed(1)
    first = explainer(inputs, target=1).maps["2"]
    torch.manual_seed(2)
    assert torch.equal(explainer(inputs, target=1).maps["2"], first)
    other = explain(model, inputs, method="smoothgradcam++", layers="2", target=1, seed=5, options={"samples": 4})
    assert not torch.equal(other.maps["2"], first)


def test_v15_attention_heads_are_not_taken_for_channels() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64).eval()
    with refused("layer.no-grid", LayerError, layer="blocks.3.attn.k_norm"):
        explain(model, images(1, (64, 64)), layers="blocks.3.attn.k_norm", target=1)
