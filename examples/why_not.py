"""Explain why the model predicts this class and not the second most likely one, with a contrast.

python examples/why_not.py [why-not.png]
"""

import sys

import numpy as np
import torch
from PIL import Image

from camlens import explain, load_model
from camlens.data import DemoPhotos
from camlens.targets import ClassScore, Contrast

loaded = load_model("demo:photos")
photo = DemoPhotos(split="test", seed=0)[0]
images = loaded.preprocess(photo.image)[None]

first, second = explain(loaded.model, images).logits[0].topk(2).indices.tolist()
explanation = explain(loaded.model, images, target=[ClassScore(first), ClassScore(second), Contrast(first, second)])

names = [loaded.class_names[first], loaded.class_names[second]]
maps = explanation.maps[explanation.layers[0]][0].flatten(1)
correlation = float(torch.corrcoef(maps[:2])[0, 1])
print(f"the maps of {names[0]} and {names[1]} correlate at {correlation:.2f}")
print(f"{names[0]} leads by {float(explanation.scores[0, 2]):.2f}; the third map shows why")

row = [loaded.preprocess.display(photo.image)]
for target in range(3):
    row.extend(explanation.overlay([loaded.preprocess.display(photo.image)], target=target))

path = sys.argv[1] if len(sys.argv) > 1 else "why-not.png"
Image.fromarray(np.hstack(row)).save(path)
print(path)
