"""A model that fails on its inputs: the message says what does not fit, and other errors stay what they are."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from camlens import InputError, MisfitError, compute_gradcam, explain, get_top_predictions
from tests.nets import images, plain_cnn, seeded


def test_inputs_of_another_type_than_the_weights() -> None:
    with pytest.raises(MisfitError, match=r"float64 on cpu: its weights are float32 on cpu; pass inputs.to\('cpu', to"):
        explain(seeded(plain_cnn), images().double(), layers="5")
    with pytest.raises(MisfitError, match="its weights are bfloat16"):
        explain(seeded(plain_cnn).bfloat16(), images(), layers="5")
    with pytest.raises(InputError, match="the meta device, which holds no values"):
        explain(seeded(plain_cnn), images().to("meta"))


@pytest.mark.parametrize(
    ("channels", "mend"),
    [(1, r"inputs\.expand\(-1, 3, \*inputs"), (4, r"inputs\[:, :3\]"), (5, "pass 3, not 5, in the second axis")],
)
def test_another_number_of_channels(channels: int, mend: str) -> None:
    model, inputs = seeded(plain_cnn), images(channels=channels)
    calls: list[Callable[[], object]] = [
        lambda: explain(model, inputs),
        lambda: explain(model, inputs, layers="5", method="scorecam"),
        lambda: compute_gradcam(model, "cpu", inputs[0], model[5]),
        lambda: get_top_predictions(model, "cpu", inputs[0], list("abcde")),
    ]
    for call in calls:
        with pytest.raises(MisfitError, match=f"it takes 3 channels; .*{mend}"):
            call()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (images()[0], "3 signals of one spatial axis; add the batch axis"),
        (images(size=(4, 8, 8)), "they have 3 spatial axes, and its convolutions 2"),
        (images(size=(1, 1)), "perhaps they are too small"),
    ],
    ids=["no batch", "volumes", "tiny"],
)
def test_other_axes_and_tiny_images(inputs: Tensor, words: str) -> None:
    with pytest.raises(MisfitError, match=words):
        explain(seeded(plain_cnn), inputs, layers="5")


@pytest.mark.parametrize("convert", [Tensor.to_sparse, Tensor.to_mkldnn])
def test_tensors_that_are_not_dense(convert: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(InputError, match=r"pass inputs.to_dense\(\)"):
        explain(seeded(plain_cnn), convert(images()), layers="5")


def test_a_transformer_that_takes_one_size() -> None:
    import torchvision

    model = torchvision.models.VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=3).eval()
    with pytest.raises(MisfitError, match=r"images of one size only; resize them to it \(Wrong image height"):
        explain(model, images(size=(24, 24)))


def test_another_size_than_a_flattened_layer_fits() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()
    assert explain(model, images(size=(8, 8)), layers="0").maps["0"].shape == (2, 1, 6, 6)
    with pytest.raises(MisfitError, match="perhaps it takes images of one size only"):
        explain(model, images(), layers="0")


class Faulty(nn.Module):
    """Fails for reasons of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.error = error

    def forward(self, inputs: Tensor) -> Tensor:
        self.conv(inputs)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("of its own"),
        RuntimeError("expected input[2, 64, 7, 7] to have 32 channels, but got 64"),  # deep inside: not the inputs
        TypeError("a fault in forward"),
        ValueError("a wrong value"),
        AssertionError("a claim that failed"),
    ],
)
def test_the_model_s_own_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        explain(Faulty(error).eval(), images(), layers="conv")
    assert caught.value is error


def test_running_out_of_memory_is_not_taken_for_a_misfit() -> None:
    error = torch.OutOfMemoryError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(InputError, match="a single image does not fit into memory") as caught:
        explain(Faulty(error).eval(), images(), layers="conv")
    assert caught.value.__cause__ is error
