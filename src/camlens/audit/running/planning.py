"""Which images a run is about: all of them or some drawn at random, each with what tells that it has changed."""

import hashlib
from dataclasses import dataclass

import numpy as np

from camlens.audit.store.plan import Plan, PlannedImage
from camlens.core.errors import DataError, InputError
from camlens.data.labels import Translation
from camlens.data.samples import Sample, Source


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan, and for each of its images the place in the source."""

    plan: Plan
    places: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of every image's id, label and stamp, in order."""
        digest = hashlib.sha256()
        for image in self.plan.images:
            digest.update(f"{image.id}\0{image.label}\0{image.stamp}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def planned(source: Source, translation: Translation, *, limit: int | None, seed: int) -> Planned:
    """The plan of all images of a source, or of `limit` that are drawn with `seed` and kept in their order."""
    if len(source) == 0:
        raise DataError("the source has no images: there is nothing to audit", code="data.no-images")
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise InputError(
            f"limit must be an int of at least 1 or None, not {limit!r}",
            code="argument.invalid",
            name="limit",
            value=limit,
        )
    places = np.arange(len(source))
    if limit is not None and limit < len(source):
        places = np.sort(np.random.default_rng(seed).choice(len(source), limit, replace=False))
    images = []
    for place in places:
        sample = source[int(place)]
        images.append(PlannedImage(sample.id, translation(sample.label), _stamp(sample)))
    return Planned(Plan(images), tuple(places.tolist()))


def _stamp(sample: Sample) -> str | None:
    """Size and time of the last change of a file, or what the source says."""
    if sample.path is None:
        return sample.stamp
    try:
        facts = sample.path.stat()
    except OSError:
        return "absent"
    return f"{facts.st_size} bytes, {facts.st_mtime_ns}"
