"""The plan of a run: its images in order."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.commit import committed
from camlens.core.errors import StoreError


@dataclass(frozen=True, eq=False)
class PlannedImage:
    """One image of the plan.

    Attributes:
        id: name of the image in its source.
        label: class index of the model, or None.
        stamp: file size and modification time, or what the source provides instead.
    """

    id: str
    label: int | None
    stamp: str | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """The images of a run, in order."""

    images: Sequence[PlannedImage]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the id, label and stamp of every image, in order."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(f"{image.id}\0{image.label}\0{image.stamp}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    def write(self, path: Path) -> None:
        """Write the index, id, label and stamp of every image to a Parquet file, atomically."""
        pa = arrow()
        table = pa.table(
            {
                "index": pa.array(range(len(self.images)), pa.int64()),
                "id": pa.array([image.id for image in self.images], pa.string()),
                "label": pa.array([image.label for image in self.images], pa.int32()),
                "stamp": pa.array([image.stamp for image in self.images], pa.string()),
            }
        )
        with committed(path) as unfinished:
            parquet().write_table(table, unfinished, compression="ZSTD")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read the plan at `path`. Raises StoreError if it does not exist or is damaged."""
        try:
            table = parquet().read_table(path)
            columns = [table.column(name).to_pylist() for name in ("id", "label", "stamp")]
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"cannot read the plan {path}: {error}", code="store.plan-damaged", path=str(path)
            ) from error
        return cls([PlannedImage(*values) for values in zip(*columns, strict=True)])

    def first(self, rows: int) -> "Plan":
        """Return the plan of the first `rows` images."""
        return Plan(self.images[:rows])

    def changes(self, now: "Plan") -> dict[str, list[str]]:
        """Return the ids of images that differ in `now`: removed, added, relabeled or changed."""
        before = {image.id: image for image in self.images}
        after = {image.id: image for image in now.images}
        both = [name for name in before if name in after]
        kinds = {
            "removed": [name for name in before if name not in after],
            "added": [name for name in after if name not in before],
            "relabeled": [name for name in both if before[name].label != after[name].label],
            "changed": [name for name in both if before[name].stamp != after[name].stamp],
        }
        return {kind: names for kind, names in kinds.items() if names}
