"""Explain four demo photographs and draw them with their heat maps.

python examples/quickstart.py [quickstart.png]
"""

import sys

import numpy as np
import torch
from PIL import Image

from camlens import explain, load_model
from camlens.data import DemoPhotos

loaded = load_model("demo:photos")
photos = [DemoPhotos(split="test", seed=0)[index] for index in range(4)]
images = torch.stack([loaded.preprocess(photo.image) for photo in photos])

explanation = explain(loaded.model, images)
pictures = [loaded.preprocess.display(photo.image) for photo in photos]
overlays = explanation.overlay(pictures)

for photo, index in zip(photos, explanation.classes[:, 0].tolist(), strict=True):
    print(f"{loaded.class_names[photo.label]:12} was predicted as {loaded.class_names[index]}")
print(f"layer: {explanation.provenance['layer_choice']}")

path = sys.argv[1] if len(sys.argv) > 1 else "quickstart.png"
Image.fromarray(np.vstack([np.hstack(pictures), np.hstack(overlays)])).save(path)
print(path)
