"""Explain one photograph at every stage of the network, from a single pass.

python examples/compare_layers.py [layers.png]
"""

import sys

import numpy as np
from PIL import Image

from camlens import explain, load_model
from camlens.data import DemoPhotos

loaded = load_model("demo:photos")
photo = DemoPhotos(split="test", seed=0)[0]
images = loaded.preprocess(photo.image)[None]

STAGES = ["stage1", "stage2", "stage3", "stage4"]
explanation = explain(loaded.model, images, method="layercam", layers=STAGES)

row = [loaded.preprocess.display(photo.image)]
for name in explanation.layers:
    grid = tuple(explanation.maps[name].shape[2:])
    share = float((explanation.heatmaps(name) > 0.5).float().mean())
    print(f"{name} grid {grid}, {share:5.1%} of the image is warm")
    row.extend(explanation.overlay([loaded.preprocess.display(photo.image)], layer=name))

path = sys.argv[1] if len(sys.argv) > 1 else "layers.png"
Image.fromarray(np.hstack(row)).save(path)
print(path)
