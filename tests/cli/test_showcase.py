"""Tests of the images of the demo, and of their verdicts."""

import json
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from camlens.cli.explaining import Workplace, prepare
from camlens.cli.showcase import Section, draw_section, write_showcase
from camlens.data.samples import Sample
from camlens.models.loading import LoadedModel
from camlens.models.preprocess import Preprocess
from camlens.render.theme import Look

CLASSES = ["shark", "tiger cat", "tabby"]


def place(spec: str = "demo:imagenet") -> Workplace:
    """A model that always says "tiger cat"."""
    head = nn.Linear(4, len(CLASSES))
    nn.init.zeros_(head.weight)
    head.weight.data[:, 0] = 1e-3
    head.bias.data.copy_(head.bias.new_tensor([0.0, 2.0, 1.0]))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return prepare(LoadedModel(net.eval(), Preprocess(16, (16, 16)), CLASSES, "1", spec))


def sample(name: str, *classes: str) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    best = classes[0] if classes else None
    return Sample(name, None, None, best, lambda: image, accepted=classes[1:])


def test_any_accepted_class_is_correct_and_classes_unknown_to_the_model_are_ignored(tmp_path: Path) -> None:
    samples = (
        sample("best", "tiger cat", "tabby"),
        sample("accepted", "tabby", "tiger cat"),
        sample("wrong", "shark", "tabby"),
        sample("unlabelled"),
        sample("unknown", "teapot"),
    )
    manifest = write_showcase(tmp_path / "shown", [Section(place(), samples, "five images")], look=Look())
    assert [entry["correct"] for entry in manifest["images"]] == [True, True, False, None, None]
    assert [entry["label"] for entry in manifest["images"]] == [
        "tiger cat", "tiger cat", "shark or tabby", None, None,
    ]  # fmt: skip


def test_images_with_the_same_name_have_separate_results(tmp_path: Path) -> None:
    sections = [Section(place(spec), (sample("same"),), spec) for spec in ("first:model", "second:model")]
    write_showcase(tmp_path / "shown", sections, look=Look())
    entries = json.loads((tmp_path / "shown" / "manifest.json").read_text())["images"]
    assert [entry["model"] for entry in entries] == ["first:model", "second:model"]
    files = [entry[name] for entry in entries for name in ("panel", "map")]
    assert len(set(files)) == 4
    assert all((tmp_path / "shown" / name).is_file() for name in files)


def test_the_random_images_depend_only_on_model_and_seed() -> None:
    def names(spec: str, seed: int) -> list[str]:
        return [one.id for one in draw_section(place(spec), count=5, seed=seed).samples]

    assert names("demo:imagenet", 1) == names("resnet50", 1) != names("demo:imagenet", 2)
    assert all(name.startswith("test-") for name in names("demo:photos", 1))


@pytest.mark.parametrize("count", [3, 10_000])
def test_the_random_images_are_distinct(count: int) -> None:
    samples = draw_section(place(), count=count).samples
    assert len({one.id for one in samples}) == len(samples) >= 3
