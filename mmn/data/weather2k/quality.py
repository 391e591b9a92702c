"""What a plausible station series looks like: missing-value codes, ranges, units, and rules between variables.

Nothing is clipped. A value that cannot be weather becomes NaN and is counted; a rule between variables that is broken
is counted and said; a whole variable in another unit is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.weather2k.units import relative_humidity
from mmn.data.weather2k.variables import (
    ARCHIVE_CODES,
    BY_NAME,
    CALM_SPEED,
    COORDINATES,
    MISSING_CODES,
    RAIN_HOURS,
    WINDS,
)  # fmt: skip

if TYPE_CHECKING:
    from mmn.data.weather2k.series import StationSeries

# An undocumented code: a value outside its range that is this share of a variable, and there this often.
_CODE_SHARE, _CODE_COUNT = 0.001, 10
_SAMPLE_STATIONS, _SAMPLE_HOURS = 200, 480
_STATIONS_AT_ONCE = 16


@dataclass(kw_only=True)
class Faults:
    """Counts of what cannot be a measurement, gathered block by block, so that a code is told from a stray value by its
    share of everything that was read."""

    names: tuple[str, ...]
    num_values: int = 0
    counts: dict[str, dict[float, int]] = field(default_factory=dict)

    def clean(self, block: np.ndarray) -> np.ndarray:
        """block (..., V) float64 -> the same with NaN where a value is a code or outside its variable's range."""
        block = block.copy()
        self.num_values += block[..., 0].size
        for position, name in enumerate(self.names):
            values = block[..., position]
            bad = is_fault(values, name)
            if not bad.any():
                continue
            found = self.counts.setdefault(name, {})
            for value, count in zip(*np.unique(values[bad], return_counts=True), strict=True):
                found[float(value)] = found.get(float(value), 0) + int(count)
            values[bad] = np.nan
        return block

    def reasons(self) -> dict[str, int]:
        """`t: missing-value code 999999` -> count, and so on."""
        reasons: dict[str, int] = {}
        often = max(_CODE_COUNT, _CODE_SHARE * self.num_values)
        for name, found in self.counts.items():
            rest = 0
            for value, count in sorted(found.items()):
                if value in MISSING_CODES or count >= often:
                    reasons[f"{name}: missing-value code {value:g}"] = count
                else:
                    rest += count
            if rest:
                variable = BY_NAME[name]
                reasons[f"{name}: outside [{variable.low:g}, {variable.high:g}] {variable.unit}"] = rest
        return reasons


def is_fault(values: np.ndarray, name: str) -> np.ndarray:
    """bool, False for NaN: the archive's codes wherever they stand, and what lies outside the variable's range."""
    variable = BY_NAME[name]
    bad = (values < variable.low) | (values > variable.high)
    if variable.high >= min(ARCHIVE_CODES):
        bad |= np.isin(values, ARCHIVE_CODES)
    return bad


def clean(block: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, dict[str, int]]:
    """block (..., V) -> the same with NaN for what cannot be a measurement, and how much there was of what."""
    faults = Faults(names=names)
    cleaned = faults.clean(block)
    return cleaned, faults.reasons()


@dataclass(frozen=True)
class Rule:
    """A rule between variables of one hour. broken(values by name) -> bool; NaN breaks nothing."""

    text: str
    needs: tuple[str, ...]
    broken: Callable[[dict[str, np.ndarray]], np.ndarray]


def _rises(lower: str, upper: str, slack: float) -> Rule:
    return Rule(f"{lower} exceeds {upper}", (lower, upper), lambda x: x[lower] > x[upper] + slack)


def _calm(direction: str, speed: str) -> tuple[Rule, Rule]:
    """Direction 0 stands for calm and for nothing else: north is 360."""
    return (
        Rule(f"{direction} is 0 (calm) though {speed} is above {CALM_SPEED:g}", (direction, speed),
             lambda x: (x[direction] == 0) & (x[speed] > CALM_SPEED + 1e-6)),
        Rule(f"{direction} is not 0 though {speed} is calm", (direction, speed),
             lambda x: (x[direction] > 0) & (x[speed] <= CALM_SPEED)),
    )  # fmt: skip


