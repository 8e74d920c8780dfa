"""What layers see, without asking why: values by hand, every layout, nothing harmed."""

from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import camlens
from camlens import InputError, LayerError, ModelError, activations
from tests.core.test_harmless import assert_untouched, fingerprint, used_model
from tests.nets import ChannelsLast, ResidualNet, TinyVit, images, plain_cnn, seeded
from tests.refusals import refused


def seen_by_hand(model: nn.Module, names: list[str], inputs: Tensor) -> dict[str, Tensor]:
    """Outputs as plain hooks see them, copied before in-place code can touch them."""
    kept: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: kept.__setitem__(name, output.detach().clone())
        )
        for name in names
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return kept


def test_features_are_what_each_layer_returned_also_before_in_place_code() -> None:
    model, inputs = seeded(ResidualNet), images(3)
    names = ["block2", "stem", "block1.conv2"]
    found = activations(model, inputs, names)
    assert list(found) == names
    for name, features in seen_by_hand(model, names, inputs).items():
        assert_close(found[name].features, features, rtol=1e-5, atol=1e-6)
    assert found["block1.conv2"].features.min() < 0


def test_one_forward_pass_serves_all_layers() -> None:
    model, runs = seeded(plain_cnn), []
    model[0].register_forward_pre_hook(lambda _module, _args: runs.append(1))
    activations(model, images(), ["0", "2", "5"])
    assert runs == [1]


def test_token_grids_and_channels_last_outputs_are_read_as_features() -> None:
    vit, swin = seeded(TinyVit), seeded(ChannelsLast)
    tokens = seen_by_hand(vit, ["block2"], images())["block2"]
    found = activations(vit, images(), "block2")["block2"]
    assert_close(found.features, tokens[:, 1:].transpose(1, 2).reshape(2, 12, 4, 4), rtol=1e-5, atol=1e-6)
    last = seen_by_hand(swin, ["mix"], images())["mix"]
    assert_close(activations(swin, images(), "mix")["mix"].features, last.permute(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
    assert (found.grid, str(found.layout)) == ((4, 4), "tokens 4x4, 1 prefix tokens")


def test_the_call_of_a_layer_that_runs_twice_can_be_named() -> None:
    model = seeded(ResidualNet)
    with refused("layer.several-runs", LayerError, layer="block1.relu", runs=2):
        activations(model, images(), "block1.relu")
    found = activations(model, images(), ["block1.relu#2", model.block1])
    assert_close(found["block1.relu#2"].features, found["block1"].features, rtol=1e-5, atol=1e-6)


def test_statistics_are_those_of_each_channel() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0, 2.0]).reshape(3, 1, 1, 1))
    inputs = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 4.0]]]])
    found = activations(model, inputs, "1")["1"]
    assert_close(found.mean, torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]]))
    assert_close(found.maximum, torch.tensor([[3.0, 0.0, 6.0], [4.0, 0.0, 8.0]]))
    assert_close(found.minimum, torch.zeros(2, 3))
    assert_close(found.deviation[1], torch.tensor([3.0, 0.0, 6.0]).sqrt() * torch.tensor([1.0, 0.0, 2.0**0.5]))
    assert found.dead.tolist() == [[False, True, False]] * 2
    assert found.never_active.tolist() == [False, True, False]
    assert found.ranked(1) == found.ranked(1, by="maximum") == [2, 0, 1]
    assert found.ranked(by="index") == [0, 1, 2]
    assert repr(found) == "<LayerActivations: 1 (channels_first 2x2), 2 image(s), 3 channels, 1 dead>"


@pytest.mark.parametrize("size", [(12,), (6, 6), (4, 5, 6)])
def test_inputs_may_have_one_two_or_three_axes(size: tuple[int, ...]) -> None:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(size) - 1]
    model = seeded(lambda: nn.Sequential(kind(2, 4, 3, padding=1)))
    found = activations(model, images(2, size, 2), "0")["0"]
    assert_close(found.features, model(images(2, size, 2)).detach(), rtol=1e-5, atol=1e-6)
    assert found.mean.shape == (2, 4)


def test_a_layer_that_feeds_no_score_has_activations_too() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            self.unused(inputs)
            return self.used(inputs).mean(dim=(2, 3))

    model = seeded(Beside)
    assert_close(activations(model, images(), "unused")["unused"].features, model.unused(images()).detach())


def test_the_model_is_left_as_it_was_also_when_it_fails() -> None:
    model = used_model()
    before = fingerprint(model)
    activations(model, images(), ["2", "5"])
    assert_untouched(before, fingerprint(model))
    model[6].forward = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    before = fingerprint(model)
    with pytest.raises(KeyboardInterrupt):
        activations(model, images(), "2")
    assert_untouched(before, fingerprint(model))


def test_a_training_model_is_seen_in_evaluation_mode_and_bf16_comes_as_float32() -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = activations(model, inputs, "4")["4"].features
    assert_close(activations(model.train(), inputs, "4")["4"].features, expected, rtol=1e-5, atol=1e-6)
    half = activations(model.bfloat16(), inputs.bfloat16(), "4")["4"].features
    assert half.dtype == torch.float32
    assert_close(half, expected, rtol=0.1, atol=0.1)


def test_it_works_under_inference_mode_and_returns_normal_tensors() -> None:
    with torch.inference_mode():
        found = activations(seeded(plain_cnn), images(), "5")["5"]
    assert not found.features.is_inference()
    assert not found.features.requires_grad


def test_eight_threads_on_one_model_see_what_each_sees_alone() -> None:
    model, pool = seeded(ResidualNet), images(6)
    layers = ["stem", "block1.conv2", "block2"]
    alone = [activations(model, pool[row : row + 1], layers) for row in range(6)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda n: activations(model, pool[n % 6 : n % 6 + 1], layers), range(120)))
    for number, found in enumerate(together):
        for layer in layers:
            assert_close(found[layer].features, alone[number % 6][layer].features, rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_result_is_frozen() -> None:
    found = activations(seeded(plain_cnn), images(), "5")
    assert isinstance(found, MappingProxyType)
    with pytest.raises(AttributeError):
        found["5"].layer = "4"


def test_invalid_layers_inputs_and_models_are_refused() -> None:
    model = seeded(plain_cnn)
    with refused("layer.no-grid", LayerError, layer="8"):
        activations(model, images(), "8")
    with refused("argument.empty", LayerError, name="layers"):
        activations(model, images(), [])
    with refused("layer.unknown", LayerError, layer="conv9"):
        activations(model, images(), "conv9")
    with refused("input.dtype", InputError):
        activations(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "5")
    with refused("model.type", ModelError):
        activations(lambda batch: batch, images(), "5")
    with refused("image.out-of-range", InputError, image=2, images=2):
        activations(model, images(), "5")["5"].ranked(2)
    with refused("argument.invalid", InputError, name="by", value="size"):
        activations(model, images(), "5")["5"].ranked(by="size")
    idle = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    idle.spare = nn.Conv2d(3, 2, 3)
    idle.forward = lambda batch: idle[0](batch)
    with refused("layer.not-run", LayerError, layer="spare") as caught:
        activations(idle, images(), "spare")
    assert not isinstance(caught.value, camlens.NoGradientError)
