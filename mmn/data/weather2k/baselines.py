"""Rules that need no model, at the read-out after step 23: a model that loses to one of them is reported as losing.

persistence: the last known value of the input window. diurnal persistence: the value at the target's hour of the last
day; as all leads are whole days it differs only where the last hour is missing. Fitted on a fold's training items and
given for its validation and test items: ridge on the 24-hour window; geography only (k-NN on the great circle, ridge),
which shows how much is interpolation in space; and, for a forecast with a year or more of training hours, climatology
(harmonics of the year and the day, plus position) and its damped-anomaly persistence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, empty_baselines
from mmn.data.scaling import fit_scaler
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS, READ_STEP, Forecast
from mmn.data.weather2k.variables import BY_NAME, COORDINATES

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

_NEIGHBOURS = 5
_RIDGE_PENALTIES = (10.0, 100.0, 1_000.0, 10_000.0)
_CLIMATOLOGY_DAYS = 365
_DIRECTIONS = ("wd", "mwd")  # circular: a linear rule cannot use degrees


def make_baselines(
    series: StationSeries,
    items: pd.DataFrame,
    targets: dict[str, np.ndarray],
    folds: pd.DataFrame,
    *,
    chronological: bool,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table of `Cohort.baselines`, in the targets' physical units, and notes.

    A rule that cannot tell gives no row; one that leaves a variable's physical range is held at its end.
    """
    names = tuple(name for name in series.variables if name not in (*COORDINATES, *_DIRECTIONS))
    hours = items["start_hour"].to_numpy()[:, None] + np.arange(INPUT_HOURS)
    window, _ = series.take(items["station_index"].to_numpy(), hours, names)
    window = window.astype(np.float64)
    last = {
        name: _last_known(window[:, :, names.index(name)]) for name in {FORECASTS[task].variable for task in targets}
    }
    keys = items["item"].to_numpy()
    frames, notes = [], []
    for task in targets:
        variable = FORECASTS[task].variable
        frames.append(_rows(keys, task, "persistence", -1, last[variable]))
        frames.append(_rows(keys, task, "diurnal persistence", -1, window[:, READ_STEP, names.index(variable)]))
    positions = _positions(items)
    if positions is None:
        notes.append("No baseline of geography only: not every station has a position.")
    cohort = Cohort(items=items, targets=targets, folds=folds, num_steps=INPUT_HOURS)
    features = [window.reshape(len(items), -1)]
    if positions is not None:
        features.append(positions)
    if chronological:
        features.append(_harmonics(items["prediction_time"]))
    flat = np.concatenate(features, axis=1)
    for fold in range(cohort.num_folds):
        train, validation, test = (cohort.rows(fold, split) for split in ("train", "validation", "test"))
        held_out = np.sort(np.concatenate([validation, test]))
        seasons = chronological and _days(items, train) >= _CLIMATOLOGY_DAYS
        if chronological and not seasons:
            notes.append(
                f"No climatology in fold {fold}: its training hours span {_days(items, train)} days, a year is needed."
            )
        scaled = fit_scaler(flat[train], "standard")(flat).astype(np.float64)
        for task, target in targets.items():
            at_read = target[:, -1] if target.ndim == 2 else target
            fit = train[~np.isnan(at_read[train])]
            if len(fit) < 2:
                notes.append(f"No fitted baseline of {task} in fold {fold}: {len(fit)} training targets are known.")
                continue
            given = {"ridge on 24 h": _ridge(scaled, at_read, fit, validation)[held_out]}
            if positions is not None:
                given["geography k-NN"] = _nearest_stations(items, at_read, fit, held_out)
                place = fit_scaler(positions[fit], "standard")(positions).astype(np.float64)
                given["geography ridge"] = _new_ridge(1.0).fit(place[fit], at_read[fit]).predict(place[held_out])
            if seasons:
                given |= _climatology(
                    items, target, last[FORECASTS[task].variable], FORECASTS[task], positions, train, held_out
                )
            for baseline, prediction in given.items():
                bounds = BY_NAME[FORECASTS[task].variable]
                frames.append(_rows(keys[held_out], task, baseline, fold, np.clip(prediction, bounds.low, bounds.high)))
    table = pd.concat(frames, ignore_index=True).astype(empty_baselines().dtypes.to_dict())
    return table, tuple(notes)


