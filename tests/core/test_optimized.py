"""The faster copy of a model: what is folded, what is proven, what falls back, and what is left alone."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import METHODS, Explainer, explain
from camlens.core.execution.hooks import announced, answered, observed
from camlens.core.execution.session import Session
from camlens.core.optimized.folding import fold, folding_pairs
from camlens.targets import ClassScore
from tests.nets import ChannelsLast, ResidualNet, Untidy, images, plain_cnn, seeded

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


class Branching(nn.Module):
    """Five batch norms, of which two follow a convolution that nobody else reads and that runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.plain_norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.grouped_norm = nn.BatchNorm2d(8)
        self.read_twice = nn.Conv2d(8, 8, 1)
        self.read_twice_norm = nn.BatchNorm2d(8)
        self.repeated = nn.Conv2d(8, 8, 1)
        self.repeated_norm = nn.BatchNorm2d(8)
        self.before = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.plain_norm(self.plain(inputs)).relu_()
        features = self.grouped_norm(self.grouped(features)).relu()
        read = self.read_twice(features)
        features = self.read_twice_norm(read) + read
        for _ in range(2):
            features = self.repeated_norm(self.repeated(features))
        features = self.last(self.before(features.relu()))
        return self.head(features.mean(dim=(2, 3)))


class Viewing(nn.Module):
    """Takes a view of its features that only the usual memory layout allows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6 * 16 * 16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.relu(self.norm(self.conv(inputs)))
        return self.head(features.view(len(inputs), -1))


class Peeking(nn.Module):
    """Reads a batch norm's own numbers, which an Identity does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.relu(self.norm(self.conv(inputs)))
        return self.head(features.mean(dim=(2, 3)) + self.norm.running_mean)


def facts_of(explainer: Explainer) -> dict:
    return explainer(images(2), target=1).provenance["optimized"]


def assert_same_maps(model: nn.Module, layer: str, method: str = "gradcam", **settings: object) -> dict:
    plain = Explainer(model, layers=layer, method=method, **settings)
    faster = plain.optimized(images(3, seed=5))
    theirs, ours = plain(images(4), target=1), faster(images(4), target=1)
    assert ours.maps.keys() == theirs.maps.keys()
    for name, expected in theirs.maps.items():
        # a map of differences between scores is as exact as the scores are
        rounding = 1e-6 * float(theirs.scores.abs().max())
        assert_close(ours.maps[name], expected, rtol=1e-4, atol=max(rounding, 1e-5 * float(expected.abs().max())))
    assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
    return ours.provenance["optimized"]


# Folding


def test_only_norms_that_alone_read_a_convolution_which_ran_once_are_folded() -> None:
    model = seeded(Branching)
    pairs = folding_pairs(Session(model, images(2)), [])
    names = {id(module): name for name, module in model.named_modules()}
    assert [(names[id(one)], names[id(other)]) for one, other in pairs] == [
        ("plain", "plain_norm"),
        ("grouped", "grouped_norm"),
    ]


def test_pairs_with_a_kept_layer_are_left_alone() -> None:
    model = seeded(Branching)
    assert folding_pairs(Session(model, images(1)), [model.plain, model.grouped_norm]) == []


def test_a_norm_over_the_batch_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False)).eval()
    assert folding_pairs(Session(model, images(2)), []) == []


def test_a_norm_without_weights_is_folded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)).eval()
    model[1].running_mean.copy_(torch.arange(6.0))
    with torch.no_grad():
        expected = model(images(2))
        fold(model, folding_pairs(Session(model, images(2)), []))
        assert type(model[1]) is nn.Identity
        assert_close(model(images(2)), expected, rtol=1e-5, atol=1e-5)


def test_looking_for_pairs_leaves_no_hook() -> None:
    model = seeded(Branching)
    folding_pairs(Session(model, images(1)), [])
    assert [name for name, module in model.named_modules() if module._forward_hooks] == []


