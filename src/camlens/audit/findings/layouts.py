"""Layouts of the embeddings, cached in the directory of the run."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camlens.audit.findings.embeddings import LayoutChoice, Points, Separation, layout, sampled, separation
from camlens.audit.findings.neighbours import Rows, usable
from camlens.audit.findings.outcomes import outcomes_of
from camlens.audit.findings.reading import NONE, Run, directions_of, whole_numbers
from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.commit import committed
from camlens.core.errors import StoreError
from camlens.core.probe import Progress, silent

log = logging.getLogger("camlens.audit")
_VERSION = 1
_KEPT = 32


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout of a sample of the images.

    Attributes:
        rows: rows of the sample, ascending.
        points: the points (m, 2).
        choice: the choice with its defaults filled in.
        separation: how well the classes are separated.
        cached: whether the layout was read from the cache.
    """

    rows: Rows
    points: Points
    choice: LayoutChoice
    separation: Separation
    cached: bool


def cached_layout(run: Run, choice: LayoutChoice, *, keep: bool = True, progress: Progress = silent) -> Layout:
    """Return a layout of a run: read from `layouts/` in its directory, or else computed and written there.

    Args:
        run: the run.
        choice: the layout. At most `choice.samples` images are drawn, stratified by true class, or by predicted class
            if the run has no labels. Images without a prediction are left out.
        keep: whether to write a new layout. The newest 32 are kept, and a failure to write is only logged.
        progress: called as `progress(steps done, steps in total)`; exceptions that it raises stop the computation.

    Raises:
        InputError: the perplexity or number of neighbors is too large for the images.
    """
    cached = find_layout(run, choice)
    if cached is not None:
        return cached
    outcomes = outcomes_of(run)
    answered = np.nonzero(~outcomes.failed)[0]
    strata = outcomes.label if (outcomes.label != NONE).any() else outcomes.predicted
    rows = answered[sampled(strata[answered], choice.samples, seed=choice.seed)]
    directions = directions_of(run, rows)
    rows, directions = rows[usable(directions)], directions[usable(directions)]
    points = layout(directions, choice, progress=progress)
    apart = separation(directions, points, outcomes.label[rows], seed=choice.seed)
    computed = Layout(rows, points, choice.settled(len(rows)), apart, cached=False)
    if keep:
        try:
            _write(run, choice, computed)
        except (StoreError, OSError) as error:
            log.warning("cannot cache the layout: %s", error)
    return computed


def find_layout(run: Run, choice: LayoutChoice) -> Layout | None:
    """Return the layout of a run from the cache, or None."""
    facts_path, points_path = _paths(run, choice)
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        table = parquet().read_table(points_path)
        rows = table.column("row").to_numpy()
        points = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
        apart: dict[str, Any] = {
            name: float("nan") if value is None else value for name, value in facts["separation"].items()
        }
        if facts["key"] != _key(run, choice) or facts["points"] != len(rows):
            return None
        return Layout(rows, points, LayoutChoice(**facts["settled"]), Separation(**apart), cached=True)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # absent or damaged: it is computed again


def _write(run: Run, choice: LayoutChoice, computed: Layout) -> None:
    facts_path, points_path = _paths(run, choice)
    labels = whole_numbers(run, "label")
    columns = {
        "row": arrow().array(computed.rows),
        "x": arrow().array(np.ascontiguousarray(computed.points[:, 0])),
        "y": arrow().array(np.ascontiguousarray(computed.points[:, 1])),
        "label": arrow().array(labels[computed.rows]),
    }
    facts = {
        "key": _key(run, choice),
        "settled": asdict(computed.choice),
        "points": len(computed.rows),
        "separation": computed.separation.to_dict(),
    }
    with committed(points_path) as unfinished:
        parquet().write_table(arrow().table(columns), unfinished)
    with committed(facts_path) as unfinished:  # written last, since points without it are ignored
        unfinished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    newest_first = sorted(facts_path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest_first[_KEPT:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".parquet").unlink(missing_ok=True)


def _key(run: Run, choice: LayoutChoice) -> dict[str, Any]:
    """Return everything on which a layout depends."""
    facts = run.manifest
    identity = {name: getattr(facts, name) for name in ("fingerprint", "weights", "embedding")}
    return {"version": _VERSION, **asdict(choice), **identity, "rows": len(run)}


def _paths(run: Run, choice: LayoutChoice) -> tuple[Path, Path]:
    """Return the paths of the facts and of the points of a layout."""
    text = json.dumps(_key(run, choice), sort_keys=True)
    name = f"{choice.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return run.path / "layouts" / f"{name}.json", run.path / "layouts" / f"{name}.parquet"
