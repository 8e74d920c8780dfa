"""What a run is about: the facts that every row shares, and that a resumed run must share too."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from camlens.audit.store.commit import committed
from camlens.audit.store.schema import SCHEMA_VERSION
from camlens.core.errors import StoreError
from camlens.core.probabilities import Activation

# what may differ when a run is resumed: it says how and when the rows were made, not which
_INCIDENTAL = frozenset({"camlens", "torch", "created", "layer_reason", "batch_size", "model", "weights_file", "data"})


@dataclass(frozen=True)
class Manifest:
    """The facts of one run, written once.

    Attributes:
        schema_version: of the columns; a run of another version is not read.
        camlens, torch: versions that began the run.
        model: the spec as given, None for a model that was handed over as an object.
        model_type: class of the module.
        weights: hash of all parameters and buffers.
        weights_file: the file that the weights were read from, "random", or None where they came with the model.
        transform: the preprocessing, in words.
        method: "gradcam".
        layer, layer_reason: where the maps are from, and why there.
        embedding, embedding_width: which layer's input or output the embedding is, and how many numbers.
        grid, input_size: (h, w) of a map, and of what the model takes.
        class_names: the model's.
        labels: how labels of the data became classes of the model: "by name", "by place" or "none".
        data: where the images are from, None for a source that was handed over as an object.
        fingerprint: hash of the plan's ids, labels, file sizes and times of modification.
        rows, shard_size: how many images there are, and how many stand in one shard.
        batch_size: how many images went through the model at once.
        limit, seed: how many images were drawn at random of all there are, and by which seed.
        top_k: how many of the best classes each row has.
        activation: how probabilities are made of logits; None is softmax over all classes.
        output_key: the part of the model's output that holds the logits; None if it was found.
        created: when, in UTC.
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

    @property
    def identity(self) -> str:
        """A hash of all facts that decide which rows the run has: its shards carry it."""
        facts = {name: value for name, value in asdict(self).items() if name not in _INCIDENTAL}
        return f"sha256:{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"

    @property
    def shards(self) -> int:
        """How many shards are planned."""
        return -(-self.rows // self.shard_size)

    def write(self, path: Path) -> None:
        """Write the facts as JSON, whole or not at all."""
        with committed(path) as unfinished:
            text = json.dumps(asdict(self), indent=2, allow_nan=False)  # escapes hold any file name
            unfinished.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The facts of the run whose manifest lies at `path`. Raises StoreError where there is none."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"{path.parent} holds no audit: {path.name} is missing", code="store.no-run", path=str(path.parent)
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{path} cannot be read: {error}", code="store.manifest-damaged") from error
        if not isinstance(facts, Mapping) or facts.get("schema_version") != SCHEMA_VERSION:
            found = facts.get("schema_version") if isinstance(facts, Mapping) else None
            raise StoreError(
                f"{path} has schema version {found!r}, and this camlens reads {SCHEMA_VERSION}: run the audit anew",
                code="store.version",
                found=found,
                expected=SCHEMA_VERSION,
            )
        return cls.of(facts, path)

    @classmethod
    def of(cls, facts: Mapping[str, Any], path: Path) -> "Manifest":
        """The manifest of facts read from JSON; StoreError names what is missing."""
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in facts]
        if missing:
            raise StoreError(
                f"{path} lacks {', '.join(missing)}: it is damaged, or of another program",
                code="store.manifest-damaged",
                fields=missing,
            )
        known = {field.name: facts[field.name] for field in fields(cls) if field.name in facts}
        damaged = [name for name in ("rows", "shard_size") if type(known[name]) is not int or known[name] < 1]
        for name in ("grid", "input_size", "class_names"):
            if not isinstance(known[name], list | tuple):
                damaged.append(name)
            known[name] = tuple(known[name]) if isinstance(known[name], list | tuple) else ()
        if damaged:
            raise StoreError(
                f"{path} has no usable {', '.join(damaged)}: it is damaged, or of another program",
                code="store.manifest-damaged",
                fields=damaged,
            )
        return cls(**known)

    def changes(self, now: "Manifest") -> list[str]:
        """What differs in a run of today, in words; empty where its rows may stand beside those of this run."""
        before, after = asdict(self), asdict(now)
        return [
            f"{name} was {_short(before[name])} and is {_short(after[name])}"
            for name in before
            if name not in _INCIDENTAL and before[name] != after[name]
        ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-6:]}"
