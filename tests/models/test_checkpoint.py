"""Claims about a user's own factory and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from camlens.core.errors import ModelError
from camlens.models import load_model
from camlens.models.preprocess import Preprocess

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


def test_what_the_factory_says_is_kept() -> None:
    loaded = load_model(own("with_transform"))
    assert loaded.class_names == ["cat", "dog"]
    assert loaded.preprocess(IMAGE).shape == (3, 8, 9)
    assert loaded.preprocess.display(IMAGE).shape == (8, 9, 3)
    complete = load_model(own("complete"))
    assert (complete.default_layer, complete.spec) == ("0", own("complete"))
    assert load_model(own("unnamed")).class_names == ["class 0", "class 1", "class 2"]


def test_weights_are_loaded_into_what_the_factory_made(tmp_path: Path) -> None:
    state = load_model(own("net"), weights="random", seed=9).model.state_dict()
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "own.safetensors")
    filled = load_model(own("net"), weights=tmp_path / "own.safetensors").model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in filled.items())
    with pytest.raises(ModelError, match=r"3\.weight \(4, 2\) instead of \(6, 2\).*num_classes=4"):
        load_model(own("net"), weights=tmp_path / "own.safetensors", num_classes=6)


def test_a_whole_pickled_model_is_read_only_where_it_is_trusted(tmp_path: Path) -> None:
    made = load_model(own("net"), seed=9).model
    torch.save(made, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="trust_pickle=True"):
        load_model(own("net"), weights=tmp_path / "model.pt")
    filled = load_model(own("net"), weights=tmp_path / "model.pt", trust_pickle=True).model
    assert torch.equal(filled[3].weight, made[3].weight)


def test_random_weights_of_a_factory_follow_the_seed() -> None:
    first, again, other = (load_model(own("net"), seed=seed).model for seed in (1, 1, 2))
    assert isinstance(first[0], nn.Conv2d)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_a_loaded_model_knows_where_its_weights_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(load_model(own("net"), seed=4).model.state_dict(), "own.safetensors")
    given = load_model(own("net"), weights="own.safetensors")
    assert given.weights_file == str(tmp_path / "own.safetensors")
    assert load_model(own("complete"), weights="random").weights_file == "random"
    assert load_model(own("complete")).weights_file is None


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (own("nett"), r"no callable 'nett', did you mean net"),
        (own("value"), "no callable 'value'"),
        (own("number"), r"returned int: it has to return a module, \(module, preprocess, class_names\)"),
        (own("misnamed"), "class names 'cat': a list"),
        (own("failing"), "failed: KeyError: 'no such block'"),
        (own("grey"), r"takes no RGB image.*return \(module, preprocess, class_names\)"),
        ("own_nets_of_the_test.broken:net", "a_library_that_nobody_has"),
        ("own_nets_of_the_test.wrong:net", "ZeroDivisionError"),
        ("own_nets_of_the_test.absent:net", r"neither a family of models.*PYTHONPATH"),
        ("own_nets_of_the_test..nets:net", "neither a family of models|cannot be imported"),
        (":net", "neither a family of models|cannot be imported"),
    ],
)
def test_a_factory_that_cannot_be_used_is_explained(spec: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load_model(spec)


def test_a_factory_without_num_classes_says_so() -> None:
    with pytest.raises(ModelError, match="takes no num_classes"):
        load_model(own("fixed"), num_classes=3)
