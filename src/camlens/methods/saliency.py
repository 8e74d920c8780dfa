"""Methods computed from the gradient of the score with respect to the input."""

from camlens.core.details import Found
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import Scores, TargetMaps, precise


@register_method(
    "saliency",
    paper="Simonyan et al. 2013, Deep Inside Convolutional Networks, arXiv 1312.6034",
    needs="probe",
    good_for="the pixels that the score is sensitive to, in one backward pass and without a layer",
    signed=False,
    scope="input",
)
def saliency(probe: InputProbe) -> TargetMaps:
    """Compute the magnitude of the gradient of the score at each pixel.

    L = max_c |dY/dx_c| over the color channels c (Simonyan et al. 2013, arXiv 1312.6034, section 3.1). Never
    negative. Shows where the score is sensitive, not what supports it.

        explain(model, images, method="saliency")
    """
    return probe.input_gradients.abs().amax(dim=2)


@register_method(
    "gradientxinput",
    paper="Shrikumar et al. 2016, Not Just a Black Box, arXiv 1605.01713",
    needs="probe",
    good_for="the signed contribution of each pixel to the score of a nearly linear model",
    scope="input",
    diverging=True,
)
def gradientxinput(probe: InputProbe) -> Found:
    """Multiply the gradient with the input and sum over color channels.

    L = sum_c x_c dY/dx_c (Shrikumar et al. 2016, arXiv 1605.01713). For a linear score without a bias the map
    sums to the score; with `gradients="balanced"` also for other networks without biases. Pixels of value zero, the
    mean color after the usual preprocessing, get 0 whatever their gradient. `details` holds completeness_gap (n, t),
    the difference between the sum of the map and the score.

        explain(model, images, method="gradientxinput")
    """
    maps = precise((probe.inputs[:, None] * probe.input_gradients).sum(dim=2))
    return Found(maps, {"completeness_gap": completeness_gap(maps, probe.scores)})


def completeness_gap(maps: TargetMaps, scores: Scores) -> Scores:
    """Return the absolute difference (n, t) between the sum of each map and the score."""
    return (maps.flatten(2).sum(dim=2) - scores).abs()
