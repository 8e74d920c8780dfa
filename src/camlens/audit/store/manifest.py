"""The manifest of a run: model, data and settings, which a resumed run must share.

A run can be extended: the images of its plan keep their order, and new images are appended. Shards do not cross the end
of an earlier plan, so that no shard changes. Each shard holds a hash of the settings and of the plan up to the end of
the extension to which it belongs: a shard of a shorter run is valid in every extension of that run, and in no other
run. The plan is written before the manifest, and only its first `rows` images count, so that an extension which is
interrupted between the two leaves the shorter run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from camlens.audit.store.commit import committed
from camlens.audit.store.schema import SCHEMA_VERSION
from camlens.core.errors import StoreError
from camlens.core.probabilities import Activation

# may differ when a run is resumed, since the rows do not depend on them
_INCIDENTAL = frozenset(
    {
        "camlens",
        "torch",
        "created",
        "layer_reason",
        "method_reason",
        "batch_size",
        "model",
        "weights_file",
        "data",
        "earlier",
    }
)
# the images that are planned, which may differ when a run is extended
_PLANNED = frozenset({"rows", "fingerprint", "limit", "seed"})


@dataclass(frozen=True)
class Manifest:
    """Model, data and settings of a run.

    Attributes:
        schema_version: version of the columns; runs of another version are not read.
        camlens, torch: versions with which the run was started.
        model: the spec, or None if the model was passed as an object.
        model_type: class of the module.
        weights: hash of all parameters and buffers.
        weights_file: file from which the weights were read, "random", or None if they came with the model.
        transform: `repr` of the preprocessing.
        method, method_reason: attribution method, and why it was chosen.
        layer, layer_reason: layer of the maps, and why it was chosen.
        embedding, embedding_width: layer input or output that is the embedding, and its number of features.
        grid, input_size: (height, width) of the maps and of the model's input.
        class_names: names of the model's classes.
        labels: how labels of the data are mapped to classes of the model: "by name", "by place" or "none".
        data: location of the images, or None if a source was passed as an object.
        fingerprint: hash of the ids, labels, file sizes and modification times of the planned images.
        rows, shard_size: number of images, and largest number of rows per shard.
        earlier: (rows, fingerprint) of the run before each of its extensions.
        batch_size: number of images per forward pass.
        limit, seed: number of images in the random sample, or None for all of them, and the seed of that sample.
        top_k: number of classes that are stored with each row.
        activation: turns logits into probabilities; None is softmax.
        output_key: part of the model's output that holds the logits; None if it was detected.
        created: time of the start, in UTC.
    """

    model: str | None
    model_type: str
    weights: str
    transform: str
    method: str
    layer: str
    layer_reason: str
    embedding: str
    embedding_width: int
    grid: tuple[int, int]
    input_size: tuple[int, int]
    class_names: tuple[str, ...]
    labels: str
    data: str | None
    fingerprint: str
    rows: int
    shard_size: int
    batch_size: int
    limit: int | None
    seed: int
    top_k: int
    camlens: str
    torch: str
    created: str
    schema_version: int = SCHEMA_VERSION
    weights_file: str | None = None
    activation: Activation | None = None
    output_key: str | None = None
    earlier: tuple[tuple[int, str], ...] = ()
    method_reason: str = ""

    @property
    def identity(self) -> str:
        """Return a hash of all facts on which the rows depend."""
        return self._shards[-1][1]

    @property
    def shards(self) -> int:
        """The number of planned shards."""
        return len(self._shards)

    def shard_rows(self, shard: int) -> range:
        """Return the positions in the plan of the rows of a shard."""
        return self._shards[shard][0]

    def shard_identity(self, shard: int) -> str:
        """Return the identity of the run when the rows of a shard were planned; it is stored in the shard."""
        return self._shards[shard][1]

    @cached_property
    def _shards(self) -> tuple[tuple[range, str], ...]:
        """The rows and the identity of each shard."""
        facts = {name: value for name, value in asdict(self).items() if name not in _INCIDENTAL | _PLANNED}
        shards: list[tuple[range, str]] = []
        start = 0
        for rows, fingerprint in (*self.earlier, (self.rows, self.fingerprint)):
            text = json.dumps({**facts, "rows": rows, "fingerprint": fingerprint}, sort_keys=True)
            identity = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
            firsts = range(start, rows, self.shard_size)
            shards += [(range(first, min(first + self.shard_size, rows)), identity) for first in firsts]
            start = rows
        return tuple(shards)

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, atomically."""
        with committed(path) as unfinished:
            text = json.dumps(asdict(self), indent=2, allow_nan=False)  # ASCII escapes can represent any file name
            unfinished.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the manifest at `path`. Raises StoreError if it does not exist or is damaged."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"{path.parent} holds no audit: {path.name} is missing", code="store.no-run", path=str(path.parent)
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{path} cannot be read: {error}", code="store.manifest-damaged") from error
        if not isinstance(facts, Mapping) or facts.get("schema_version") != SCHEMA_VERSION:
            version = facts.get("schema_version") if isinstance(facts, Mapping) else None
            raise StoreError(
                f"{path} has schema version {version!r}, and this version of camlens reads {SCHEMA_VERSION}: run the"
                " audit again with force",
                code="store.version",
                found=version,
                expected=SCHEMA_VERSION,
            )
        return cls.of(facts, path)

    @classmethod
    def of(cls, facts: Mapping[str, Any], path: Path) -> "Manifest":
        """Return the manifest with these facts, as read from JSON. Raises StoreError if some are missing."""
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in facts]
        if missing:
            raise StoreError(
                f"{path} has no {', '.join(missing)}: it is damaged or was written by another program",
                code="store.manifest-damaged",
                fields=missing,
            )
        known = {field.name: facts[field.name] for field in fields(cls) if field.name in facts}
        damaged = [name for name in ("rows", "shard_size") if type(known[name]) is not int or known[name] < 1]
        for name in ("grid", "input_size", "class_names"):
            if not isinstance(known[name], list | tuple):
                damaged.append(name)
            known[name] = tuple(known[name]) if isinstance(known[name], list | tuple) else ()
        try:
            known["earlier"] = tuple((int(rows), str(hashed)) for rows, hashed in known.get("earlier", ()))
            lengths = [0, *(rows for rows, _ in known["earlier"]), int(known["rows"])]
            if any(longer <= shorter for shorter, longer in pairwise(lengths)):
                damaged.append("earlier")
        except (TypeError, ValueError):
            damaged.append("earlier")
        if damaged:
            raise StoreError(
                f"{path} has no valid {', '.join(damaged)}: it is damaged or was written by another program",
                code="store.manifest-damaged",
                fields=damaged,
            )
        return cls(**known)

    def changes(self, now: "Manifest", *, extended: bool = False) -> dict[str, tuple[Any, Any]]:
        """Return the facts on which rows depend and that differ, by name: the value here, and the value in `now`.

        `extended` leaves out the facts that differ if `now` is an extension of this run.
        """
        before, after = asdict(self), asdict(now)
        left_out = _INCIDENTAL | _PLANNED if extended else _INCIDENTAL
        return {
            name: (before[name], after[name]) for name in before if name not in left_out and before[name] != after[name]
        }
