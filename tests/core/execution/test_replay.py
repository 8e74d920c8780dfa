"""Running only the network after a layer gives the scores of a full run."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explainer
from camlens.core.capture import Request, capture_session
from camlens.core.execution.replay import proven_way
from camlens.core.execution.session import Session
from camlens.core.layers import resolve_layer
from camlens.core.probe import Probe
from tests.nets import ChannelsLast, ResidualNet, TinyVit, images, plain_cnn, seeded


def probe_of(model: nn.Module, inputs: Tensor, layer: str) -> Probe:
    session = Session(model, inputs)
    seen = capture_session(session, Request([resolve_layer(model, layer)], 1))
    return Probe(session, seen, seen.records[layer], torch.Generator().manual_seed(0))


def full_run(model: nn.Module, inputs: Tensor, probe: Probe, features: Tensor, row: int) -> Tensor:
    """Scores with the layer's output exchanged by a plain hook on a plain run."""
    record = probe.record
    native = record.layout.native(features, record.native[row : row + 1].detach())
    handle = record.layer.module.register_forward_hook(lambda module, args, output: native.clone())
    try:
        with torch.no_grad():
            return model(inputs[row : row + 1].expand(len(features), -1, -1, -1))[:, 1:2]
    finally:
        handle.remove()


CASES = [
    (plain_cnn, "0"), (plain_cnn, "3"), (plain_cnn, "5"),
    (ResidualNet, "stem"), (ResidualNet, "block1.conv1"), (ResidualNet, "block2.conv2"), (ResidualNet, "block2"),
    (TinyVit, "block1"), (TinyVit, "block2.norm1"), (TinyVit, "patches"),
    (ChannelsLast, "norm"), (ChannelsLast, "mix.1"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "layer"), CASES)
@pytest.mark.parametrize("row", [0, 1])
def test_scores_of_ablated_features_equal_those_of_a_full_run(build: type, layer: str, row: int) -> None:
    model, inputs = seeded(build), images()
    probe = probe_of(model, inputs, layer)
    features = probe.activations[row : row + 1].repeat(3, 1, 1, 1)
    features[1, 0] = 0
    features[2, 1] *= 2
    with torch.no_grad():
        expected = full_run(model, inputs, probe, features, row)
    assert_close(probe.feature_scores(features, row), expected, rtol=1e-4, atol=1e-5)
    assert not any("forward" in module.__dict__ for module in model.modules())


TORCHVISION = [
    ("resnet18", "layer2.0.bn1"), ("resnet18", "layer4"), ("densenet121", "features.denseblock3.denselayer5.conv1"),
    ("mobilenet_v3_small", "features.5.block.1"), ("squeezenet1_1", "features.9.squeeze"),
    ("shufflenet_v2_x0_5", "stage3.1"), ("convnext_tiny", "features.5.2.block.3"), ("swin_t", "features.5.1"),
    ("regnet_y_400mf", "trunk_output.block3"), ("googlenet", "inception4a.branch2"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), TORCHVISION)
def test_real_architectures_are_replayed_with_correct_scores(name: str, layer: str) -> None:
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = seeded(lambda: getattr(torchvision.models, name)(num_classes=7, **extra))
    inputs = images(1, (64, 64))
    probe = probe_of(model, inputs, layer)
    features = probe.activations.repeat(2, 1, 1, 1)
    features[1, : features.shape[1] // 2] = 0
    expected = full_run(model, inputs, probe, features, 0)
    assert_close(probe.feature_scores(features, 0), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    ((_, way),) = probe._recordings.values()
    assert way in ("expanded", "copied")


class WritesToItsPast(nn.Module):
    """Adds in place to what a module before the target returned."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(3, 4, 3, padding=1)
        self.late = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        early = self.early(inputs)
        late = self.late(early)
        early += late.relu()
        return self.head(early.mean(dim=(2, 3)))


def test_a_model_that_writes_to_recorded_outputs_gets_copies() -> None:
    model, inputs = seeded(WritesToItsPast), images()
    probe = probe_of(model, inputs, "late")
    features = probe.activations[:1].repeat(2, 1, 1, 1) * torch.tensor([1.0, 0.0])[:, None, None, None]
    assert_close(probe.feature_scores(features, 0), full_run(model, inputs, probe, features, 0), rtol=1e-4, atol=1e-5)
    ((_, way),) = probe._recordings.values()
    assert way == "copied"


def test_modules_before_the_layer_do_not_run_again() -> None:
    model, inputs = seeded(ResidualNet), images()
    probe = probe_of(model, inputs, "block2.conv1")
    probe.feature_scores(probe.activations[:1], 0)
    counts = {"stem": 0, "head": 0}
    original = {name: model.get_submodule(name).forward for name in counts}
    for name in counts:

        def counted(*args: object, name: str = name) -> Tensor:
            counts[name] += 1
            return original[name](*args)

        model.get_submodule(name).forward = counted
    probe.feature_scores(probe.activations[:1].repeat(4, 1, 1, 1), 0)
    assert counts == {"stem": 0, "head": 1}


def test_the_capture_of_one_image_is_reused_as_recording() -> None:
    model, inputs = seeded(ResidualNet), images()
    explainer = Explainer(model, method="ablationcam", layers="block2.conv1")
    both = explainer(inputs, target=1)
    runs, original = [], model.stem.forward

    def counted(*args: Tensor) -> Tensor:
        runs.append(1)
        return original(*args)

    model.stem.forward = counted
    alone = explainer(inputs[:1], target=1)
    assert len(runs) == 1
    assert_close(alone.maps["block2.conv1"], both.maps["block2.conv1"][:1])


class SharesItsRelu(nn.Module):
    """One ReLU inside the first block, at the layer's side and after it: only the first call is answered for."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), relu)
        self.late = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), relu, nn.Conv2d(4, 4, 3, padding=1))
        self.relu = relu
        self.head = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.relu(self.late(self.relu(self.early(inputs) - 0.1))).mean(dim=(2, 3)))


@pytest.mark.parametrize("layer", ["late", "late.0", "late.2", "early"])
def test_modules_inside_a_recorded_one_have_no_stale_records(layer: str) -> None:
    model, inputs = seeded(SharesItsRelu), images()
    probe = probe_of(model, inputs, layer)
    features = probe.activations[:1].repeat(2, 1, 1, 1) * torch.tensor([1.0, 0.3])[:, None, None, None]
    assert_close(probe.feature_scores(features, 0), full_run(model, inputs, probe, features, 0), rtol=1e-4, atol=1e-5)
    ((_, way),) = probe._recordings.values()
    assert way == "expanded"


def test_a_verified_replay_is_valid_for_its_model_only() -> None:
    model, inputs = seeded(WritesToItsPast), images()
    first = probe_of(model, inputs, "late")
    first.feature_scores(first.activations[:1], 0)
    assert proven_way(first.session, first.record.layer) == "copied"
    model.early = nn.Conv2d(3, 4, 3, padding=1)
    assert proven_way(Session(model, inputs), first.record.layer) is None
    assert proven_way(Session(seeded(WritesToItsPast), inputs), first.record.layer) is None
