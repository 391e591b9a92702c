"""The cohort of Weather2k: windows of 24 hours of a station, their targets in physical units, the folds, the floors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.weather2k import binarised
from mmn.data.weather2k.baselines import Setting, make_baselines
from mmn.data.weather2k.params import (
    CELL_DEGREES,
    Weather2kCohortParams,
    check_params,
    choose_protocol,
    fixed_borders,
)  # fmt: skip
from mmn.data.weather2k.quality import check_plausible
from mmn.data.weather2k.series import StationSeries, duplicate_groups
from mmn.data.weather2k.sources import open_series
from mmn.data.weather2k.splits import (
    IN_TIME,
    Borders,
    at_most_per_station,
    find_borders,
    station_folds,
    strata,
    thin_out,
    time_and_station_folds,
    time_folds,
)  # fmt: skip
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS, READ_STEP, possible_tasks, target_index
from mmn.data.weather2k.variables import COORDINATES

_WINDOWS_AT_ONCE = 16_384


def build_cohort(raw: Path, params: Weather2kCohortParams) -> Cohort:
    """Raises MmnError kin: unreadable files, a variable in a wrong unit, too few stations or hours."""
    series = open_series(raw)
    check_params(params, series)
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
    protocol = choose_protocol(params, series)
    excluded: dict[str, int] = {}
    reach = max(target_index(FORECASTS[task]) for task in tasks) + 1
    borders = None
    if protocol in IN_TIME:
        gap, fractions = max(params.embargo_hours, reach - INPUT_HOURS), (params.train_until, params.validation_until)
        borders = find_borders(series.observed, series.num_hours, fractions, gap, fixed_borders(params, series))
        stations, starts = _windows_in_time(series, params, reach, borders, excluded)
    else:
        stations, starts = _windows_at_one_time(series, params, reach)
    targets, quarantined = _targets(series, stations, starts, tasks)
    if quarantined:
        notes.append("Target values read as missing: " + _counts(quarantined))
    keep = _usable(series, stations, starts, targets, excluded)
    if not keep.any():
        raise CohortError(f"{raw}: none of {len(starts)} windows is usable: {_counts(excluded)}.")
    stations, starts = stations[keep], starts[keep]
    targets = {task: target[keep] for task, target in targets.items()}
    cells = params.block_degrees or (CELL_DEGREES if protocol == "blocked" else 0.0)
    items = _items(series, stations, starts, groups, cells)
    if params.mode == "published":
        items = items.assign(**binarised.published_thresholds(series, tasks))
    if borders is None:
        folds, fold_notes = station_folds(items, _stratum(items, targets, params), params.num_folds, params.seed)
        notes += _space_notes(protocol, cells, items)
    else:
        part = borders.part(starts)
        items["station_in_period"] = items["subject"] + " " + part
        split = time_folds if protocol == "chronological" else time_and_station_folds
        folds, fold_notes = split(items, part, params.num_folds, params.seed)
        notes.append(_time_note(series, borders, part, protocol))
    cohort = Cohort(
        items=items,
        targets=targets,
        folds=folds,
        fold_group="station_in_period" if protocol == "chronological" else "subject",
        num_steps=INPUT_HOURS,
        excluded={reason: count for reason, count in excluded.items() if count},
    )
    baselines, baseline_notes = _baselines(series, cohort, protocol, borders, params)
    notes = [f"Protocol: {protocol}.", *notes, *fold_notes, *baseline_notes, *binarised.say(cohort)]
    return replace(cohort, baselines=baselines, notes=tuple(notes))


def window_hours(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(N,) station positions and (N, 24) input hours of a cohort's items."""
    return items["station_index"].to_numpy(), items["start_hour"].to_numpy()[:, None] + np.arange(INPUT_HOURS)


