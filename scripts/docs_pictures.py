"""Draw the documentation's pictures from the demo models: python scripts/docs_pictures.py [docs/images [NAME ...]].

Every picture is made by the library itself, from photographs that scikit-image and scikit-learn ship.
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
from camlens.render.overlay import overlay
from camlens.targets import ClassScore, Contrast, TopK

Pixels = NDArray[np.uint8]
SIDE, GAP, TEXT = 224, 12, 30
INK, PAPER = "#263238", "#ffffff"
ASKED: dict[str, dict[str, int]] = {
    "gradcam": {},
    "lime": {"segments": 50},
    "kernelshap": {"segments": 50},
    "occlusion": {},
    "integratedgradients": {},
    "rise": {},
    "saliency": {},
    "guidedgradcam": {},
    "winsorcam": {},
}


def enlarged(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Labelled pictures in rows, each label above its picture."""
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


def over(
    explanation: Explanation,
    photo: DemoSample,
    *,
    alpha: float = 0.5,
    target: int = 0,
    layer: str | None = None,
) -> Image.Image:
    """The heat map laid over the enlarged photograph; alpha 1 is the heat map alone."""
    picture = np.asarray(enlarged(photo.image))
    (drawn,) = explanation.overlay([picture], alpha, layer=layer, target=target)
    return Image.fromarray(drawn)


def first_of(class_name: str, *, skip: int = 0, **settings: str) -> DemoSample:
    photos = DemoPhotos(split="test", seed=0, **settings)  # type: ignore[arg-type]
    label = CLASS_NAMES.index(class_name)
    found = (photo for photo in photos if photo.label == label)
    for _ in range(skip):
        next(found)
    return next(found)


def explained(loaded: LoadedModel, name: str) -> list[tuple[str, Image.Image]]:
    """A photograph of the gallery at its own proportions, its heat map, and both together."""
    photo = next(sample for sample in open_source("demo:gallery") if sample.id == name).load()
    explanation = explain(loaded, photo)
    confidence = float(explanation.logits.softmax(dim=1).max())
    said = f"{loaded.class_names[int(explanation.classes[0, 0])]} {confidence:.0%}"
    heat, both = explanation.overlay(alpha=1.0)[0], explanation.overlay()[0]
    size = (round(SIDE * photo.shape[1] / photo.shape[0]), SIDE)
    pictures = {"photograph": photo, "heat map": heat, said: both}
    return [
        (label, Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)) for label, picture in pictures.items()
    ]


def hero() -> Image.Image:
    loaded = load_model("demo:imagenet")
    return sheet([explained(loaded, "coffee"), explained(loaded, "palace")])


def layers(loaded: LoadedModel) -> Image.Image:
    photo = first_of("astronaut")
    explanation = explain(
        loaded.model,
        tensor(loaded, photo),
        method="layercam",
        layers=["stage1", "stage2", "stage3", "stage4"],
    )
    row = [("photograph", enlarged(photo.image))]
    for name in explanation.layers:
        rows, columns = explanation.maps[name].shape[2:]
        row.append((f"{name}, {rows} x {columns}", over(explanation, photo, layer=name)))
    return sheet([row])


def contrast(loaded: LoadedModel) -> Image.Image:
    photo = first_of("coffee")
    (pair,) = explain(loaded.model, tensor(loaded, photo), target=TopK(2)).classes.tolist()
    a, b = pair
    explanation = explain(loaded.model, tensor(loaded, photo), target=[ClassScore(a), ClassScore(b), Contrast(a, b)])
    names = loaded.class_names
    labels = [names[a], names[b], f"{names[a]} rather than {names[b]}"]
    maps = [(label, over(explanation, photo, target=target)) for target, label in enumerate(labels)]
    return sheet([[("photograph", enlarged(photo.image)), *maps]])


