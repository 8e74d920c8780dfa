"""Methods with their own backward rules at nonlinearities: guided backpropagation and DeepLIFT."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.baselines import Baseline, baseline_image
from camlens.core.details import Found
from camlens.core.engine import despite_writing
from camlens.core.errors import ModelError
from camlens.core.heatmaps import interpolated
from camlens.core.probe import InputProbe, Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise
from camlens.methods.gradient import gradcam
from camlens.methods.libraries import library
from camlens.methods.private_copy import PrivateCopy

_COMPLETE = 0.05  # the relative error of DeepLIFT's sum above which an error is raised


@register_method(
    "guidedbackprop",
    paper="Springenberg et al. 2015, Striving for Simplicity, arXiv 1412.6806",
    needs="probe",
    good_for="sharp edges of what activates the network; hardly depends on the class",
    cost="seconds",
    signed=False,
    scope="input",
)
def guided_backprop(probe: InputProbe) -> TargetMaps:
    """Compute the gradient with negative values set to zero at every ReLU of the backward pass.

    R_l = [f_l > 0] [R_l+1 > 0] R_l+1 at every ReLU, and the map is max over channels of |R_0| (Springenberg
    et al. 2015, arXiv 1412.6806, section 3.4; computed by captum on a copy of the model in which every call of a
    ReLU, as a module or a function, is a module of its own). It shows the edges of the image and changes little with
    the class (Adebayo et al. 2018, arXiv 1810.03292): use it for detail, not as evidence. Raises ModelError for a
    model without ReLU.

        explain(model, images, method="guidedbackprop")
    """
    return guided_gradients(probe).abs().amax(dim=2)


def guided_gradients(probe: InputProbe) -> Float[Tensor, "n t c *spatial"]:
    """Signed gradients of guided backpropagation for each channel; see `guided_backprop`."""
    hooked = PrivateCopy(probe)
    if not len(hooked.rectifiers):
        model = probe.session.model
        name = type(model).__name__
        has_relu6 = any(isinstance(module, nn.ReLU6) for module in model.modules())
        reason = f"and those of {name} are ReLU6, which is not supported" if has_relu6 else f"and {name} has none"
        raise ModelError(
            f"guided backpropagation needs ReLUs, {reason}: use integratedgradients or smoothgrad",
            code="model.no-relu",
            type=name,
            relu6=has_relu6,
        )
    images, targets = probe.scores.shape
    rows = []
    for row in range(images):
        hooked.row = row
        rows.append(torch.stack([_guided(hooked, probe, target) for target in range(targets)]))
        probe.progress(row + 1, images)
    return torch.stack(rows)


def _guided(hooked: PrivateCopy, probe: InputProbe, target: int) -> Tensor:
    attribution = library("captum.attr").GuidedBackprop(hooked)
    try:
        # as attribute() does, without its warning, which cannot be silenced for one thread only
        hooked.apply(attribution._register_hooks)
        with probe.still() as hooked.guard:
            image = probe.inputs[hooked.row][None].clone().requires_grad_()
            gradients = despite_writing(lambda: attribution.gradient_func(hooked, (image,), target))
    finally:
        attribution._remove_hooks()
    return precise(gradients[0][0].detach())


@register_method(
    "guidedgradcam",
    paper="Selvaraju et al. 2017, Guided Grad-CAM, arXiv 1610.02391",
    needs="probe",
    good_for="fine detail within the region that supports the class",
    cost="seconds",
    signed=False,
    scope="model",
)
def guidedgradcam(probe: Probe) -> TargetMaps:
    """Multiply guided backpropagation with the positive part of Grad-CAM.

    L = R * relu(G), R the `guidedbackprop` map, G the Grad-CAM map of the layer interpolated to the image
    (Selvaraju et al. 2017, arXiv 1610.02391, section 3.2). Never negative. Guided backpropagation hardly depends on
    the class, so the class shows only in the Grad-CAM region. With several layers the last one is used.

        explain(model, images, method="guidedgradcam", layers="layer4")
    """
    maps = [gradcam(probe.activations, gradients) for gradients in probe.gradients.unbind(dim=1)]
    region = torch.stack(maps, dim=1).clamp_min(0)
    return guided_backprop(probe.at_input) * interpolated(region, probe.inputs.shape[2:])


@register_method(
    "deeplift",
    paper="Shrikumar et al. 2017, DeepLIFT, arXiv 1704.02685",
    needs="probe",
    good_for="contributions relative to a baseline as in Integrated Gradients, in one backward pass",
    cost="seconds",
    scope="input",
    diverging=True,
)
def deeplift(probe: InputProbe, *, baseline: Baseline = 0.0) -> Found:
    """Compute the contribution of each pixel to the score's difference from the baseline, by the rescale rule.

    C = (x - x') * m with sum C = Y(x) - Y(x'), the multipliers m being (f(z) - f(z')) / (z - z') at every
    nonlinearity (Shrikumar et al. 2017, arXiv 1704.02685, eq. 1 and 11; computed by captum on a copy of the model in
    which every call of a nonlinearity is a module of its own), summed over channels. `baseline` x' is a number or an
    image in the units of the model's inputs; 0 is the mean color for most preprocessings. `details` holds
    baseline_scores and completeness_gap (n, t). Raises ModelError if the sum differs from the difference by more than
    5 %: the model then has a nonlinearity without a rule (attention, GELU, layer norm, a function instead of a module).

        explain(model, images, method="deeplift", options={"baseline": 0.0})
    """
    deep_lift = library("captum.attr").DeepLift
    kinds = tuple(library("captum.attr._core.deep_lift").SUPPORTED_NON_LINEAR)
    hooked = PrivateCopy(probe, kinds)
    images, targets = probe.scores.shape
    maps, starts, gaps = [], [], []
    for row, image in enumerate(probe.inputs):
        hooked.row = row
        start = baseline_image(baseline, image)[None]
        with torch.autocast(image.device.type, enabled=False):  # captum's hooks must return the types they get
            scores, start_scores = probe.input_scores(torch.cat([image[None], start]), row)
            target_maps = [_lifted(deep_lift(hooked), probe, image, start, target) for target in range(targets)]
        maps.append(torch.stack(target_maps))
        starts.append(start_scores)
        change = scores - start_scores
        gaps.append((maps[-1].flatten(1).sum(dim=1) - change).abs())
        _check_complete(probe, change, gaps[-1], scores)
        probe.progress(row + 1, images)
    return Found(torch.stack(maps), {"baseline_scores": torch.stack(starts), "completeness_gap": torch.stack(gaps)})


def _lifted(attribution: Any, probe: InputProbe, image: Tensor, start: Tensor, target: int) -> Tensor:
    hooked, handles = attribution.model, []
    try:
        # as attribute() does, without its warning, which cannot be silenced for one thread only
        handles = attribution._hook_main_model()
        hooked.apply(attribution._register_hooks)
        with probe.still() as hooked.guard:
            inputs = image[None].clone().requires_grad_()
            score = attribution._construct_forward_func(hooked, ((inputs,), (start,)), target)
            gradients = despite_writing(lambda: attribution.gradient_func(score, (inputs,)))
    except RuntimeError as error:
        if not any(text in str(error) for text in ("must match the size", "deterministic implementation")):
            raise
        raise ModelError(
            f"captum's DeepLIFT rule fails for a nonlinearity of {type(probe.session.model).__name__}: {error}. It"
            " needs images along the first axis and no torch.use_deterministic_algorithms; use integratedgradients",
            code="model.no-rule",
        ) from error
    finally:
        attribution._remove_hooks(handles)
    multipliers: Tensor = gradients[0][0].detach()
    return precise((image - start[0]) * multipliers).sum(dim=0)


def _is_probability(probe: InputProbe) -> bool:
    """Whether the scores are softmax probabilities: the model's own output, or a target's."""
    logits, classes = probe.captured.logits, probe.captured.scorer.classes
    if logits is None or logits.shape[1] < 2:
        return False
    if bool((logits >= 0).all()) and torch.allclose(logits.sum(dim=1), torch.ones_like(logits[:, 0]), atol=1e-3):
        return True
    return classes is not None and torch.allclose(logits.softmax(dim=1).gather(1, classes), probe.scores.to(logits))


def _check_complete(probe: InputProbe, change: Tensor, gap: Tensor, scores: Tensor) -> None:
    allowed = _COMPLETE * change.abs() + 1e-3 * scores.abs()
    if bool((gap > allowed).any()):
        worst = int((gap - allowed).argmax())
        if _is_probability(probe):
            raise ModelError(
                "DeepLIFT contributions do not add up to a probability, since softmax mixes all classes: explain the "
                "logits (a model without its final softmax, or a class instead of Probability(class))",
                code="model.explain-logits",
                model=type(probe.session.model).__name__,
            )
        raise ModelError(
            f"DeepLIFT contributions must add up to the change of the score ({float(change[worst]):.3g}) and are off "
            f"by {float(gap[worst]):.3g}: {type(probe.session.model).__name__} has a nonlinearity without a rule, such "
            f"as attention, GELU, layer norm or a function instead of a module; use integratedgradients instead",
            code="model.not-additive",
            type=type(probe.session.model).__name__,
        )
