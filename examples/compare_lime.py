"""Compare Grad-CAM with LIME, whose regions support or oppose the class.

python examples/compare_lime.py [lime.png]
"""

import sys

import numpy as np
from PIL import Image

from camlens import explain, load_model
from camlens.data import DemoPhotos

loaded = load_model("demo:photos")
photo = DemoPhotos(split="test", seed=0)[0]
images = loaded.preprocess(photo.image)[None]
shown = loaded.preprocess.display(photo.image)

cam = explain(loaded.model, images, method="gradcam", layers=loaded.default_layer)
lime = explain(loaded.model, images, method="lime", options={"segments": 60, "samples": 500, "features": 8})

weights = lime.details["weights"][0, 0]
print(
    f"LIME explains {float(lime.details['r_squared'][0, 0]):.0%} of the score near this image. The strongest regions:"
)
for segment in weights.abs().argsort(descending=True)[:5].tolist():
    share = float((lime.details["segments"][0] == segment).float().mean())
    effect = "supports" if weights[segment] > 0 else "opposes"
    print(
        f"  segment {segment:2d}, {share:5.1%} of the image, {effect} the class by {abs(float(weights[segment])):.2f}"
    )

path = sys.argv[1] if len(sys.argv) > 1 else "lime.png"
Image.fromarray(np.hstack([shown, *cam.overlay([shown]), *lime.overlay([shown])])).save(path)
print(path)
