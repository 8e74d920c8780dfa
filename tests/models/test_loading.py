"""Tests of load_model: families, devices, errors."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from camlens import explain
from camlens.core.errors import MissingExtraError, ModelError
from camlens.models import LoadedModel, load_model
from camlens.models.devices import available_devices
from camlens.models.loading import ADAPTERS, check_spec
from tests.refusals import refused


def test_a_loaded_model_has_these_fields_and_is_frozen() -> None:
    names = [field.name for field in dataclasses.fields(LoadedModel)]
    assert names[:5] == ["model", "preprocess", "class_names", "default_layer", "spec"]
    assert all(field.default is not dataclasses.MISSING for field in dataclasses.fields(LoadedModel)[5:])
    loaded = load_model("squeezenet1_1", weights="random")
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.spec = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "count"),
    [("squeezenet1_1", None), ("torchvision:mobilenet_v3_small", 5), ("timm:resnet10t", 6)],
)
def test_preprocessed_image_goes_through_the_model(spec: str, count: int | None) -> None:
    loaded = load_model(spec, weights="random", num_classes=count)
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    assert not loaded.model.training
    with torch.inference_mode():
        logits = loaded.model(loaded.preprocess(image)[None])
    assert logits.shape == (1, len(loaded.class_names))
    assert count is None or loaded.class_names == [f"class {index}" for index in range(count)]
    assert loaded.preprocess.display(image).shape[:2] == tuple(loaded.preprocess(image).shape[1:])
    assert loaded.spec == spec


def test_random_weights_follow_the_seed_and_leave_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (load_model("squeezenet1_1", weights="random", seed=seed).model for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "features.0.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


@pytest.mark.parametrize(
    ("spec", "suggestion"),
    [
        ("resnet51", "resnet50"),
        ("resnet5O", "resnet50"),
        ("ResNet50", "resnet50"),
        ("timm:resnet10x", "resnet10t"),
        ("timm:Convnext_Tiny", "convnext_tiny"),
        ("demo:photo", "photos"),
        ("resnet26d", "timm:resnet26d"),
        ("photos", "demo:photos"),
        ("tim:x", "timm:x"),
        ("torchvison:resnet18", "torchvision:resnet18"),
    ],
)
def test_a_misspelled_model_is_suggested(spec: str, suggestion: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert (caught.value.code, caught.value.facts["spec"]) == ("model.unknown", spec)
    assert suggestion in caught.value.facts["suggestions"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "spec", ["nope", "resnet51", "torchvision:nope", "timm:nope", "demo:nope", "tim:resnet18", "", "hf:", "timm"]
)
def test_a_spec_is_checked_with_the_error_of_loading_it(spec: str) -> None:
    with pytest.raises(ModelError) as loading:
        load_model(spec)
    with pytest.raises(ModelError) as checking:
        check_spec(spec)
    assert (checking.value.code, checking.value.facts) == (loading.value.code, loading.value.facts)


@pytest.mark.parametrize(
    "spec", ["resnet50", "timm:resnet18.a1_in1k", "demo:photos", "hf:some/repository", "json:loads", "__main__:net"]
)
def test_a_spec_that_may_name_a_model_passes_and_nothing_is_loaded(spec: str) -> None:
    check_spec(spec)


@pytest.mark.parametrize("spec", ["", "timm", "hf:", "torchvision:", "demo:"])
def test_a_spec_without_a_name_is_refused(spec: str) -> None:
    with refused("model.no-name", ModelError, spec=spec):
        load_model(spec)


def test_a_path_is_not_a_spec(tmp_path: Path) -> None:
    with refused("model.spec-is-directory", ModelError, path=str(tmp_path)):
        load_model(str(tmp_path))
    file = tmp_path / "net.pt"
    file.touch()
    with refused("model.spec-is-file", ModelError, path=str(file)):
        load_model(str(file))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_an_unavailable_device_is_refused_with_the_available_ones(device: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model("squeezenet1_1", weights="random", device=device)
    assert caught.value.code == "model.device-absent"
    assert caught.value.facts == {"device": device, "available": available_devices()}


def test_the_default_device_is_the_cpu_and_auto_the_fastest() -> None:
    assert load_model("demo:photos").device == torch.device("cpu")
    assert load_model("demo:photos", device="auto").device.type == available_devices()[0]


@pytest.mark.skipif(available_devices() == ["cpu"], reason="this computer has no accelerator")
def test_maps_are_the_same_on_every_device() -> None:
    maps = []
    for device in available_devices():
        loaded = load_model("demo:photos", device=device)
        image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        inputs = loaded.preprocess(image)[None].to(loaded.device)
        explanation = explain(loaded.model, inputs, layers="stage4", target=2)
        maps.append(explanation.maps["stage4"].cpu())
    scale = float(maps[-1].abs().max())
    for heatmap in maps:  # float32 through 20 layers, with TensorFloat32 off as torch leaves it for matmuls
        torch.testing.assert_close(heatmap, maps[-1], atol=2e-3 * scale, rtol=0)


def test_an_invalid_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        load_model("resnet18", weights="random", num_classes=0)
    assert caught.value.code == "model.num-classes"


def test_a_family_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, library, extra in (("timm", "timm", "vision"), ("hf", "transformers", "hf")):
        monkeypatch.delitem(sys.modules, ADAPTERS[prefix], raising=False)
        monkeypatch.setitem(sys.modules, library, None)
        with refused("extra.missing", MissingExtraError, package=library, extra=extra):
            load_model(f"{prefix}:anything")
    with refused("model.unknown", ModelError, suggestions=["demo:photos"]):
        load_model("photos")


def test_importing_the_models_imports_no_family() -> None:
    heavy = ["torchvision", "timm", "transformers", "PIL", "matplotlib", "huggingface_hub"]
    program = f"import camlens.models, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_family_has_its_file_with_load_and_names() -> None:
    import importlib

    for module in ADAPTERS.values():
        adapter = importlib.import_module(module)
        assert callable(adapter.load)
        assert all(isinstance(name, str) for name in adapter.names())
