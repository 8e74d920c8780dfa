"""Register a method, check it, and compare it with Grad-CAM and chance.

python examples/own_method.py
"""

import torch

from camlens import explain, load_model, register_method
from camlens.data import DemoPhotos
from camlens.testing import check_method


@register_method(
    "gradient-energy",
    paper="an example, unpublished",
    needs="gradients",
    good_for="where the score is sensitive, regardless of the sign",
    signed=False,
)
def gradient_energy(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Compute the norm of gradient times activation in each cell."""
    return (activations * gradients).square().sum(dim=1).sqrt()


check_method("gradient-energy")

loaded = load_model("demo:photos")
photos = [DemoPhotos(split="test", seed=0)[index] for index in range(16)]
images = torch.stack([loaded.preprocess(photo.image) for photo in photos])
masks = torch.stack([torch.from_numpy(loaded.preprocess.display_mask(photo.mask)) for photo in photos])

by_method = explain(loaded.model, images, method=["gradient-energy", "gradcam", "random"])
for name, explanation in by_method.items():
    heat = explanation.heatmaps(size=masks.shape[1:])[:, 0]
    inside = (heat * masks).sum(dim=(1, 2)) / heat.sum(dim=(1, 2)).clamp_min(1e-9)
    print(f"{name:16} {float(inside.mean()):5.1%} of the heat lies on the object")
