"""`StationSeries`: regular series of many stations, wherever read from; and what a plausible one looks like."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.weather2k.units import relative_humidity
from mmn.data.weather2k.variables import BY_NAME, COORDINATES, MISSING_CODES, RAIN_HOURS

_FINGERPRINT_HOURS = 1_000  # of a file too large to be read whole
_FINGERPRINT_VARIABLES = ("ap", "t", "dt", "rh", "ws")
_SAMPLE_STATIONS, _SAMPLE_HOURS = 200, 480


@dataclass(frozen=True, kw_only=True)
class StationSeries:
    """S stations over `num_hours` hours, one clock for all.

    values: (S, V, R) raw numbers, possibly a memory map: read them through `take`, which cleans them.
    hours_per_record: 1 or 3. Record r of a 3-hourly series sits at hour 3 r + 2, so that the last record of a day is
    its last hour and a window's last input step (23) is a measured one; the hours between are not known.
    start: the time of hour 0. observed: (S, H) bool, the hours with any measurement; None = every record.
    """

    layout: str
    stations: tuple[str, ...]
    variables: tuple[str, ...]
    start: pd.Timestamp
    values: np.ndarray
    hours_per_record: int = 1
    observed: np.ndarray | None = None
    quarantined: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def num_hours(self) -> int:
        return int(self.values.shape[2]) * self.hours_per_record

    def take(
        self, stations: np.ndarray, hours: np.ndarray, names: tuple[str, ...]
    ) -> tuple[np.ndarray, dict[str, int]]:
        """float32 (N, T, V) for stations (N,) and hours (N, T), NaN = not known; and counts of unusable values.

        Only the pages that hold these hours are read from a memory map.
        """
        records, measured = hours, None
        if self.hours_per_record > 1:
            offset = self.hours_per_record - 1
            records, measured = hours // self.hours_per_record, hours % self.hours_per_record == offset
        columns = np.array([self.variables.index(name) for name in names])
        block = self.values[stations[:, None, None], columns[None, None, :], records[:, :, None]]
        # A copy in float64 first: 999999 and such must be compared before they are rounded.
        cleaned, quarantined = clean(np.asarray(block, dtype=np.float64), names)
        if measured is not None:
            cleaned[~measured] = np.nan
        return cleaned.astype(np.float32), quarantined


def clean(block: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, dict[str, int]]:
    """block (..., V) -> the same with NaN for missing-value codes and for what lies outside a variable's range.

    Nothing is clipped. A value outside the range that makes up more than 0.1 % of a variable (and is there at least ten
    times) is called a code, though nobody documented it.
    """
    quarantined: dict[str, int] = {}
    block = block.copy()
    for position, name in enumerate(names):
        variable, values = BY_NAME[name], block[..., position]
        outside = (values < variable.low) | (values > variable.high)
        if not outside.any():
            continue
        distinct, counts = np.unique(values[outside], return_counts=True)
        is_code = np.isin(distinct, MISSING_CODES) | (counts >= max(10, 0.001 * values.size))
        for value, count in zip(distinct[is_code].tolist(), counts[is_code].tolist(), strict=True):
            quarantined[f"{name}: missing-value code {value:g}"] = int(count)
        if rest := int(counts[~is_code].sum()):
            quarantined[f"{name}: outside [{variable.low:g}, {variable.high:g}] {variable.unit}"] = rest
        values[outside] = np.nan
    return block, quarantined


def check_plausible(series: StationSeries, where: str) -> tuple[str, ...]:
    """Look at a sample of stations and hours. Returns notes on what looks odd.

    Raises ContractError where a whole variable cannot be in the unit it should be in, where a position moves in time
    (axes swapped), or where humidity contradicts temperature and dewpoint (one of them in another unit).
    """
    sample = _sample(series)
    for position, name in enumerate(series.variables):
        _check_unit(sample[..., position], name, where)
    known = {name: sample[..., position] for position, name in enumerate(series.variables)}
    cleaned, _ = clean(sample, series.variables)
    cleaned_by_name = {name: cleaned[..., position] for position, name in enumerate(series.variables)}
    for name in set(COORDINATES) & set(known):
        with np.errstate(invalid="ignore"):
            moving = np.nanmax(np.nan_to_num(cleaned_by_name[name], nan=-np.inf), axis=1) - np.nanmin(
                np.nan_to_num(cleaned_by_name[name], nan=np.inf), axis=1
            )
        if (moving > 1e-3).any():
            raise ContractError(
                f"{where}: '{name}' changes over time at {int((moving > 1e-3).sum())} of {len(moving)} sampled "
                "stations. The axes must be (station, variable, time) with the variables in Weather2K's order; "
                "transpose the array."
            )
    _check_humidity(cleaned_by_name, where)
    return _inconsistencies(cleaned_by_name)


def _sample(series: StationSeries) -> np.ndarray:
    """(stations, records, variables), float64, evenly spaced: whole days, so that every hour of the day is there."""
    num_stations, num_variables, num_records = series.values.shape
    stations = np.unique(np.linspace(0, num_stations - 1, min(_SAMPLE_STATIONS, num_stations)).astype(int))
    first_records = np.unique(np.linspace(0, max(num_records - 24, 0), _SAMPLE_HOURS // 24).astype(int))
    records = np.unique(np.minimum(first_records[:, None] + np.arange(24), num_records - 1))
    block = series.values[stations[:, None, None], np.arange(num_variables)[None, None, :], records[None, :, None]]
    return np.asarray(block, dtype=np.float64)


def _check_unit(values: np.ndarray, name: str, where: str) -> None:
    variable = BY_NAME[name]
    values = values[np.isfinite(values) & ~np.isin(values, MISSING_CODES)]
    if values.size < 24:
        return
    num_outside = int(((values < variable.low) | (values > variable.high)).sum())
    median = float(np.median(values))
    impossible = not variable.median_low <= median <= variable.median_high
    if impossible and name.startswith(("hv", "ws", "rh")):
        # A short or fog-bound sample may have an odd median; a wrong unit shrinks the upper tail as well.
        impossible = median > variable.median_high or np.quantile(values, 0.9) < variable.median_low
    if num_outside * 2 > values.size or impossible:
        raise ContractError(
            f"{where}: '{name}' ({variable.meaning}) does not look like {variable.unit}: {num_outside} of "
            f"{values.size} sampled values lie outside [{variable.low:g}, {variable.high:g}], and their median is "
            f"{median:.4g}, where [{variable.median_low:g}, {variable.median_high:g}] is possible. Convert the source "
            f"to {variable.unit}, or state its unit in columns.yaml (variables: {name}: {{column: ..., unit: ...}})."
        )


def _check_humidity(known: dict[str, np.ndarray], where: str) -> None:
    if not {"t", "dt", "rh"} <= set(known):
        return
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(relative_humidity(known["t"], known["dt"]) - known["rh"])
        # No humidity belongs to a dewpoint above the temperature: as wrong as can be.
        gap[known["dt"] > known["t"] + 0.2] = 100.0
    gap = gap[~np.isnan(gap)]
    if gap.size >= 24 and np.median(gap) > 12.0:
        raise ContractError(
            f"{where}: relative humidity 'rh' differs from what 't' and 'dt' give by {np.median(gap):.0f} % (median of "
            f"{gap.size} sampled hours). One of the three is in another unit or column; 't' and 'dt' must be "
            "in °C, 'rh' in %."
        )


def _inconsistencies(known: dict[str, np.ndarray]) -> tuple[str, ...]:
    rain = [name for name in RAIN_HOURS if name in known]
    rules = [("mnt", "t", 0.2), ("t", "mxt", 0.2), ("dt", "t", 0.2)]
    rules += [(lower, upper, 0.1) for lower, upper in pairwise(rain)]
    notes = []
    for lower, upper, slack in rules:
        if not {lower, upper} <= set(known):
            continue
        both = ~np.isnan(known[lower]) & ~np.isnan(known[upper])
        with np.errstate(invalid="ignore"):
            broken = int((known[lower] > known[upper] + slack)[both].sum())
        if broken:
            notes.append(f"{lower} exceeds {upper} in {broken} of {int(both.sum())} sampled hours.")
    return tuple(notes)


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
