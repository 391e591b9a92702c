"""Errors of simple rules in physical units: numbers to hold a model against.

`baseline_errors`: of a cohort's baselines, on its test windows. `rule_errors`: at every hour of a test period, each
hour of each station as the last input hour, so that they can be compared with what others print for the same data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import CohortError
from mmn.data.weather2k.binarised import at_read_out
from mmn.data.weather2k.climatology import calendar_means, damping, look_up
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import FORECASTS, INPUT_HOURS
from mmn.data.weather2k.variables import BY_NAME

RULES = ("mean", "persistence", "climatology", "damped anomaly", "ridge on 24 h")
_RIDGE_PENALTY = 1.0


def baseline_errors(cohort: Cohort) -> pd.DataFrame:
    """One row per task and baseline, over the labelled test items of all folds: `task`, `baseline`, `unit`, `mae`,
    `rmse`, `num_items`."""
    tests = cohort.folds[cohort.folds["split"] == "test"][["item", "fold"]]
    rows = cohort.baselines
    # What was fitted on nothing serves the test items of all folds.
    free = rows[rows["fold"] == -1].drop(columns="fold").merge(tests, on="item")
    rows = pd.concat([rows.merge(tests, on=["item", "fold"]), free], ignore_index=True)
    place = pd.Series(np.arange(len(cohort)), index=cohort.items["item"])
    table = []
    for (task, baseline), of_rule in rows.groupby(["task", "baseline"], sort=False):
        truth = at_read_out(cohort.targets[task])[place[of_rule["item"]].to_numpy()]
        error = (of_rule["prediction"].to_numpy() - truth)[~np.isnan(truth)]
        table.append({
            "task": task, "baseline": baseline, "unit": BY_NAME[FORECASTS[task].variable].unit,
            "mae": float(np.mean(np.abs(error))), "rmse": float(np.mean(error**2) ** 0.5), "num_items": len(error),
        })  # fmt: skip
    return pd.DataFrame(table)


def rule_errors(
    series: StationSeries,
    variable: str,
    leads: Sequence[int],
    test_from: str,
    test_until: str | None = None,
    stations: Sequence[str] | None = None,
    ridge_every_hours: int = 1,
    ridge_trend: bool = False,
) -> pd.DataFrame:
    """One row per lead and rule: `lead_hours`, `rule`, `mae`, `rmse` (the variable's unit), `mse_normalised` (divided
    by the square of the training hours' range), `num_hours` (pairs judged).

    Both the last input hour and the target hour lie in [test_from, test_until); training pairs lie before test_from
    with both. mean: of the training hours. climatology: per station, `climatology.py`. damped anomaly: one share per
    lead. ridge: on the 24 hours of the variable and the first harmonics of the year and the day, one for all stations,
    fitted on every `ridge_every_hours`-th training hour; `ridge_trend`: on the year and the day of the year as plain
    numbers, too. Raises CohortError where training or test is empty.
    """
    rows = [series.stations.index(name) for name in stations or series.stations]
    clock = series.start + pd.to_timedelta(np.arange(series.num_hours), unit="h")
    begin, end = clock.searchsorted(pd.Timestamp(test_from)), len(clock)
    if test_until is not None:
        end = clock.searchsorted(pd.Timestamp(test_until))
    hours = np.broadcast_to(np.arange(end), (len(rows), end))
    values = series.take(np.array(rows), hours, (variable,))[0][..., 0].astype(np.float64)
    if not 0 < begin < end or np.isnan(values[:, :begin]).all():
        raise CohortError(f"{variable}: no training hour before {test_from}, or no test hour from there on.")
    train = values[:, :begin]
    mean, span = float(np.nanmean(train)), float(np.nanmax(train) - np.nanmin(train))
    places = np.arange(len(rows))[:, None]
    usual = look_up(calendar_means(train, clock[:begin]), np.broadcast_to(places, values.shape), clock[:end])
    calendar = _calendar(clock[:end], ridge_trend)
    table = []
    for lead in leads:
        now = np.arange(begin, end - lead)
        if not len(now):
            raise CohortError(f"{variable}, {lead} h: the test period is shorter than the lead.")
        truth, anomaly = values[:, now + lead], values - usual
        kept = damping(anomaly[:, : begin - lead].ravel(), anomaly[:, lead:begin].ravel())
        said = {
            "mean": np.full_like(truth, mean),
            "persistence": values[:, now],
            "climatology": usual[:, now + lead],
            "damped anomaly": usual[:, now + lead] + kept * anomaly[:, now],
            "ridge on 24 h": _ridge(values, calendar, lead, begin, now, ridge_every_hours),
        }
        for rule, prediction in said.items():
            error = (prediction - truth)[~np.isnan(prediction) & ~np.isnan(truth)]
            mse = float(np.mean(error**2))
            table.append({
                "lead_hours": lead, "rule": rule, "mae": float(np.mean(np.abs(error))), "rmse": mse**0.5,
                "mse_normalised": mse / span**2, "num_hours": len(error),
            })  # fmt: skip
    return pd.DataFrame(table)


def _calendar(clock: pd.DatetimeIndex, trend: bool) -> np.ndarray:
    """(H, 4), or (H, 6) with a trend."""
    year = 2 * np.pi * clock.day_of_year.to_numpy() / 365.25
    day = 2 * np.pi * clock.hour.to_numpy() / 24
    columns = [np.cos(year), np.sin(year), np.cos(day), np.sin(day)]
    if trend:
        columns += [clock.year.to_numpy() - clock.year[0], year]
    return np.stack(columns, axis=1)


def _ridge(
    values: np.ndarray, calendar: np.ndarray, lead: int, begin: int, now: np.ndarray, every_hours: int
) -> np.ndarray:
    """(S, len(now)) predictions; NaN where one of the 24 hours is unknown."""

    def inputs(station: int, hours: np.ndarray) -> np.ndarray:
        window = np.lib.stride_tricks.sliding_window_view(values[station], INPUT_HOURS)[hours - INPUT_HOURS + 1]
        return np.concatenate([window, calendar[hours]], axis=1)

    early = np.arange(INPUT_HOURS, begin - lead, every_hours)
    width = INPUT_HOURS + calendar.shape[1]
    # Sums over all stations, one at a time: [x, y, 1] times itself.
    product = np.zeros((width + 2, width + 2))
    for station in range(len(values)):
        rows = np.column_stack([inputs(station, early), values[station, early + lead], np.ones(len(early))])
        rows = rows[~np.isnan(rows).any(axis=1)]
        product += rows.T @ rows
    num = product[-1, -1]
    centre = product[-1, :-1] / num
    moments = product[:-1, :-1] - num * np.outer(centre, centre)
    slope = np.linalg.solve(moments[:width, :width] + _RIDGE_PENALTY * np.eye(width), moments[:width, width])
    intercept = centre[width] - centre[:width] @ slope
    return np.stack([inputs(station, now) @ slope + intercept for station in range(len(values))])