def rules_for(variables: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules whose variables are there."""
    rain = [name for name in RAIN_HOURS if name in variables]
    rules = [_rises("mnt", "t", 0.2), _rises("t", "mxt", 0.2), _rises("dt", "t", 0.2), _rises("ws", "mws", 0.1)]
    rules += [_rises(lower, upper, 0.1) for lower, upper in pairwise(rain)]
    rules += [rule for direction, speed in WINDS.items() for rule in _calm(direction, speed)]
    return tuple(rule for rule in rules if set(rule.needs) <= set(variables))


def check_plausible(series: StationSeries, where: str) -> tuple[str, ...]:
    """Look at a sample of stations and hours. Returns notes on what looks odd.

    Raises ContractError where a whole variable cannot be in the unit it should be in, where a position moves in time
    (axes swapped), or where humidity contradicts temperature and dewpoint (one of them in another unit).
    """
    sample = _sample(series)
    for position, name in enumerate(series.variables):
        _check_unit(sample[..., position], name, where)
    cleaned, _ = clean(sample, series.variables)
    known = {name: cleaned[..., position] for position, name in enumerate(series.variables)}
    for name in set(COORDINATES) & set(known):
        moving = _spread(known[name]) > 1e-3
        if moving.any():
            raise ContractError(
                f"{where}: '{name}' changes over time at {int(moving.sum())} of {len(moving)} sampled stations. "
                "The axes must be (station, variable, time) with the variables in Weather2K's order; transpose the "
                "array."
            )
    _check_humidity(known, where)
    notes = []
    for rule in rules_for(series.variables):
        together = ~np.isnan(sum(known[name] for name in rule.needs))
        if broken := int(rule.broken(known)[together].sum()):
            notes.append(f"{rule.text} in {broken} of {int(together.sum())} sampled hours.")
    return tuple(notes)


def count_faults(series: StationSeries) -> pd.DataFrame:
    """Every hour of every station, read a few stations at a time. Columns `station`, `variable`, `reason`, `hours`.

    reason: "not known" (NaN), "missing-value code X", "outside [low, high]", "changes over time" (a position), or the
    text of a rule between variables. Rows with a count of 0 are left out.
    """
    rules, parts = rules_for(series.variables), []
    stations = np.array(series.stations, dtype=object)
    for begin in range(0, len(stations), _STATIONS_AT_ONCE):
        names = stations[begin : begin + _STATIONS_AT_ONCE]
        known: dict[str, np.ndarray] = {}
        for position, name in enumerate(series.variables):
            values = np.asarray(series.values[begin : begin + _STATIONS_AT_ONCE, position], dtype=np.float64)
            bad, variable = is_fault(values, name), BY_NAME[name]
            parts.append(_counted(names, name, "not known", np.isnan(values)))
            parts += [
                _counted(names, name, f"missing-value code {code:g}", values == code)
                for code in np.intersect1d(values[bad], MISSING_CODES).tolist()
            ]
            stray = bad & ~np.isin(values, MISSING_CODES)
            parts.append(_counted(names, name, f"outside [{variable.low:g}, {variable.high:g}]", stray))
            values[bad] = np.nan
            known[name] = values
            if name in COORDINATES:
                parts.append(_counted(names, name, "changes over time", (_spread(values) > 1e-3)[:, None]))
        parts += [_counted(names, rule.needs[0], rule.text, rule.broken(known)) for rule in rules]
    return pd.concat(parts, ignore_index=True)


def _counted(stations: np.ndarray, variable: str, reason: str, bad: np.ndarray) -> pd.DataFrame:
    counts = bad.sum(axis=1)
    some = counts > 0
    return pd.DataFrame(
        {"station": stations[some], "variable": variable, "reason": reason, "hours": counts[some].astype(np.int64)}
    )


def _spread(values: np.ndarray) -> np.ndarray:
    """(S, T) -> (S,) greatest minus least known value; negative where none is known."""
    return np.nan_to_num(values, nan=-np.inf).max(axis=1) - np.nan_to_num(values, nan=np.inf).min(axis=1)


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
