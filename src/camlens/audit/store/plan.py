"""The plan: which images, in which order, and which shard each belongs to. Written once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.commit import committed
from camlens.core.errors import StoreError


@dataclass(frozen=True, eq=False)
class PlannedImage:
    """One image of the plan: its id, and what its source says of it: label, size in bytes and time of change."""

    id: str
    label: int | None
    stamp: str | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """The images of a run in order."""

    images: Sequence[PlannedImage]

    def __len__(self) -> int:
        return len(self.images)

    def write(self, path: Path) -> None:
        """Write index, id, label and stamp of every image, whole or not at all."""
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
        """The plan that lies at `path`. Raises StoreError where there is none, or it is damaged."""
        try:
            table = parquet().read_table(path)
            columns = [table.column(name).to_pylist() for name in ("id", "label", "stamp")]
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"the plan {path} cannot be read: {error}", code="store.plan-damaged", path=str(path)
            ) from error
        return cls([PlannedImage(*values) for values in zip(*columns, strict=True)])

    def changes(self, now: "Plan", *, limit: int = 3) -> list[str]:
        """What differs in today's data, in words that name the first few images of each kind."""
        before = {image.id: image for image in self.images}
        after = {image.id: image for image in now.images}
        both = [name for name in before if name in after]
        kinds = {
            "gone": [name for name in before if name not in after],
            "new": [name for name in after if name not in before],
            "of another label": [name for name in both if before[name].label != after[name].label],
            "changed on disk": [name for name in both if before[name].stamp != after[name].stamp],
        }
        said = [
            f"{len(names):,} image{'s' if len(names) > 1 else ''} {kind} ({', '.join(names[:limit])}"
            f"{', ...' if len(names) > limit else ''})"
            for kind, names in kinds.items()
            if names
        ]
        if not said and list(before) != list(after):
            said.append("the images stand in another order")
        return said


def shard_rows(shard: int, shard_size: int, rows: int) -> range:
    """The places in the plan that belong to a shard."""
    return range(shard * shard_size, min((shard + 1) * shard_size, rows))
