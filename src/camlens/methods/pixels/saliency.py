"""Methods that read the gradient of the score with respect to the image itself."""

from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps


@register_method(
    "saliency",
    paper="Simonyan et al. 2013, Deep Inside Convolutional Networks, arXiv 1312.6034",
    needs="probe",
    good_for="which pixels the score reacts to, in one backward pass and without choosing a layer",
    signed=False,
    scope="input",
)
def saliency(probe: InputProbe) -> TargetMaps:
    """How strongly the score reacts to each pixel, whatever the direction: the first thing to look at below a layer.

    L = max_c |dY/dx_c| over the colour channels c (Simonyan et al. 2013, arXiv 1312.6034, section 3.1). Never
    negative. Says where the score is sensitive, not what speaks for it.

        explain(model, images, method="saliency")
    """
    return probe.input_gradients.abs().amax(dim=2)


@register_method(
    "gradientxinput",
    paper="Shrikumar et al. 2016, Not Just a Black Box, arXiv 1605.01713",
    needs="probe",
    good_for="what each pixel adds to the score of a nearly linear model, for and against",
    scope="input",
    diverging=True,
)
def gradientxinput(probe: InputProbe) -> TargetMaps:
    """Each pixel's share in the score if the model were linear: gradient times value, summed over the colours.

    L = sum_c x_c dY/dx_c (Shrikumar et al. 2016, arXiv 1605.01713). For a linear score without a bias the map
    sums to the score. A pixel at zero, the mean colour after the usual preprocessing, has no share whatever
    the gradient says.

        explain(model, images, method="gradientxinput")
    """
    return (probe.inputs[:, None] * probe.input_gradients).sum(dim=2)
