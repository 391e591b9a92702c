"""The cohort of Weather2k: windows of 24 hours of a station, their targets in physical units, the folds, the floors."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.weather2k.baselines import make_baselines
from mmn.data.weather2k.series import StationSeries, check_plausible, duplicate_groups
from mmn.data.weather2k.sources import open_series
from mmn.data.weather2k.splits import Borders, chronological_folds, find_borders, strata, thin_out
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS, READ_STEP, possible_tasks, target_index
from mmn.data.weather2k.variables import COORDINATES

PROTOCOLS = ("auto", "stations", "chronological")
_ENOUGH_STATIONS = 30  # each of five test sets then holds three stations or more


@dataclass(frozen=True, kw_only=True)
class Weather2kCohortParams:
    """protocol: "stations" (the paper's), "chronological" (a forecast), or "auto": the paper's for Weather2K's own
    array with 30 stations or more, chronological otherwise.

    start_hour, windows_per_station: the windows of protocol "stations" (the paper: hour 0, one).
    stride_hours: between a station's windows. max_items: of protocol "chronological"; beyond it windows are thinned
    out evenly.
    train_until, validation_until: fractions of the hours at which training and validation end.
    embargo_hours: between a window's last input hour and the end of its part of time (the longest lead at least).
    block_degrees: over 0, stations are split by whole cells of this size instead of one by one.
    """

    protocol: str = "auto"
    num_folds: int = 5
    seed: int = 0
    start_hour: int = 0
    windows_per_station: int = 1
    stride_hours: int = 72
    max_items: int = 4000
    train_until: float = 0.65
    validation_until: float = 0.85
    embargo_hours: int = 720
    block_degrees: float = 0.0


def build_cohort(raw: Path, params: Weather2kCohortParams) -> Cohort:
    """Raises MmnError kin: unreadable files, a variable in a wrong unit, too few stations or hours."""
    series = open_series(raw)
    _check_params(params, series)
    notes = [*series.notes, *check_plausible(series, str(raw))]
    if series.quarantined:
        notes.append("Not readable, hence missing: " + _counts(series.quarantined))
    tasks = possible_tasks(series.variables, series.num_hours)
    if not tasks:
        raise CohortError(
            f"{raw}: no task is possible with {', '.join(series.variables)} over {series.num_hours} hours."
        )
    groups = duplicate_groups(series)
    if shared := int((groups != np.arange(len(groups))).sum()):
        notes.append(f"{shared} of {len(groups)} stations repeat another's series; they share its subject.")
    protocol = choose_protocol(params.protocol, series)
    excluded: dict[str, int] = {}
    reach = max(target_index(FORECASTS[task]) for task in tasks) + 1
    borders = None
    if protocol == "stations":
        stations, starts = _station_windows(series, params, reach)
    else:
        gap = max(params.embargo_hours, reach - INPUT_HOURS)
        borders = find_borders(series.observed, series.num_hours, (params.train_until, params.validation_until), gap)
        stations, starts = _chronological_windows(series, params, reach, borders, excluded)
    targets, quarantined = _targets(series, stations, starts, tasks)
    if quarantined:
        notes.append("Target values read as missing: " + _counts(quarantined))
    keep = _usable(series, stations, starts, targets, excluded)
    if not keep.any():
        raise CohortError(f"{raw}: none of {len(starts)} windows is usable: {_counts(excluded)}.")
    stations, starts = stations[keep], starts[keep]
    targets = {task: target[keep] for task, target in targets.items()}
    items = _items(series, stations, starts, groups, params.block_degrees)
    if borders is None:
        folds = _station_folds(items, targets, params)
        notes += _station_notes(params)
    else:
        part = borders.part(starts)
        folds, fold_notes = chronological_folds(items, part, params.num_folds, params.seed)
        notes += [_chronological_note(series, borders, part, params), *fold_notes]
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    # One thread: the systems are small, and the last bit must not depend on how many cores the machine has.
    with threadpool_limits(limits=1, user_api="blas"):
        baselines, baseline_notes = make_baselines(series, items, targets, folds, chronological=borders is not None)
    return Cohort(
        items=items,
        targets=targets,
        folds=folds,
        num_steps=INPUT_HOURS,
        baselines=baselines,
        excluded={reason: count for reason, count in excluded.items() if count},
        notes=(f"Protocol: {protocol}.", *notes, *baseline_notes),
    )


def choose_protocol(asked: str, series: StationSeries) -> str:
    if asked != "auto":
        return asked
    own_array = series.layout in ("v1", "v2")
    return "stations" if own_array and len(series.stations) >= _ENOUGH_STATIONS else "chronological"


def window_hours(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(N,) station positions and (N, 24) input hours of a cohort's items."""
    return items["station_index"].to_numpy(), items["start_hour"].to_numpy()[:, None] + np.arange(INPUT_HOURS)


def _check_params(params: Weather2kCohortParams, series: StationSeries) -> None:
    if params.protocol not in PROTOCOLS:
        nearest = get_close_matches(str(params.protocol), PROTOCOLS, n=1, cutoff=0.0)[0]
        raise ParamsError(
            f"protocol {params.protocol!r} is unknown; did you mean {nearest!r}? Known: {', '.join(PROTOCOLS)}."
        )
    if not 0 < params.train_until < params.validation_until < 1:
        raise ParamsError(
            f"train_until {params.train_until} and validation_until {params.validation_until} must rise within 0 and 1."
        )
    for name, least in (("num_folds", 2), ("windows_per_station", 1), ("stride_hours", 1), ("max_items", 1),
                        ("start_hour", 0), ("embargo_hours", 0), ("block_degrees", 0)):  # fmt: skip
        if getattr(params, name) < least:
            raise ParamsError(f"{name} is {getattr(params, name)}; it must be at least {least}.")
    if params.start_hour % series.hours_per_record or params.stride_hours % series.hours_per_record:
        raise ParamsError(
            f"start_hour {params.start_hour} and stride_hours {params.stride_hours} must be multiples of "
            f"{series.hours_per_record}: the series has a record every {series.hours_per_record} hours."
        )
    if params.block_degrees and not set(COORDINATES) <= set(series.variables):
        raise ParamsError("block_degrees needs the stations' positions, which these files do not hold; set it to 0.")


def _station_windows(series: StationSeries, params: Weather2kCohortParams, reach: int) -> tuple[np.ndarray, np.ndarray]:
    starts = params.start_hour + params.stride_hours * np.arange(params.windows_per_station)
    if starts[-1] + reach > series.num_hours:
        raise ParamsError(
            f"the last window starts at hour {starts[-1]} and needs {reach} hours, but there are {series.num_hours}. "
            "Lower start_hour, windows_per_station or stride_hours."
        )
    num_stations = len(series.stations)
    return np.repeat(np.arange(num_stations), len(starts)), np.tile(starts, num_stations)


def _chronological_windows(
    series: StationSeries, params: Weather2kCohortParams, reach: int, borders: Borders, excluded: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    each = np.arange(params.start_hour, series.num_hours - reach + 1, params.stride_hours)
    num_stations = len(series.stations)
    stations, starts = np.repeat(np.arange(num_stations), len(each)), np.tile(each, num_stations)
    inside = borders.part(starts) != ""
    excluded["window within the embargo before a border in time"] = int((~inside).sum())
    stations, starts = stations[inside], starts[inside]
    if series.observed is not None:
        reporting = series.observed[stations, starts + READ_STEP]
        excluded["station does not report at the last input hour"] = int((~reporting).sum())
        stations, starts = stations[reporting], starts[reporting]
    if len(starts) > params.max_items:
        kept = thin_out(stations, starts, params.max_items)
        excluded[f"window thinned out to stay within max_items = {params.max_items}"] = int((~kept).sum())
        stations, starts = stations[kept], starts[kept]
    return stations, starts


def _targets(
    series: StationSeries, stations: np.ndarray, starts: np.ndarray, tasks: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """task -> float64 (N, 24) or (N,), in the variable's unit."""
    targets: dict[str, np.ndarray] = {}
    quarantined: dict[str, int] = {}
    for task in tasks:
        forecast = FORECASTS[task]
        steps = np.arange(INPUT_HOURS) if forecast.per_step else np.array([READ_STEP])
        hours = starts[:, None] + forecast.lead_hours + steps
        block, bad = series.take(stations, hours, (forecast.variable,))
        target = block[..., 0].astype(np.float64)
        targets[task] = target if forecast.per_step else target[:, 0]
        quarantined |= {f"{task}, {reason}": count for reason, count in bad.items()}
    return targets, quarantined


def _usable(
    series: StationSeries,
    stations: np.ndarray,
    starts: np.ndarray,
    targets: dict[str, np.ndarray],
    excluded: dict[str, int],
) -> np.ndarray:
    labelled = np.zeros(len(starts), dtype=bool)
    for target in targets.values():
        labelled |= ~np.isnan(target.reshape(len(starts), -1)).all(axis=1)
    weather = tuple(name for name in series.variables if name not in COORDINATES)
    inputs, _ = series.take(stations, starts[:, None] + np.arange(INPUT_HOURS), weather)
    known = ~np.isnan(inputs).all(axis=(1, 2))
    excluded["no target is known"] = int((~labelled).sum())
    excluded["no input is known"] = int((labelled & ~known).sum())
    return labelled & known


def _items(
    series: StationSeries, stations: np.ndarray, starts: np.ndarray, groups: np.ndarray, block_degrees: float
) -> pd.DataFrame:
    names = np.array(series.stations, dtype=object)
    items = pd.DataFrame({
        "item": [f"{name}@{start}" for name, start in zip(names[stations], starts.tolist(), strict=True)],
        "subject": names[groups[stations]],
        "prediction_time": series.start + pd.to_timedelta(starts + READ_STEP, unit="h"),
        "station": names[stations],
        "station_index": stations.astype(np.int64),
        "start_hour": starts.astype(np.int64),
    })  # fmt: skip
    if set(COORDINATES) <= set(series.variables):
        last = (starts + READ_STEP)[:, None]
        positions, _ = series.take(stations, last, COORDINATES)
        items[list(COORDINATES)] = positions[:, 0].astype(np.float64)
        if block_degrees:
            items["subject"] = _cells(series, groups[stations], last, block_degrees)
    return items


def _cells(series: StationSeries, first_stations: np.ndarray, hours: np.ndarray, degrees: float) -> np.ndarray:
    """The cell of the group's first station, so that stations with the same weather stay together."""
    positions, _ = series.take(first_stations, hours, ("lat", "lon"))
    if unknown := int(np.isnan(positions).any(axis=(1, 2)).sum()):
        raise ContractError(f"block_degrees: {unknown} windows have a station without a position; set it to 0.")
    south, west = (np.floor(positions[:, 0] / degrees) * degrees).T
    return np.array([f"cell {a:g} {b:g}" for a, b in zip(south.tolist(), west.tolist(), strict=True)], dtype=object)


def _station_folds(items: pd.DataFrame, targets: dict[str, np.ndarray], params: Weather2kCohortParams) -> pd.DataFrame:
    """Stratified on the longest lead, as in the paper; a continuous target by its deciles."""
    from mmn.data.folds import subject_folds  # scikit-learn takes seconds to import

    longest = max(targets, key=lambda task: (FORECASTS[task].lead_hours, FORECASTS[task].per_step))
    target = targets[longest].reshape(len(items), -1)
    num_known = np.maximum((~np.isnan(target)).sum(axis=1), 1)
    mean = np.where(np.isnan(target).all(axis=1), np.nan, np.nansum(target, axis=1) / num_known)
    return subject_folds(
        items, strata(mean, items["subject"].nunique(), params.num_folds), params.num_folds, params.seed
    )


def _station_notes(params: Weather2kCohortParams) -> list[str]:
    notes = [
        "All stations share the same hours and are split at random, as in the paper: this is interpolation in "
        "space, not a forecast. Compare every score with the baselines that see geography only."
    ]
    if params.windows_per_station == 1:
        notes.append("One date only: no season is learnt, and scores do not carry over to another one.")
    return notes


def _chronological_note(
    series: StationSeries, borders: Borders, part: np.ndarray, params: Weather2kCohortParams
) -> str:
    first, second = (series.start + pd.Timedelta(hours=hour) for hour in (borders.validation, borders.test))
    counts = ", ".join(f"{int((part == name).sum())} {name}" for name in ("train", "validation", "test"))
    return (
        f"Validation begins {first:%Y-%m-%d}, test {second:%Y-%m-%d}, with {borders.gap_hours} h between a window's "
        f"last input hour and a border; windows: {counts}. In each fold the held-out stations are other ones, too."
    )


def _counts(reasons: dict[str, int]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "nothing"
