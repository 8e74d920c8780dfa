"""The settings of a run."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from camlens.core.errors import InputError, invalid_argument
from camlens.core.registry import Entry
from camlens.data.labels import LabelsBy
from camlens.methods import METHODS

DEFAULT_SHARD_SIZE = 512


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run.

    Attributes:
        method: a method that needs the activations and gradients of one layer; see `camlens methods`. None is chosen
            for the network, or is the method of the run that is resumed.
        layer: the layer of the maps; None is the default of the model family, or else the best layer.
        embedding: the layer whose output is the embedding; None is the input of the classifier.
        batch_size: images per forward pass; "auto" depends on the free memory.
        workers: processes that load images, 0 to load in this process; None is the default for this machine. They
            import the program's main module, which must be guarded by `if __name__ == "__main__"`.
        shard_size: rows per file, at most as many as are computed again after a crash; None is 512, or the value of
            the run that is resumed.
        limit: number of images in a random sample; None is all images.
        seed: seed of that sample.
        top_k: number of classes to store with each row.
        labels_by: how labels of the data are mapped to classes of the model: by "name", or by "place" in the list of
            classes. None is by name if any name matches.
    """

    method: str | None = None
    layer: str | None = None
    embedding: str | None = None
    batch_size: int | Literal["auto"] = "auto"
    workers: int | None = 0
    shard_size: int | None = None
    limit: int | None = None
    seed: int = 0
    top_k: int = 5
    labels_by: LabelsBy | None = None

    def __post_init__(self) -> None:
        least = {"workers": 0, "seed": 0, "top_k": 1, "shard_size": 1, "limit": 1, "batch_size": 1}
        optional = {"workers": None, "shard_size": None, "limit": None, "batch_size": "auto"}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, np.integer):
                value = int(value)
                object.__setattr__(self, name, value)
            is_default = name in optional and value == optional[name]
            if not is_default and (isinstance(value, bool) or not isinstance(value, int) or value < low):
                other = f" or {optional[name]!r}" if name in optional else ""
                raise invalid_argument(name, value, f"an int of at least {low}{other}")
        if self.labels_by not in (None, *get_args(LabelsBy)):
            raise InputError(
                f'labels_by must be "name", "place" or None, not {self.labels_by!r}',
                code="input.labels-by",
                value=self.labels_by,
            )
        if self.method is not None and not _fits(METHODS[self.method]):
            names = ", ".join(name for name, entry in METHODS.items() if _fits(entry))
            raise InputError(
                f"method {self.method!r} needs more than the gradients of one layer: choose one of {names}",
                code="method.not-one-layer",
                method=self.method,
            )


def _fits(entry: Entry) -> bool:
    one_layer = entry.needs == "gradients" and entry.scope == "layer" and entry.retarget is None
    return one_layer or entry.name == "balanced"
