"""Demo images explained for a first look: a real model on real photographs, and a model that cheats."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camlens.core.store import result_directory
from camlens.data.samples import Sample
from camlens.data.sources import open_source
from camlens.panels.explaining import Workplace, explain_picture
from camlens.panels.naming import free_stem
from camlens.panels.pictures import panel_picture
from camlens.panels.writing import description, shared_facts, signed_map, write_manifest
from camlens.render.index_page import PageEntry, index_page
from camlens.render.theme import Look

CHEATING_MODEL = "demo:watermark"
_DATA = {"demo:photos": "demo:photos", CHEATING_MODEL: "demo:watermark-moved"}


@dataclass(frozen=True, eq=False)
class Section:
    """Images that one model is shown on, and a sentence on them."""

    place: Workplace
    samples: tuple[Sample, ...]
    caption: str


def draw_section(place: Workplace, *, count: int, seed: int = 0) -> Section:
    """`count` random images of the demo data that suits the model: its own, or else the gallery."""
    spec = place.loaded.spec
    data = _DATA.get(spec, "demo:gallery")
    source = open_source(data)
    chosen = np.random.default_rng(seed).permutation(len(source))[:count].tolist()
    caption = f"{spec} on {len(chosen)} random images of {data}"
    if spec == CHEATING_MODEL:
        caption += ": it has learned a watermark, and takes what carries one for a pagoda"
    return Section(place, tuple(source[index] for index in chosen), caption)


def write_showcase(
    directory: Path,
    sections: Iterable[Section],
    *,
    look: Look,
    each: Callable[[Iterable[Sample]], Iterable[Sample]] = iter,
) -> dict[str, Any]:
    """Write a panel and a map for each sample, an index page and the returned manifest, all or nothing."""
    cards: list[PageEntry] = []
    entries: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    taken = {"manifest", "index"}
    with result_directory(directory) as unfinished:
        for section in sections:
            loaded, heading = section.place.loaded, section.caption
            for sample in each(section.samples):
                image = explain_picture(section.place, sample.load(), path=Path(sample.id))
                best = image.predictions[0]
                classes = [name for name in sample.true_classes if name in loaded.class_names]
                correct = best["class_name"] in classes if classes else None
                label = best["class_name"] if correct else " or ".join(classes) or None
                index = loaded.class_names.index(best["class_name"] if correct else classes[0]) if classes else None
                stem = free_stem(image.path, taken)
                names = {"panel": f"{stem}.png", "map": f"{stem}.npy"}
                panel = panel_picture(image, look, title=sample.id, true_class=index)
                panel.save(unfinished / names["panel"])
                np.save(unfinished / names["map"], signed_map(image), allow_pickle=False)
                entries.append(
                    {**description(image), **names, "model": loaded.spec, "label": label, "correct": correct}
                )
                card = PageEntry(
                    names["panel"],
                    sample.id,
                    best["class_name"],
                    best["confidence"],
                    label,
                    panel.size,
                    section=heading,
                )
                cards.append(card)
                facts, heading = facts or shared_facts(section.place, image), ""
        page = index_page(cards, title="Where the models look", subtitle=facts["method"])
        (unfinished / "index.html").write_text(page, encoding="utf-8")
        manifest = {**facts, "images": entries, "failed": []}
        write_manifest(unfinished, manifest)
    return manifest