def _windows_at_one_time(
    series: StationSeries, params: Weather2kCohortParams, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    starts = params.start_hour + params.stride_hours * np.arange(max(1, params.windows_per_station))
    if starts[-1] + reach > series.num_hours:
        raise ParamsError(
            f"the last window starts at hour {starts[-1]} and needs {reach} hours, but there are {series.num_hours}. "
            "Lower start_hour, windows_per_station or stride_hours."
        )
    num_stations = len(series.stations)
    return np.repeat(np.arange(num_stations), len(starts)), np.tile(starts, num_stations)


def _windows_in_time(
    series: StationSeries, params: Weather2kCohortParams, reach: int, borders: Borders, excluded: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    each = np.arange(params.start_hour, series.num_hours - reach + 1, params.stride_hours)
    num_stations = len(series.stations)
    stations, starts = np.repeat(np.arange(num_stations), len(each)), np.tile(each, num_stations)

    def keep(kept: np.ndarray, reason: str) -> None:
        nonlocal stations, starts
        excluded[reason] = int((~kept).sum())
        stations, starts = stations[kept], starts[kept]

    keep(borders.part(starts) != "", "window within the embargo before a border in time")
    if series.observed is not None:
        keep(series.observed[stations, starts + READ_STEP], "station does not report at the last input hour")
    if params.windows_per_station:
        num = params.windows_per_station
        reason = f"window beyond windows_per_station = {num} in its part of time"
        keep(at_most_per_station(stations, borders.part(starts), num), reason)
    if len(starts) > params.max_items:
        reason = f"window thinned out to stay within max_items = {params.max_items}"
        keep(thin_out(stations, starts, params.max_items), reason)
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
    known = np.zeros(len(starts), dtype=bool)
    for begin in range(0, len(starts), _WINDOWS_AT_ONCE):
        rows = slice(begin, begin + _WINDOWS_AT_ONCE)
        inputs, _ = series.take(stations[rows], starts[rows, None] + np.arange(INPUT_HOURS), weather)
        known[rows] = ~np.isnan(inputs).all(axis=(1, 2))
    excluded["no target is known"] = int((~labelled).sum())
    excluded["no input is known"] = int((labelled & ~known).sum())
    return labelled & known


def _items(
    series: StationSeries, stations: np.ndarray, starts: np.ndarray, groups: np.ndarray, cell_degrees: float
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
    if series.numbers is not None:
        items["station_number"] = np.array(series.numbers, dtype=object)[stations]
    if set(COORDINATES) <= set(series.variables):
        last = (starts + READ_STEP)[:, None]
        positions, _ = series.take(stations, last, COORDINATES)
        items[list(COORDINATES)] = positions[:, 0].astype(np.float64)
        if cell_degrees:
            items["subject"] = _cells(series, groups[stations], last, cell_degrees)
    return items


def _cells(series: StationSeries, first_stations: np.ndarray, hours: np.ndarray, degrees: float) -> np.ndarray:
    """The cell of the group's first station, so that stations with the same weather stay together."""
    positions, _ = series.take(first_stations, hours, ("lat", "lon"))
    if unknown := int(np.isnan(positions).any(axis=(1, 2)).sum()):
        raise ContractError(
            f"holding out cells: {unknown} windows have a station without a position; add it to the table of "
            "positions, or use another protocol with block_degrees 0."
        )
    south, west = (np.floor(positions[:, 0] / degrees) * degrees).T
    return np.array([f"cell {a:g} {b:g}" for a, b in zip(south.tolist(), west.tolist(), strict=True)], dtype=object)


def _stratum(items: pd.DataFrame, targets: dict[str, np.ndarray], params: Weather2kCohortParams) -> np.ndarray:
    """Stratified on the longest lead, as in the paper; a continuous target by its deciles."""
    longest = max(targets, key=lambda task: (FORECASTS[task].lead_hours, FORECASTS[task].per_step))
    target = targets[longest].reshape(len(items), -1)
    num_known = np.maximum((~np.isnan(target)).sum(axis=1), 1)
    mean = np.where(np.isnan(target).all(axis=1), np.nan, np.nansum(target, axis=1) / num_known)
    return strata(mean, items["subject"].nunique(), params.num_folds)


def _space_notes(protocol: str, cells: float, items: pd.DataFrame) -> list[str]:
    held_out = (
        "stations are split at random, as in the paper"
        if protocol == "stations"
        else f"whole cells of {cells:g}° are held out ({items['subject'].nunique()} cells)"
    )
    notes = [
        f"All stations share the same hours and {held_out}: this is interpolation in space, not a forecast. Compare "
        "every score with the baselines that see geography only."
    ]
    if items["start_hour"].nunique() == 1:
        notes.append("One date only: no season is learnt, and scores do not carry over to another one.")
    return notes


def _time_note(series: StationSeries, borders: Borders, part: np.ndarray, protocol: str) -> str:
    first, second = (series.start + pd.Timedelta(hours=hour) for hour in (borders.validation, borders.test))
    counts = ", ".join(f"{int((part == name).sum())} {name}" for name in ("train", "validation", "test"))
    held_out = " In each fold the held-out stations are other ones, too." if protocol == "both" else ""
    return (
        f"Validation begins {first:%Y-%m-%d}, test {second:%Y-%m-%d}, with {borders.gap_hours} h between a window's "
        f"last input hour and a border; windows: {counts}.{held_out}"
    )


def _baselines(
    series: StationSeries, cohort: Cohort, protocol: str, borders: Borders | None, params: Weather2kCohortParams
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    setting = Setting(
        until_hour=borders.validation if borders else None,
        known_stations=protocol == "chronological",
        gradient_boosting=params.gradient_boosting,
    )
    # One thread: the systems are small, and the last bit must not depend on how many cores the machine has.
    with threadpool_limits(limits=1):
        return make_baselines(series, cohort.items, cohort.targets, cohort.folds, setting)


def _counts(reasons: dict[str, int]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "nothing"
