"""Find the concepts that six photographs share, and how much the predictions depend on the concepts of each.

python examples/concepts.py [concepts.png]
"""

import sys

import numpy as np
import torch
from PIL import Image

from camlens import concepts, explain, load_model
from camlens.data import DemoPhotos
from camlens.render import overlay

COUNT = 4
loaded = load_model("demo:photos")
photos = DemoPhotos(split="test", seed=0)
chosen = [photos[number].image for number in range(6)]
images = torch.stack([loaded.preprocess(image) for image in chosen])
shown = [loaded.preprocess.display(image) for image in chosen]

shared = concepts(loaded.model, images, "stage4", count=COUNT)
print(shared)
for count in (1, 2, 8):
    print(f"  with {count} concepts: {concepts(loaded.model, images, 'stage4', count=count).error:.0%} not reproduced")

explanation = explain(loaded.model, images, method="dff", layers="stage4", options={"concepts": COUNT})
for image, (score, parts) in enumerate(zip(explanation.scores, explanation.details["contributions"], strict=True)):
    losses = ", ".join(f"{float(part):+.1f}" for part in parts[0])
    print(f"image {image}: score {float(score):.1f}; its own concepts contribute {losses}")

heatmaps = shared.heatmaps(shown[0].shape[:2]).numpy()
columns = [
    np.vstack([picture, *(overlay(picture, heatmap, alpha=0.6) for heatmap in maps)])
    for picture, maps in zip(shown, heatmaps, strict=True)
]
path = sys.argv[1] if len(sys.argv) > 1 else "concepts.png"
Image.fromarray(np.hstack(columns)).save(path)
print(path)
