"""Rules that need no model, at the read-out after step 23: a model that loses to one of them is reported as losing.

Fitted on nothing: persistence (the last known value of the input window) and diurnal persistence (the value at the
target's hour of the last day; as all leads are whole days it differs only where the last hour is missing).
Fitted on a fold's training items, and given for its validation and test items: the training mean; ridge and gradient
boosting on the flattened 24-hour window with position and calendar; geography only (ridge, and k-NN on the great
circle), which shows how much is interpolation in space; and, where time is held out and training spans a year,
climatology and its damped-anomaly persistence (`climatology.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, empty_baselines
from mmn.data.scaling import fit_scaler
from mmn.data.weather2k import climatology
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS, READ_STEP
from mmn.data.weather2k.units import wind_components
from mmn.data.weather2k.variables import BY_NAME, COORDINATES, WINDS

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

NAMES = (
    "training mean", "persistence", "diurnal persistence", "climatology", "damped anomaly", "ridge on 24 h",
    "gradient boosting on 24 h", "geography k-NN", "geography ridge",
)  # fmt: skip
_NEIGHBOURS = 5
_RIDGE_PENALTIES = (10.0, 100.0, 1_000.0, 10_000.0)
_CLIMATOLOGY_DAYS = 365
# Beyond it the fits hardly change, and memory would grow with the cohort.
_MOST_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the folds were made. until_hour: the border of training hours, None where no time is held out.
    known_stations: held-out items are of stations that train with their earlier hours."""

    until_hour: int | None = None
    known_stations: bool = False
    gradient_boosting: bool = True


