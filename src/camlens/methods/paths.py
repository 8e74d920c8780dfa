"""Methods that average gradients over a path from a baseline, or over noisy copies of the image."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.arguments import checked_count, checked_strength
from camlens.core.baselines import Baseline, baseline_image
from camlens.core.details import Found
from camlens.core.engine import SeededDraws, despite_writing
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise
from camlens.methods.draws import same_draws
from camlens.methods.libraries import library


@register_method(
    "integratedgradients",
    paper="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365",
    needs="probe",
    good_for="the contribution of each pixel relative to a baseline; contributions add up to the score difference",
    cost="seconds",
    scope="input",
    diverging=True,
)
def integrated_gradients(probe: InputProbe, *, steps: int = 50, baseline: Baseline = 0.0) -> Found:
    """Integrate the gradient along the straight path from the baseline to the image.

    IG = (x - x') * integral_0^1 dY/dx (x' + a (x - x')) da, by Gauss-Legendre quadrature with `steps` points,
    summed over channels (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1; computed by captum). The map sums
    to Y(x) - Y(x'). `baseline` x' is a number or an image in the units of the model's inputs; 0 is the mean color
    of the training data for most preprocessings. Pixels that equal the baseline get 0, whatever their importance.
    `details` holds baseline_scores (n, t) and completeness_gap (n, t), the error of the sum: use more steps if it is
    large compared to the score.

        explain(model, images, method="integratedgradients", options={"steps": 50})
    """
    checked_count("steps", steps)
    captum = library("captum.attr")
    images, targets = probe.scores.shape
    done, total = 0, images * targets * steps
    maps, starts, gaps = [], [], []
    for row, image in enumerate(probe.inputs):
        start = baseline_image(baseline, image)[None]
        with probe.still() as guard:
            start_scores = precise(probe.live_scores(guard, start, row)[0].detach())
        target_maps = []
        for target in range(targets):

            def score(inputs: Tensor, row: int = row, target: int = target) -> Tensor:
                nonlocal done
                scores = probe.live_scores(guard, inputs, row)[:, target]
                done += len(inputs)
                probe.progress(min(done, total), total)
                return scores

            with probe.still() as guard:
                attributions = despite_writing(
                    partial(
                        captum.IntegratedGradients(score).attribute,
                        image[None].clone().requires_grad_(),
                        baselines=start,
                        n_steps=steps,
                        internal_batch_size=probe.batch_size,
                    )
                )
            target_maps.append(precise(attributions[0].detach()).sum(dim=0))
        maps.append(torch.stack(target_maps))
        starts.append(start_scores)
        gaps.append(maps[-1].flatten(1).sum(dim=1) - (probe.scores[row] - start_scores))
    return Found(
        torch.stack(maps), {"baseline_scores": torch.stack(starts), "completeness_gap": torch.stack(gaps).abs()}
    )


@register_method(
    "smoothgrad",
    paper="Smilkov et al. 2017, SmoothGrad, arXiv 1706.03825",
    needs="probe",
    good_for="a gradient map with less visual noise",
    cost="seconds",
    signed=False,
    scope="input",
)
def smoothgrad(probe: InputProbe, *, samples: int = 25, noise: float = 0.15) -> TargetMaps:
    """Average the gradient over noisy copies of the image and take its magnitude.

    S = max over channels of |1/N sum_i dY/dx (x + e_i)|, e_i Gaussian with standard deviation `noise` times
    the image's value range (Smilkov et al. 2017, arXiv 1706.03825, eq. 1; computed by captum's noise tunnel).
    Seeded, with the same draws for every image; all targets share the forward passes. Never negative. With noise 0
    this is the saliency map of Simonyan et al. 2013.

        explain(model, images, method="smoothgrad", options={"samples": 25, "noise": 0.15})
    """
    checked_count("samples", samples)
    checked_strength("noise", noise)
    return torch.stack([_smoothed(probe, row, samples, noise) for row in range(len(probe.inputs))])


def _smoothed(probe: InputProbe, row: int, samples: int, noise: float) -> Float[Tensor, "t *spatial"]:
    captum, image, done = library("captum.attr"), probe.inputs[row], 0
    saliency = captum.Saliency(probe.input_scores)
    with probe.still(), SeededDraws(same_draws(probe.generator)) as draws:

        def gradients(_score: object, inputs: tuple[Tensor], *_: object) -> tuple[Tensor, ...]:
            nonlocal done
            (noisy,) = inputs
            with draws.paused():
                target_gradients = probe.gradients_at(noisy.detach().to(image.dtype), row)[1]
            done += len(noisy)
            probe.progress(row * samples + done, len(probe.inputs) * samples)
            return target_gradients.unbind(dim=1)

        saliency.gradient_func = gradients  # captum's own would repeat the forward pass for each target
        means = captum.NoiseTunnel(saliency).attribute(
            (image[None],),
            nt_samples=samples,
            nt_samples_batch_size=probe.batch_size,
            stdevs=noise * float(image.amax() - image.amin()),
            abs=False,
        )
    return torch.cat(means).abs().amax(dim=1)
