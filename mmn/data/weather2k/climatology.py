"""Climatology: what is usual at a place, an hour of the day and a time of the year; and how long an anomaly lasts.

Of a station with a past of its own: the mean of its training hours of the same hour of the day within 15 days of the
calendar day, circular. Of a place without one: harmonics of the year and the day plus position, fitted on others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import INPUT_HOURS, READ_STEP, Forecast

HALF_WIDTH_DAYS = 15
_DAYS, _HOURS = 366, 24
_STATIONS_AT_ONCE = 64


def calendar_means(values: np.ndarray, clock: pd.DatetimeIndex, half_width_days: int = HALF_WIDTH_DAYS) -> np.ndarray:
    """values (S, H) at the hours of `clock`, NaN = unknown -> (S, 366, 24) means; NaN where nothing near is known."""
    num_stations = len(values)
    cell = (clock.day_of_year.to_numpy() - 1) * _HOURS + clock.hour.to_numpy()
    cells = (np.arange(num_stations)[:, None] * (_DAYS * _HOURS) + cell).ravel()
    known = ~np.isnan(values).ravel()
    shape = (num_stations, _DAYS, _HOURS)
    size = num_stations * _DAYS * _HOURS
    counts = np.bincount(cells[known], minlength=size).reshape(shape)
    sums = np.bincount(cells[known], values.ravel()[known], minlength=size).reshape(shape)
    counts, sums = (_around(each, half_width_days) for each in (counts, sums))
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)


def look_up(means: np.ndarray, stations: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
    """The means of these stations (positions in `means`) at these times, element by element."""
    return means[stations, times.day_of_year.to_numpy() - 1, times.hour.to_numpy()]


def damping(now: np.ndarray, then: np.ndarray) -> float:
    """The share of an anomaly that is left after the lead: least squares through the origin, over what is known."""
    both = ~np.isnan(now) & ~np.isnan(then)
    return float((now[both] @ then[both]) / max(now[both] @ now[both], 1e-9))


def of_stations(
    series: StationSeries, items: pd.DataFrame, forecast: Forecast, last: np.ndarray, target: np.ndarray,
    train: np.ndarray, until_hour: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """`climatology` and `damped anomaly` (N,) of stations with a past of their own, at the read-out.

    last: (N,) the last known value of each window; target: (N,) at the read-out; train: positions of training items,
    on which the damping is fitted. until_hour: hours from there on are not training hours.
    """
    places, place = np.unique(items["station_index"].to_numpy(), return_inverse=True)
    now = pd.DatetimeIndex(items["prediction_time"])
    then = now + pd.Timedelta(hours=forecast.lead_hours)
    hours = np.arange(until_hour)
    clock = series.start + pd.to_timedelta(hours, unit="h")
    usual_now, usual_then = np.full(len(items), np.nan), np.full(len(items), np.nan)
    for begin in range(0, len(places), _STATIONS_AT_ONCE):
        some = places[begin : begin + _STATIONS_AT_ONCE]
        values, _ = series.take(some, np.broadcast_to(hours, (len(some), until_hour)), (forecast.variable,))
        means = calendar_means(values[..., 0].astype(np.float64), clock)
        here = np.flatnonzero((place >= begin) & (place < begin + len(some)))
        usual_now[here] = look_up(means, place[here] - begin, now[here])
        usual_then[here] = look_up(means, place[here] - begin, then[here])
    anomaly = last - usual_now
    kept = damping(anomaly[train], (target - usual_then)[train])
    return {"climatology": usual_then, "damped anomaly": usual_then + kept * anomaly}


def of_other_places(
    items: pd.DataFrame, target: np.ndarray, last: np.ndarray, forecast: Forecast, positions: np.ndarray | None,
    train: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The same of stations that were never seen: from the training items' targets. target: (N,) or (N, 24)."""
    from sklearn.linear_model import Ridge  # seconds to import

    now = pd.DatetimeIndex(items["prediction_time"])

    def at(shift_hours: int, rows: np.ndarray) -> np.ndarray:
        calendar = harmonics(now[rows] + pd.Timedelta(hours=shift_hours))
        place = np.zeros((len(rows), 0)) if positions is None else positions[rows] / (10.0, 10.0, 1000.0)
        return np.concatenate([calendar, place], axis=1)

    steps = range(INPUT_HOURS) if target.ndim == 2 else [READ_STEP]
    by_step = target if target.ndim == 2 else target[:, None]
    x = np.concatenate([at(forecast.lead_hours - READ_STEP + step, train) for step in steps])
    y = by_step[train].T.reshape(-1)
    known = ~np.isnan(y)
    model = Ridge(alpha=1e-3).fit(x[known], y[known])
    everyone = np.arange(len(items))
    expected = model.predict(at(forecast.lead_hours, everyone))
    anomaly = last - model.predict(at(0, everyone))
    kept = damping(anomaly[train], (by_step[:, -1] - expected)[train])
    return {"climatology": expected, "damped anomaly": expected + kept * anomaly}


def harmonics(times: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """(N, 12): two harmonics of the year, two of the day, and how the day's first changes over the year's first."""
    index = pd.DatetimeIndex(times)
    year = 2 * np.pi * (index.day_of_year.to_numpy() + index.hour.to_numpy() / 24) / 365.25
    day = 2 * np.pi * index.hour.to_numpy() / 24
    annual, daily = [np.cos(year), np.sin(year)], [np.cos(day), np.sin(day)]
    higher = [np.cos(2 * year), np.sin(2 * year), np.cos(2 * day), np.sin(2 * day)]
    return np.stack([*annual, *daily, *higher, *(a * d for a in annual for d in daily)], axis=1)


def _around(each: np.ndarray, half_width: int) -> np.ndarray:
    """(S, days, hours) -> sums over the days within `half_width` of each, around the end of the year."""
    wrapped = np.concatenate([each[:, -half_width:], each, each[:, :half_width]], axis=1) if half_width else each
    total = np.cumsum(np.pad(wrapped, ((0, 0), (1, 0), (0, 0))), axis=1, dtype=np.float64)
    width = 2 * half_width + 1
    return total[:, width:] - total[:, :-width]
