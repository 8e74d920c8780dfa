"""If a model fails on its inputs the error tells why; other errors are raised unchanged."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from camlens import CamlensError, InputError, MisfitError, ModelError, compute_gradcam, explain, get_top_predictions
from tests.nets import images, plain_cnn, seeded


def refused(call: Callable[[], object], error: type[CamlensError]) -> tuple[str, dict[str, object]]:
    """The code and the facts of the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return caught.value.code, caught.value.facts


def test_inputs_whose_dtype_differs_from_that_of_the_weights() -> None:
    code, facts = refused(lambda: explain(seeded(plain_cnn), images().double(), layers="5"), MisfitError)
    assert (code, facts["dtype"], facts["device"]) == ("input.dtype", "torch.float64", "cpu")
    code, _ = refused(lambda: explain(seeded(plain_cnn).bfloat16(), images(), layers="5"), MisfitError)
    assert code == "input.dtype"
    code, _ = refused(lambda: explain(seeded(plain_cnn), images().to("meta")), InputError)
    assert code == "input.device"


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_wrong_number_of_channels(channels: int) -> None:
    model, inputs = seeded(plain_cnn), images(channels=channels)
    calls: list[Callable[[], object]] = [
        lambda: explain(model, inputs),
        lambda: explain(model, inputs, layers="5", method="scorecam"),
        lambda: compute_gradcam(model, "cpu", inputs[0], model[5]),
        lambda: get_top_predictions(model, "cpu", inputs[0], list("abcde")),
    ]
    for call in calls:
        code, facts = refused(call, MisfitError)
        assert (code, facts["shape"][1]) == ("input.channels", channels)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [(images(size=(4, 8, 8)), "input.axes"), (images(size=(1, 1)), "input.too-small")],
    ids=["volumes", "tiny"],
)
def test_wrong_axes_and_tiny_images(inputs: Tensor, code: str) -> None:
    assert refused(lambda: explain(seeded(plain_cnn), inputs, layers="5"), MisfitError)[0] == code


class Mean(nn.Module):
    """Runs on a single image as well, and returns (classes,) for it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.conv(inputs).mean(dim=(-2, -1)))


@pytest.mark.parametrize("build", [plain_cnn, Mean])
@pytest.mark.parametrize("size", [(8, 8), (224, 224)])
def test_a_single_image_needs_a_batch_axis(build: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    model, image = seeded(build), images(size=size)[0]
    layer = model.get_submodule("conv" if build is Mean else "0")
    for settings in ({}, {"layers": layer}, {"layers": [layer], "method": ["gradcam", "saliency"]}):
        code, facts = refused(lambda settings=settings: explain(model, image, **settings), InputError)
        assert (code, facts["shape"]) == ("input.not-a-batch", (3, *size))
    assert refused(lambda: explain(model, image[0], layers=layer), InputError)[0] == "input.not-a-batch"


class TwoInputs(nn.Module):
    """Needs a second tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain_cnn()

    def forward(self, image: Tensor, depth: Tensor) -> Tensor:
        return self.inner(image + depth)


def test_missing_and_unknown_arguments_of_the_model() -> None:
    model = seeded(TwoInputs)
    for kwargs in (None, {"deph": images()}):
        code, facts = refused(lambda kwargs=kwargs: explain(model, images(), kwargs=kwargs), ModelError)
        assert (code, facts["parameters"]) == ("model.arguments", ("image", "depth"))
    assert explain(model, images(), kwargs={"depth": images()}, target=1).layers


class TextFirst(nn.Module):
    """Takes tokens first, as multimodal models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain_cnn()

    def forward(self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None) -> Tensor:
        return self.inner(pixel_values.float())


def test_a_model_that_takes_text_first() -> None:
    for layers in (None, "inner.0"):
        code, facts = refused(lambda layers=layers: explain(seeded(TextFirst), images(), layers=layers), ModelError)
        assert (code, facts) == ("model.image-argument", {"first": "input_ids", "images": "pixel_values"})


def test_models_none_of_whose_layers_run() -> None:
    model, inputs = seeded(plain_cnn), images()
    program = torch.export.export(model, (inputs,))
    assert refused(lambda: explain(program.module(), inputs), ModelError)[0] == "model.exported"
    assert refused(lambda: explain(program, inputs), ModelError) == ("model.type", {"type": "ExportedProgram"})
    assert explain(torch.fx.symbolic_trace(model), inputs, layers="0", target=1).layers == ("0",)


@pytest.mark.parametrize("convert", [Tensor.to_sparse, Tensor.to_mkldnn])
def test_sparse_and_nested_inputs(convert: Callable[[Tensor], Tensor]) -> None:
    code, _ = refused(lambda: explain(seeded(plain_cnn), convert(images()), layers="5"), InputError)
    assert code == "input.layout"


def test_a_transformer_with_a_fixed_image_size() -> None:
    import torchvision

    model = torchvision.models.VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=3).eval()
    assert refused(lambda: explain(model, images(size=(24, 24))), MisfitError)[0] == "input.size"


def test_a_size_that_a_linear_layer_does_not_fit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()
    assert explain(model, images(size=(8, 8)), layers="0").maps["0"].shape == (2, 1, 6, 6)
    assert refused(lambda: explain(model, images(), layers="0"), MisfitError)[0] == "input.size"


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
def test_errors_of_the_model_itself_are_not_replaced(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        explain(Faulty(error).eval(), images(), layers="conv")
    assert caught.value is error


def test_running_out_of_memory_is_not_reported_as_a_misfit() -> None:
    error = torch.OutOfMemoryError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(InputError) as caught:
        explain(Faulty(error).eval(), images(), layers="conv")
    assert caught.value.code == "memory.exhausted"
    assert caught.value.__cause__ is error
