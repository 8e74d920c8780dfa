"""Where the parts of a run lie, and which shards of it are there."""

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
from camlens.audit.store.plan import Plan, shard_rows
from camlens.audit.store.schema import row_schema, write_options
from camlens.core.errors import StoreError
from camlens.data.samples import printable

_BLANK = b"0" * 64
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
        """Write plan and manifest of a new run, the manifest last. Layouts of an earlier run are removed."""
        self.refuse_foreign()
        shutil.rmtree(self.path / "layouts", ignore_errors=True)
        plan.write(self.plan_path)
        manifest.write(self.manifest_path)

    def refuse_foreign(self) -> None:
        """Raise StoreError if the path is not valid UTF-8, or if the directory holds what no run has written."""
        if printable(str(self.path)) != str(self.path):  # pyarrow opens no such file
            raise StoreError(
                f"the name {str(self.path)!r} is not valid UTF-8: choose another --output", code="store.name"
            )
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(
                f"{self.path} is a file: choose a directory for the run", code="output.is-a-file", path=str(self.path)
            )
        present = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        foreign = sorted(name for name in present if name not in _OWN and not name.endswith(".unfinished"))
        if foreign and not self.manifest_path.exists():
            raise StoreError(
                f"{self.path} holds what no audit has written ({', '.join(foreign[:3])}): choose another --output",
                code="output.foreign-file",
                path=str(self.path),
                foreign=foreign,
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

    def write_shard(self, shard: int, table: Any, manifest: Manifest) -> None:
        """Commit the rows of a shard with its run, number and checksum; a second commit replaces the first."""
        stream = io.BytesIO()
        with parquet().ParquetWriter(stream, table.schema, **write_options()) as writer:
            writer.write_table(table)
            facts = {"run": manifest.identity, "shard": str(shard), "sha256": _BLANK.decode()}
            writer.add_key_value_metadata({f"camlens.{name}": value for name, value in facts.items()})
        content = stream.getvalue()
        before, _, after = content.rpartition(_BLANK)  # in the footer, at the end
        with committed(self.shard_path(shard)) as unfinished:
            unfinished.write_bytes(before + _sha256(content) + after)

    def present(self, manifest: Manifest) -> Iterator[int]:
        """Yield the planned shards that are complete and belong to this run, in order."""
        for shard in range(manifest.shards):
            if self._belongs(shard, manifest):
                yield shard

    def missing(self, manifest: Manifest) -> list[int]:
        """Return the planned shards that have to be computed: absent, damaged or of another run.

        Every byte of every shard is read.
        """
        intact = {shard for shard in self.present(manifest) if self._is_intact(self.shard_path(shard))}
        return [shard for shard in range(manifest.shards) if shard not in intact]

    def sweep(self, manifest: Manifest) -> None:
        """Remove what crashed processes have left unfinished, and shards that are not in the plan."""
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
            metadata.num_rows == len(shard_rows(shard, manifest.shard_size, manifest.rows))
            and facts.get(b"camlens.run") == manifest.identity.encode()
            and b"camlens.sha256" in facts
            and facts.get(b"camlens.shard") == str(shard).encode()
            and bool(schema.equals(row_schema(manifest.embedding_width, manifest.grid)))
        )

    def _is_intact(self, path: Path) -> bool:
        """Whether every byte is as it was written: the checksum is of the file with a blank in its place."""
        checksum = parquet().read_metadata(path).metadata[b"camlens.sha256"]
        before, _, after = path.read_bytes().rpartition(checksum)
        return bool(_sha256(before + _BLANK + after) == checksum)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
