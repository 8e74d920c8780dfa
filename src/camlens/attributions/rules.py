"""Methods that walk backwards by rules of their own where the network rectifies: guided backprop, DeepLift."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.attributions.baselines import Baseline, baseline_image
from camlens.attributions.libraries import library
from camlens.attributions.private_copy import PrivateCopy
from camlens.core.details import Found
from camlens.core.errors import ModelError
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise

_COMPLETE = 0.05  # how much of the score's change DeepLift may miss before the map is refused


@register_method(
    "guidedbackprop",
    paper="Springenberg et al. 2015, Striving for Simplicity, arXiv 1412.6806",
    needs="probe",
    good_for="crisp edges of what excites the network; hardly knows the class",
    cost="seconds",
    signed=False,
    scope="input",
)
def guided_backprop(probe: InputProbe) -> TargetMaps:
    """The gradient with every negative value dropped on its way back through a rectifier.

    R_l = [f_l > 0] [R_l+1 > 0] R_l+1 at every ReLU, and the map is max over channels of |R_0| (Springenberg
    et al. 2015, arXiv 1412.6806, section 3.4; computed by captum on a private copy of the model, in which a
    ReLU that is called several times, or as a function, is one module for each call). It recovers the image's
    edges and changes little with the class (Adebayo et al. 2018, arXiv 1810.03292): read it for detail, not as
    evidence. A model without ReLU is a ModelError.

        explain(model, images, method="guidedbackprop")
    """
    return guided_gradients(probe).abs().amax(dim=2)


def guided_gradients(probe: InputProbe) -> Float[Tensor, "n t c *spatial"]:
    """Guided backpropagation's signed gradients at the images, channels kept; see `guided_backprop`."""
    hooked = PrivateCopy(probe)
    if not len(hooked.rectifiers):
        name = type(probe.session.model).__name__
        raise ModelError(
            f"guided backpropagation changes how ReLUs are walked through, and {name} runs none: "
            f"take integratedgradients or smoothgrad for this model",
            code="model.no-relu",
            type=name,
        )
    images, targets = probe.scores.shape
    rows = []
    for row in range(images):
        hooked.row = row
        each = [_guided(hooked, probe, target) for target in range(targets)]
        probe.progress(row + 1, images)
        rows.append(torch.stack(each))
    return torch.stack(rows)


def _guided(hooked: PrivateCopy, probe: InputProbe, target: int) -> Tensor:
    attribution = library("captum.attr").GuidedBackprop(hooked)
    try:
        # attribute() is these lines and a warning that it hooks the model, which would be the whole process's
        hooked.apply(attribution._register_hooks)
        with probe.still():
            image = probe.inputs[hooked.row][None].clone().requires_grad_()
            gradients = despite_writing(lambda: attribution.gradient_func(hooked, (image,), target))
    finally:
        attribution._remove_hooks()
    return precise(gradients[0][0].detach())


@register_method(
    "deeplift",
    paper="Shrikumar et al. 2017, DeepLIFT, arXiv 1704.02685",
    needs="probe",
    good_for="an account against a baseline as Integrated Gradients gives, in one pass back",
    cost="seconds",
    scope="input",
    diverging=True,
)
def deeplift(probe: InputProbe, *, baseline: Baseline = 0.0) -> Found:
    """Each pixel's part in the score's difference from the baseline, by the rescale rule.

    C = (x - x') * m with sum C = Y(x) - Y(x'), the multipliers m being (f(z) - f(z')) / (z - z') at every
    nonlinearity (Shrikumar et al. 2017, arXiv 1704.02685, eq. 1 and 11; computed by captum on a private copy
    of the model, in which a nonlinearity that is called several times is one module for each call), summed
    over channels. `baseline` x' is a number or an image in the model's own units; 0 is the mean colour for
    most preprocessings. `details` hold baseline_scores and completeness_gap (n, t). Where the sum misses the
    difference by more than a twentieth, the model holds a nonlinearity that has no rule (attention, GELU,
    layer norm, a function in place of a module): that is a ModelError, since the map would not be DeepLIFT's.

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
            each = [_lifted(deep_lift(hooked), probe, image, start, target) for target in range(targets)]
        maps.append(torch.stack(each))
        starts.append(start_scores)
        change = scores - start_scores
        gaps.append((maps[-1].flatten(1).sum(dim=1) - change).abs())
        _check_complete(probe, change, gaps[-1], scores)
        probe.progress(row + 1, images)
    return Found(torch.stack(maps), {"baseline_scores": torch.stack(starts), "completeness_gap": torch.stack(gaps)})


def _lifted(attribution: Any, probe: InputProbe, image: Tensor, start: Tensor, target: int) -> Tensor:
    hooked, handles = attribution.model, []
    try:
        # attribute() is these lines and a warning that it hooks the model, which would be the whole process's
        handles = attribution._hook_main_model()
        hooked.apply(attribution._register_hooks)
        with probe.still():
            inputs = image[None].clone().requires_grad_()
            score = attribution._construct_forward_func(hooked, ((inputs,), (start,)), target)
            gradients = despite_writing(lambda: attribution.gradient_func(score, (inputs,)))
    except RuntimeError as error:
        if not any(text in str(error) for text in ("must match the size", "deterministic implementation")):
            raise
        raise ModelError(
            f"captum's rule for a nonlinearity of {type(probe.session.model).__name__} fails: {error}. It needs the "
            "images along the first axis, and no torch.use_deterministic_algorithms; take integratedgradients",
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
                "DeepLIFT's parts do not add up to a probability, since softmax mixes all classes: explain the logits "
                "(a model without its last softmax, or a class instead of Probability(class))",
                code="model.explain-logits",
                model=type(probe.session.model).__name__,
            )
        raise ModelError(
            f"DeepLIFT's parts must add up to the change of the score ({float(change[worst]):.3g}) and miss it by "
            f"{float(gap[worst]):.3g}: {type(probe.session.model).__name__} holds a nonlinearity that has no rule, "
            f"such as attention, GELU, layer norm or a function in place of a module; take integratedgradients",
            code="model.not-additive",
            type=type(probe.session.model).__name__,
        )
