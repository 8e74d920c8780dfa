"""Methods that average gradients over many inputs: on the way from a baseline, or around the image."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.attributions.baselines import Baseline, baseline_image
from camlens.attributions.libraries import library
from camlens.core.details import Found
from camlens.core.execution.draws import SeededDraws
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method
from camlens.core.types import TargetMaps, precise
from camlens.methods.draws import same_draws
from camlens.methods.options import checked_count, checked_strength


@register_method(
    "integratedgradients",
    paper="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365",
    needs="probe",
    good_for="each pixel's share of the score's rise above a baseline, as an account that adds up",
    cost="seconds",
    scope="input",
    diverging=True,
)
def integrated_gradients(probe: InputProbe, *, steps: int = 50, baseline: Baseline = 0.0) -> Found:
    """Each pixel's part in the rise of the score on the straight way from the baseline to the image.

    IG = (x - x') * integral_0^1 dY/dx (x' + a (x - x')) da, by Gauss-Legendre quadrature with `steps` points,
    summed over channels (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1; computed by captum). The map adds
    up to Y(x) - Y(x'). `baseline` x' is a number or an image in the model's own units; 0 is the mean colour
    of the training data for most preprocessings. Parts of the image that look like the baseline get nothing,
    whatever they mean. `details` hold baseline_scores (n, t) and completeness_gap (n, t), by how much the sum
    misses: take more steps where it is large beside the score.

        explain(model, images, method="integratedgradients", options={"steps": 50})
    """
    checked_count("steps", steps)
    captum = library("captum.attr")
    images, targets = probe.scores.shape
    done, total = 0, images * targets * steps
    maps, starts, gaps = [], [], []
    for row, image in enumerate(probe.inputs):
        start = baseline_image(baseline, image)[None]
        with probe.still():
            start_scores = precise(probe.live_scores(start, row)[0].detach())
        each = []
        for target in range(targets):

            def score(inputs: Tensor, row: int = row, target: int = target) -> Tensor:
                nonlocal done
                scores = probe.live_scores(inputs, row)[:, target]
                done += len(inputs)
                probe.progress(min(done, total), total)
                return scores

            with probe.still():
                found = despite_writing(
                    partial(
                        captum.IntegratedGradients(score).attribute,
                        image[None].clone().requires_grad_(),
                        baselines=start,
                        n_steps=steps,
                        internal_batch_size=probe.batch_size,
                    )
                )
            each.append(precise(found[0].detach()).sum(dim=0))
        maps.append(torch.stack(each))
        starts.append(start_scores)
        gaps.append(maps[-1].flatten(1).sum(dim=1) - (probe.scores[row] - start_scores))
    return Found(
        torch.stack(maps), {"baseline_scores": torch.stack(starts), "completeness_gap": torch.stack(gaps).abs()}
    )


@register_method(
    "smoothgrad",
    paper="Smilkov et al. 2017, SmoothGrad, arXiv 1706.03825",
    needs="probe",
    good_for="a plain gradient with less of its visual noise",
    cost="seconds",
    signed=False,
    scope="input",
)
def smoothgrad(probe: InputProbe, *, samples: int = 25, noise: float = 0.15) -> TargetMaps:
    """Where the score is sensitive to the pixels, averaged over noisy copies of the image.

    S = max over channels of |1/N sum_i dY/dx (x + e_i)|, e_i Gaussian with standard deviation `noise` times
    the image's value range (Smilkov et al. 2017, arXiv 1706.03825, eq. 1; captum's noise tunnel over its
    saliency). Seeded, and every image meets the same draws; all targets share the forward passes. Never
    negative; with noise 0 it is the saliency map of Simonyan et al. 2013.

        explain(model, images, method="smoothgrad", options={"samples": 25, "noise": 0.15})
    """
    checked_count("samples", samples)
    checked_strength("noise", noise)
    return torch.stack([_smoothed(probe, row, samples, noise) for row in range(len(probe.inputs))])


def _smoothed(probe: InputProbe, row: int, samples: int, noise: float) -> Float[Tensor, "t *spatial"]:
    captum, image, done = library("captum.attr"), probe.inputs[row], 0
    saliency = captum.Saliency(probe.live_scores)
    with probe.still(), SeededDraws(same_draws(probe.generator)) as draws:

        def gradients(_score: object, inputs: tuple[Tensor], *_: object) -> tuple[Tensor, ...]:
            nonlocal done
            (noisy,) = inputs
            with draws.paused():
                each = probe.gradients_at(noisy.detach().to(image.dtype), row)[1]
            done += len(noisy)
            probe.progress(row * samples + done, len(probe.inputs) * samples)
            return each.unbind(dim=1)

        saliency.gradient_func = gradients  # captum's own knows one target, and runs forward again for the next
        means = captum.NoiseTunnel(saliency).attribute(
            (image[None],),
            nt_samples=samples,
            nt_samples_batch_size=probe.batch_size,
            stdevs=noise * float(image.amax() - image.amin()),
            abs=False,
        )
    return torch.cat(means).abs().amax(dim=1)
