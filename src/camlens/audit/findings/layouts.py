"""Layouts that are kept in the run: computed once for one choice of numbers, then read."""

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
    """Points (m, 2) of the rows (m,) that were drawn, in the order of the run, and how far classes lie apart.

    `choice` has the numbers that were asked for with those that were filled in; `cached` says whether it was read.
    """

    rows: Rows
    points: Points
    choice: LayoutChoice
    separation: Separation
    cached: bool


def cached_layout(run: Run, choice: LayoutChoice, *, keep: bool = True, progress: Progress = silent) -> Layout:
    """The layout of a run by this choice: read from `layouts/` in the run, or computed and written there.

    At most `choice.samples` images are drawn, by true class where the run has labels and by predicted class
    where it has none; failed images have no features and no place. `progress` is called with steps done and
    all steps; what it raises ends the work and leaves no file. The newest 32 layouts are kept; `keep=False` writes
    nothing. If the disk is full, the layout is returned and not kept. Raises InputError where the choice does not
    fit the run.
    """
    found = find_layout(run, choice)
    if found is not None:
        return found
    outcomes = outcomes_of(run)
    seen = np.nonzero(~outcomes.failed)[0]
    strata = outcomes.label if (outcomes.label != NONE).any() else outcomes.predicted
    rows = seen[sampled(strata[seen], choice.samples, seed=choice.seed)]
    directions = directions_of(run, rows)
    rows, directions = rows[usable(directions)], directions[usable(directions)]
    points = layout(directions, choice, progress=progress)
    apart = separation(directions, points, outcomes.label[rows], seed=choice.seed)
    made = Layout(rows, points, choice.settled(len(rows)), apart, cached=False)
    if keep:
        try:
            _write(run, choice, made)
        except (StoreError, OSError) as error:
            log.warning("the layout is not kept: %s", error)
    return made


def find_layout(run: Run, choice: LayoutChoice) -> Layout | None:
    """The layout of a run by this choice if it was computed before, else None."""
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
        return None  # not there, or damaged: either way it is computed anew and replaced


def _write(run: Run, choice: LayoutChoice, made: Layout) -> None:
    facts_path, points_path = _paths(run, choice)
    labels = whole_numbers(run, "label")
    columns = {
        "row": arrow().array(made.rows),
        "x": arrow().array(np.ascontiguousarray(made.points[:, 0])),
        "y": arrow().array(np.ascontiguousarray(made.points[:, 1])),
        "label": arrow().array(labels[made.rows]),
    }
    facts = {
        "key": _key(run, choice),
        "settled": asdict(made.choice),
        "points": len(made.rows),
        "separation": made.separation.to_dict(),
    }
    with committed(points_path) as unfinished:
        parquet().write_table(arrow().table(columns), unfinished)
    with committed(facts_path) as unfinished:  # written last: without it the points do not count
        unfinished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    newest_first = sorted(facts_path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest_first[_KEPT:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".parquet").unlink(missing_ok=True)


def _key(run: Run, choice: LayoutChoice) -> dict[str, Any]:
    """All that a layout depends on."""
    facts = run.manifest
    about = {name: getattr(facts, name) for name in ("fingerprint", "weights", "embedding")}
    return {"version": _VERSION, **asdict(choice), **about, "rows": len(run)}


def _paths(run: Run, choice: LayoutChoice) -> tuple[Path, Path]:
    """Where the facts and the points of a layout lie."""
    text = json.dumps(_key(run, choice), sort_keys=True)
    name = f"{choice.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return run.path / "layouts" / f"{name}.json", run.path / "layouts" / f"{name}.parquet"
