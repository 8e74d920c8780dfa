"""Tests of model factories."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from camlens.core.errors import ModelError
from camlens.models import load_model
from camlens.models.preprocess import Preprocess
from tests.refusals import refused

SOURCE = """
import torch
from torch import nn
from torchvision import transforms
from camlens.models import LoadedModel
from camlens.models.preprocess import Preprocess

def net(num_classes=4):
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes))

def grey():
    return nn.Sequential(nn.Conv2d(1, 2, 3))

def with_transform():
    prepare = transforms.Compose([transforms.Resize((8, 9)), transforms.ToTensor()])
    return net(2), prepare, ["cat", "dog"]

def complete():
    return LoadedModel(net(2), Preprocess(), ["cat", "dog"], "0", "something")

def unnamed():
    return net(3), Preprocess(), None

def fixed(): return net()
def number(): return 3
def misnamed(): return net(), Preprocess(), "cat"
def failing(): raise KeyError("no such block")
value = 5
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_nets_of_the_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(SOURCE)
    (package / "broken.py").write_text("import a_library_that_nobody_has")
    (package / "wrong.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def own(name: str) -> str:
    return f"own_nets_of_the_test.nets:{name}"


IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_a_bare_module_gets_the_usual_preprocessing_and_numbered_classes() -> None:
    loaded = load_model(own("net"))
    assert loaded.preprocess == Preprocess()
    assert loaded.class_names == ["class 0", "class 1", "class 2", "class 3"]
    assert not loaded.model.training
    assert load_model(own("net"), num_classes=2).model[3].out_features == 2


def test_the_result_of_a_factory_is_kept() -> None:
    loaded = load_model(own("with_transform"))
    assert loaded.class_names == ["cat", "dog"]
    assert loaded.preprocess(IMAGE).shape == (3, 8, 9)
    assert loaded.preprocess.display(IMAGE).shape == (8, 9, 3)
    complete = load_model(own("complete"))
    assert (complete.default_layer, complete.spec) == ("0", own("complete"))
    assert load_model(own("unnamed")).class_names == ["class 0", "class 1", "class 2"]


def test_weights_are_loaded_into_the_module_of_a_factory(tmp_path: Path) -> None:
    state = load_model(own("net"), weights="random", seed=9).model.state_dict()
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "own.safetensors")
    filled = load_model(own("net"), weights=tmp_path / "own.safetensors").model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in filled.items())
    shapes = {"3.weight": ((4, 2), (6, 2)), "3.bias": ((4,), (6,))}
    with refused("model.weights-misfit", ModelError, cause="classes", misshapen=shapes):
        load_model(own("net"), weights=tmp_path / "own.safetensors", num_classes=6)


def test_a_pickled_model_is_read_only_if_it_is_trusted(tmp_path: Path) -> None:
    made = load_model(own("net"), seed=9).model
    torch.save(made, tmp_path / "model.pt")
    with refused("model.weights-pickle", ModelError, file=str(tmp_path / "model.pt")):
        load_model(own("net"), weights=tmp_path / "model.pt")
    filled = load_model(own("net"), weights=tmp_path / "model.pt", trust_pickle=True).model
    assert torch.equal(filled[3].weight, made[3].weight)


def test_random_weights_of_a_factory_follow_the_seed() -> None:
    first, again, other = (load_model(own("net"), seed=seed).model for seed in (1, 1, 2))
    assert isinstance(first[0], nn.Conv2d)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_a_loaded_model_has_the_path_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(load_model(own("net"), seed=4).model.state_dict(), "own.safetensors")
    given = load_model(own("net"), weights="own.safetensors")
    assert given.weights_file == str(tmp_path / "own.safetensors")
    assert load_model(own("complete"), weights="random").weights_file == "random"
    assert load_model(own("complete")).weights_file is None


@pytest.mark.parametrize(
    ("spec", "code", "facts"),
    [
        (own("nett"), "model.no-factory", {"name": "nett", "suggestions": ["net"]}),
        (own("value"), "model.no-factory", {"name": "value"}),
        (own("number"), "model.factory-result", {"type": "int"}),
        (own("misnamed"), "model.factory-result", {"class_names": "cat"}),
        (own("failing"), "model.factory-failed", {"reason": "KeyError('no such block')"}),
        (own("grey"), "model.no-preprocessing", {"spec": own("grey")}),
        ("own_nets_of_the_test.broken:net", "model.import-failed", {"module": "own_nets_of_the_test.broken"}),
        ("own_nets_of_the_test.wrong:net", "model.import-failed", {"module": "own_nets_of_the_test.wrong"}),
        ("own_nets_of_the_test.absent:net", "model.unknown", {}),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused(spec: str, code: str, facts: dict[str, object]) -> None:
    with refused(code, ModelError, **facts):
        load_model(spec)


@pytest.mark.parametrize("spec", ["own_nets_of_the_test..nets:net", ":net"])
def test_a_malformed_module_name_is_refused(spec: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert caught.value.code in ("model.unknown", "model.import-failed")


def test_num_classes_is_refused_for_a_factory_without_it() -> None:
    with refused("model.num-classes", ModelError):
        load_model(own("fixed"), num_classes=3)
