"""Tests of timm models: cached weights, class names, errors."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from camlens.core.errors import ModelError
from camlens.models import load_model
from tests.refusals import refused


def stored(cache: Path, repository: str, name: str) -> Path:
    """Where the hub would keep a file."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return folder / "snapshots" / ("0" * 40) / name


def test_cached_weights_are_loaded_with_their_class_names(cache: Path) -> None:
    state = timm.create_model("resnet10t", pretrained=False).state_dict()
    save_file(state, stored(cache, "timm/resnet10t.c3_in1k", "model.safetensors"))
    for spec in ("timm:resnet10t", "timm:resnet10t.c3_in1k"):
        loaded = load_model(spec)
        assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
        assert loaded.class_names[:2] == ["tench", "goldfish"]
        assert "state_dict" not in loaded.model.pretrained_cfg
    with refused("model.num-classes", ModelError, weights=1000, num_classes=7):
        load_model("timm:resnet10t", num_classes=7)


def test_cached_weights_that_do_not_fit_are_an_error(cache: Path) -> None:
    state = timm.create_model("resnet10t", pretrained=False).state_dict()
    del state["layer1.0.conv1.weight"]
    save_file(state, stored(cache, "timm/resnet10t.c3_in1k", "model.safetensors"))
    with pytest.raises(ModelError) as caught:
        load_model("timm:resnet10t")
    assert caught.value.code == "model.weights-misfit"
    assert "layer1.0.conv1.weight" in str(caught.value.facts["reason"])


def test_a_pickle_in_the_cache_is_refused(cache: Path) -> None:
    path = stored(cache, "timm/resnet10t.c3_in1k", "pytorch_model.bin")
    torch.save({"state_dict": {}, "code": torch.nn.ReLU()}, path)
    with refused("model.weights-pickle", ModelError, file=str(path)):
        load_model("timm:resnet10t")


def test_a_file_with_custom_classes_is_loaded(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t", pretrained=False, num_classes=4).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "mine.pth.tar")
    loaded = load_model("timm:resnet10t", weights=tmp_path / "mine.pth.tar", num_classes=4)
    assert torch.equal(loaded.model.state_dict()["fc.weight"], state["fc.weight"])
    assert loaded.class_names == ["class 0", "class 1", "class 2", "class 3"]


def test_unknown_weights_of_a_known_architecture_are_refused(cache: Path) -> None:
    with refused("model.unknown-weights", ModelError, known=["resnet10t.c3_in1k"]):
        load_model("timm:resnet10t.mine")


def test_names_with_a_hub_prefix_are_refused_without_network(cache: Path) -> None:
    for name in ("hf-hub:timm/resnet10t.c3_in1k", "hf_hub:timm/resnet10t.c3_in1k", f"local-dir:{cache}"):
        with refused("model.unknown", ModelError, spec=f"timm:{name}"):
            load_model(f"timm:{name}", weights="random")
