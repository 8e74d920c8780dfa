"""The settings of an Explainer, with their checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from camlens.core.arguments import check_choice, closest
from camlens.core.errors import LayerError, invalid_argument
from camlens.core.execution.balanced import GRADIENTS, Gradients
from camlens.core.layouts import KINDS, Kind
from camlens.core.probe import Progress, Watcher, silent
from camlens.core.types import SelectOutput


@dataclass(frozen=True)
class Settings:
    """The settings that do not depend on the inputs, checked on creation. `explain` documents them."""

    output: SelectOutput | None = None
    layout: Kind | None = None
    gradients: Gradients = "plain"
    seed: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    batch_size: int = 32
    memory_budget: int | None = None
    progress: Progress = silent
    estimate: Watcher | None = None

    def __post_init__(self) -> None:
        for name, least, optional in (("batch_size", 1, False), ("seed", 0, False), ("memory_budget", 1, True)):
            value = getattr(self, name)
            if isinstance(value, np.integer):
                object.__setattr__(self, name, int(value))
            elif (isinstance(value, bool) or not isinstance(value, int)) and not (optional and value is None):
                raise invalid_argument(name, value, f"an int of at least {least}" + (" or None" if optional else ""))
            value = getattr(self, name)
            if value is not None and not least <= value < 2**63:
                raise invalid_argument(name, value, f"an int of at least {least} and below 2**63")
        if not isinstance(self.options, Mapping):
            raise invalid_argument("options", self.options, "a mapping from an option's name to its value")
        for name in ("output", "progress", "estimate"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise invalid_argument(name, function, "a function or None")
        check_choice("gradients", self.gradients, GRADIENTS)
        if self.layout is not None and self.layout not in KINDS:
            suggestion = closest(str(self.layout), KINDS)
            raise LayerError(
                f"there is no layout {self.layout!r}; layouts are {', '.join(KINDS)}",
                code="layout.unknown",
                layout=self.layout,
                suggestion=suggestion,
            )