def _rows(items: np.ndarray, task: str, baseline: str, fold: int, prediction: np.ndarray) -> pd.DataFrame:
    known = ~np.isnan(prediction)
    return pd.DataFrame(
        {"item": items[known], "task": task, "baseline": baseline, "fold": fold, "prediction": prediction[known]}
    )


def _last_known(values: np.ndarray) -> np.ndarray:
    """values (N, T) -> (N,) the last that is not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    position = values.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.take_along_axis(values, position[:, None], axis=1)[:, 0]


def _positions(items: pd.DataFrame) -> np.ndarray | None:
    if not set(COORDINATES) <= set(items.columns) or items[list(COORDINATES)].isna().to_numpy().any():
        return None
    return items[list(COORDINATES)].to_numpy(np.float64)


def _days(items: pd.DataFrame, rows: np.ndarray) -> int:
    times = items["prediction_time"].iloc[rows]
    return int((times.max() - times.min()) / pd.Timedelta(days=1))


def _ridge(scaled: np.ndarray, target: np.ndarray, fit: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Predictions for all rows; the penalty is the one of smallest validation error."""
    judge = validation[~np.isnan(target[validation])]
    candidates = [_new_ridge(penalty).fit(scaled[fit], target[fit]).predict(scaled) for penalty in _RIDGE_PENALTIES]
    if not len(judge):
        return candidates[1]
    return min(candidates, key=lambda prediction: float(np.mean((prediction[judge] - target[judge]) ** 2)))


def _new_ridge(penalty: float) -> Ridge:
    """scikit-learn takes seconds to import, and the definitions must load without it."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty)


def _nearest_stations(items: pd.DataFrame, target: np.ndarray, fit: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """The mean of the nearest training stations' mean targets."""
    from sklearn.neighbors import NearestNeighbors

    known = items.iloc[fit].assign(target=target[fit]).groupby("station")[["lat", "lon", "target"]].mean()
    search = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(known)), metric="haversine", algorithm="ball_tree")
    search.fit(np.radians(known[["lat", "lon"]].to_numpy()))
    _, nearest = search.kneighbors(np.radians(items[["lat", "lon"]].to_numpy()[held_out]))
    return known["target"].to_numpy()[nearest].mean(axis=1)


def _harmonics(times: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """(N, 12): two harmonics of the year, two of the day, and how the day's first changes over the year's first."""
    index = pd.DatetimeIndex(times)
    year = 2 * np.pi * (index.dayofyear.to_numpy() + index.hour.to_numpy() / 24) / 365.25
    day = 2 * np.pi * index.hour.to_numpy() / 24
    annual, daily = [np.cos(year), np.sin(year)], [np.cos(day), np.sin(day)]
    higher = [np.cos(2 * year), np.sin(2 * year), np.cos(2 * day), np.sin(2 * day)]
    return np.stack([*annual, *daily, *higher, *(a * d for a in annual for d in daily)], axis=1)


def _climatology(
    items: pd.DataFrame, target: np.ndarray, last: np.ndarray, forecast: Forecast, positions: np.ndarray | None,
    train: np.ndarray, held_out: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Climatology at the target's hour; and it plus the share of the last hour's anomaly that training items keep."""
    now = pd.DatetimeIndex(items["prediction_time"])

    def at(shift_hours: int, rows: np.ndarray) -> np.ndarray:
        calendar = _harmonics(now[rows] + pd.Timedelta(hours=shift_hours))
        place = np.zeros((len(rows), 0)) if positions is None else positions[rows] / (10.0, 10.0, 1000.0)
        return np.concatenate([calendar, place], axis=1)

    steps = range(INPUT_HOURS) if target.ndim == 2 else [READ_STEP]
    series = target if target.ndim == 2 else target[:, None]
    x = np.concatenate([at(forecast.lead_hours - READ_STEP + step, train) for step in steps])
    y = series[train].T.reshape(-1)
    known = ~np.isnan(y)
    model = _new_ridge(1e-3).fit(x[known], y[known])
    everyone = np.arange(len(items))
    expected = model.predict(at(forecast.lead_hours, everyone))
    anomaly_now = last - model.predict(at(0, everyone))
    anomaly_then = series[:, -1] - expected
    both = train[~np.isnan(anomaly_now[train]) & ~np.isnan(anomaly_then[train])]
    kept = float((anomaly_now[both] @ anomaly_then[both]) / max(anomaly_now[both] @ anomaly_now[both], 1e-9))
    return {
        "climatology": expected[held_out],
        "damped anomaly": (expected + kept * anomaly_now)[held_out],
    }
