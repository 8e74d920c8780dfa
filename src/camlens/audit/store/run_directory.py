"""Where the parts of a run lie, and which shards of it are there."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.commit import committed, sweep
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.plan import Plan, shard_rows
from camlens.audit.store.schema import write_options
from camlens.core.errors import StoreError

_OWN = ("plan.parquet", "shards", "layouts", "report.html", "summary.json", "manifest.json")


@dataclass(frozen=True)
class RunDirectory:
    """A run on disk: `manifest.json`, `plan.parquet`, `shards/`, and what is derived from them."""

    path: Path

    @property
    def manifest_path(self) -> Path:
        """The facts of the run; it is written last when a run begins, so a run that has it has a plan."""
        return self.path / "manifest.json"

    @property
    def plan_path(self) -> Path:
        """The ordered ids."""
        return self.path / "plan.parquet"

    @property
    def shards_path(self) -> Path:
        """The directory of the shards."""
        return self.path / "shards"

    def shard_path(self, shard: int) -> Path:
        """The one place where a shard may lie."""
        return self.shards_path / f"shard-{shard:05d}.parquet"

    def begin(self, plan: Plan, manifest: Manifest) -> None:
        """Write plan and manifest of a new run, the manifest last."""
        self.refuse_foreign()
        plan.write(self.plan_path)
        manifest.write(self.manifest_path)

    def refuse_foreign(self) -> None:
        """Raise StoreError where the directory holds what no run has written."""
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file: choose a directory for the run")
        present = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        foreign = sorted(name for name in present if name not in _OWN and not name.endswith(".unfinished"))
        if foreign and not self.manifest_path.exists():
            raise StoreError(
                f"{self.path} holds what no audit has written ({', '.join(foreign[:3])}): choose another --output"
            )

    def clear(self) -> None:
        """Remove what an earlier run has written here, and nothing else; the manifest goes first."""
        self.refuse_foreign()
        for name in reversed(_OWN):
            place = self.path / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def write_shard(self, shard: int, table: Any) -> None:
        """Commit the rows of a shard; a second commit of the same shard replaces the first."""
        with committed(self.shard_path(shard)) as unfinished:
            parquet().write_table(table, unfinished, **write_options())

    def present(self, manifest: Manifest) -> Iterator[int]:
        """The shards that are there and whole, in order; one that is damaged counts as absent."""
        for shard in range(manifest.shards):
            if self._is_whole(shard, manifest):
                yield shard

    def missing(self, manifest: Manifest) -> list[int]:
        """The planned shards that are not there, in order."""
        there = set(self.present(manifest))
        return [shard for shard in range(manifest.shards) if shard not in there]

    def sweep(self) -> None:
        """Remove what crashed processes have left unfinished."""
        for directory in (self.path, self.shards_path):
            sweep(directory)

    def _is_whole(self, shard: int, manifest: Manifest) -> bool:
        path = self.shard_path(shard)
        if not path.is_file():
            return False
        try:
            rows: int = parquet().read_metadata(path).num_rows
        except (OSError, arrow().ArrowException):
            return False
        return rows == len(shard_rows(shard, manifest.shard_size, manifest.rows))
