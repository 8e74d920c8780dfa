"""What a studio over a run explains where nothing else is said: the run's own model, weights and data."""

from dataclasses import dataclass
from pathlib import Path

from camlens.audit.opening import open_run


@dataclass(frozen=True)
class RunDefaults:
    """Model ("" where the run's has no name), data and weights, as a run was made with them."""

    model: str = ""
    data: str | None = None
    weights: str | None = None

    @classmethod
    def of(cls, run: Path) -> "RunDefaults":
        """The defaults of the run in a directory. Raises StoreError where there is none."""
        manifest = open_run(run).manifest
        return cls(manifest.model or "", manifest.data, manifest.weights_file)
