"""What a studio over a run explains where nothing else is said: the run's own model, weights and data."""

from dataclasses import dataclass
from pathlib import Path

from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.probabilities import Activation


@dataclass(frozen=True)
class RunDefaults:
    """Model ("" where the run's has no name), data and weights, as a run was made with them."""

    model: str = ""
    data: str | None = None
    weights: str | None = None
    activation: Activation | None = None
    output_key: str | None = None

    @classmethod
    def of(cls, run: Path) -> "RunDefaults":
        """The defaults of the run in a directory. Raises StoreError where there is none."""
        manifest = Manifest.read(RunDirectory(run.expanduser()).manifest_path)
        return cls(
            manifest.model or "",
            manifest.data,
            manifest.weights_file,
            manifest.activation,
            manifest.output_key,
        )
