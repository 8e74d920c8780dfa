"""The method that is chosen for a network, and the reason that the run states."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import camlens.audit
from camlens import explain
from camlens.data.sources import open_source
from camlens.models import LoadedModel
from tests.audit.running.shapes import CLASSES, SIDE, classifier, folder

SETTINGS: dict[str, Any] = {"batch_size": 8, "report": False}


class Tokens(nn.Module):
    """A small vision transformer of 4 x 4 tokens and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, SIDE // 4, stride=SIDE // 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16) * 0.2)
        block = {"dim_feedforward": 32, "dropout": 0.0, "batch_first": True, "norm_first": True, "activation": "gelu"}
        self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(16, 2, **block) for _ in range(2)])
        self.head = nn.Linear(16, len(CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        return self.head(self.blocks(tokens)[:, 0])


def loaded(head: str) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = list(classifier().model[:4])
        networks = {
            "pooled": lambda: classifier().model,
            "pooled hidden": lambda: nn.Sequential(
                *features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, len(CLASSES))
            ),
            "flat": lambda: nn.Sequential(*features, nn.Flatten(), nn.Linear(8 * 16, len(CLASSES))),
            "tokens": Tokens,
        }
        return replace(classifier(), model=networks[head]().eval())


@pytest.mark.parametrize(
    ("head", "method"),
    [("pooled", "gradcam"), ("pooled hidden", "gradcam"), ("flat", "hirescam"), ("tokens", "balanced")],
)
def test_the_method_fits_the_network_and_the_run_states_why(head: str, method: str, tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes", each=3)
    audit = camlens.audit.run(data, loaded(head), tmp_path / "run", **SETTINGS)
    assert audit.manifest.method == method
    assert audit.manifest.method_reason
    summary = json.loads((audit.path / "summary.json").read_text())
    assert (summary["method"], summary["method_reason"]) == (method, audit.manifest.method_reason)
    images = torch.stack([loaded(head).preprocess(sample.load()) for sample in open_source(data)])
    layer = audit.manifest.layer
    wanted = explain(loaded(head).model, images, layers=layer, method=method).maps[layer][:, 0].numpy()
    largest = np.abs(wanted).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(audit.maps() / largest, wanted / largest, atol=2e-3)


def test_a_method_that_was_passed_is_used(tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes", each=3)
    audit = camlens.audit.run(data, loaded("flat"), tmp_path / "run", method="gradcam", **SETTINGS)
    assert audit.manifest.method == "gradcam"
    resumed = camlens.audit.run(data, loaded("flat"), tmp_path / "run", **SETTINGS)
    assert resumed.manifest == audit.manifest
