"""`StationSeries`: regular series of many stations, wherever read from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmn.data.weather2k.quality import Faults

_FINGERPRINT_HOURS = 1_000  # of a file too large to be read whole
_FINGERPRINT_VARIABLES = ("ap", "t", "dt", "rh", "ws")
_VALUES_AT_ONCE = 4_000_000  # 32 MB in float64


@dataclass(frozen=True, kw_only=True)
class StationSeries:
    """S stations over `num_hours` hours, one clock for all.

    values: (S, V, R) raw numbers, possibly a memory map: read them through `take`, which cleans them.
    hours_per_record: 1 or 3. Record r of a 3-hourly series sits at hour 3 r + 2, so that the last record of a day is
    its last hour and a window's last input step (23) is a measured one; the hours between are not known.
    start: the time of hour 0. observed: (S, H) bool, the hours with any measurement; None = every record.
    numbers: the stations' numbers in the observing network, where a file gives them.
    """

    layout: str
    stations: tuple[str, ...]
    variables: tuple[str, ...]
    start: pd.Timestamp
    values: np.ndarray
    hours_per_record: int = 1
    observed: np.ndarray | None = None
    numbers: tuple[str, ...] | None = None
    quarantined: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def num_hours(self) -> int:
        return int(self.values.shape[2]) * self.hours_per_record

    def take(
        self, stations: np.ndarray, hours: np.ndarray, names: tuple[str, ...]
    ) -> tuple[np.ndarray, dict[str, int]]:
        """float32 (N, T, V) for stations (N,) and hours (N, T), NaN = not known; and counts of unusable values.

        Only the pages that hold these hours are read from a memory map, and a few windows at a time are cleaned.
        """
        columns = np.array([self.variables.index(name) for name in names])
        taken = np.empty((*hours.shape, len(names)), dtype=np.float32)
        faults = Faults(names=names)
        at_once = max(1, _VALUES_AT_ONCE // max(1, hours.shape[1] * len(names)))
        for begin in range(0, len(stations), at_once):
            rows = slice(begin, begin + at_once)
            records = hours[rows] // self.hours_per_record
            block = self.values[stations[rows, None, None], columns[None, None, :], records[:, :, None]]
            # A copy in float64 first: 999999 and such must be compared before they are rounded.
            block = faults.clean(np.asarray(block, dtype=np.float64))
            block[hours[rows] % self.hours_per_record != self.hours_per_record - 1] = np.nan
            taken[rows] = block
        return taken, faults.reasons()


def duplicate_groups(series: StationSeries) -> np.ndarray:
    """(S,) the first station of each station's group: stations that share an instrument must not be split.

    Two stations share one where any of their continuous variables agrees to 0.01 at every hour. One variable is enough,
    because copies differ in places: Beijing's Changping and Dingling in the seventh digit of ten temperatures. Of a
    memory map the first thousand hours are compared. A constant or empty series proves nothing.
    """
    num_records = series.values.shape[2]
    if isinstance(series.values, np.memmap):
        num_records = min(num_records, -(-_FINGERPRINT_HOURS // series.hours_per_record))
    groups = np.arange(len(series.stations))
    for name in _FINGERPRINT_VARIABLES:
        if name not in series.variables:
            continue
        first: dict[bytes, int] = {}
        rounded = np.round(series.values[:, series.variables.index(name), :num_records].astype(np.float64), 2)
        varies = np.isfinite(rounded) & (rounded != rounded[:, :1])
        for station in np.flatnonzero(varies.sum(axis=1) >= min(24, num_records // 2)).tolist():
            digest = hashlib.md5(rounded[station].tobytes(), usedforsecurity=False).digest()
            other = groups[first.setdefault(digest, station)]
            low, high = sorted((int(other), int(groups[station])))
            groups[groups == high] = low
    return groups
