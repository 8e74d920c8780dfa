"""The files of a run, and which of its shards are complete."""

import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.commit import committed, sweep
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.plan import Plan
from camlens.audit.store.schema import row_schema, write_options
from camlens.core.errors import StoreError
from camlens.data.samples import printable

_BLANK = b"0" * 64
_OWN = (
    "plan.parquet",
    "shards",
    "layouts",
    "shortcuts",
    "shortcuts.json",
    "report.html",
    "summary.json",
    "manifest.json",
)


@dataclass(frozen=True)
class RunDirectory:
    """A run on disk: `manifest.json`, `plan.parquet`, `shards/`, and the files derived from them."""

    path: Path

    @property
    def manifest_path(self) -> Path:
        """The manifest. It is written after the plan, so that a run with a manifest has a plan."""
        return self.path / "manifest.json"

    @property
    def plan_path(self) -> Path:
        """The plan."""
        return self.path / "plan.parquet"

    @property
    def shortcuts_path(self) -> Path:
        """The result of the shortcut tests. It is written when all of them are done."""
        return self.path / "shortcuts.json"

    @property
    def shards_path(self) -> Path:
        """The directory of the shards."""
        return self.path / "shards"

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard."""
        return self.shards_path / f"shard-{shard:05d}.parquet"

    def begin(self, plan: Plan, manifest: Manifest) -> None:
        """Write the plan and the manifest of a new run, and remove the layouts of an earlier run."""
        self.refuse_foreign()
        shutil.rmtree(self.path / "layouts", ignore_errors=True)
        plan.write(self.plan_path)
        manifest.write(self.manifest_path)

    def extend(self, plan: Plan, manifest: Manifest) -> None:
        """Write the plan and the manifest of an extended run, and remove the findings of the shorter one."""
        for name in ("report.html", "summary.json", "shortcuts.json"):
            (self.path / name).unlink(missing_ok=True)
        plan.write(self.plan_path)
        manifest.write(self.manifest_path)

    def refuse_foreign(self) -> None:
        """Raise StoreError if the path is not valid UTF-8, or if the directory holds files that are not of a run."""
        if printable(str(self.path)) != str(self.path):  # pyarrow cannot open such a file
            raise StoreError(
                f"output path {str(self.path)!r} is not valid UTF-8: choose another one", code="store.name"
            )
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(
                f"{self.path} is a file: choose a directory for the run", code="output.is-a-file", path=str(self.path)
            )
        present = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        foreign = sorted(name for name in present if name not in _OWN and not name.endswith(".unfinished"))
        if foreign and not self.manifest_path.exists():
            raise StoreError(
                f"{self.path} holds files that no audit wrote ({', '.join(foreign[:3])}): choose another directory",
                code="output.foreign-file",
                path=str(self.path),
                foreign=foreign,
            )

    def clear(self) -> None:
        """Remove the files of an earlier run, and nothing else. The manifest is removed first."""
        self.refuse_foreign()
        for name in reversed(_OWN):
            place = self.path / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def write_shard(self, shard: int, table: Any, manifest: Manifest) -> None:
        """Write the rows of a shard atomically, with the run's identity, the shard's number and a checksum."""
        stream = io.BytesIO()
        with parquet().ParquetWriter(stream, table.schema, **write_options()) as writer:
            writer.write_table(table)
            facts = {"run": manifest.shard_identity(shard), "shard": str(shard), "sha256": _BLANK.decode()}
            writer.add_key_value_metadata({f"camlens.{name}": value for name, value in facts.items()})
        content = stream.getvalue()
        before, _, after = content.rpartition(_BLANK)  # the checksum's place, in the footer
        with committed(self.shard_path(shard)) as unfinished:
            unfinished.write_bytes(before + _sha256(content) + after)

    def present(self, manifest: Manifest) -> Iterator[int]:
        """Yield the numbers of the shards that exist and belong to this run, in order."""
        for shard in range(manifest.shards):
            if self._belongs(shard, manifest):
                yield shard

    def missing(self, manifest: Manifest) -> list[int]:
        """Return the numbers of the shards that are absent, damaged or of another run.

        Verifies the checksum of every shard, which reads all of them.
        """
        intact = {shard for shard in self.present(manifest) if self._is_intact(self.shard_path(shard))}
        return [shard for shard in range(manifest.shards) if shard not in intact]

    def sweep(self, manifest: Manifest) -> None:
        """Remove temporary files of crashed processes, and shards that are not in the plan."""
        for directory in (self.path, self.shards_path):
            sweep(directory)
        planned = {self.shard_path(shard) for shard in range(manifest.shards)}
        for path in self.shards_path.glob("shard-*.parquet"):
            if path not in planned:
                path.unlink()

    def _belongs(self, shard: int, manifest: Manifest) -> bool:
        try:
            metadata = parquet().read_metadata(self.shard_path(shard))
            schema = metadata.schema.to_arrow_schema()
        except (OSError, ValueError, arrow().ArrowException):
            return False
        facts = metadata.metadata or {}
        return (
            metadata.num_rows == len(manifest.shard_rows(shard))
            and facts.get(b"camlens.run") == manifest.shard_identity(shard).encode()
            and b"camlens.sha256" in facts
            and facts.get(b"camlens.shard") == str(shard).encode()
            and bool(schema.equals(row_schema(manifest.embedding_width, manifest.grid)))
        )

    def _is_intact(self, path: Path) -> bool:
        """Return whether the checksum matches. The field of the checksum counts as zeros."""
        checksum = parquet().read_metadata(path).metadata[b"camlens.sha256"]
        before, _, after = path.read_bytes().rpartition(checksum)
        return bool(_sha256(before + _BLANK + after) == checksum)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
