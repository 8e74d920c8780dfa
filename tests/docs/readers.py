"""What the pages assume: photographs in a folder, a model, images, and cached weights."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from tests.nets import seeded

CACHED_TORCHVISION = ("resnet18", "resnet50")
CACHED_TIMM = ("vit_tiny_patch16_224", "mobilenetv3_small_050")
CACHED_HF = "WinKawaks/vit-tiny-patch16-224"
_REVISION = "0" * 40


def plant_weights(folder: Path) -> None:
    """Fill the caches of torch and of the Hub with seeded weights under the expected names."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in CACHED_TORCHVISION:
        file = torchvision.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
        model = seeded(lambda name=name: torchvision.models.get_model(name))  # type: ignore[misc]
        torch.save(model.state_dict(), folder / "checkpoints" / file)
    for name in CACHED_TIMM:
        repository = _repository(folder, timm.get_pretrained_cfg(name).hf_hub_id)
        model = seeded(lambda name=name: timm.create_model(name))  # type: ignore[misc]
        save_file(dict(model.state_dict()), repository / "model.safetensors")
    repository = _repository(folder, CACHED_HF)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    labels = {index: f"label {index}" for index in range(10)}
    seeded(lambda: ViTForImageClassification(ViTConfig(**shape, id2label=labels))).save_pretrained(repository)
    ViTImageProcessor().save_pretrained(repository)


def _repository(folder: Path, name: str) -> Path:
    """Create an empty snapshot of a repository in the cache of the Hub."""
    cache = folder / f"models--{name.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(_REVISION)
    snapshot = cache / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    return snapshot


def lay_out_photographs(folder: Path) -> None:
    """Write the files that the pages use: `cat.jpg`, `photos/*.jpg`, and the manifest `list.parquet`."""
    import pyarrow as pa
    from pyarrow import parquet

    pictures = {"cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket()}
    (folder / "photos").mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.jpg")
    Image.fromarray(pictures["cat"]).save(folder / "cat.jpg")
    table = pa.table(
        {"path": [f"photos/{name}.jpg" for name in pictures], "label": ["tiger cat", "espresso", "missile"]}
    )
    parquet.write_table(table, folder / "list.parquet")


class TwoHeads(nn.Module):
    """A classifier with a second argument that returns its logits in a nested mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torchvision.models.squeezenet1_1()

    def forward(self, images: Tensor, lengths: Tensor | None = None, *, return_dict: bool = True) -> Any:
        logits = self.body(images)
        logits = logits if lengths is None else logits * lengths[:, None]
        return {"head": {"logits": logits}} if return_dict else logits


def assumed_variables() -> dict[str, Any]:
    """Return the variables that the pages use without defining them, such as `model` and `images`."""
    from camlens import load_model

    loaded = load_model("torchvision:resnet18")
    photographs = [Image.fromarray(pixels) for pixels in (data.chelsea(), data.coffee())]
    images = torch.stack([loaded.preprocess(photograph) for photograph in photographs])
    autoencoder = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, stride=2))
    )
    return {
        "torch": torch,
        "np": np,
        "loaded": loaded,
        "model": loaded.model,
        "images": images,
        "image": images[0],
        "photographs": photographs,
        "classes": [281, 967],
        "class_names": loaded.class_names,
        "loader": [(images, torch.tensor([281, 967]))],
        "example_inputs": images,
        "two_heads": seeded(TwoHeads),
        "lengths": torch.tensor([1.0, 2.0]),
        "autoencoder": autoencoder,
        "captions": torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)),
    }


def fiftyone() -> ModuleType:
    """Return a stand-in for FiftyOne with the names that the export uses."""
    module = ModuleType("fiftyone")
    module.Dataset = type(
        "Dataset", (), {"__init__": lambda self, *_, **__: vars(self).update(info={}), "add_samples": len}
    )  # type: ignore[attr-defined]
    for name in ("Sample", "Classification", "Heatmap"):
        setattr(module, name, lambda **fields: fields)
    module.dataset_exists = lambda _name: False  # type: ignore[attr-defined]
    return module


def manifest_files(directory: Path) -> set[str]:
    """Return the files that a result's manifest lists."""
    files = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["files"]
    return set(files.values() if isinstance(files, dict) else files)
