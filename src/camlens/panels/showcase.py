"""Demo photographs explained for a first look: drawn at random, right and wrong predictions among them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from camlens.core.errors import InputError
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.store import result_directory
from camlens.data.demo import CLASS_NAMES, DemoPhotos, DemoSample
from camlens.models import LoadedModel
from camlens.panels.explaining import ExplainedImage, Workplace, explain_picture
from camlens.panels.pictures import panel_picture
from camlens.panels.writing import description, shared_facts, signed_map, write_manifest
from camlens.render.index_page import PageEntry, index_page
from camlens.render.theme import Look

_CHEATS = "demo:watermark"
_MOST_TRIED = 160  # composing them takes some seconds
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Draw:
    """Test images of the demo, how many were tried to find them, and a caption that says how."""

    samples: tuple[DemoSample, ...]
    tried: int
    caption: str


@dataclass(frozen=True, eq=False)
class ShownSample:
    """One explained demo photograph and what it truly shows."""

    sample: DemoSample
    image: ExplainedImage

    @property
    def correct(self) -> bool:
        """Whether the model says what the photograph shows."""
        return self.image.predictions[0]["class_idx"] == self.sample.label


def draw_samples(loaded: LoadedModel, *, count: int = 20, seed: int = 0) -> Draw:
    """`count` random test images, a fifth of them or more wrongly predicted and at least one rightly.

    A good model makes few mistakes. Where the draw holds too few, more test images are tried in random order,
    and the mistakes found there take the place of right ones; where none is found, noise is laid over images
    of the draw until the model errs. The caption says what was done.
    """
    if tuple(loaded.class_names) != CLASS_NAMES:
        raise InputError(
            f"the demo photographs show {', '.join(CLASS_NAMES)}, which {loaded.spec} does not know:"
            " take demo:photos or demo:watermark"
        )
    random = np.random.default_rng(seed)
    photographs = DemoPhotos("test", watermark="moved" if loaded.spec == _CHEATS else "absent")
    order = random.permutation(len(photographs)).tolist()
    drawn = [photographs[index] for index in order[:count]]
    right = _judged(loaded, drawn)
    tried = count = len(drawn)
    added = 0
    for start in range(count, _MOST_TRIED, _BATCH):
        sought = right.count(False) >= max(1, count // 5)
        wanted = 1 if sought else max(1, count // 5)
        if right.count(sought) >= wanted:
            break
        batch = [photographs[index] for index in order[start : min(start + _BATCH, _MOST_TRIED)]]
        tried += len(batch)
        for sample, kind in zip(batch, _judged(loaded, batch), strict=True):
            if kind is sought and right.count(sought) < wanted:
                place = count - 1 - right[::-1].index(not sought)
                drawn[place], right[place] = sample, sought
                added += 1
    noisy = 0
    if False not in right:
        noisy = _spoil(loaded, drawn, right, random, wanted=max(1, count // 5))
    caption = _caption(right, loaded.spec, tried=tried, added=added, noisy=noisy)
    return Draw(tuple(drawn), tried, caption)


def _spoil(
    loaded: LoadedModel,
    drawn: list[DemoSample],
    right: list[bool],
    random: np.random.Generator,
    *,
    wanted: int,
) -> int:
    """Lay noise over the last images, more and more, until the model errs on `wanted`; says on how many."""
    for strength in (40, 80, 160):
        for place in reversed(range(1, len(drawn))):
            if right.count(False) == wanted:
                return wanted
            noise = random.normal(0, strength, drawn[place].image.shape)
            pixels = (drawn[place].image + noise).clip(0, 255).astype(np.uint8)
            spoiled = replace(drawn[place], image=pixels, name=f"{drawn[place].name}-noisy")
            if right[place] and _judged(loaded, [spoiled]) == [False]:
                drawn[place], right[place] = spoiled, False
    return right.count(False)


def write_showcase(
    directory: Path,
    place: Workplace,
    draw: Draw,
    *,
    look: Look,
    force: bool = False,
    each: Callable[[Iterable[DemoSample]], Iterable[DemoSample]] = iter,
) -> dict[str, Any]:
    """Write a panel and a map for each sample, an index page and the returned manifest, all or nothing."""
    with result_directory(directory, fresh=True) as unfinished:
        shown = []
        for one in _explained(place, each(draw.samples)):
            picture = panel_picture(one.image, look, title=one.sample.name, true_class=one.sample.label)
            picture.save(unfinished / f"{one.sample.name}.png")
            np.save(unfinished / f"{one.sample.name}.npy", signed_map(one.image), allow_pickle=False)
            shown.append(one)
        page = index_page(
            [_page_entry(one) for one in shown],
            title=f"Where {place.loaded.spec} looks",
            subtitle=f"{shown[0].image.explanation.method}  ·  {draw.caption}",
        )
        (unfinished / "index.html").write_text(page, encoding="utf-8")
        manifest = {
            **shared_facts(place, shown[0].image),
            "caption": draw.caption,
            "images": [_entry(one) for one in shown],
            "failed": [],
        }
        write_manifest(unfinished, manifest)
    return manifest


def _explained(place: Workplace, samples: Iterable[DemoSample]) -> Iterator[ShownSample]:
    for sample in samples:
        image = explain_picture(place, sample.image, path=Path(sample.name))
        yield ShownSample(sample, image)


def _page_entry(one: ShownSample) -> PageEntry:
    best = one.image.predictions[0]
    return PageEntry(
        picture=f"{one.sample.name}.png",
        title=one.sample.name,
        predicted=best["class_name"],
        confidence=best["confidence"],
        true_class=CLASS_NAMES[one.sample.label],
    )


def _entry(one: ShownSample) -> dict[str, Any]:
    names = {"panel": f"{one.sample.name}.png", "map": f"{one.sample.name}.npy"}
    return {**description(one.image), **names, "label": CLASS_NAMES[one.sample.label], "correct": one.correct}


def _judged(loaded: LoadedModel, samples: Sequence[DemoSample]) -> list[bool]:
    """For each sample whether the model predicts its class."""
    inputs = torch.stack([loaded.preprocess(sample.image) for sample in samples])
    session = Session(loaded.model, checked_inputs(inputs.to(loaded.device)))
    with undisturbed(loaded.model, session.inputs.device):
        best = session.run().logits().argmax(dim=1).tolist()
    return [index == sample.label for index, sample in zip(best, samples, strict=True)]


def _caption(right: list[bool], spec: str, *, tried: int, added: int, noisy: int) -> str:
    wrong = right.count(False)
    text = f"{len(right)} random test images: {right.count(True)} predicted rightly, {wrong} wrongly by {spec}."
    if added:
        text += f" {added} of them were sought on purpose among {tried}, so that both kinds can be seen."
    if noisy:
        text += (
            f" Of {tried} clean images the model got every one right: noise was laid over {noisy} images"
            " until it erred."
        )
    return text
