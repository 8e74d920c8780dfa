"""Three functions to start with: a Grad-CAM map, the convolutions, and the best predictions."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.capture import capture
from camlens.core.errors import InputError, LayerError, ModelError, NoGradientError, invalid_argument
from camlens.core.execution.frontier import NO_GRADIENTS
from camlens.core.execution.harmless import harmless
from camlens.core.execution.session import Session
from camlens.core.heatmaps import empty_maps, evidence_warning, normalized, rectified, resized
from camlens.core.layers import checked_model, conv_layers
from camlens.core.probabilities import Activation, Task, best_outputs, binary_logits, probabilities
from camlens.core.targets.scoring import check_single_output
from camlens.explainer import warn_user
from camlens.methods.gradient import gradcam


class Prediction(TypedDict):
    """One class with the model's confidence in it."""

    class_idx: int
    class_name: str
    confidence: float


@harmless
def compute_gradcam(
    model: nn.Module,
    device: torch.device | str,
    image_tensor: Tensor,
    target_layer: nn.Module,
    target_class: int | None = None,
    *,
    activation: Activation | None = None,
    task: Task = "classification",
) -> tuple[NDArray[np.float32], int, float]:
    """Return the Grad-CAM heatmap of one image, the explained class, and the model's confidence in it.

    Args:
        model: any image classifier on `device`. It is left as it was.
        device: the device of the model.
        image_tensor: (C, H, W), preprocessed.
        target_layer: the module whose feature maps are weighted.
        target_class: the class to explain (default: the predicted class). Required for a regression with several
            outputs.
        activation: "softmax" or "sigmoid" (default: sigmoid for a model with one logit, else softmax).
        task: "regression" if the outputs are not logits: the confidence is then the output itself.

    Returns:
        heatmap (H, W) float32 in [0, 1] at the size of the input; class index; probability of that class.

    Raises:
        RuntimeError: "No gradients captured. Try a different layer." if the layer does not feed the score.
        LayerError, TargetError, InputError: for an invalid layer, class or tensor.

    Selvaraju et al. 2017, arXiv 1610.02391.
    """
    _check_image(image_tensor)
    if not isinstance(target_layer, nn.Module):
        raise LayerError(
            f"target_layer must be a module of the model, not {target_layer!r}; see get_conv_layers",
            code="argument.invalid",
            name="target_layer",
            value=target_layer,
        )
    image = _on_device(image_tensor, device)
    try:
        captured = capture(checked_model(model), image, target_layer, target_class)
    except LayerError as error:
        if isinstance(error, NoGradientError) or error.code == "layer.foreign":
            raise NoGradientError(NO_GRADIENTS, code=error.code, **error.facts) from error
        raise
    (record,) = captured.records.values()
    maps = gradcam(record.activations, record.gradients[:, 0])[:, None]
    empty = empty_maps(maps, record.layer.label, captured.scorer.labels)
    if empty:
        warn_user(evidence_warning({"gradcam": empty}, 1))
    heatmap = resized(normalized(rectified(maps)), image_tensor.shape[1:])[0, 0]
    if captured.logits is None or captured.scorer.classes is None:
        raise ModelError(
            "compute_gradcam needs a classifier that returns logits (1, classes); use explain for other models",
            code="model.output",
        )
    class_index = int(captured.scorer.classes[0, 0])
    if task == "regression" and target_class is None:
        check_single_output(captured.logits)
    confidence = float(probabilities(captured.logits[0], activation, task)[class_index])
    return heatmap.cpu().numpy(), class_index, confidence


def get_conv_layers(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Return every 2-D convolution of the model with its name, in the order of `named_modules`."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise ModelError(f"a model is a torch.nn.Module, not {kind}", code="model.type", type=kind)
    return conv_layers(model)


@harmless
def get_top_predictions(
    model: nn.Module,
    device: torch.device | str,
    image_tensor: Tensor,
    class_names: Sequence[str],
    top_k: int = 5,
    *,
    activation: Activation | None = None,
    task: Task = "classification",
) -> list[Prediction]:
    """Return the `top_k` most likely classes, best first, with confidences in [0, 1].

    `image_tensor` is (C, H, W), preprocessed. If the model has fewer than `top_k` classes, all are returned.
    `activation` is "softmax" or "sigmoid" (default: sigmoid for a model with one logit, else softmax). A model with one
    logit may have two names, of the negative and of the positive class. For `task="regression"` the confidence is the
    output itself.
    """
    _check_image(image_tensor)
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or top_k < 1:
        raise invalid_argument("top_k", top_k, "an int of at least 1")
    if isinstance(class_names, str) or not isinstance(class_names, Sequence | np.ndarray):
        raise invalid_argument("class_names", class_names, "one name per class of the model")
    output = Session.of(model, _on_device(image_tensor, device)).predict()
    logits = (output.class_scores() if task == "classification" else output.logits())[0].float()
    if len(logits) == 1 and len(class_names) == 2 and task == "classification":
        logits = binary_logits(logits, activation)
    if len(class_names) != len(logits):
        raise InputError(
            f"{len(class_names)} class names were given for a model with {len(logits)} classes",
            code="class-names.count",
            names=len(class_names),
            classes=len(logits),
        )
    return [
        {"class_idx": index, "class_name": class_names[index], "confidence": confidence}
        for index, confidence in best_outputs(logits, int(top_k), activation, task)
    ]


def _check_image(image: object) -> None:
    if isinstance(image, Tensor) and image.ndim == 3:
        return
    shape = tuple(image.shape) if isinstance(image, Tensor) else None
    raise InputError(
        f"image_tensor must be one preprocessed image (C, H, W), not {shape or type(image).__name__}",
        code="input.not-an-image",
        shape=shape,
        type=type(image).__name__,
    )


def _on_device(image: Tensor, device: torch.device | str) -> Tensor:
    """Return the image as a batch on `device`, or raise an InputError if the device is not available."""
    try:
        return image[None].to(torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"the image cannot be moved to device {str(device)!r} ({str(error).splitlines()[0]}): "
            f'use an available device, such as "cpu"',
            code="device.unavailable",
            device=str(device),
        ) from error
