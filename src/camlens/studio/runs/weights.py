"""Whether a run was made with the very weights that the studio has loaded, and what to do where it was not."""

from shlex import quote

from camlens.audit.store.manifest import Manifest
from camlens.core.layers import checked_model
from camlens.core.provenance import weights_hash
from camlens.models import LoadedModel
from camlens.studio.runs.schemas import RunWeights


def compared_weights(manifest: Manifest, run: str, loaded: LoadedModel) -> RunWeights:
    """The weights of the run in directory `run` beside those of the loaded model."""
    now = weights_hash(checked_model(loaded.model))
    same = manifest.weights == now
    return RunWeights(
        run=manifest.weights,
        loaded=now,
        file=manifest.weights_file,
        same=same,
        notice=None if same else _notice(manifest, run, loaded),
    )


def _notice(manifest: Manifest, run: str, loaded: LoadedModel) -> str:
    return (
        "The maps and predictions of this run were made with other weights than the model loaded here, so Explain and"
        f" the other pages may show other maps for the same images. {_mend(manifest, run, loaded)}"
    )


def _mend(manifest: Manifest, run: str, loaded: LoadedModel) -> str:
    if manifest.model is None:
        return (
            f"The run's model (a {manifest.model_type} handed over in Python) has no name: start with the --model and"
            " --weights that give it, or audit the model loaded here."
        )
    if (loaded.spec, loaded.weights_file) != (manifest.model, manifest.weights_file):
        return (
            f"To see the model of the run, start with `camlens studio --audit {quote(run)}` and neither --model nor"
            " --weights. To see this model's own maps over all images, audit it."
        )
    changed = manifest.weights_file or manifest.model
    return (
        f"{changed} gives other weights today than when the run was made: give the former ones with --weights FILE, or"
        " audit the model anew."
    )
