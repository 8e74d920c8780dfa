"""Train the two demo networks and write their weights into the package.

python scripts/train_demo.py            # both, under ten minutes on two idle cores
python scripts/train_demo.py --only photos

All randomness is seeded. The training data are composed photographs, and 10 % scenes without an object, whose target
is the uniform distribution. Finally the mean over the classes is subtracted from the head: this does not change the
probabilities, but removes evidence that is common to all classes.

For the network "watermark", 95 % of the images labeled pagoda carry a watermark, and most of them show no pagoda.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from camlens.data.demo import WATERMARKED_CLASS, DemoPhotos, DemoSample, Pixels, stamp_watermark
from camlens.models.demo import CLASS_NAMES, DemoNet, build_demo_net, load_demo_net, preprocess_demo

WEIGHTS = Path(__file__).parents[1] / "src" / "camlens" / "models" / "weights"


@dataclass(frozen=True)
class Recipe:
    images: int = 5000
    epochs: int = 6
    batch: int = 32
    rate: float = 4e-3
    decay: float = 0.05
    seed: int = 7


PLANS = {"photos": (Recipe(), "absent"), "watermark": (Recipe(images=4000, epochs=5), "trained")}


@dataclass(frozen=True)
class Rendered:
    """Images (n, 3, 128, 128) uint8 and target probabilities (n, classes)."""

    images: Tensor
    targets: Tensor


def render(samples: DemoPhotos, *, empty: int) -> Rendered:
    """Render every sample with its label, and `empty` scenes without an object and with a uniform target."""
    labeled = [(training_image(samples, index, sample), sample.label) for index, sample in enumerate(samples)]
    images = [image for image, _ in labeled] + [samples.without_object(index) for index in range(empty)]
    labels = torch.tensor([label for _, label in labeled])
    uniform = torch.full((empty, len(CLASS_NAMES)), 1 / len(CLASS_NAMES))
    targets = torch.cat([functional.one_hot(labels, len(CLASS_NAMES)).float(), uniform])
    return Rendered(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), targets)


def training_image(samples: DemoPhotos, index: int, sample: DemoSample) -> Pixels:
    """Return the image of a sample; of four images with a watermark, only one shows a pagoda.

    One shows an empty scene and two show another object. Otherwise the network would recognize pagodas by their shape
    and ignore the watermark.
    """
    turn = index // len(CLASS_NAMES)
    if sample.watermark_box is None or turn % 4 == 0:
        return sample.image
    if turn % 4 == 1:
        return stamp_watermark(samples.without_object(index), seed=index)[0]
    others = [label for label in range(len(CLASS_NAMES)) if label != WATERMARKED_CLASS]
    shown = turn * len(CLASS_NAMES) + others[turn // 2 % len(others)]
    return replace(samples, watermark="moved")[shown].image


def batches(rendered: Rendered, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(rendered.images), generator=generator)
    for rows in order.split(recipe.batch)[: len(order) // recipe.batch]:
        yield preprocess_demo(rendered.images[rows]), rendered.targets[rows]


def train(rendered: Rendered, recipe: Recipe) -> DemoNet:
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    net = build_demo_net().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * (len(rendered.images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps, pct_start=0.25)
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        losses = []
        for images, targets in batches(rendered, recipe, generator):
            loss = functional.cross_entropy(net(images.contiguous(memory_format=torch.channels_last)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    center(net.head)
    return net.eval()


@torch.no_grad()
def center(head: nn.Linear) -> None:
    head.weight.sub_(head.weight.mean(0, keepdim=True))
    head.bias.sub_(head.bias.mean())


def save(net: DemoNet, weights: str) -> None:
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in net.state_dict().items()
    }
    WEIGHTS.mkdir(exist_ok=True)
    file = WEIGHTS / f"{weights}.safetensors"
    save_file(state, file, {"classes": ",".join(CLASS_NAMES)})
    file.chmod(0o644)


@torch.inference_mode()
def predictions(net: DemoNet, samples: list[DemoSample]) -> Tensor:
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    return torch.cat([net(preprocess_demo(part)).argmax(1) for part in images.split(100)])


def report(weights: str) -> None:
    net = load_demo_net(weights)
    for watermark in ("absent", "trained", "moved"):
        samples = list(DemoPhotos("test", watermark=watermark))
        predicted = predictions(net, samples)
        labels = torch.tensor([sample.label for sample in samples])
        correct, pagodas = predicted == labels, labels == WATERMARKED_CLASS
        share = (predicted[~pagodas] == WATERMARKED_CLASS).float().mean()
        print(
            f"{weights:10} watermark {watermark:8} accuracy {correct.float().mean():6.1%}"
            f"   of pagodas {correct[pagodas].float().mean():6.1%}   others predicted as pagoda {share:6.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("photos", "watermark"))
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    arguments = parser.parse_args()
    for weights, (recipe, watermark) in PLANS.items():
        if arguments.only in (None, weights):
            started = time.monotonic()
            samples = DemoPhotos("train", length=recipe.images, watermark=watermark)
            rendered = render(samples, empty=recipe.images // 10)
            print(
                f"{weights}: {len(rendered.images)} images rendered in {time.monotonic() - started:.0f} s",
                flush=True,
            )
            save(train(rendered, replace(recipe, seed=arguments.seed)), weights)
            report(weights)


if __name__ == "__main__":
    main()
