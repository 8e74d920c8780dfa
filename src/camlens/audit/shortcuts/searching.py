"""Search for shortcuts: collect candidates from the images, then test each on the model.

Candidates come from the images alone, so most classes of most datasets cost no forward pass. A candidate is tested
twice, on different images: a few images show whether it has any effect, and then as many as the bound of the run
allows measure it. Only the second test counts, and it is corrected for all candidates that reached it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from camlens.audit.findings.attention import superiority
from camlens.audit.findings.reading import whole_numbers
from camlens.audit.findings.shortcuts import Effect, Example, Kind, Shortcut, Shortcuts, Tested
from camlens.audit.opening import Audit
from camlens.audit.running.shard_work import ShardWork
from camlens.audit.shortcuts.candidates import (
    ALIKE_EFFECT,
    OBJECT_EFFECT,
    SMALLEST_EFFECT,
    WANDERING_EFFECT,
    Candidate,
    LocalCandidate,
    Rows,
    bounding_box,
    filled,
)
from camlens.audit.shortcuts.effects import paired_effect
from camlens.audit.shortcuts.images import Pixels, SeenImages
from camlens.audit.shortcuts.places import LARGEST_PATCH, Place, common_places
from camlens.audit.shortcuts.properties import PROPERTIES, GlobalCandidate, Values
from camlens.audit.shortcuts.wandering import Recurring, recurring_patches
from camlens.audit.store.commit import committed
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.errors import InputError
from camlens.core.probe import Progress, silent
from camlens.render.pictures import encode_png
from camlens.trust.comparing import holm

ALPHA = 0.05
FEWEST = 20
"""The fewest images of a class that are tested."""

_SAME, _SAME_UNALIGNED, _ROUGHLY_ALIKE = 0.9, 0.6, 0.8
_MATTERS = 0.1
_LARGEST_PART = 0.12
_WANDERS, _MORE_ALIKE = 0.12, 0.015
_ASSOCIATED = 0.8
_SAMPLE = {"quick": 80, "full": 200}
_OTHERS = {"quick": 120, "full": 240}
_FIRST = {"quick": 8, "full": 24}
_MOST = {"quick": 100, "full": 200}
_BOUND = {"quick": 1, "full": 10}
_SMALLEST_BOUND = 400
_PLACES, _EXAMPLES, _ROWS = 3, 3, 200
_SEARCH, _SCREEN, _TEST, _SHOW = range(4)


@dataclass(frozen=True, eq=False)
class Search:
    """A search for shortcuts in the images of a run.

    Attributes:
        seen: reads the images and answers for changed ones.
        groups: class of each image, -1 for none: its label, or its prediction if no image has a label.
        predicted: predicted class of each image, -1 if it could not be read.
        level: how many images are used.
        seed: seed of all draws.
        directory: where the results of single tests and the pictures are written.
        key: hash of everything on which the results depend; results with another key are computed again.
    """

    seen: SeenImages
    groups: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    level: Literal["quick", "full"]
    seed: int
    directory: Path
    key: str

    @property
    def bound(self) -> int:
        """The largest number of images that are passed to the model."""
        return _BOUND[self.level] * max(len(self.groups), _SMALLEST_BOUND)

    @cached_property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """The images that have a class and could be read."""
        usable: Bool[np.ndarray, " n"] = (self.predicted >= 0) & (self.groups >= 0)
        return usable

    def run(self, progress: Progress = silent) -> Shortcuts:
        """Search for candidates, test them, and write the pictures of those that matter."""
        progress(0, self.bound)
        classes, counts = np.unique(self.groups[self.usable], return_counts=True)
        large = classes[counts >= FEWEST].tolist() if len(classes) > 1 else []
        first, most = _FIRST[self.level], _MOST[self.level]
        candidates = self._candidates(large)[: self.bound // 2 // (4 * first)]
        screened = [self._effects(candidate, place, _SCREEN, first) for place, candidate in enumerate(candidates)]
        spent = sum(map(_passes, screened))
        progress(spent, self.bound)
        chosen = [place for place, effects in enumerate(screened) if _largest(effects) >= _MATTERS]
        results = list(screened)
        for done, place in enumerate(chosen):
            share = (self.bound - spent) // (len(chosen) - done)
            pairs = min(most, share // 4 - _EXAMPLES)
            results[place] = self._effects(candidates[place], place, _TEST, pairs)
            spent += _passes(results[place]) + 4 * _EXAMPLES
            progress(spent, self.bound)
        p_values = np.full(len(candidates), np.nan)
        p_values[chosen] = holm([_p(candidates[place], *results[place]) for place in chosen])
        shortcuts = [
            self._shortcut(place, candidate, *results[place], float(p_values[place]))
            for place, candidate in enumerate(candidates)
        ]
        order = {"confirmed": 0, "object": 1, "unused": 2}
        shortcuts.sort(key=lambda shortcut: (order[shortcut.status], -shortcut.effect))
        small = [(int(index), int(count)) for index, count in zip(classes, counts, strict=True) if count < FEWEST]
        return Shortcuts(
            level=self.level,
            seed=self.seed,
            alpha=ALPHA,
            passes=spent,
            bound=self.bound,
            shortcuts=(*shortcuts, *(_too_few(index, count) for index, count in small)),
            tested=tuple(_tested(candidates, len(classes), len(large))),
            key=self.key,
        )

    def _candidates(self, classes: Sequence[int]) -> list[Candidate]:
        """Return the candidates of all classes, the most conspicuous first."""
        reference = np.sort(self._random(_SEARCH).permutation(np.flatnonzero(self.usable))[: 2 * _OTHERS[self.level]])
        pool = self.seen.pixels(reference) if classes else torch.empty(0)
        places: dict[int, list[Place]] = {}
        patches: dict[int, list[Recurring]] = {}
        values: dict[int, list[Values]] = {}
        for index in classes:
            images = self.seen.pixels(self._sampled(index))
            others = pool[torch.from_numpy(self.groups[reference] != index)][: _OTHERS[self.level]]
            places[index] = common_places(images, others)[:_PLACES]
            patches[index] = recurring_patches(images, others, self._random(_SEARCH, index, 1))
            shared: list[Place | Recurring] = [*places[index][:1], *patches[index]]
            for found in shared:
                # so that a patch is not reported as a difference in sharpness or brightness, too
                images = filled(images, found.masks(images))
            values[index] = [prop.measure(images) for prop in PROPERTIES]
        local = [candidate for index in classes for candidate in self._local(index, places, patches)]
        return sorted([*local, *self._global(values)], key=lambda candidate: -candidate.priority)

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def _rows(self, index: int, *, own: bool) -> Rows:
        return np.flatnonzero(self.usable & ((self.groups == index) == own))

    def _sampled(self, index: int) -> Rows:
        rows = self._rows(index, own=True)
        return np.sort(self._random(_SEARCH, index).permutation(rows)[: _SAMPLE[self.level]])

    def _local(
        self, index: int, places: Mapping[int, Sequence[Place]], patches: Mapping[int, Sequence[Recurring]]
    ) -> list[LocalCandidate]:
        """Return the places and the patch that images of a class share, and that may not be a part of its objects.

        What other classes share shows how alike parts of objects are in this dataset. If objects are aligned, as in
        portraits, images of other classes are roughly alike in some places. Then only a place that is nearly the same
        in all images counts, and a patch must wander.
        """
        rows = self._sampled(index)
        others = [found[0].sameness for other, found in places.items() if other != index and found]
        aligned = any(sameness < _ROUGHLY_ALIKE for sameness in others)
        limit = _SAME if aligned else _SAME_UNALIGNED
        shown = places[index] if aligned else [replace(place, mask=place.whole) for place in places[index]]
        candidates = [
            LocalCandidate(
                index=index,
                name=place.shape,
                rows=rows[place.carries],
                region=bounding_box(place.mask),
                sameness=place.sameness,
                margin=SMALLEST_EFFECT if place.sameness >= limit else OBJECT_EFFECT,
                priority=place.sameness if place.sameness >= limit else place.sameness / 2,
                find=place.masks,
            )
            for place in shown
            if place.mask.mean() <= (LARGEST_PATCH if place.sameness >= limit else _LARGEST_PART)
            or (place.sameness >= limit and place.shape != "patch")
        ]
        if any(candidate.drop_counts for candidate in candidates):
            return candidates
        usual = max((found[0].sameness for other, found in patches.items() if other != index and found), default=0.0)
        for patch in patches[index]:
            wanders = patch.spread >= _WANDERS
            if wanders or not aligned:
                exceptional = patch.sameness >= usual + _MORE_ALIKE
                candidates.append(
                    LocalCandidate(
                        index=index,
                        name="wandering patch" if wanders else "patch",
                        rows=rows[patch.carries],
                        region=None if wanders else patch.region,
                        sameness=patch.sameness,
                        margin=WANDERING_EFFECT if exceptional else ALIKE_EFFECT,
                        priority=patch.share * (1 if exceptional else 0.5),
                        find=patch.masks,
                    )
                )
        return candidates

    def _global(self, values: dict[int, list[Values]]) -> list[Candidate]:
        """Return the properties of whole images that tell a class from the others."""
        candidates: list[Candidate] = []
        for index, own in values.items() if len(values) > 1 else ():
            for place, prop in enumerate(PROPERTIES):
                others = np.concatenate([group[place] for other, group in values.items() if other != index])
                chances = [superiority(own[place][:, axis], others[:, axis]) for axis in range(others.shape[1])]
                if max(abs(chance - 0.5) for chance in chances) < _ASSOCIATED - 0.5:
                    continue
                axis = int(np.argmax([abs(chance - 0.5) for chance in chances]))
                middle = (np.median(own[place][:, axis]) + np.median(others[:, axis])) / 2
                carries = (own[place][:, axis] > middle) == (chances[axis] > 0.5)
                rows = self._sampled(index)[carries]
                if len(rows) >= _FIRST[self.level] // 2:
                    strength = 2 * abs(chances[axis] - 0.5)
                    candidates.append(GlobalCandidate(index, prop, rows, own[place][carries], others, strength))
        return candidates

    def _draws(self, candidate: Candidate, place: int, stage: int, pairs: int) -> tuple[Rows, ...]:
        """Return rows to remove the property from, and rows to add it to with their donors and controls."""
        random = self._random(stage, place)
        carriers = random.permutation(candidate.rows)[:pairs]
        others = self._rows(candidate.index, own=False)
        others = others[self.predicted[others] != candidate.index]
        targets = random.permutation(others)[:pairs]
        donors = random.choice(candidate.rows, len(targets))
        controls = random.choice(self._rows(candidate.index, own=False), len(targets))
        return carriers, targets, donors, controls

    def _effects(self, candidate: Candidate, place: int, stage: int, pairs: int) -> tuple[Effect, Effect]:
        """Return the drop and the pull of a candidate, from disk if they were measured before."""
        path = self.directory / f"effects-{stage}-{place:04d}.json"
        kept = _kept(path, self.key)
        if kept is None:
            measured = self._measured(candidate, place, stage, pairs)
            kept = {"key": self.key, "effects": [asdict(effect) for effect in measured]}
            with committed(path) as unfinished:
                unfinished.write_text(json.dumps(kept), encoding="utf-8")
        drop, pull = (Effect(**facts) for facts in kept["effects"])
        return drop, pull

    def _measured(self, candidate: Candidate, place: int, stage: int, pairs: int) -> tuple[Effect, Effect]:
        carriers, targets, donors, controls = self._draws(candidate, place, stage, pairs)
        without, unchanged = candidate.removed(self.seen.pixels(carriers), self._random(stage, place, 1))
        adding, not_adding = candidate.added(*(self.seen.pixels(rows) for rows in (targets, donors, controls)))
        is_class = [self._predicts(images, candidate.index) for images in (unchanged, without, adding, not_adding)]
        return (
            paired_effect(is_class[0], is_class[1], margin=candidate.margin),
            paired_effect(is_class[2], is_class[3], margin=candidate.margin),
        )

    def _predicts(self, images: Pixels, index: int) -> np.ndarray:
        return np.asarray(self.seen.answers(images).argmax(1) == index)

    def _shortcut(self, place: int, candidate: Candidate, drop: Effect, pull: Effect, p: float) -> Shortcut:
        counted = _counted(candidate, drop, pull)
        effect = max(counted, key=lambda effect: effect.value)
        if p == p and p <= ALPHA and effect.value >= _MATTERS:
            status: Any = "confirmed"
        elif candidate.margin > SMALLEST_EFFECT and pull.low > SMALLEST_EFFECT:
            status = "object"
        else:
            status = "unused"
        examples = self._examples(place, candidate) if status != "unused" else ()
        return Shortcut(
            classes=(candidate.index,),
            kind=candidate.kind,
            status=status,
            effect=effect.value,
            interval=(effect.low, effect.high),
            p=p,
            region=candidate.region,
            property=candidate.name,
            images=len(candidate.rows),
            drop=drop,
            pull=pull,
            sameness=candidate.sameness,
            examples=examples,
            rows=tuple(candidate.rows[:_ROWS].tolist()),
        )

    def _examples(self, place: int, candidate: Candidate) -> tuple[Example, ...]:
        carriers, targets, donors, controls = self._draws(candidate, place, _SHOW, _EXAMPLES)
        images, others = self.seen.pixels(carriers), self.seen.pixels(targets)
        without, _ = candidate.removed(images, self._random(_SHOW, place, 1))
        adding, _ = candidate.added(others, self.seen.pixels(donors), self.seen.pixels(controls))
        versions = {"with": images, "without": without, "other": others, "other_with": adding}
        chances = {name: self.seen.answers(shown)[:, candidate.index] for name, shown in versions.items()}
        return tuple(
            Example(
                row=int(carriers[at]),
                region=region,
                before=float(chances["with"][at]),
                after=float(chances["without"][at]),
                other_row=int(targets[at]),
                other_before=float(chances["other"][at]),
                other_after=float(chances["other_with"][at]),
                pictures={
                    name: self._written(shown[at], f"{place:04d}-{at}-{name}.png") for name, shown in versions.items()
                },
            )
            for at, region in enumerate(candidate.regions(images))
        )

    def _written(self, image: Float[Tensor, "3 h w"], name: str) -> str:
        with committed(self.directory / name) as unfinished:
            unfinished.write_bytes(encode_png(image.permute(1, 2, 0).numpy()))
        return f"{self.directory.name}/{name}"


def search_run(
    work: ShardWork,
    audit: Audit,
    level: Literal["quick", "full"],
    *,
    run_key: str,
    seed: int,
    progress: Progress = silent,
) -> Shortcuts:
    """Test a complete run for shortcuts and write the result; read it if it is there already.

    A test that was finished before an interruption is not repeated. `run_key` identifies the model and the images.
    """
    path = RunDirectory(audit.path).shortcuts_path
    key = f"{run_key}-{level}-{seed}"
    before = Shortcuts.read(path)
    if before is not None and before.key == key:
        return before
    label, predicted = (whole_numbers(audit, name) for name in ("label", "predicted"))
    groups = label if (label >= 0).any() else predicted
    readable = np.flatnonzero(predicted >= 0)
    try:
        seen = SeenImages.of(work.images, work.observer, work.manifest.batch_size, readable.tolist())
    except InputError as error:
        lines = _tested([], len(np.unique(groups[groups >= 0])), 0)
        tested = tuple(replace(line, note=str(error)) for line in lines)
        result = Shortcuts(level, seed, ALPHA, 0, 0, (), tested, key)
    else:
        directory = audit.path / "shortcuts"
        result = Search(seen, groups, predicted, level, seed, directory, key).run(progress)
        pictures = {
            name for item in result.shortcuts for example in item.examples for name in example.pictures.values()
        }
        for file in directory.glob("*.png"):
            if f"shortcuts/{file.name}" not in pictures:
                file.unlink()
    result.write(path)
    return result


def _tested(candidates: Sequence[Candidate], classes: int, large: int) -> list[Tested]:
    """Return what was looked for in how many classes, and the number of candidates."""
    fixed = "patch, line or frame"
    names = [
        fixed if candidate.kind == "local" and candidate.region is not None else candidate.name
        for candidate in candidates
    ]
    kinds: list[tuple[Kind, str]] = [("local", fixed), ("local", "wandering patch")]
    kinds += [("global", prop.name) for prop in PROPERTIES]
    return [Tested(kind, name, large, classes - large, names.count(name)) for kind, name in kinds]


def _too_few(index: int, images: int) -> Shortcut:
    """Return the entry of a class that has too few images for any test."""
    unknown = float("nan")
    return Shortcut((index,), "local", "too-few", unknown, (unknown, unknown), unknown, None, None, images)


def _passes(effects: tuple[Effect, Effect]) -> int:
    """Return the number of images that were passed to the model to measure a drop and a pull."""
    return sum(2 * effect.images for effect in effects)


def _counted(candidate: Candidate, drop: Effect, pull: Effect) -> list[Effect]:
    """Return the effects that count."""
    return [drop, pull] if candidate.drop_counts else [pull]


def _p(candidate: Candidate, drop: Effect, pull: Effect) -> float:
    counted = _counted(candidate, drop, pull)
    return min(1.0, len(counted) * min(effect.p for effect in counted))


def _largest(effects: tuple[Effect, Effect]) -> float:
    return max(effect.value for effect in effects)


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """Return the result at `path`, or None if there is none with this key."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if facts.get("key") == key else None
