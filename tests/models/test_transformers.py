"""Tests of Hugging Face models: directories, preprocessing, no remote code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    ConvNextImageProcessor,
    Dinov2Config,
    Dinov2Model,
    EfficientNetImageProcessor,
    MobileViTImageProcessor,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessor,
)

from camlens.core.errors import ModelError
from camlens.models import load_model
from camlens.models.transformers import _picture, _tensor
from tests.refusals import refused

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
LABELS = {0: "cat", 1: "dog", 2: "newt"}


def vit_config() -> ViTConfig:
    return ViTConfig(**TINY, image_size=32, patch_size=8, id2label=LABELS, label2id={v: k for k, v in LABELS.items()})


def saved(directory: Path, config: object, processor: object | None) -> torch.nn.Module:
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(directory)
    if processor is not None:
        processor.save_pretrained(directory)  # type: ignore[attr-defined]
    return model


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    saved(tmp_path / "vit", vit_config(), ViTImageProcessor(size={"height": 32, "width": 32}))
    return tmp_path / "vit"


IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_a_directory_is_loaded_with_labels_and_preprocessing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    model = saved(tmp_path / "vit", vit_config(), processor)
    capfd.readouterr()
    before = torch.random.get_rng_state()
    loaded = load_model(f"hf:{tmp_path / 'vit'}")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert loaded.class_names == ["cat", "dog", "newt"]
    inputs = processor(images=Image.fromarray(IMAGE), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(loaded.preprocess(IMAGE), inputs[0], atol=1e-6, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(inputs).logits, model(inputs).logits)


@pytest.mark.parametrize(
    ("config", "processor"),
    [
        (
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3),
            ViTImageProcessor(do_resize=False, do_normalize=False),
        ),
        (
            ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3),
            ConvNextImageProcessor(size={"shortest_edge": 48}),
        ),
    ],
)
def test_display_matches_the_input_for_other_architectures(tmp_path: Path, config: object, processor: object) -> None:
    saved(tmp_path, config, processor)
    loaded = load_model(f"hf:{tmp_path}")
    tensor, shown = loaded.preprocess(IMAGE), loaded.preprocess.display(IMAGE)
    mean, std = (torch.zeros(3), torch.ones(3))
    if processor.do_normalize:  # type: ignore[attr-defined]
        mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)  # type: ignore[attr-defined]
    expected = (torch.from_numpy(shown).permute(2, 0, 1) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(tensor, expected, atol=1e-5, rtol=0)
    with torch.inference_mode():
        assert loaded.model(tensor[None]).logits.shape == (1, 3)
    assert loaded.preprocess.display_mask(np.ones((50, 70), np.bool_)).shape == shown.shape[:2]


@pytest.mark.parametrize("processor", [MobileViTImageProcessor(), EfficientNetImageProcessor(rescale_offset=True)])
def test_display_keeps_the_colors_for_processors_that_change_them(processor: object) -> None:
    red = Image.new("RGB", (300, 300), (200, 10, 30))
    assert np.abs(_picture(processor, red)[100, 100].astype(int) - (200, 10, 30)).max() <= 1
    assert _tensor(processor, red).shape[0] == 3


def test_weights_can_be_random_or_a_file_and_classes_of_another_number(vit: Path, tmp_path: Path) -> None:
    first, again = (load_model(f"hf:{vit}", weights="random", seed=1, num_classes=5) for _ in range(2))
    assert first.class_names == [f"class {index}" for index in range(5)]
    key = "classifier.weight"
    assert torch.equal(first.model.state_dict()[key], again.model.state_dict()[key])
    torch.save(first.model.state_dict(), tmp_path / "five.pt")
    filled = load_model(f"hf:{vit}", weights=tmp_path / "five.pt", num_classes=5)
    assert torch.equal(filled.model.state_dict()[key], first.model.state_dict()[key])
    with refused("model.weights-misfit", ModelError, cause="classes"):
        load_model(f"hf:{vit}", weights=tmp_path / "five.pt")
    with refused("model.num-classes", ModelError, weights=3, num_classes=5):
        load_model(f"hf:{vit}", num_classes=5)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    model = AutoModelForImageClassification.from_config(vit_config()).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert {value.dtype for value in load_model(f"hf:{tmp_path}").model.parameters()} == {torch.float32}


def test_a_pickle_is_refused_unless_trusted(vit: Path) -> None:
    state = load_model(f"hf:{vit}").model.state_dict()
    (vit / "model.safetensors").unlink()
    torch.save({**state, "code": torch.nn.ReLU()}, vit / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        load_model(f"hf:{vit}")
    assert caught.value.code == "model.weights-pickle"
    torch.save(state, vit / "pytorch_model.bin")  # tensors alone are read as data
    read = load_model(f"hf:{vit}").model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in read.items())


def test_code_in_the_directory_is_not_run(vit: Path) -> None:
    mark = vit / "was run"
    (vit / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")
    config = json.loads((vit / "config.json").read_text())
    code = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    config |= {"model_type": "evil", "auto_map": code}
    (vit / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        load_model(f"hf:{vit}")
    assert caught.value.code == "model.unusable-file"
    assert not mark.exists()


def test_a_backbone_without_a_classifier_is_refused(tmp_path: Path) -> None:
    Dinov2Model(Dinov2Config(**{**TINY, "image_size": 28, "patch_size": 14})).save_pretrained(tmp_path)
    ViTImageProcessor().save_pretrained(tmp_path)
    with refused("model.no-classifier", ModelError, missing=["classifier.bias", "classifier.weight"]):
        load_model(f"hf:{tmp_path}")


@pytest.mark.parametrize("file", ["preprocessor_config.json", "model.safetensors", "config.json"])
def test_a_missing_file_is_named(vit: Path, file: str) -> None:
    (vit / file).unlink()
    with pytest.raises(ModelError) as caught:
        load_model(f"hf:{vit}")
    assert (caught.value.code, caught.value.facts["file"]) == ("model.unusable-file", file)
    if file != "config.json":
        assert load_model(f"hf:{vit}", weights="random").preprocess(IMAGE).shape == (3, 32, 32)