def make_baselines(
    series: StationSeries, items: pd.DataFrame, targets: dict[str, np.ndarray], folds: pd.DataFrame, setting: Setting
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table of `Cohort.baselines`, in the targets' physical units, and notes.

    A rule that cannot tell gives no row; one that leaves a variable's physical range is held at its end.
    """
    window, names = _windows(series, items)
    variables = {FORECASTS[task].variable for task in targets}
    last = {name: _last_known(window[:, :, names.index(name)]) for name in variables}
    keys = items["item"].to_numpy()
    frames, notes = [], []
    for task in targets:
        variable = FORECASTS[task].variable
        frames.append(_rows(keys, task, "persistence", -1, last[variable]))
        frames.append(_rows(keys, task, "diurnal persistence", -1, window[:, READ_STEP, names.index(variable)]))
    positions = _positions(items)
    if positions is None:
        notes.append("No baseline of geography only: not every station has a position.")
    features = [window.reshape(len(items), -1)]
    if positions is not None:
        features.append(positions.astype(np.float32))
    if setting.until_hour is not None:
        features.append(climatology.harmonics(items["prediction_time"]).astype(np.float32))
    flat = np.concatenate(features, axis=1)
    cohort = Cohort(items=items, targets=targets, folds=folds, num_steps=INPUT_HOURS)
    fitted: dict[bytes, dict[str, dict[str, np.ndarray]]] = {}
    for fold in range(cohort.num_folds):
        train, validation, test = (cohort.rows(fold, split) for split in ("train", "validation", "test"))
        held_out = np.sort(np.concatenate([validation, test]))
        # Folds that differ in their test items alone have one fit.
        key = train.tobytes() + b"|" + validation.tobytes()
        if key not in fitted:
            fitted = {key: _fit(series, items, targets, flat, last, positions, train, validation, setting, notes)}
        for task, given in fitted[key].items():
            bounds = BY_NAME[FORECASTS[task].variable]
            for baseline, prediction in given.items():
                held = np.clip(prediction[held_out], bounds.low, bounds.high)
                frames.append(_rows(keys[held_out], task, baseline, fold, held))
    table = pd.concat(frames, ignore_index=True).astype(empty_baselines().dtypes.to_dict())
    return table, tuple(dict.fromkeys(notes))


def _fit(
    series: StationSeries, items: pd.DataFrame, targets: dict[str, np.ndarray], flat: np.ndarray,
    last: dict[str, np.ndarray], positions: np.ndarray | None, train: np.ndarray, validation: np.ndarray,
    setting: Setting, notes: list[str],
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    """task -> baseline -> (N,) predictions, fitted on `train`; `validation` chooses a penalty or a number of rounds."""
    scaled = fit_scaler(flat[train], "standard")(flat)
    seasons = setting.until_hour is not None and _days(items, train) >= _CLIMATOLOGY_DAYS
    if setting.until_hour is not None and not seasons:
        notes.append(f"No climatology: the training hours of a fold span {_days(items, train)} days, a year is needed.")
    if len(train) > _MOST_ROWS:
        notes.append(f"Ridge and gradient boosting were fitted on {_MOST_ROWS} evenly spaced training items of a fold.")
    found: dict[str, dict[str, np.ndarray]] = {}
    for task, target in targets.items():
        at_read = target[:, -1] if target.ndim == 2 else target
        fit, judge = train[~np.isnan(at_read[train])], validation[~np.isnan(at_read[validation])]
        if len(fit) < 2:
            notes.append(f"No fitted baseline of {task} in a fold: {len(fit)} training targets are known.")
            continue
        some = fit[:: -(-len(fit) // _MOST_ROWS)]
        given = {
            "training mean": np.full(len(items), at_read[fit].mean()),
            "ridge on 24 h": _ridge(scaled, at_read, some, judge),
        }
        if setting.gradient_boosting:
            given["gradient boosting on 24 h"] = _boosting(flat, at_read, some, judge)
        if positions is not None:
            given["geography k-NN"] = _nearest_stations(items, at_read, fit)
            place = fit_scaler(positions[fit], "standard")(positions).astype(np.float64)
            given["geography ridge"] = _new_ridge(1.0).fit(place[fit], at_read[fit]).predict(place)
        if seasons:
            forecast, now = FORECASTS[task], last[FORECASTS[task].variable]
            if setting.known_stations:
                assert setting.until_hour is not None
                given |= climatology.of_stations(series, items, forecast, now, at_read, train, setting.until_hour)
            else:
                given |= climatology.of_other_places(items, target, now, forecast, positions, train)
        found[task] = given
    return found


def _windows(series: StationSeries, items: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """float32 (N, 24, V) and the V names: the input windows without positions, directions as components."""
    names = tuple(name for name in series.variables if name not in COORDINATES)
    hours = items["start_hour"].to_numpy()[:, None] + np.arange(INPUT_HOURS)
    taken, _ = series.take(items["station_index"].to_numpy(), hours, names)
    columns: dict[str, np.ndarray] = {}
    for position, name in enumerate(names):
        if name in WINDS:
            # Circular: a linear rule cannot use degrees. Without its speed a direction says nothing.
            if WINDS[name] in names:
                speed = taken[..., names.index(WINDS[name])]
                parts = wind_components(taken[..., position], speed, name)
                columns |= {part: values for part, values in parts.items() if not part.endswith("_calm")}
        else:
            columns[name] = taken[..., position]
    return np.stack(list(columns.values()), axis=-1).astype(np.float32), list(columns)


def _rows(items: np.ndarray, task: str, baseline: str, fold: int, prediction: np.ndarray) -> pd.DataFrame:
    known = ~np.isnan(prediction)
    return pd.DataFrame(
        {"item": items[known], "task": task, "baseline": baseline, "fold": fold, "prediction": prediction[known]}
    )


def _last_known(values: np.ndarray) -> np.ndarray:
    """values (N, T) -> float64 (N,) the last that is not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    position = values.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.take_along_axis(values, position[:, None], axis=1)[:, 0].astype(np.float64)


def _positions(items: pd.DataFrame) -> np.ndarray | None:
    if not set(COORDINATES) <= set(items.columns) or items[list(COORDINATES)].isna().to_numpy().any():
        return None
    return items[list(COORDINATES)].to_numpy(np.float64)


def _days(items: pd.DataFrame, rows: np.ndarray) -> int:
    times = items["prediction_time"].iloc[rows]
    return int((times.max() - times.min()) / pd.Timedelta(days=1))


def _ridge(scaled: np.ndarray, target: np.ndarray, fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
    """Predictions for all rows; the penalty is the one of smallest validation error."""
    x, y = scaled[fit].astype(np.float64), target[fit]
    candidates = []
    for penalty in _RIDGE_PENALTIES:
        model = _new_ridge(penalty).fit(x, y)
        candidates.append(scaled @ model.coef_ + model.intercept_)
    if not len(judge):
        return candidates[1]
    return min(candidates, key=lambda prediction: float(np.mean((prediction[judge] - target[judge]) ** 2)))


def _new_ridge(penalty: float) -> Ridge:
    """scikit-learn takes seconds to import, and the definitions must load without it."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty)


def _boosting(flat: np.ndarray, target: np.ndarray, fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
    """Boosted trees, which read NaN as it is; as many rounds as have the smallest validation error."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    # scikit-learn cannot bin a column that is never known (the hours between 3-hourly records).
    low, high = np.nan_to_num(flat[fit], nan=np.inf).min(axis=0), np.nan_to_num(flat[fit], nan=-np.inf).max(axis=0)
    flat = flat[:, high > low]
    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=15, max_bins=63, l2_regularization=1.0, early_stopping=False, random_state=0
    ).fit(flat[fit], target[fit])
    best = model.n_iter_ - 1
    if len(judge):
        errors = [np.mean((said - target[judge]) ** 2) for said in model.staged_predict(flat[judge])]
        best = int(np.argmin(errors))
    return next(said for stage, said in enumerate(model.staged_predict(flat)) if stage == best)


def _nearest_stations(items: pd.DataFrame, target: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """The mean of the nearest training stations' mean targets."""
    from sklearn.neighbors import NearestNeighbors

    known = items.iloc[fit].assign(target=target[fit]).groupby("station")[["lat", "lon", "target"]].mean()
    search = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(known)), metric="haversine", algorithm="ball_tree")
    search.fit(np.radians(known[["lat", "lon"]].to_numpy()))
    _, nearest = search.kneighbors(np.radians(items[["lat", "lon"]].to_numpy()))
    return known["target"].to_numpy()[nearest].mean(axis=1)
