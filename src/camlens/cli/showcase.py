"""The panels and the index page of `camlens demo`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camlens.cli.explaining import Workplace, explain_picture
from camlens.cli.gallery import description, shared_facts, signed_map, write_manifest
from camlens.cli.naming import free_stem
from camlens.core.errors import StoreError
from camlens.core.store import check_writable, earlier_manifest, own_files, result_directory
from camlens.data.samples import Sample
from camlens.data.sources import open_source
from camlens.render.index_page import PageEntry, index_page
from camlens.render.theme import Look

SHORTCUT_MODEL = "demo:watermark"
_DATA = {"demo:photos": "demo:photos", SHORTCUT_MODEL: "demo:watermark-moved"}
_INDEX = "index.html"


@dataclass(frozen=True, eq=False)
class Section:
    """Images to explain with one model, under one caption."""

    place: Workplace
    samples: tuple[Sample, ...]
    caption: str


def check_directory(directory: Path, *, force: bool) -> None:
    """Raise StoreError if `directory` holds results of another command and `force` is False, or foreign files."""
    check_writable(directory)
    earlier = earlier_manifest(directory)
    if earlier and _INDEX not in own_files(earlier) and not force:
        raise StoreError(
            f"{directory} holds the results of another command: pass another --output, or --force to replace them",
            code="output.exists",
            path=str(directory),
        )


def draw_section(place: Workplace, *, count: int, seed: int = 0) -> Section:
    """Draw `count` random images of the demo data that suits the model, by default of the gallery."""
    spec = place.loaded.spec
    data = _DATA.get(spec, "demo:gallery")
    source = open_source(data)
    indices = np.random.default_rng(seed).permutation(len(source))[:count].tolist()
    caption = f"{spec} on {len(indices)} random images of {data}"
    if spec == SHORTCUT_MODEL:
        caption += ": it learned to recognize pagodas by a watermark, and predicts pagoda if an image has one"
    return Section(place, tuple(source[index] for index in indices), caption)


def write_showcase(
    directory: Path,
    sections: Iterable[Section],
    *,
    look: Look,
    each: Callable[[Iterable[Sample]], Iterable[Sample]] = iter,
) -> dict[str, Any]:
    """Write a panel and a map per image, an index page and a manifest, all or nothing; return the manifest."""
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
                panel = image.panel(look, title=sample.id, true_class=index)
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
        (unfinished / _INDEX).write_text(page, encoding="utf-8")
        manifest = {**facts, "images": entries, "failed": []}
        write_manifest(unfinished, manifest)
    return manifest
