"""The three functions, against a slow implementation of their definitions."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from camlens import (
    CamlensError,
    InputError,
    LayerError,
    ModelError,
    TargetError,
    compute_gradcam,
    get_conv_layers,
    get_top_predictions,
)
from camlens.core.errors import EvidenceWarning
from tests.nets import ResidualNet, TinyVit, images, plain_cnn, seeded

CPU = torch.device("cpu")


def slowly(model: nn.Module, image: torch.Tensor, layer: nn.Module, target: int) -> np.ndarray:
    """Grad-CAM from its definition, in float64 where that is free."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()

    handle = layer.register_forward_hook(keep)
    try:
        logits = model(image[None].clone().requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, target], kept[0])
    weights = gradient[0].double().mean(dim=(1, 2))
    heat = (weights[:, None, None] * kept[0][0].detach().double()).sum(0).clamp_min(0)
    heat = heat - heat.min()
    heat = heat / heat.max() if heat.max() > 0 else heat
    size = tuple(image.shape[1:])
    return torch.nn.functional.interpolate(heat[None, None], size, mode="bilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize("target", [None, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("place", [0, 3, 4, 5])
def test_the_heatmap_equals_its_definition(target: int | None, place: int) -> None:
    model, image = seeded(plain_cnn), images(1)[0]
    heatmap, class_index, confidence = compute_gradcam(model, CPU, image, model[place], target)
    probabilities = model(image[None])[0].softmax(0).detach()
    assert class_index == (int(probabilities.argmax()) if target is None else target)
    assert confidence == pytest.approx(float(probabilities[class_index]), abs=1e-6)
    assert heatmap.shape == (16, 16)
    assert heatmap.dtype == np.float32
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1
    np.testing.assert_allclose(heatmap, slowly(model, image, model[place], class_index), atol=1e-5)


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_every_convolution_of_real_networks_has_its_map(name: str) -> None:
    model = seeded(lambda: getattr(torchvision.models, name)(num_classes=6))
    image = images(1, (64, 64))[0]
    for layer_name, layer in get_conv_layers(model)[::9]:
        heatmap, class_index, _ = compute_gradcam(model, "cpu", image, layer)
        expected = slowly(model, image, layer, class_index)
        np.testing.assert_allclose(heatmap, expected, atol=2e-3, err_msg=layer_name)


def test_a_layer_that_does_not_feed_the_score_is_refused() -> None:
    model = seeded(TinyVit)
    with pytest.raises(RuntimeError) as caught:
        compute_gradcam(model, CPU, images(1)[0], model.block2)
    assert str(caught.value) == "No gradients captured. Try a different layer."
    assert isinstance(caught.value, CamlensError)


def test_a_layer_that_does_not_run_is_refused() -> None:
    model = seeded(ResidualNet)
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(RuntimeError, match=r"^No gradients captured\. Try a different layer\.$"):
        compute_gradcam(model, CPU, images(1)[0], model.spare)


@pytest.mark.parametrize(
    ("arguments", "error", "code", "facts"),
    [
        ({"image_tensor": images(1)}, InputError, "input.not-an-image", {"shape": (1, 3, 16, 16)}),
        ({"image_tensor": "cat.jpg"}, InputError, "input.not-an-image", {"shape": None, "type": "str"}),
        ({"target_class": 5}, TargetError, "target.out-of-range", {"value": 5, "classes": 5}),
        ({"target_layer": "5"}, LayerError, "argument.invalid", {"name": "target_layer"}),
        ({"target_layer": nn.Conv2d(3, 3, 1)}, LayerError, "layer.foreign", {"type": "Conv2d"}),
        (
            {"image_tensor": torch.zeros(3, 8, 8, dtype=torch.uint8)},
            InputError,
            "input.dtype",
            {"dtype": "torch.uint8"},
        ),
        ({"image_tensor": torch.full((3, 8, 8), torch.nan)}, InputError, "input.not-finite", {}),
        ({"device": "banana"}, InputError, "device.unavailable", {"device": "banana"}),
        ({"model": "resnet18"}, ModelError, "model.type", {"type": "str"}),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[CamlensError], code: str, facts: dict[str, object]
) -> None:
    model = seeded(plain_cnn)
    given = {"model": model, "device": CPU, "image_tensor": images(1)[0], "target_layer": model[0], **arguments}
    with pytest.raises(error) as caught:
        compute_gradcam(**given)
    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()


def test_v20_an_all_negative_map_is_empty_and_warned_about() -> None:
    model, image = seeded(plain_cnn), images(1)[0]
    with torch.no_grad():
        model[8].weight.abs_().neg_()
    with pytest.warns(EvidenceWarning) as caught:
        heatmap, _, _ = compute_gradcam(model, CPU, image, model[5], 0)
    (warning,) = caught
    assert warning.filename == __file__
    assert [one["code"] for one in warning.message.facts["maps"]] == ["map.negative"]
    assert not heatmap.any()


def test_convolutions_come_in_the_order_of_named_modules() -> None:
    model = seeded(ResidualNet)
    assert get_conv_layers(model) == [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert [name for name, _ in get_conv_layers(model)][:2] == ["stem", "block1.conv1"]
    assert get_conv_layers(nn.Linear(2, 2)) == []


def test_top_predictions_are_sorted_softmax_confidences() -> None:
    model, image = seeded(plain_cnn), images(1)[0]
    names = [f"name {index}" for index in range(5)]
    top = get_top_predictions(model, CPU, image, names, top_k=3)
    probabilities = model(image[None])[0].softmax(0).detach()
    order = probabilities.argsort(descending=True)[:3].tolist()
    assert [one["class_idx"] for one in top] == order
    assert [one["class_name"] for one in top] == [names[index] for index in order]
    assert [one["confidence"] for one in top] == pytest.approx(probabilities[order].tolist(), abs=1e-6)
    assert len(get_top_predictions(model, CPU, image, names, top_k=50)) == 5
    assert set(top[0]) == {"class_idx", "class_name", "confidence"}


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        ({"class_names": ["a", "b", "c"]}, "class-names.count", {"names": 3, "classes": 5}),
        ({"class_names": "abcde"}, "argument.invalid", {"name": "class_names"}),
        ({"top_k": 0}, "argument.invalid", {"name": "top_k", "value": 0}),
        ({"device": "banana"}, "device.unavailable", {"device": "banana"}),
        ({"image_tensor": images(1)}, "input.not-an-image", {"shape": (1, 3, 16, 16)}),
    ],
)
def test_top_predictions_refuse_invalid_arguments(
    arguments: dict[str, Any], code: str, facts: dict[str, object]
) -> None:
    given = {
        "model": seeded(plain_cnn),
        "device": CPU,
        "image_tensor": images(1)[0],
        "class_names": list("abcde"),
        **arguments,
    }
    with pytest.raises(InputError) as caught:
        get_top_predictions(**given)
    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()


def test_a_layer_of_another_model_is_refused() -> None:
    with pytest.raises(RuntimeError) as caught:
        compute_gradcam(seeded(plain_cnn), CPU, images(1)[0], nn.Conv2d(3, 3, 1))
    assert str(caught.value) == "No gradients captured. Try a different layer."
    assert isinstance(caught.value, LayerError)
    assert caught.value.code == "layer.foreign"


def test_a_layer_without_a_grid_is_refused_with_layers_that_have_one() -> None:
    model = seeded(plain_cnn)
    with pytest.raises(LayerError) as caught:
        compute_gradcam(model, CPU, images(1)[0], model)
    assert "0" in caught.value.facts["candidates"]
