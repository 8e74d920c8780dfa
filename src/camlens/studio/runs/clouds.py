"""Two-dimensional layouts of the embeddings of a run."""

import base64
import time

import numpy as np
from numpy.typing import NDArray

from camlens.audit.findings.embeddings import Kind, LayoutChoice
from camlens.audit.findings.layouts import cached_layout
from camlens.studio.jobs import Report
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import number
from camlens.studio.runs.schemas import CloudView


def layout_choice(kind: Kind, *, samples: int, near: float | None, seed: int) -> LayoutChoice:
    """Return the layout choice; `near` is the perplexity of t-SNE or the number of neighbors of UMAP."""
    return LayoutChoice(
        kind,
        samples,
        near if kind == "tsne" else None,
        round(near) if kind == "umap" and near is not None else None,
        seed,
    )


def cloud(run: OpenRun, kind: Kind, choice: LayoutChoice, report: Report, *, keep: bool) -> CloudView:
    """Return the layout, computing it if the run does not contain it; `keep` stores it there."""
    start = time.perf_counter()
    layout = cached_layout(run.audit, choice, keep=keep, progress=report)
    outcomes, rows = run.outcomes, layout.rows
    separation = {name: value for name, value in layout.separation.to_dict().items() if name != "images"}
    return CloudView(
        kind=kind,
        count=len(rows),
        of=int((~outcomes.failed).sum()),
        perplexity=layout.choice.perplexity,
        neighbours=layout.choice.neighbours,
        seed=layout.choice.seed,
        rows=_numbers(rows, "<i4"),
        points=_numbers(layout.points, "<f4"),
        labels=_numbers(outcomes.label[rows], "<i4"),
        predictions=_numbers(outcomes.predicted[rows], "<i4"),
        confidences=_numbers(outcomes.confidence[rows], "<f4"),
        seconds=time.perf_counter() - start,
        **{name: None if value is None else number(value) for name, value in separation.items()},
    )


def _numbers(values: NDArray[np.number], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