@pytest.mark.parametrize(
    ("convolution", "norm", "size"),
    [
        (nn.Conv1d, nn.BatchNorm1d, (16,)),
        (nn.Conv2d, nn.BatchNorm2d, (8, 8)),
        (nn.Conv3d, nn.BatchNorm3d, (4, 4, 4)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_convolution_gives_what_both_gave(
    convolution: type[nn.Module], norm: type[nn.Module], size: tuple[int, ...], bias: bool
) -> None:
    model = seeded(lambda: nn.Sequential(convolution(3, 6, 3, padding=1, bias=bias), norm(6), nn.ReLU()))
    inputs = images(2, size)
    with torch.no_grad():
        expected = model(inputs)
        fold(model, folding_pairs(Session(model, inputs), []))
        assert type(model[1]) is nn.Identity
        assert_close(model(inputs), expected, rtol=1e-5, atol=1e-5)


# The same maps


@pytest.mark.parametrize(
    ("build", "layer", "folded"),
    [
        (plain_cnn, "5", 1),
        (plain_cnn, "1", 1),
        (plain_cnn, "3", 0),
        (plain_cnn, "4", 0),
        (Branching, "last", 2),
        (ResidualNet, "block1", 0),
        (ChannelsLast, "mix", 0),
    ],
)
def test_maps_are_those_of_the_given_model(build: type[nn.Module], layer: str, folded: int) -> None:
    facts = assert_same_maps(seeded(build), layer)
    assert facts["folded"] == folded
    assert facts["error"] < 1e-4
    assert facts["reason"] == ""


@pytest.mark.parametrize(
    "method", [name for name, entry in METHODS.items() if name != "random" and entry.scope != "tokens"]
)
def test_every_method_gives_the_same_map(method: str) -> None:
    options = {"masks": 200} if method == "rise" else {}
    assert_same_maps(seeded(plain_cnn), "5", method, options=options)


def test_several_layers_and_methods_are_called_the_same_way() -> None:
    plain = Explainer(seeded(plain_cnn), method=["gradcam", "layercam"], layers=["1", "5"])
    faster = plain.optimized(images(1))
    theirs, ours = plain(images(2), target=[0, 3]), faster(images(2), target=[0, 3])
    for method in ("gradcam", "layercam"):
        for layer in ("1", "5"):
            assert_close(ours[method].maps[layer], theirs[method].maps[layer], rtol=1e-4, atol=1e-6)


def test_a_layer_that_was_not_named_is_the_one_the_given_model_chooses() -> None:
    plain = Explainer(seeded(plain_cnn))
    faster = plain.optimized(images(1))
    theirs, ours = plain(images(2)), faster(images(2))
    assert ours.layers == theirs.layers
    assert ours.provenance["layer_choice"] == theirs.provenance["layer_choice"]


def test_provenance_names_the_given_models_weights_and_what_was_done() -> None:
    model = seeded(plain_cnn)
    explanation = Explainer(model, layers="5").optimized(images(1))(images(1))
    assert explanation.provenance["weights"] == explain(model, images(1)).provenance["weights"]
    facts = explanation.provenance["optimized"]
    assert facts["steps"] == ["folding", "channels_last"]
    assert 0 < facts["rounding"] < 1e-5


# Falling back


def test_a_model_that_needs_the_usual_memory_layout_is_folded_only() -> None:
    facts = assert_same_maps(seeded(Viewing), "relu")
    assert facts["steps"] == ["folding"]
    assert "folding + channels_last failed" in facts["reason"]


def test_a_model_that_reads_its_norms_is_not_folded() -> None:
    facts = assert_same_maps(seeded(Peeking), "relu")
    assert facts["steps"] == ["channels_last"]
    assert "no attribute" in facts["reason"]


def test_a_fold_that_disagrees_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: nn.Module, pairs: list) -> None:
        fold(model, pairs)
        with torch.no_grad():
            pairs[0][0].weight.mul_(1.01)

    monkeypatch.setattr("camlens.core.optimized.optimizing.fold", wrong)
    facts = assert_same_maps(seeded(plain_cnn), "5")
    assert facts["steps"] == ["channels_last"]
    assert "folding + channels_last: error" in facts["reason"]


def test_a_model_that_cannot_be_copied_is_run_itself() -> None:
    model = seeded(plain_cnn)
    model.derived = model[0].weight * 2  # a tensor with a history refuses to be copied
    faster = Explainer(model, layers="5").optimized(images(1))
    assert faster.model is model
    assert facts_of(faster)["steps"] == []
    assert "copying failed" in facts_of(faster)["reason"]


def test_fullgrad_reads_biases_where_they_are_so_nothing_is_folded() -> None:
    facts = assert_same_maps(seeded(plain_cnn), "5", "fullgrad")
    assert facts["steps"] == ["channels_last"]
    assert "biases" in facts["reason"]


# Do no harm


@pytest.mark.parametrize("build", [plain_cnn, Branching, Untidy])
def test_the_given_model_is_not_touched(build: type[nn.Module]) -> None:
    model = seeded(build).train()
    state = copy.deepcopy(model.state_dict())
    modules = [(name, id(module)) for name, module in model.named_modules()]
    layer = "conv" if build is Untidy else "last" if build is Branching else "5"
    random = torch.get_rng_state()
    Explainer(model, layers=layer).optimized(images(2))(images(2), target=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert [(name, id(module)) for name, module in model.named_modules()] == modules
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
        assert tensor.is_contiguous()


def test_training_on_does_not_change_the_copy() -> None:
    model = seeded(plain_cnn)
    faster = Explainer(model, layers="5").optimized(images(1))
    before = faster(images(2), target=ClassScore(2)).maps["5"]
    with torch.no_grad():
        model[0].weight.add_(1.0)
    assert_close(faster(images(2), target=ClassScore(2)).maps["5"], before, rtol=0, atol=0)


def test_a_copy_made_during_a_capture_carries_none_of_its_relays() -> None:
    model = seeded(plain_cnn)
    seen = []
    with (
        observed([model[1]], lambda _module, output: seen.append(output)),
        announced([model[1]], seen.append),
        answered([model[1]], lambda _module, forward, args, kwargs: forward(*args, **kwargs)),
    ):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin(images(1))
    assert seen == []
    assert "forward" not in twin[1].__dict__
    assert not twin[1]._forward_hooks
    assert not twin[1]._forward_pre_hooks


def test_a_copy_keeps_the_hooks_of_its_owner() -> None:
    model = seeded(plain_cnn)
    model[1].register_forward_hook(lambda _module, _inputs, output: output * 2)
    with torch.no_grad():
        assert_close(copy.deepcopy(model)(images(1)), model(images(1)), rtol=0, atol=0)
