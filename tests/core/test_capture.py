"""Activations, gradients and scores of `capture`."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import LayerError, ModelError, NoGradientError, TargetError, explain
from camlens.core.capture import capture
from camlens.targets import AllClasses, ClassScore, Contrast, Predicted, Probability
from tests.nets import (
    ChannelsLast,
    NoGradBackbone,
    ResidualNet,
    TinyVit,
    Wrapped,
    images,
    plain_cnn,
    seeded,
)


def by_hand(model: nn.Module, layer: nn.Module, inputs: Tensor, class_index: int) -> tuple[Tensor, Tensor]:
    """Activations and gradients with a plain autograd pass over a copy without in-place layers."""
    places = [name for name, module in model.named_modules() if module is layer]
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()

    model.get_submodule(places[0]).register_forward_hook(keep)
    logits = model(inputs.requires_grad_())
    (gradient,) = torch.autograd.grad(logits[:, class_index].sum(), seen[0])
    inputs.requires_grad_(False)
    return seen[0].detach(), gradient


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 5])
def test_activations_and_gradients_are_those_of_plain_autograd(place: int) -> None:
    model, inputs = seeded(plain_cnn), images()
    activations, gradients = by_hand(model, model[place], inputs.clone(), 3)
    seen = capture(model, inputs, model[place], 3)
    record = seen.records[str(place)]
    assert_close(record.activations, activations, rtol=0, atol=1e-6)
    assert_close(record.gradients[:, 0], gradients, rtol=1e-5, atol=1e-7)
    assert_close(seen.scores[:, 0], model(inputs)[:, 3])


def test_v1_activations_keep_their_values_before_an_in_place_relu() -> None:
    model, inputs = seeded(plain_cnn), images()
    seen = capture(model, inputs, "4", 0).records["4"]
    assert seen.activations.min() < -0.1


def test_in_place_addition_after_a_block_does_not_change_its_record() -> None:
    model, inputs = seeded(ResidualNet), images()
    expected, gradients = by_hand(model, model.block2.conv2, inputs.clone(), 1)
    seen = capture(model, inputs, "block2.conv2", 1).records["block2.conv2"]
    assert_close(seen.activations, expected, rtol=1e-5, atol=1e-6)
    assert_close(seen.gradients[:, 0], gradients, rtol=1e-5, atol=1e-7)


def test_many_layers_in_one_pass_equal_single_layers() -> None:
    model, inputs = seeded(ResidualNet), images()
    names = ["stem", "block1.conv1", "block1", "block2.conv2", "block2"]
    together = capture(model, inputs, names, [ClassScore(0), ClassScore(4)])
    assert list(together.records) == names
    for name in names:
        alone = capture(model, inputs, name, [ClassScore(0), ClassScore(4)])
        assert_close(together.activations[name], alone.activations[name], rtol=0, atol=0)
        assert_close(together.gradients[name], alone.gradients[name], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("layer", ["5", "3"])
def test_all_classes_equal_one_class_at_a_time(layer: str) -> None:
    model, inputs = seeded(lambda: plain_cnn(classes=12)), images()
    every = capture(model, inputs, layer, AllClasses())
    for index in range(12):
        one = capture(model, inputs, layer, index)
        assert_close(every.gradients[layer][:, index], one.gradients[layer][:, 0], rtol=1e-4, atol=1e-7)
        assert_close(every.scores[:, index], one.scores[:, 0])


def test_closed_form_gradients_take_no_memory_per_cell() -> None:
    seen = capture(seeded(lambda: plain_cnn(classes=12)), images(), "5", AllClasses())
    assert seen.gradients["5"].stride()[3:] == (0, 0)


def test_closed_form_gradients_of_a_frozen_model_are_those_of_the_head_that_runs() -> None:
    model, inputs = seeded(lambda: plain_cnn(classes=12)), images()
    head = model[8]
    model[8] = nn.Sequential(head)
    model[0].spare = nn.Linear(head.in_features, 12)  # of the same shape, registered first, and never run
    every = capture(model.requires_grad_(False), inputs, "5", AllClasses()).gradients["5"]
    cells = every.shape[3:].numel()
    expected = (head.weight / cells)[None, :, :, None, None].expand_as(every)
    assert_close(every, expected, rtol=1e-5, atol=1e-9)
    assert every.stride()[3:] == (0, 0)


def test_v6_frozen_model() -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = capture(model, inputs, "5", 2).gradients["5"]
    model.requires_grad_(False)
    assert_close(capture(model, inputs, "5", 2).gradients["5"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_v7_under_no_grad_and_inference_mode(mode: type) -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = capture(model, inputs, "5", 2).gradients["5"]
    with mode():
        quiet = capture(model, inputs * 1.0, "5", 2).gradients["5"]
    assert_close(quiet, expected, rtol=0, atol=0)


@pytest.mark.parametrize("inference", [False, True])
def test_a_model_that_runs_under_no_grad_itself(inference: bool) -> None:
    model, inputs = seeded(lambda: NoGradBackbone(inference)), images()
    seen = capture(model, inputs, "relu", 2).records["relu"]
    expected = model.head.weight[2].detach()[None, :, None, None].expand(2, -1, 16, 16) / 256
    assert_close(seen.gradients[:, 0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_v10_other_precisions_give_maps_near_those_of_float32(dtype: torch.dtype) -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = capture(model, inputs, "5", 2).records["5"]
    seen = capture(model.to(dtype), inputs.to(dtype), "5", 2).records["5"]
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert seen.activations.dtype == seen.gradients.dtype == wanted
    assert_close(seen.activations.float(), expected.activations, rtol=0.05, atol=0.05)


def test_v10_autocast() -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = capture(model, inputs, "3", 2).records["3"]
    with torch.autocast("cpu", torch.bfloat16):
        seen = capture(model, inputs, "3", 2).records["3"]
    assert_close(seen.activations, expected.activations, rtol=0.05, atol=0.05)
    assert_close(seen.gradients, expected.gradients, rtol=0.1, atol=0.01)


def pair(logits: Tensor) -> tuple[Tensor, Tensor]:
    return logits, logits[:, :, None, None].expand(-1, -1, 4, 4)


@pytest.mark.parametrize("form", [lambda out: {"logits": out}, lambda out: [out], pair, lambda out: {"x": out}])
def test_v11_outputs_that_are_not_a_tensor(form: object) -> None:
    inner, inputs = seeded(plain_cnn), images()
    expected = capture(inner, inputs, "5", 1).gradients["5"]
    seen = capture(Wrapped(inner, form).eval(), inputs, "inner.5", 1)
    assert_close(seen.gradients["inner.5"], expected, rtol=0, atol=0)


def test_an_ambiguous_output_is_refused_until_output_selects_a_part() -> None:
    inner, inputs = seeded(plain_cnn), images()
    model = Wrapped(inner, lambda out: {"a": out, "b": 2 * out}).eval()
    with pytest.raises(ModelError) as caught:
        capture(model, inputs, "inner.5", 1)
    assert caught.value.code == "model.output"
    seen = capture(model, inputs, "inner.5", 1, output=lambda out: out["b"])
    assert_close(seen.scores[:, 0], 2 * inner(inputs)[:, 1])


def test_v24_a_module_that_runs_twice_must_be_named_with_its_call() -> None:
    model, inputs = seeded(ResidualNet), images()
    with pytest.raises(LayerError) as caught:
        capture(model, inputs, "block2.relu", 0)
    assert caught.value.code == "layer.several-runs"
    assert (caught.value.facts["layer"], caught.value.facts["runs"]) == ("block2.relu", 2)
    first = capture(model, inputs, "block2.relu#1", 0).activations["block2.relu#1"]
    second = capture(model, inputs, "block2.relu#2", 0).activations["block2.relu#2"]
    assert_close(second, capture(model, inputs, "block2", 0).activations["block2"], rtol=0, atol=0)
    assert not torch.equal(first, second)
    with pytest.raises(LayerError) as caught:
        capture(model, inputs, "block2.relu#3", 0)
    assert caught.value.code == "layer.no-call"
    assert (caught.value.facts["runs"], caught.value.facts["call"]) == (2, 3)


def test_v14_channels_last_layers_are_read_along_the_right_axes() -> None:
    model, inputs = seeded(ChannelsLast), images(size=(32, 32))
    for name in ("norm", "mix", "mix.1"):
        seen = capture(model, inputs, name, 0).records[name]
        assert seen.layout.kind == "channels_last"
        assert seen.activations.shape == (2, 24, 8, 8)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
@pytest.mark.parametrize("sequence", [False, True])
def test_v15_token_grids_with_prefix_tokens(prefix: int, size: tuple[int, int], sequence: bool) -> None:
    model = seeded(lambda: TinyVit(prefix, sequence=sequence))
    seen = capture(model, images(3, size), "block1", 0).records["block1"]
    assert seen.layout.prefix == prefix
    assert seen.activations.shape == (3, 12, size[0] // 4, size[1] // 4)
    tokens = seen.native.transpose(0, 1) if sequence else seen.native
    assert_close(seen.activations[1, :, 1, 2], tokens[1, prefix + size[1] // 4 + 2].detach(), rtol=0, atol=0)


def test_v16_a_transformers_last_block_is_refused_because_its_gradient_is_zero() -> None:
    with pytest.raises(NoGradientError) as caught:
        capture(seeded(TinyVit), images(), "block2", 0)
    assert caught.value.code == "layer.zero-gradient"


def test_a_layer_that_does_not_run_is_refused() -> None:
    model = seeded(plain_cnn)
    model.add_module("spare", nn.Identity())
    model.forward = lambda inputs: nn.Sequential.forward(model[:9], inputs)  # type: ignore[method-assign]
    with pytest.raises(NoGradientError) as caught:
        capture(model, images(), "spare", 0)
    assert caught.value.code == "layer.not-run"


@pytest.mark.parametrize("layer", ["7", "8"])
def test_a_layer_without_a_grid_is_refused(layer: str) -> None:
    with pytest.raises(LayerError) as caught:
        capture(seeded(plain_cnn), images(), layer, 0)
    assert caught.value.code == "layer.no-grid"


def test_an_unknown_layer_is_refused_with_its_neighbours() -> None:
    with pytest.raises(LayerError) as caught:
        capture(seeded(ResidualNet), images(), "blck2", 0)
    assert caught.value.code == "layer.unknown"
    assert "block2" in caught.value.facts["candidates"]
    with pytest.raises(LayerError) as caught:
        capture(seeded(ResidualNet), images(), nn.Conv2d(3, 3, 1), 0)
    assert caught.value.code == "layer.foreign"


@pytest.mark.parametrize("target", [5, -1, True, 2.5, "cat", [0], [0, 1, 2], [], Contrast(1, 1)])
def test_v8_v9_a_target_that_does_not_exist_is_refused(target: object) -> None:
    with pytest.raises(TargetError):
        capture(seeded(plain_cnn), images(2), "5", target)


def test_one_class_per_image() -> None:
    model, inputs = seeded(plain_cnn), images(3)
    seen = capture(model, inputs, "5", [4, 0, 2])
    logits = model(inputs)
    assert_close(seen.scores[:, 0], logits[torch.arange(3), torch.tensor([4, 0, 2])])
    for row, index in enumerate([4, 0, 2]):
        alone = capture(model, inputs[row : row + 1], "5", index)
        assert_close(seen.gradients["5"][row], alone.gradients["5"][0], rtol=1e-5, atol=1e-8)


def test_targets_are_the_scores_of_their_definition() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    logits = model(inputs).detach()
    seen = capture(model, inputs, "5", [Predicted(), Contrast(1, 3), Probability(2), lambda out: out[:, 0] * 2])
    expected = [logits.max(1).values, logits[:, 1] - logits[:, 3], logits.softmax(1)[:, 2], logits[:, 0] * 2]
    assert_close(seen.scores, torch.stack(expected, dim=1))


def test_one_and_three_dimensional_inputs() -> None:
    line = seeded(
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    )
    solid = seeded(
        lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    )
    assert capture(line, images(2, (20,), 2), "1").activations["1"].shape == (2, 4, 18)
    assert capture(solid, images(2, (6, 7, 8), 1), "1").activations["1"].shape == (2, 4, 4, 5, 6)


def test_wrappers_around_a_model_are_unwrapped() -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = capture(model, inputs, "5", 1).gradients["5"]
    parallel = nn.DataParallel(model)
    assert_close(capture(parallel, inputs, "module.5", 1).gradients["5"], expected, rtol=0, atol=0)
    compiled = torch.compile(model, backend="eager")
    assert_close(capture(compiled, inputs, model[5], 1).gradients["5"], expected, rtol=0, atol=0)


def test_noisy_copies_of_one_image_are_scored_for_its_classes() -> None:
    # more copies than images, and once more targets than are walked one by one
    model, inputs = seeded(ResidualNet), images(3)
    layer = capture_layer(model, inputs)
    for count in (2, 10):
        targets = [ClassScore([place % 5, (place + 1) % 5, (place + 2) % 5]) for place in range(count)]
        settings = {"method": "smoothgradcam++", "layers": layer, "options": {"samples": 5, "noise": 0.1}}
        together = explain(model, inputs, target=targets, **settings)
        for row in range(3):
            own = [ClassScore((place + row) % 5) for place in range(count)]
            alone = explain(model, inputs[row : row + 1], target=own, **settings)
            assert_close(together.maps[layer][row], alone.maps[layer][0], rtol=1e-4, atol=1e-6)


def capture_layer(model: nn.Module, inputs: Tensor) -> str:
    return str(explain(model, inputs).layers[0])


class Mixing(nn.Module):
    """The weights of its last matrix product come from the features themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.mix = nn.Linear(4, 20)

    def forward(self, inputs: Tensor) -> Tensor:
        pooled = self.conv(inputs).mean(dim=(2, 3))
        return pooled.mm(self.mix(pooled).mean(dim=0).reshape(4, 5))


def test_the_gradient_includes_weights_computed_from_the_layer() -> None:
    model, inputs = seeded(Mixing), images(1)
    _, gradients = by_hand(model, model.get_submodule("conv"), inputs.clone(), 2)
    assert_close(capture(model, inputs, "conv", 2).gradients["conv"][:, 0], gradients)
