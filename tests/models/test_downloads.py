"""Claims about weights that are not cached: who downloads them, and what forbids it."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from torchvision import models
from torchvision.models import SqueezeNet1_1_Weights, WeightsEnum

from camlens.core.errors import ModelError
from camlens.models import load_model
from tests.models.conftest import FileServer
from tests.models.test_transformers import IMAGE, saved, vit_config

TORCHVISION = SqueezeNet1_1_Weights.IMAGENET1K_V1


def torch_file(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def same(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def offered(server: FileServer, monkeypatch: pytest.MonkeyPatch, content: bytes, *, digest: str | None = None) -> str:
    """Let torchvision look for SqueezeNet's weights on the server, under a name with their hash."""
    path = f"/squeezenet1_1-{digest or hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[path] = content
    monkeypatch.setattr(WeightsEnum, "url", property(lambda _member: server.address + path))
    return path


@pytest.fixture
def hub_model(server: FileServer, tmp_path: Path) -> dict[str, torch.Tensor]:
    """A small image classifier in a repository of the loopback hub."""
    from transformers import ViTImageProcessor

    model = saved(tmp_path / "source", vit_config(), ViTImageProcessor(size={"height": 32, "width": 32}))
    for file in (tmp_path / "source").iterdir():
        server.files[f"/someone/tiny/resolve/main/{file.name}"] = file.read_bytes()
    return model.state_dict()


# torchvision


def test_torchvision_downloads_once_into_the_cache_of_torch(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = models.squeezenet1_1().state_dict()
    path = offered(server, monkeypatch, torch_file(state))
    assert same(load_model("squeezenet1_1").model, state)
    assert "100%" in capsys.readouterr().err  # torch's progress bar
    assert (cache / "checkpoints" / path[1:]).read_bytes() == server.files[path]
    asked = len(server.asked)
    assert same(load_model("squeezenet1_1").model, state)
    assert same(load_model("squeezenet1_1", offline=True, weights=TORCHVISION.name).model, state)
    assert len(server.asked) == asked > 0


def test_a_download_with_another_hash_is_refused_and_not_kept(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = offered(server, monkeypatch, torch_file(models.squeezenet1_1().state_dict()), digest="0badc0de")
    with pytest.raises(ModelError) as caught:
        load_model("squeezenet1_1")
    assert caught.value.code == "model.download-failed"
    assert caught.value.facts["source"] == server.address + path
    assert list((cache / "checkpoints").iterdir()) == []


def test_a_downloaded_pickle_is_not_run(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(server, monkeypatch, torch_file(models.squeezenet1_1()))
    for _ in range(2):  # just downloaded, then from the cache
        with pytest.raises(ModelError) as caught:
            load_model("squeezenet1_1")
        assert caught.value.code == "model.weights-pickle"


def test_a_file_that_the_server_lacks_is_named(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files.pop(offered(server, monkeypatch, b""))
    with pytest.raises(ModelError) as caught:
        load_model("squeezenet1_1")
    assert caught.value.code == "model.download-failed"
    assert "404" in str(caught.value.facts["reason"])


# timm and transformers


def test_timm_downloads_once_into_the_cache_of_the_hub(server: FileServer, cache: Path) -> None:
    state = timm.create_model("resnet10t", pretrained=False).state_dict()
    server.files["/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"] = save(state)
    loaded = load_model("timm:resnet10t")
    assert same(loaded.model, state)
    assert loaded.class_names[0] == "tench"
    asked = len(server.asked)
    assert same(load_model("timm:resnet10t").model, state)
    assert same(load_model("timm:resnet10t.c3_in1k", offline=True).model, state)
    assert len(server.asked) == asked > 0


def test_transformers_downloads_once_into_the_cache_of_the_hub(
    server: FileServer, cache: Path, hub_model: dict[str, torch.Tensor]
) -> None:
    loaded = load_model("hf:someone/tiny")
    assert same(loaded.model, hub_model)
    assert loaded.class_names == ["cat", "dog", "newt"]
    assert loaded.preprocess(IMAGE).shape == (3, 32, 32)
    asked = len(server.asked)
    assert same(load_model("hf:someone/tiny").model, hub_model)
    assert same(load_model("hf:someone/tiny", offline=True).model, hub_model)
    assert len(server.asked) == asked > 0


def test_a_hub_repository_without_safetensors_is_read_as_data(
    server: FileServer, cache: Path, hub_model: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    del server.files["/someone/tiny/resolve/main/model.safetensors"]
    server.files["/someone/tiny/resolve/main/pytorch_model.bin"] = torch_file(hub_model)
    assert same(load_model("hf:someone/tiny").model, hub_model)
    assert not [path for path in server.asked if "discussions" in path]  # nobody is asked to convert it


def test_a_pickle_of_a_hub_repository_is_not_run(
    server: FileServer, cache: Path, hub_model: dict[str, torch.Tensor]
) -> None:
    del server.files["/someone/tiny/resolve/main/model.safetensors"]
    server.files["/someone/tiny/resolve/main/pytorch_model.bin"] = torch_file(torch.nn.ReLU())
    with pytest.raises(ModelError) as caught:
        load_model("hf:someone/tiny")
    assert caught.value.code == "model.weights-pickle"


@pytest.mark.parametrize(("spec", "source"), [("timm:resnet10t", "timm/resnet10t.c3_in1k"), ("hf:a/b", "a/b")])
def test_what_the_hub_lacks_is_named(server: FileServer, cache: Path, spec: str, source: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert caught.value.code == "model.download-failed"
    assert source in str(caught.value.facts["source"])


def test_code_of_a_hub_repository_is_not_run(
    server: FileServer, cache: Path, hub_model: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    mark = tmp_path / "was run"
    place = "/someone/tiny/resolve/main"
    config: dict[str, Any] = json.loads(server.files[f"{place}/config.json"])
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    server.files[f"{place}/config.json"] = json.dumps(config).encode()
    server.files[f"{place}/evil.py"] = f"open({str(mark)!r}, 'w').close()\nclass Config: pass\n".encode()
    with pytest.raises(ModelError):
        load_model("hf:someone/tiny")
    assert not mark.exists()


# What forbids it


@pytest.mark.parametrize("spec", ["squeezenet1_1", "timm:resnet10t", "hf:someone/tiny"])
@pytest.mark.parametrize("how", ["argument", "CAMLENS_OFFLINE", "HF_HUB_OFFLINE"])
def test_the_network_can_be_forbidden(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, spec: str, how: str
) -> None:
    monkeypatch.setattr(WeightsEnum, "url", property(lambda _member: f"{server.address}/squeezenet1_1-0badc0de.pth"))
    if how != "argument":
        monkeypatch.setenv(how, "1")
    with pytest.raises(ModelError) as caught:
        load_model(spec, offline=how == "argument")
    assert caught.value.code == "model.weights-not-cached"
    expected = {
        "squeezenet1_1": (str(cache / "checkpoints" / "squeezenet1_1-0badc0de.pth"), "get_model('squeezenet1_1'"),
        "timm:resnet10t": ("timm/resnet10t.c3_in1k/model.safetensors", "timm.create_model('resnet10t'"),
        "hf:someone/tiny": ("someone/tiny/config.json", "hf download someone/tiny"),
    }[spec]
    assert caught.value.facts["file"] == expected[0]
    assert expected[1] in str(caught.value.facts["command"])
    assert server.asked == []


def test_a_variable_that_says_no_forbids_nothing(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMLENS_OFFLINE", "0")
    with pytest.raises(ModelError) as caught:
        load_model("timm:resnet10t")
    assert caught.value.code == "model.download-failed"
