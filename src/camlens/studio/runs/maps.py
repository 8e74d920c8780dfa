"""The maps of a run, held in memory while there is room: a click on a cell then opens none of a hundred files."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.opening import Audit

ROOM = 128 * 2**20
Maps = Float[np.ndarray, "n h w"]


@dataclass(frozen=True, eq=False)
class _Known:
    """The maps of a part that are there: most images have none of their true class. `place` is -1 without one."""

    place: Int[np.ndarray, " part"]
    values: Float[np.ndarray, "known h w"]

    @classmethod
    def of(cls, maps: Maps) -> "_Known":
        there = ~np.isnan(maps[:, 0, 0])
        place = np.full(len(maps), -1, dtype=np.int32)
        place[there] = np.arange(there.sum())
        return cls(place, maps[there])

    def at(self, within: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows h w"]:
        place = self.place[within]
        maps = np.full((len(within), *self.values.shape[1:]), np.nan, dtype=np.float32)
        maps[place >= 0] = self.values[place[place >= 0]]
        return maps

    @property
    def bytes(self) -> int:
        return self.values.nbytes + self.place.nbytes


class RunMaps:
    """Both maps of any rows of a run. `hold` reads ahead, part by part, up to `room` bytes."""

    def __init__(self, audit: Audit, room: int = ROOM) -> None:
        self._audit = audit
        self._parts = list(audit.parts())
        self._starts = np.array([part.start for part in self._parts], dtype=np.int64)
        self._held: dict[int, tuple[_Known, _Known]] = {}
        self._room = room

    def hold(self) -> bool:
        """Read the next part; False where all is held, or no room is left."""
        number = len(self._held)
        if number == len(self._parts) or self._room <= 0:
            return False
        part = self._parts[number]
        held = _Known.of(self._audit.maps(part, "predicted")), _Known.of(self._audit.maps(part, "label"))
        self._room -= sum(one.bytes for one in held)
        self._held[number] = held
        return True

    def of(self, rows: Int[np.ndarray, " rows"]) -> tuple[Maps, Maps]:
        """Why the predicted class, and why (not) the true one, at layer resolution; NaN where there is none."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        here = owners < len(self._held)  # parts are held in their order
        found = np.empty((2, len(rows), *self._audit.grid), dtype=np.float32)
        for owner in np.unique(owners[here]).tolist():
            chosen = owners == owner
            for maps, known in zip(found, self._held[owner], strict=True):
                maps[chosen] = known.at(rows[chosen] - self._starts[owner])
        if not here.all():
            for maps, which in zip(found, ("predicted", "label"), strict=True):
                maps[~here] = self._audit.maps(rows[~here], which)
        return found[0], found[1]
