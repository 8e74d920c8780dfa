"""How to explain: what a user may set, and what each setting may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camlens.core.errors import InputError, LayerError
from camlens.core.execution.session import SelectOutput
from camlens.core.layouts import KINDS, Kind
from camlens.core.probe import Progress, Watcher, silent


@dataclass(frozen=True)
class Settings:
    """How to explain, whatever the inputs are.

    Attributes:
        output: picks the logits (or whatever the target wants) from the model's output.
        layout: the layers' layout, where it should not be found by itself.
        seed: of the methods that draw random numbers.
        options: a method's own settings; with several methods, settings by method name.
        batch_size: how many perturbed images or features are evaluated at once.
        memory_budget: bytes that one pass may hold; batches are halved until they fit.
        progress: called as `progress(done, total)` in long loops; it may raise, which cancels.
        estimate: called in long loops with the maps so far (n, t, *grid), signed as they will be, by methods about the
            input that get better as they go: rise. The n images are those of one pass, where `memory_budget` makes
            several.
    """

    output: SelectOutput | None = None
    layout: Kind | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    memory_budget: int | None = None
    progress: Progress = silent
    estimate: Watcher | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "seed", "memory_budget"):
            if isinstance(getattr(self, name), np.integer):
                object.__setattr__(self, name, int(getattr(self, name)))
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError(f"batch_size must be an int of at least 1, not {self.batch_size!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be an int of at least 0 and below 2**63, not {self.seed!r}")
        if not isinstance(self.options, Mapping):
            raise InputError(f"options must be a mapping from a setting's name to its value, not {self.options!r}")
        for name in ("output", "progress", "estimate"):
            function = getattr(self, name)
            if not callable(function) and (name == "progress" or function is not None):
                raise InputError(f"{name} must be a function, not {function!r}")
        if self.layout is not None and self.layout not in KINDS:
            raise LayerError(f"there is no layout {self.layout!r}; layouts are {', '.join(KINDS)}")
        budget = self.memory_budget
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
            raise InputError(f"memory_budget must be a positive number of bytes or None, not {budget!r}")


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Settings from keywords, None meaning the default; an unknown one is an InputError that lists those there are."""
    allowed = Settings.__dataclass_fields__
    for name in given:
        if name not in allowed:
            raise InputError(f"there is no setting {name!r}; settings are {', '.join(allowed)}")
    return Settings(**{name: value for name, value in given.items() if value is not None})
