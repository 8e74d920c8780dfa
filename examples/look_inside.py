"""Draw the first filters of the model, and the most active channels of three layers.

python examples/look_inside.py [inside.png]
"""

import sys

import numpy as np
import torch
from PIL import Image

from camlens import activations, filters, load_model
from camlens.data import DemoPhotos
from camlens.render import colorize

SIDE, COLUMNS, GAP = 96, 8, 4
loaded = load_model("demo:photos")
photo = DemoPhotos(split="test", seed=0)[0]
images = loaded.preprocess(photo.image)[None]


def tile(pixels: np.ndarray) -> np.ndarray:
    """Enlarge a small picture to one tile of the sheet, without smoothing."""
    return np.array(Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST))


def stretched(channel: torch.Tensor) -> torch.Tensor:
    """Scale a channel to [0, 1]."""
    return (channel - channel.min()) / (channel.max() - channel.min()).clamp_min(1e-12)


learned = filters(loaded.model.get_submodule("stem.0"))
strongest = learned.norm.argsort(descending=True)[:COLUMNS].tolist()
print(f"stem.0: {len(learned)} filters, norms {learned.norm.min():.2f} to {learned.norm.max():.2f}")
rows = [[tile(learned.picture(index).pixels) for index in strongest]]

for name, seen in activations(loaded.model, images, ["stage1", "stage2", "stage4"]).items():
    most_active = seen.ranked()[:COLUMNS]
    print(
        f"{name}: {seen.features.shape[1]} channels {seen.grid}, {int(seen.dead.sum())} dead, most active {most_active}"
    )
    rows.append([tile(colorize(stretched(seen.features[0, channel]))) for channel in most_active])

sheet = np.full((len(rows) * (SIDE + GAP) - GAP, COLUMNS * (SIDE + GAP) - GAP, 3), 255, dtype=np.uint8)
for row, tiles in enumerate(rows):
    for column, pixels in enumerate(tiles):
        top, left = row * (SIDE + GAP), column * (SIDE + GAP)
        sheet[top : top + SIDE, left : left + SIDE] = pixels

path = sys.argv[1] if len(sys.argv) > 1 else "inside.png"
Image.fromarray(sheet).save(path)
print(path)
