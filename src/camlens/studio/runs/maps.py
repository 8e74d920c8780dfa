"""The maps of a run, cached in memory up to a limit so that a request need not open many files."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.opening import Audit

ROOM = 128 * 2**20
Maps = Float[np.ndarray, "n h w"]


@dataclass(frozen=True, eq=False)
class _PartMaps:
    """The maps of one part, without the missing ones. `place` is the index of each map, -1 if it is missing."""

    place: Int[np.ndarray, " part"]
    values: Float[np.ndarray, "present h w"]

    @classmethod
    def of(cls, maps: Maps) -> "_PartMaps":
        present = ~np.isnan(maps[:, 0, 0])
        place = np.full(len(maps), -1, dtype=np.int32)
        place[present] = np.arange(present.sum())
        return cls(place, maps[present])

    def at(self, within: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows h w"]:
        place = self.place[within]
        maps = np.full((len(within), *self.values.shape[1:]), np.nan, dtype=np.float32)
        maps[place >= 0] = self.values[place[place >= 0]]
        return maps

    @property
    def bytes(self) -> int:
        return self.values.nbytes + self.place.nbytes


class RunMaps:
    """Both maps of any rows of a run. `read_ahead` caches one more part, up to `room` bytes in total."""

    def __init__(self, audit: Audit, room: int = ROOM) -> None:
        self._audit = audit
        self._parts = list(audit.parts())
        self._starts = np.array([part.start for part in self._parts], dtype=np.int64)
        self._cached: dict[int, tuple[_PartMaps, _PartMaps]] = {}
        self._room = room

    def read_ahead(self) -> bool:
        """Cache the next part; return False if all parts are cached or the limit is reached."""
        number = len(self._cached)
        if number == len(self._parts) or self._room <= 0:
            return False
        part = self._parts[number]
        both = _PartMaps.of(self._audit.maps(part, "predicted")), _PartMaps.of(self._audit.maps(part, "label"))
        self._room -= sum(maps.bytes for maps in both)
        self._cached[number] = both
        return True

    def of(self, rows: Int[np.ndarray, " rows"]) -> tuple[Maps, Maps]:
        """Return the maps of the predicted and of the true class at layer resolution, NaN for missing maps."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        cached = owners < len(self._cached)  # parts are cached in order
        both = np.empty((2, len(rows), *self._audit.grid), dtype=np.float32)
        for owner in np.unique(owners[cached]).tolist():
            chosen = owners == owner
            for maps, part in zip(both, self._cached[owner], strict=True):
                maps[chosen] = part.at(rows[chosen] - self._starts[owner])
        if not cached.all():
            for maps, which in zip(both, ("predicted", "label"), strict=True):
                maps[~cached] = self._audit.maps(rows[~cached], which)
        return both[0], both[1]
