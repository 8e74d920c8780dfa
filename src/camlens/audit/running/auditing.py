"""Start or resume a run."""

import hashlib
from pathlib import Path
from typing import Literal, get_args

from camlens.audit.findings.comparison import compare as compared
from camlens.audit.findings.shortcuts import Level
from camlens.audit.opening import Audit, open_run
from camlens.audit.report.page import write_findings
from camlens.audit.running.engine import Engine
from camlens.audit.running.preparing import Data, prepared
from camlens.audit.running.settings import RunSettings
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.arguments import check_choice, suggesting
from camlens.core.errors import InputError, ModelError
from camlens.core.probe import Progress, silent
from camlens.data.labels import LabelsBy
from camlens.data.samples import Source
from camlens.data.sources import open_source
from camlens.models import LoadedModel, load_model


@suggesting
def run(
    data: Data,
    model: str | LoadedModel,
    output: str | Path,
    *,
    force: bool = False,
    report: bool = True,
    compare: str | Path | None = None,
    progress: Progress = silent,
    engine: Engine | None = None,
    method: str | None = None,
    layer: str | None = None,
    embedding: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | None = 0,
    shard_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    top_k: int = 5,
    labels_by: LabelsBy | None = None,
    shortcuts: Level = "quick",
    testing: Progress = silent,
) -> Audit:
    """Run a model over a dataset and store predictions, embeddings and maps of every image.

    When all rows are computed, `summary.json` and `report.html` are written into the directory of the run, as by the
    command `camlens audit`. Call it again with the same arguments to resume an interrupted run. If the data has new
    images, or if `limit` is larger, the run is extended: only the new images are computed. Images that cannot be read
    do not raise: they are stored as rows with an `error`.

    Args:
        data: a directory, manifest, URL or demo dataset, as `open_source` takes it, or a source.
        model: a model spec, or the result of `load_model`.
        output: the directory of the run.
        force: remove an earlier run in `output` and start a new one.
        report: whether to write `report.html`; `summary.json` is always written.
        compare: directory of an earlier run, such as that of the model before it was trained again; what changed is a
            part of the summary and of the report.
        progress: called as `progress(rows done, rows in total)`.
        engine: schedules the shards; by default, this process computes all of them.
        shortcuts: test whether the model relies on something that is not the object: "quick" passes at most as many
            changed images to the model as the run has images (at least 400), "full" at most ten times as many, and
            "off" none.
        testing: called as `testing(images passed, most images passed)` during these tests.
        method, layer, embedding, batch_size, workers, shard_size, limit, seed, top_k, labels_by: see `RunSettings`.

    Returns:
        The opened run.

    Raises:
        StoreError: `compare` holds no run; `output` holds a run of another model or of other settings, or images of
            that run were removed or changed; or it cannot be written.
        DataError, ModelError, LayerError, InputError: an argument cannot be used, or the run to compare with has no
            image in common.

    Warns:
        UserWarning: the report is not written, because Pillow is not installed or its script is not built.
    """
    if not isinstance(model, str | LoadedModel):
        raise ModelError(
            f'an audit needs the model\'s preprocessing and class names: pass a spec such as "resnet50" or the result'
            f" of load_model, not {type(model).__name__}",
            code="model.not-loaded",
        )
    check_choice("shortcuts", shortcuts, get_args(Level))
    settings = RunSettings(method, layer, embedding, batch_size, workers, shard_size, limit, seed, top_k, labels_by)
    directory = RunDirectory(Path(output).expanduser())
    directory.refuse_foreign()
    if compare is not None and Path(compare).expanduser().resolve() == directory.path.resolve():
        raise InputError(
            f"{directory.path} cannot be compared with itself: choose another output directory",
            code="compare.same-run",
            path=str(directory.path),
        )
    earlier = None if compare is None else open_run(compare)
    source = data if isinstance(data, Source) else open_source(data)
    loaded = load_model(model) if isinstance(model, str) else model
    if force:
        directory.clear()
    work = prepared(settings, directory, loaded, source, data)
    manifest = work.manifest
    missing = directory.missing(manifest)
    done = manifest.rows - sum(len(manifest.shard_rows(shard)) for shard in missing)
    progress(done, manifest.rows)
    for step in engine.process(missing, work) if engine else work(missing):
        done += step.rows
        progress(done, manifest.rows)
    audit = open_run(directory.path, source=source)
    key = hashlib.sha256(f"{manifest.identity} {manifest.fingerprint}".encode()).hexdigest()
    if shortcuts != "off" and audit.complete:
        from camlens.audit.shortcuts.searching import search_run  # imports SciPy, which reading a run does not need

        search_run(work, audit, shortcuts, run_key=key, seed=seed, progress=testing)
    elif audit.shortcuts is not None and not audit.shortcuts.key.startswith(key):
        directory.shortcuts_path.unlink()  # of an earlier state of the run
    comparison = None if earlier is None else compared(earlier, audit)
    write_findings(audit, preprocess=loaded.preprocess, report=report, comparison=comparison)
    return audit