def reading() -> Image.Image:
    page = sheet([explained(load_model("demo:imagenet"), "cat")])
    wide = Image.new("RGB", (page.width + 120, page.height), PAPER)
    wide.paste(page)
    ramp = np.repeat(np.linspace(1, 0, SIDE, dtype=np.float32)[:, None], 22, axis=1)
    bar = Image.fromarray(colorize(ramp))
    wide.paste(bar, (page.width, GAP + TEXT))
    pen, font = ImageDraw.Draw(wide), ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    pen.text((page.width + 30, GAP + TEXT), "1 warm", INK, font)
    pen.text((page.width + 30, GAP + TEXT + SIDE - 18), "0 cold", INK, font)
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


def questions(loaded: LoadedModel) -> Image.Image:
    """One image under a method for each question."""
    photo = first_of("motorcycle", skip=1)
    rows: list[list[tuple[str, Image.Image]]] = [[("photograph", enlarged(photo.image))], []]
    for place, (method, options) in enumerate(ASKED.items()):
        explanation = explain(loaded.model, tensor(loaded, photo), method=method, options=options)
        rows[(place + 1) // 5].append((method, over(explanation, photo, alpha=0.6)))
    return sheet(rows)


def segments(loaded: LoadedModel) -> Image.Image:
    """LIME as a panel, with the legend of both signs."""
    photo = first_of("cat", skip=4)
    explanation = explain(
        loaded.model, tensor(loaded, photo), method="lime", options={"segments": 50, "samples": 1000, "features": 12}
    )
    fidelity = float(explanation.details["r_squared"][0, 0])
    drawn: Image.Image = explanation.figure(
        [photo.image],
        class_names=loaded.class_names,
        title=f"LIME: 50 segments, 1,000 samples, R squared {fidelity:.2f}",
        alpha=0.6,
    )
    return drawn


def fineness(loaded: LoadedModel) -> Image.Image:
    """The same question to coarser and finer segments."""
    photo = first_of("cat", skip=4)
    row = [("photograph", enlarged(photo.image))]
    for wanted in (10, 40, 160):
        options = {"segments": wanted, "samples": 1000}
        explanation = explain(loaded.model, tensor(loaded, photo), method="lime", options=options)
        count, fidelity = int(explanation.details["segment_counts"][0]), float(explanation.details["r_squared"][0, 0])
        row.append((f"{count} segments, R² {fidelity:.2f}", over(explanation, photo, alpha=0.6)))
    return sheet([row])


def agreement(cheating: LoadedModel) -> Image.Image:
    """Different questions to a model that cheats, and the same answer."""
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
    """What the last stage tells apart in four photographs, two of them of one class."""
    photos = [first_of("cat", skip=4), first_of("cat", skip=1), first_of("motorcycle"), first_of("flower")]
    found = concepts(loaded.model, torch.cat([tensor(loaded, photo) for photo in photos]), "stage4", count=3)
    heatmaps = found.heatmaps((SIDE, SIDE)).numpy()
    rows = []
    for number in range(heatmaps.shape[1]):
        pictures = (np.asarray(enlarged(photo.image)) for photo in photos)
        drawn = [overlay(one, maps[number], alpha=0.6) for one, maps in zip(pictures, heatmaps, strict=True)]
        rows.append([(f"concept {number + 1}", Image.fromarray(one)) for one in drawn])
    return sheet(rows)


def main(folder: Path, names: Sequence[str] = ()) -> None:
    clean, cheating = load_model("demo:photos"), load_model("demo:watermark")
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "hero": hero,
        "layers": lambda: layers(clean),
        "contrast": lambda: contrast(clean),
        "reading": reading,
        "patterns": lambda: patterns(clean, cheating),
        "cheat": lambda: cheat(clean, cheating),
        "beyond-questions": lambda: questions(clean),
        "beyond-segments": lambda: segments(clean),
        "beyond-fineness": lambda: fineness(clean),
        "beyond-agreement": lambda: agreement(cheating),
        "beyond-concepts": lambda: shared_concepts(clean),
    }
    for name in names or pictures:
        pictures[name]().save(folder / f"{name}.png", optimize=True)
        print(folder / f"{name}.png")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images", sys.argv[2:])
