"""Guided Grad-CAM: the detail of guided backpropagation where Grad-CAM sees evidence."""

import torch

from camlens.attributions.rules import guided_backprop
from camlens.core.probe import Probe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps
from camlens.methods.gradient import gradcam
from camlens.methods.resizing import resized


@register_method(
    "guidedgradcam",
    paper="Selvaraju et al. 2017, Guided Grad-CAM, arXiv 1610.02391",
    needs="probe",
    good_for="fine detail inside the region that speaks for the class",
    cost="seconds",
    signed=False,
    scope="model",
)
def guidedgradcam(probe: Probe) -> TargetMaps:
    """Guided backpropagation, kept where Grad-CAM of the layer is positive and as much as it is.

    L = R * relu(G), R the `guidedbackprop` map at the image's own resolution, G the Grad-CAM map of the layer
    interpolated to it (Selvaraju et al. 2017, arXiv 1610.02391, section 3.2). Never negative. The edges come
    from guided backpropagation, which hardly knows the class; what the class adds is the Grad-CAM region. With
    several layers the last one counts.

        explain(model, images, method="guidedgradcam", layers="layer4")
    """
    evidence = [gradcam(probe.activations, gradients) for gradients in probe.gradients.unbind(dim=1)]
    region = torch.stack(evidence, dim=1).clamp_min(0)
    return guided_backprop(probe.at_input) * resized(region, probe.inputs.shape[2:])
