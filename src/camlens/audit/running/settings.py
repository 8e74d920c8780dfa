"""How a run is made, whatever it is about."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from camlens.core.errors import InputError
from camlens.core.registry import Entry
from camlens.data.labels import LabelsBy
from camlens.methods import METHODS

DEFAULT_SHARD_SIZE = 512


@dataclass(frozen=True)
class RunSettings:
    """How a run is made.

    Attributes:
        method: a method that reads activations and gradients of one layer; see `camlens methods`.
        layer: where the maps are from; None takes the model family's own, or the best one.
        embedding: the layer whose output is the embedding; None takes what goes into the classifier.
        batch_size: how many images go through the model at once; "auto" looks at the memory.
        workers: how many processes load images beside this one; None takes as many as pay on this computer. They
            import the program's main module, which has to keep what it does behind `if __name__ == "__main__"`.
        shard_size: how many rows one file holds, and so how many may have to be done again after a crash; None
            takes that of the run that is resumed, or 512.
        limit: how many images are drawn at random; None takes all.
        seed: of that draw.
        top_k: how many of the best classes each row keeps.
        labels_by: how the data's classes become the model's: by "name", or by "place" in their order. None is by
            name if any name matches.
    """

    method: str = "gradcam"
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
            free = name in optional and value == optional[name]
            if not free and (isinstance(value, bool) or not isinstance(value, int) or value < low):
                other = f" or {optional[name]!r}" if name in optional else ""
                raise InputError(
                    f"{name} must be an int of at least {low}{other}, not {value!r}",
                    code="argument.invalid",
                    name=name,
                    value=value,
                )
        if self.labels_by not in (None, *get_args(LabelsBy)):
            raise InputError(
                f'labels_by must be "name", "place" or None, not {self.labels_by!r}',
                code="input.labels-by",
                value=self.labels_by,
            )
        if not _fits(METHODS[self.method]):
            names = ", ".join(name for name, entry in METHODS.items() if _fits(entry))
            raise InputError(
                f"method {self.method!r} does not come from one pass over one layer: choose one of {names}",
                code="method.not-one-layer",
                method=self.method,
            )


def _fits(entry: Entry) -> bool:
    return entry.needs == "gradients" and entry.scope == "layer" and entry.retarget is None
