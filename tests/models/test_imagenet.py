"""Tests of the ImageNet model: weights, logits of the reference network, recognized photographs."""

import importlib.util
import math
from importlib.resources import files

import pytest
import skimage.data
import timm
import torch

from camlens import MissingExtraError, ModelError, explain
from camlens.data.sources import open_source
from camlens.models import LoadedModel, load_model
from camlens.models.loading import IMAGENET_PACKAGE, default_model

# logits of the package's own reference network (efficientnet-lite-pytorch 0.1.0) in float64, every 125th class
REFERENCE = [-0.953696, 0.533614, -1.744746, -0.606193, -1.442161, -1.15059, -0.357579, 0.074328]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model("demo:imagenet")


@pytest.fixture
def signal() -> torch.Tensor:
    return torch.sin(torch.arange(3 * 224 * 224, dtype=torch.float64) * 0.37).reshape(1, 3, 224, 224)


def test_every_tensor_of_the_file_is_in_the_network(loaded):
    path = files(IMAGENET_PACKAGE) / "models" / "efficientnet-lite0-57934424.pth"
    with path.open("rb") as stream:
        stored = torch.load(stream, weights_only=True)
    state = loaded.model.state_dict()
    assert len(stored) == len(state) == 296
    assert state.keys() == timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    for name, tensor in (("_conv_stem.weight", "conv_stem.weight"), ("_fc.bias", "classifier.bias")):
        torch.testing.assert_close(state[tensor], stored[name], rtol=0, atol=0)


def test_logits_are_those_of_the_reference_network(signal):
    model = load_model("demo:imagenet").model
    with torch.inference_mode():
        single = model(signal.float())[0].double()
        double = model.double()(signal)[0]
    torch.testing.assert_close(double[::125], torch.tensor(REFERENCE, dtype=torch.float64), rtol=0, atol=1e-6)
    tolerance = torch.finfo(torch.float32).eps * math.sqrt(1280) * float(double.abs().max()) * 10
    torch.testing.assert_close(single, double, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("photograph", "expected"),
    [
        ("coffee", {"espresso": 0.957}),
        ("chelsea", {"tiger cat": 0.379, "Egyptian cat": 0.375}),
        ("rocket", {"missile": 0.364}),
    ],
)
def test_photographs_are_recognized(loaded, photograph, expected):
    with torch.inference_mode():
        confidences = loaded.model(loaded.preprocess(getattr(skimage.data, photograph)())[None]).softmax(1)[0]
    best = confidences.topk(len(expected))
    assert {loaded.class_names[index] for index in best.indices} == set(expected)
    for name, confidence in expected.items():
        assert float(confidences[loaded.class_names.index(name)]) == pytest.approx(confidence, abs=0.005)


def test_some_pictures_of_the_gallery_are_recognized_and_some_are_not(loaded):
    samples = [sample for sample in open_source("demo:gallery") if sample.true_classes]
    with torch.inference_mode():
        classes = loaded.model(torch.stack([loaded.preprocess(sample.load()) for sample in samples])).argmax(1).tolist()
    correct = [loaded.class_names[index] in sample.true_classes for index, sample in zip(classes, samples, strict=True)]
    assert correct.count(True) >= 10
    assert correct.count(False) >= 4


def test_the_default_layer_is_the_one_that_the_automatic_choice_finds(loaded, signal):
    assert explain(loaded.model, signal.float()).layers == (loaded.default_layer,)


def test_loading_draws_no_random_number_and_keeps_parameters_trainable(loaded):
    before = torch.get_rng_state()
    model = load_model("demo:imagenet").model
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in model.modules())
    assert {(parameter.dtype, parameter.device.type) for parameter in model.parameters()} == {(torch.float32, "cpu")}
    assert len(set(loaded.class_names)) > 990
    assert len(loaded.class_names) == 1000


@pytest.mark.parametrize("options", [{"weights": "random"}, {"num_classes": 3}])
def test_weights_and_classes_are_fixed(options):
    with pytest.raises(ModelError) as caught:
        load_model("demo:imagenet", **options)
    assert caught.value.code == "model.fixed-weights"


def test_without_the_data_package_the_default_is_the_model_that_is_part_of_camlens(monkeypatch):
    assert default_model() == "demo:imagenet"
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "camlens.models.loading.find_spec", lambda name: None if name == IMAGENET_PACKAGE else find_spec(name)
    )
    assert default_model() == "demo:photos"


def test_without_the_data_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("camlens.models.imagenet.IMAGENET_PACKAGE", "no_such_package_for_imagenet")
    with pytest.raises(MissingExtraError) as caught:
        load_model("demo:imagenet")
    assert caught.value.facts["extra"] == "demo"
