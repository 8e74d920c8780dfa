"""Tests of downloads and of offline mode."""

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save
from torchvision import models
from torchvision.models import SqueezeNet1_1_Weights, WeightsEnum
from typer.testing import CliRunner

from camlens.cli.main import app
from camlens.core.errors import ModelError
from camlens.models import load_model
from camlens.studio.bench import Workbench
from camlens.studio.settings import StudioSettings
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


def test_a_file_missing_on_the_server_is_reported(
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
def test_a_repository_missing_on_the_hub_is_reported(server: FileServer, cache: Path, spec: str, source: str) -> None:
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
def test_offline_mode_uses_no_network(
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


def test_an_offline_variable_set_to_no_has_no_effect(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMLENS_OFFLINE", "0")
    with pytest.raises(ModelError) as caught:
        load_model("timm:resnet10t")
    assert caught.value.code == "model.download-failed"


# The command line


@pytest.fixture
def photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGE).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


def arguments(command: str, photograph: Path) -> list[str]:
    own = {"layers": [], "demo": [], "audit": ["."], "compare": [photograph.name, "--layers", "0"]}
    return own.get(command, [photograph.name])


def test_a_command_that_downloads_prints_only_its_result(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, photograph: Path
) -> None:
    offered(server, monkeypatch, torch_file(models.squeezenet1_1().state_dict()))
    words = ["predict", str(photograph), "--model", "squeezenet1_1", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["images"][0]["predictions"]) == 5
    assert len(server.asked) == 1


@pytest.mark.parametrize("command", ["explain", "compare", "predict", "report", "layers", "audit", "demo"])
def test_every_command_that_loads_a_model_takes_offline(
    server: FileServer, cache: Path, photograph: Path, command: str
) -> None:
    words = [command, *arguments(command, photograph), "--model", "timm:resnet10t", "--offline"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "timm/resnet10t.c3_in1k/model.safetensors" in result.stderr
    assert server.asked == []


@pytest.mark.parametrize("command", ["explain", "compare", "predict", "report", "layers", "audit", "demo"])
def test_every_command_that_runs_a_model_takes_a_device(photograph: Path, command: str) -> None:
    words = [command, *arguments(command, photograph), "--model", "demo:photos", "--device", "cuda:99"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "cuda:99" in result.stderr


def test_a_command_chooses_one_of_several_sets_of_weights(photograph: Path) -> None:
    state = {key: load_model("squeezenet1_1", weights="random", seed=seed).model.state_dict()
             for seed, key in enumerate(("model", "ema"))}  # fmt: skip
    torch.save(state, "run.pth")
    inputs = load_model("squeezenet1_1", weights="random").preprocess(IMAGE)[None]
    for weights, key in (("run.pth", "model"), ("run.pth#ema", "ema")):
        loaded = load_model("squeezenet1_1", weights=weights)
        assert same(loaded.model, state[key])
        words = ["predict", str(photograph), "--model", "squeezenet1_1", "--weights", weights, "--json"]
        best = json.loads(CliRunner().invoke(app, words).stdout)["images"][0]["predictions"][0]
        with torch.inference_mode():
            assert best["confidence"] == pytest.approx(float(loaded.model(inputs).softmax(1).max()), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (StudioSettings(model="squeezenet1_1", offline=True), "model.weights-not-cached"),
        (StudioSettings(model="demo:photos", device="cuda:99"), "model.device-absent"),
    ],
)
def test_the_studio_takes_a_device_and_offline(
    server: FileServer, cache: Path, settings: StudioSettings, code: str
) -> None:
    bench = Workbench(settings)
    bench.start()
    while bench.state == "loading":
        time.sleep(0.01)
    bench.close()
    assert bench.problem is not None
    assert bench.problem.code == code
