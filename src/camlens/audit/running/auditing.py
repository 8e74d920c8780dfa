"""A whole run: begin it, or find it begun, and have every missing shard computed."""

from pathlib import Path
from typing import Literal

from camlens.audit.opening import Audit, open_run
from camlens.audit.running.engine import Engine, LocalEngine
from camlens.audit.running.preparing import Data, prepared
from camlens.audit.running.settings import RunSettings
from camlens.audit.store.plan import shard_rows
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.arguments import suggesting
from camlens.core.errors import ModelError
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
    progress: Progress = silent,
    engine: Engine | None = None,
    method: str = "gradcam",
    layer: str | None = None,
    embedding: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | None = 0,
    shard_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    top_k: int = 5,
    labels_by: LabelsBy | None = None,
) -> Audit:
    """Run a model over a whole data set once, keep everything worth keeping in `output`, and open it.

    The same call resumes a run that was interrupted. It refuses, with a StoreError that says what changed, where
    model, data or settings are not those that the run began with; `force` begins anew.

    Args:
        data: what `open_source` takes (a directory, a manifest, a URL, "demo:photos"), or a source.
        model: a spec, or what `load_model` returned.
        output: the directory of the run.
        progress: called as `progress(rows done, rows planned)`.
        engine: who works on the shards; this process by default.
        method, layer, embedding, batch_size, workers, shard_size, limit, seed, top_k, labels_by: see `RunSettings`.

    Raises:
        DataError, ModelError, LayerError, StoreError, InputError: each names the value and the mend. An image that
        cannot be read is none of these: it is a row with `error`.
    """
    if not isinstance(model, str | LoadedModel):
        raise ModelError(
            "an audit needs a model with its preprocessing and class names: a spec, or what load_model returned, "
            f"not {type(model).__name__}",
            code="model.not-loaded",
        )
    chosen = RunSettings(method, layer, embedding, batch_size, workers, shard_size, limit, seed, top_k, labels_by)
    directory = RunDirectory(Path(output).expanduser())
    directory.refuse_foreign()
    source = data if isinstance(data, Source) else open_source(data)
    loaded = load_model(model) if isinstance(model, str) else model
    if force:
        directory.clear()
    work = prepared(chosen, directory, loaded, source, data)
    facts = work.manifest
    missing = directory.missing(facts)
    done = facts.rows - sum(len(shard_rows(shard, facts.shard_size, facts.rows)) for shard in missing)
    progress(done, facts.rows)
    for step in (engine or LocalEngine()).process(missing, work):
        done += step.rows
        progress(done, facts.rows)
    return open_run(directory.path, source=source)
