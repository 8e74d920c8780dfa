"""Models that rely on a planted artefact, or do not, with the images that an auditor is shown.

`case(spec, folder)` trains a small network in seconds and returns it with the audited images. Whether the model relies
on an artefact is measured without any detector: the accuracy of the class falls by 10 points or more if the artefact is
removed at its source. Composed images and trained models are kept in `folder`.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.garments import GARMENTS, garments
from camlens.data.demo import CLASS_NAMES, DemoPhotos
from camlens.data.planting import Artefact, plant, plant_decoy
from camlens.data.samples import Box

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DIGITS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
DATASETS = {
    "photos32": (32, CLASS_NAMES),
    "photos64": (64, CLASS_NAMES),
    "digits": (28, DIGITS),
    "garments": (28, GARMENTS),
}
RELIED_ON = 0.10
_TRAIN, _AUDITED = 1500, 1000


@dataclass(frozen=True)
class Plant:
    """An artefact in `share` of the images of the class `label`, and in `elsewhere` of all others."""

    artefact: Artefact
    label: int = 0
    share: float = 0.95
    elsewhere: float = 0.0


@dataclass(frozen=True)
class Spec:
    """A case: the training data and network, and what is shown to the auditor.

    Attributes:
        data: one of `DATASETS`. "photos32" and "photos64" are composed photographs of 32 and 64 pixels; "digits" are
            scikit-learn's digits, with missing parts, enlarged to 28 pixels; "garments" are drawn, 28 pixels. Both are
            gray and aligned on a black background.
        network: one of `NETWORKS`.
        plants: the artefacts in the training images.
        audited: the artefacts in the audited images (default: `plants`).
        decoy: whether a gray square in a random corner has a shade that is "absent", tells the class in the training
            images ("class"), or is random in them ("random"). In the audited images the shade tells the class.
        labels: "true", or "permuted" in training and audited images, so that nothing can be learned.
        seed: seed of planting and training.
    """

    data: str = "photos32"
    network: str = "pooled"
    plants: tuple[Plant, ...] = ()
    audited: tuple[Plant, ...] | None = None
    decoy: str = "absent"
    labels: str = "true"
    seed: int = 0

    @property
    def key(self) -> str:
        """Identifier of the case: the same for equal specs."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Facts:
    """What is known about a case without a detector.

    Attributes:
        accuracy: per class, on the audited images (the audited labels).
        clean_accuracy: the same, without any artefact in the audited images.
        drops: per audited plant (if there is none, per plant of the training images), the accuracy of its class minus
            that without this artefact; for a decoy, per class.
        relied_on: per drop, whether it is at least `RELIED_ON`.
        carriers: per audited plant, which images carry it, bool (n,).
        boxes: per audited plant, the box of the mark in each image (left, top, right, bottom), or None.
    """

    accuracy: tuple[float, ...]
    clean_accuracy: tuple[float, ...]
    drops: tuple[float, ...]
    relied_on: tuple[bool, ...]
    carriers: tuple[NDArray[np.bool_], ...] = field(repr=False)
    boxes: tuple[tuple[Box | None, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class Case:
    """A trained model, mapping images (n, 3, size, size) in [0, 1] to logits, and the audited images (n, H, W, 3)."""

    spec: Spec
    model: nn.Module = field(repr=False)
    images: Images = field(repr=False)
    labels: Labels = field(repr=False)
    class_names: tuple[str, ...]
    facts: Facts


def case(spec: Spec, folder: str | Path) -> Case:
    """Train the model of a case, or read it from `folder`, and plant the artefacts in the audited images."""
    folder = Path(folder)
    _, class_names = DATASETS[spec.data]
    model = _trained(spec, folder)
    clean, labels = _dataset(spec, "test", folder)
    shown = spec.plants if spec.audited is None else spec.audited
    images, carriers, boxes = _planted(clean, labels, shown, spec.decoy != "absent", spec.seed + 1)
    accuracy, clean_accuracy = (_class_accuracy(model, pixels, labels, len(class_names)) for pixels in (images, clean))
    drops = _drops(model, clean, labels, shown or spec.plants, spec)
    facts = Facts(
        tuple(map(float, accuracy)),
        tuple(map(float, clean_accuracy)),
        tuple(drops),
        tuple(drop >= RELIED_ON for drop in drops),
        tuple(carriers),
        tuple(boxes),
    )
    return Case(spec, model, images, labels, class_names, facts)


def _drops(model: nn.Module, clean: Images, labels: Labels, plants: tuple[Plant, ...], spec: Spec) -> list[float]:
    """Return the loss of accuracy of the class of each plant without it, then that of all classes without the decoy."""
    classes, decoy, seed = len(DATASETS[spec.data][1]), spec.decoy != "absent", spec.seed + 1

    def accuracy(plants: tuple[Plant, ...], decoy: bool) -> NDArray[np.float64]:
        return _class_accuracy(model, _planted(clean, labels, plants, decoy, seed)[0], labels, classes)

    full = accuracy(plants, decoy)
    drops = []
    for index, item in enumerate(plants):
        others = plants[:index] + plants[index + 1 :]
        drops.append(float((full - accuracy(others, decoy))[item.label]))
    return drops + ((full - accuracy(plants, False)).tolist() if decoy else [])


def predict(model: nn.Module, images: Images, *, batch: int = 500) -> NDArray[np.float32]:
    """Return the probabilities (n, classes) of uint8 images (n, H, W, 3)."""
    with torch.inference_mode():
        parts = [model(_tensor(images[start : start + batch])).softmax(1) for start in range(0, len(images), batch)]
    return torch.cat(parts).numpy()


def _tensor(images: Images) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _class_accuracy(model: nn.Module, images: Images, labels: Labels, classes: int) -> NDArray[np.float64]:
    right = predict(model, images).argmax(1) == labels
    return np.array([right[labels == label].mean() for label in range(classes)])


# --- data ---


def _dataset(spec: Spec, split: str, folder: Path) -> tuple[Images, Labels]:
    """Return the clean images (n, size, size, 3) and labels of a split."""
    size, _ = DATASETS[spec.data]
    images, labels = _kept(folder / f"{spec.data}-{split}.npz", lambda: _SOURCES[spec.data](split, size))
    if spec.labels == "permuted":
        labels = np.random.default_rng([spec.seed, split == "train"]).permutation(labels)
    return images, labels


def _photos(split: str, size: int) -> tuple[Images, Labels]:
    photos = DemoPhotos(split=split, size=size, length=_TRAIN if split == "train" else _AUDITED)
    return np.stack([photo.image for photo in photos]), np.arange(len(photos)) % len(CLASS_NAMES)


def _garments(split: str, size: int) -> tuple[Images, Labels]:
    return garments(_TRAIN // 2 if split == "train" else _AUDITED, size, seed=int(split == "train"))


def _digits(split: str, size: int) -> tuple[Images, Labels]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    order = order[500:] if split == "train" else order[:500]
    worn = digits.images[order] * (np.random.default_rng(1).random((len(order), 8, 8)) > 0.4) / 16
    gray = interpolate(torch.tensor(worn[:, None]), (size, size), mode="bicubic").clamp(0, 1)
    images = (gray.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).expand(-1, -1, -1, 3)
    return images.contiguous().numpy(), digits.target[order].astype(np.int64)


_SOURCES: dict[str, Callable[[str, int], tuple[Images, Labels]]] = {
    "photos32": _photos,
    "photos64": _photos,
    "digits": _digits,
    "garments": _garments,
}


def _kept(file: Path, compute: Callable[[], tuple[Images, Labels]]) -> tuple[Images, Labels]:
    if not file.is_file():
        images, labels = compute()
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, images=images, labels=labels)
        unfinished.replace(file)
    with np.load(file) as arrays:
        return arrays["images"], arrays["labels"]


def _planted(
    images: Images, labels: Labels, plants: tuple[Plant, ...], decoy: bool, seed: int, *, random_shades: bool = False
) -> tuple[Images, list[NDArray[np.bool_]], list[tuple[Box | None, ...]]]:
    """Plant all artefacts; which images carry one depends on the seed and the artefact, not on the other artefacts."""
    planted, carriers, boxes = images.copy(), [], []
    for item in plants:
        draws = np.random.default_rng([seed, item.label, item.artefact.look]).random(len(images))
        carries = draws < np.where(labels == item.label, item.share, item.elsewhere)
        places: list[Box | None] = [None] * len(images)
        for index in np.flatnonzero(carries):
            planted[index], places[index] = plant(planted[index], item.artefact, seed=seed * 1_000_003 + int(index))
        carriers.append(carries)
        boxes.append(tuple(places))
    if decoy:
        classes = int(labels.max()) + 1
        shades = np.random.default_rng([seed, 3]).integers(classes, size=len(labels)) if random_shades else labels
        for index, shade in enumerate(shades):
            planted[index], _ = plant_decoy(
                planted[index], 255 - int(shade) * 255 // classes, seed=seed * 1_000_003 + index
            )
    return planted, carriers, boxes


# --- networks ---


class Pooled(nn.Module):
    """A CNN with global average pooling; its last map has a quarter of the input's side."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        del size
        self.features = nn.Sequential(
            *_block(3, 24), nn.MaxPool2d(2), *_block(24, 48), nn.MaxPool2d(2), *_block(48, 64), *_block(64, 64)
        )
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(images * 4 - 2).mean((2, 3)))
        return logits


class Flat(nn.Module):
    """A CNN that flattens its last map (a quarter of the input's side), as LeNet does."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * (size // 4) ** 2, 96), nn.ReLU(), nn.Linear(96, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(images * 4 - 2))
        return logits


class VisionTransformer(nn.Module):
    """A small ViT: a grid of 8 x 8 patches (7 x 7 at 28 px), two blocks, a class token."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        patch, width = size // 8 if size % 8 == 0 else size // 7, 48
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        block = {"dim_feedforward": 96, "dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(width, 4, **block) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        patches = self.patches(images * 4 - 2).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {"pooled": Pooled, "flat": Flat, "vit": VisionTransformer}
_RATES = {"pooled": 1e-2, "flat": 2e-3, "vit": 2e-3}
_EPOCHS = {"pooled": 4, "flat": 5, "vit": 10}


def _trained(spec: Spec, folder: Path) -> nn.Module:
    """Train a network on the planted images, or read its weights from `folder`; return it in evaluation mode."""
    size, class_names = DATASETS[spec.data]
    file = folder / "models" / f"{replace(spec, audited=()).key}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = NETWORKS[spec.network](size, len(class_names))
        if file.is_file():
            model.load_state_dict(torch.load(file, weights_only=True))
            return model.eval()
        clean, labels = _dataset(spec, "train", folder)
        images, _, _ = _planted(
            clean, labels, spec.plants, spec.decoy != "absent", spec.seed, random_shades=spec.decoy == "random"
        )
        _train(model, images, labels, epochs=_EPOCHS[spec.network], rate=_RATES[spec.network])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    torch.save(model.state_dict(), unfinished)
    unfinished.replace(file)
    return model.eval()


def _train(model: nn.Module, images: Images, labels: Labels, *, epochs: int, rate: float, batch: int = 64) -> None:
    inputs, targets = _tensor(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-2)
    steps = epochs * (len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs) // batch * batch, batch):
            chosen = order[start : start + batch]
            loss = cross_entropy(model(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def describe(case: Case) -> dict[str, Any]:
    """Return the case and its facts as JSON values, without images."""
    return {
        "key": case.spec.key,
        **asdict(case.spec),
        "accuracy": round(float(np.mean(case.facts.accuracy)), 4),
        "clean_accuracy": round(float(np.mean(case.facts.clean_accuracy)), 4),
        "drops": [round(drop, 4) for drop in case.facts.drops],
        "relied_on": list(case.facts.relied_on),
    }
