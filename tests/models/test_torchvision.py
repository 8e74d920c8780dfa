"""Tests of torchvision models: cached weights, weight sets, preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from camlens.core.errors import ModelError
from camlens.models import load_model
from tests.refusals import refused


@pytest.fixture
def cache(cache: Path) -> Path:
    """Where torchvision keeps its files in torch's cache."""
    (cache / "checkpoints").mkdir()
    return cache / "checkpoints"


def random_state(name: str, **options: object) -> dict[str, torch.Tensor]:
    state = models.get_model(name, weights=None, **options).state_dict()
    return {key: value.contiguous() for key, value in state.items()}


def test_cached_weights_are_loaded_with_their_class_names(cache: Path) -> None:
    state = random_state("squeezenet1_1")
    torch.save(state, cache / "squeezenet1_1-b8a52dc0.pth")
    loaded = load_model("squeezenet1_1")
    assert torch.equal(loaded.model.state_dict()["features.0.weight"], state["features.0.weight"])
    assert loaded.class_names[:2] == ["tench", "goldfish"]
    assert len(loaded.class_names) == 1000
    with refused("model.num-classes", ModelError, weights=1000, num_classes=5):
        load_model("squeezenet1_1", num_classes=5)


def test_a_pickle_in_the_cache_is_refused(cache: Path) -> None:
    torch.save(models.squeezenet1_1(), cache / "squeezenet1_1-b8a52dc0.pth")
    with refused("model.weights-pickle", ModelError, file=str(cache / "squeezenet1_1-b8a52dc0.pth")):
        load_model("squeezenet1_1")


def test_a_weight_set_has_its_own_preprocessing(cache: Path) -> None:
    torch.save(random_state("mobilenet_v2"), cache / "mobilenet_v2-b0353104.pth")
    assert load_model("mobilenet_v2", weights="IMAGENET1K_V1").preprocess.resize == 256  # type: ignore[attr-defined]
    assert load_model("mobilenet_v2", weights="random").preprocess.resize == 232  # type: ignore[attr-defined]
    copied = cache.parent / "mobilenet_v2-b0353104.pth"
    (cache / copied.name).rename(copied)
    assert load_model("mobilenet_v2", weights=copied).preprocess.resize == 256  # type: ignore[attr-defined]


def test_an_unknown_weight_set_is_refused_with_the_known_ones(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model("mobilenet_v2", weights="IMAGENET1K_V3")
    assert caught.value.code == "model.unknown-weights"
    assert caught.value.facts["known"] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]


def test_a_file_with_custom_classes_is_loaded_with_num_classes(tmp_path: Path) -> None:
    state = random_state("mobilenet_v3_small", num_classes=3)
    save_file(state, tmp_path / "mine.safetensors")
    loaded = load_model("mobilenet_v3_small", weights=tmp_path / "mine.safetensors", num_classes=3)
    assert torch.equal(loaded.model.state_dict()["classifier.3.weight"], state["classifier.3.weight"])
    assert loaded.class_names == ["class 0", "class 1", "class 2"]
    shapes = {"classifier.3.weight": ((3, 1024), (1000, 1024)), "classifier.3.bias": ((3,), (1000,))}
    with refused("model.weights-misfit", ModelError, cause="classes", misshapen=shapes):
        load_model("mobilenet_v3_small", weights=tmp_path / "mine.safetensors")


def test_densenet_files_with_old_names_are_loaded(tmp_path: Path) -> None:
    state = random_state("densenet121", num_classes=2)
    old = {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "densenet.pth")
    loaded = load_model("densenet121", weights=tmp_path / "densenet.pth", num_classes=2)
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_drop_their_training_heads_and_use_the_usual_normalization(tmp_path: Path, name: str) -> None:
    torch.save(random_state(name, aux_logits=True, init_weights=False), tmp_path / "net.pth")
    loaded = load_model(name, weights=tmp_path / "net.pth")
    assert loaded.model.transform_input
    assert not any("aux" in name.lower() for name in loaded.model.state_dict())


def test_segmentation_models_are_built_without_a_download() -> None:
    loaded = load_model("lraspp_mobilenet_v3_large", weights="random")
    assert loaded.class_names[8] == "cat"
    assert loaded.preprocess(np.zeros((52, 104, 3), np.uint8)).shape == (3, 520, 1040)


def test_versioned_modules_load_from_safetensors_which_keep_no_version(tmp_path: Path) -> None:
    state = random_state("mnasnet0_5", num_classes=2)
    save_file(state, tmp_path / "net.safetensors")
    loaded = load_model("mnasnet0_5", weights=tmp_path / "net.safetensors", num_classes=2)
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
