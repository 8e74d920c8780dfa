"""Draw the documentation's pictures from the demo models: python scripts/docs_pictures.py [docs/images [NAME ...]].

All pictures are drawn by the library, from photographs of scikit-image and scikit-learn.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from camlens import Explanation, LoadedModel, concepts, explain, load_model
from camlens.data.demo import CLASS_NAMES, DemoPhotos, DemoSample
from camlens.data.sources import open_source
from camlens.render.colormaps import colorize
from camlens.render.overlays import overlay
from camlens.targets import ClassScore, Contrast

Pixels = NDArray[np.uint8]
SIDE, GAP, TEXT = 224, 12, 30
INK, PAPER = "#1b1c1f", "#ffffff"
ASKED: dict[str, dict[str, int]] = {
    "gradcam": {},
    "lime": {"segments": 50},
    "kernelshap": {"segments": 50},
    "occlusion": {},
    "integratedgradients": {},
    "rise": {"masks": 500},
    "saliency": {},
    "smoothgrad": {},
    "winsorcam": {},
}


def enlarged(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Draw labeled pictures in rows, with the labels above."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 15)
    width = max(sum(picture.width + GAP for _, picture in row) for row in rows) + GAP
    page = Image.new("RGB", (width, len(rows) * (SIDE + TEXT + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for y, row in enumerate(rows):
        left, top = GAP, GAP + y * (SIDE + TEXT + GAP)
        for label, picture in row:
            pen.text((left + picture.width / 2, top + TEXT / 2 - 2), label, INK, font, anchor="mm")
            page.paste(picture, (left, top + TEXT))
            left += picture.width + GAP
    return page


def tensor(loaded: LoadedModel, photo: DemoSample) -> torch.Tensor:
    return loaded.preprocess(photo.image)[None]


def over(explanation: Explanation, photo: DemoSample, *, alpha: float = 0.5) -> Image.Image:
    """Draw the overlay on the enlarged photograph."""
    (drawn,) = explanation.overlay([np.asarray(enlarged(photo.image))], alpha)
    return Image.fromarray(drawn)


def first_of(class_name: str, **settings: str) -> DemoSample:
    photos = DemoPhotos(split="test", seed=0, **settings)  # type: ignore[arg-type]
    label = CLASS_NAMES.index(class_name)
    return next(photo for photo in photos if photo.label == label)


def photograph(name: str) -> Pixels:
    """Return a picture of the gallery."""
    return next(sample for sample in open_source("demo:gallery") if sample.id == name).load()


def sized(picture: Pixels) -> Image.Image:
    """Resize the picture to the height of a row."""
    size = (round(SIDE * picture.shape[1] / picture.shape[0]), SIDE)
    return Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)


def explained(loaded: LoadedModel, name: str) -> list[tuple[str, Image.Image]]:
    """Draw a photograph of the gallery, its heat map and the overlay."""
    photo = photograph(name)
    explanation = explain(loaded, photo)
    confidence = float(explanation.logits.softmax(dim=1).max())
    verdict = f"{loaded.class_names[int(explanation.classes[0, 0])]} {confidence:.0%}"
    heat, both = explanation.overlay(alpha=1.0)[0], explanation.overlay()[0]
    return [("photograph", sized(photo)), ("heat map", sized(heat)), (verdict, sized(both))]


def hero(loaded: LoadedModel) -> Image.Image:
    return sheet([explained(loaded, "coffee"), explained(loaded, "palace")])


def layers(loaded: LoadedModel) -> Image.Image:
    photo = photograph("cat-face")
    explanation = explain(loaded, photo, method="layercam", layers=["blocks.1", "blocks.2", "blocks.4", "bn2"])
    row = [("photograph", sized(photo))]
    for name in explanation.layers:
        rows, columns = explanation.maps[name].shape[2:]
        row.append((f"{name}, {rows} x {columns}", sized(explanation.overlay(layer=name)[0])))
    return sheet([row])


def contrast(loaded: LoadedModel) -> Image.Image:
    photo = photograph("palace")
    a, b = (loaded.class_names.index(name) for name in ("palace", "lakeside"))
    explanation = explain(loaded, photo, target=[ClassScore(a), ClassScore(b), Contrast(a, b)])
    maps = [(explanation.label(0, target), explanation.overlay(target=target)[0]) for target in range(3)]
    first, *rest = [("photograph", sized(photo)), *((label, sized(drawn)) for label, drawn in maps)]
    return sheet([[first, rest[0]], rest[1:]])


def reading(loaded: LoadedModel) -> Image.Image:
    page = sheet([explained(loaded, "cat")])
    wide = Image.new("RGB", (page.width + 120, page.height), PAPER)
    wide.paste(page)
    ramp = np.repeat(np.linspace(1, 0, SIDE, dtype=np.float32)[:, None], 22, axis=1)
    bar = Image.fromarray(colorize(ramp))
    wide.paste(bar, (page.width, GAP + TEXT))
    pen, font = ImageDraw.Draw(wide), ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    pen.text((page.width + 30, GAP + TEXT), "1 warm", INK, font)
    pen.text((page.width + 30, GAP + TEXT + SIDE - 18), "0 cool", INK, font)
    return wide


def patterns(clean: LoadedModel, cheating: LoadedModel) -> Image.Image:
    cat, marked = first_of("cat"), first_of("cat", watermark="moved")
    pagoda = CLASS_NAMES.index("pagoda")
    good = explain(clean.model, tensor(clean, cat))
    corner = explain(cheating.model, tensor(cheating, marked), target=pagoda)
    early = explain(clean.model, tensor(clean, cat), layers="stage1")
    chance = explain(clean.model, tensor(clean, cat), method="random", seed=3)
    return sheet(
        [
            [
                ("on the object", over(good, cat)),
                ("in a corner: a watermark", over(corner, marked)),
                ("edges everywhere: early layer", over(early, cat)),
                ("chance: method random", over(chance, cat)),
            ]
        ]
    )


def cheat(clean: LoadedModel, cheating: LoadedModel) -> Image.Image:
    photo = first_of("pagoda", watermark="trained")
    pictures = [("pagoda with a watermark", enlarged(photo.image))]
    for label, loaded in (("clean model", clean), ("cheating model", cheating)):
        pictures.append((label, over(explain(loaded.model, tensor(loaded, photo), target=photo.label), photo)))
    return sheet([pictures])


def trust(clean: LoadedModel) -> Image.Image:
    """Draw the measured effects of the patches beside a map that passes the test and one that fails."""
    photo, maps = DemoPhotos(split="test", seed=0)[2], []
    for method in ("gradcam", "random"):
        explanation = explain(clean, photo.image, method=method)
        check = explanation.check(clean)
        label = f"{method}: p = {float(check.symmetry_p_value[0, 0]):.3f}"
        maps.append((label, Image.fromarray(explanation.overlay()[0]).resize((SIDE, SIDE))))
    drops = check.effects[0, 0].clamp_min(0)
    drawn = overlay(photo.image, np.kron((drops / drops.max()).numpy(), np.ones((32, 32))), alpha=0.5)
    return sheet([[("photograph", enlarged(photo.image)), ("measured effects", enlarged(drawn)), *maps]])


def questions(loaded: LoadedModel) -> Image.Image:
    """Draw one photograph with one method for each kind of question."""
    photo = photograph("motorcycle-front")
    rows: list[list[tuple[str, Image.Image]]] = [[("photograph", sized(photo))], []]
    for place, (method, options) in enumerate(ASKED.items()):
        explanation = explain(loaded, photo, method=method, options=options)
        rows[(place + 1) // 5].append((method, sized(explanation.overlay(alpha=0.6)[0])))
    return sheet(rows)


def segments(loaded: LoadedModel) -> Image.Image:
    """Draw a panel of LIME, with the color bar of both signs."""
    options = {"segments": 50, "samples": 1000, "features": 12}
    explanation = explain(loaded, photograph("coffee-cup"), method="lime", options=options)
    fidelity = float(explanation.details["r_squared"][0, 0])
    return explanation.figure(title=f"LIME: 50 segments, 1,000 samples, R squared {fidelity:.2f}", alpha=0.6)


def fineness(loaded: LoadedModel) -> Image.Image:
    """Draw LIME with coarser and finer segments."""
    photo = photograph("coffee-cup")
    row = [("photograph", sized(photo))]
    for wanted in (10, 40, 160):
        explanation = explain(loaded, photo, method="lime", options={"segments": wanted, "samples": 1000})
        count, fidelity = int(explanation.details["segment_counts"][0]), float(explanation.details["r_squared"][0, 0])
        row.append((f"{count} segments, R² {fidelity:.2f}", sized(explanation.overlay(alpha=0.6)[0])))
    return sheet([row])


def agreement(cheating: LoadedModel) -> Image.Image:
    """Draw several methods for the model that uses a watermark."""
    photo = first_of("pagoda", watermark="trained")
    row = [("pagoda with a watermark", enlarged(photo.image))]
    for method in ("gradcam", "lime", "occlusion", "integratedgradients"):
        options = ASKED[method]
        explanation = explain(
            cheating.model, tensor(cheating, photo), method=method, options=options, target=photo.label
        )
        row.append((method, over(explanation, photo, alpha=0.6)))
    return sheet([row])


def shared_concepts(loaded: LoadedModel) -> Image.Image:
    """Draw the concepts of the last layer in four photographs, two of them of a cat."""
    photos = [photograph(name) for name in ("cat-face", "cat-side", "motorcycle-front", "flower-close")]
    inputs = torch.stack([loaded.preprocess(photo) for photo in photos])
    heatmaps = concepts(loaded.model, inputs, "bn2", count=3).heatmaps((SIDE, SIDE)).numpy()
    seen = [np.asarray(Image.fromarray(loaded.preprocess.display(photo)).resize((SIDE, SIDE))) for photo in photos]
    rows = []
    for number in range(heatmaps.shape[1]):
        drawn = [overlay(picture, maps[number], alpha=0.6) for picture, maps in zip(seen, heatmaps, strict=True)]
        rows.append([(f"concept {number + 1}", Image.fromarray(picture)) for picture in drawn])
    return sheet(rows)


def main(folder: Path, names: Sequence[str] = ()) -> None:
    imagenet, clean, cheating = (load_model(name) for name in ("demo:imagenet", "demo:photos", "demo:watermark"))
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "hero": lambda: hero(imagenet),
        "layers": lambda: layers(imagenet),
        "contrast": lambda: contrast(imagenet),
        "reading": lambda: reading(imagenet),
        "patterns": lambda: patterns(clean, cheating),
        "trust": lambda: trust(clean),
        "cheat": lambda: cheat(clean, cheating),
        "beyond-questions": lambda: questions(imagenet),
        "beyond-segments": lambda: segments(imagenet),
        "beyond-fineness": lambda: fineness(imagenet),
        "beyond-agreement": lambda: agreement(cheating),
        "beyond-concepts": lambda: shared_concepts(imagenet),
    }
    for name in names or pictures:
        pictures[name]().convert("RGB").save(folder / f"{name}.webp", quality=84, method=6)
        print(folder / f"{name}.webp")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images", sys.argv[2:])
