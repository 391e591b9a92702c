"""The eleven features of a whole stream of clicks: regularity, sessions, weekdays. All arrays are (N*T,) by cell."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.log import Log, Schedule, divide, mean_and_std

MIN_SESSION_CLICKS = 3
_DAY_SECONDS, _HOUR_SECONDS = 86_400, 3_600


def session_features(log: Log, videos: Schedule) -> dict[str, np.ndarray]:
    """log: any choice of streams. videos: a session breaks at a gap longer than the week's longest scheduled video."""
    clicks = log.count()
    # 1970-01-01 was a Thursday; Monday = 0.
    weekend = (log.time // _DAY_SECONDS + 3) % 7 >= 5
    on_weekend = log.count(weekend)
    return {
        "RegPeakTimeDayHour": peak_hour(log),
        "RegPeriodicityM1": daily_period(log),
        "TotalClicks": clicks,
        **_sessions(log, videos),
        "TotalClicksWeekday": clicks - on_weekend,
        "TotalClicksWeekend": on_weekend,
        "RatioClicksWeekendDay": divide(clicks - on_weekend, on_weekend),  # named the other way round in the paper
    }


def peak_hour(log: Log) -> np.ndarray:
    """(ln 24 - entropy in nats of the hour-of-day histogram) x its largest bin; NaN without clicks."""
    hour = (log.time % _DAY_SECONDS // _HOUR_SECONDS).astype("int64")
    bins = np.bincount(log.cell * 24 + hour, minlength=log.num_cells * 24).reshape(-1, 24).astype(float)
    share = divide(bins, bins.sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = -np.where(share > 0, share * np.log(share), 0.0 * share).sum(axis=1)
    return (np.log(24) - entropy) * bins.max(axis=1, initial=0)


def daily_period(log: Log) -> np.ndarray:
    """Modulus of the Fourier sum, at one turn per 24 h, of the 0/1 activity per hour since the cell's first click."""
    begins = np.ones(len(log.cell), dtype=bool)
    begins[1:] = log.cell[1:] != log.cell[:-1]
    at = np.flatnonzero(begins)
    first = np.full(log.num_cells, np.nan)
    first[log.cell[at]] = log.time[at]
    hour = (log.time - first[log.cell]) // _HOUR_SECONDS
    active = begins.copy()  # the first click of each hour: the log is in time order
    active[1:] |= hour[1:] != hour[:-1]
    angle = 2 * np.pi * hour[active] / 24
    real = np.bincount(log.cell[active], weights=np.cos(angle), minlength=log.num_cells)
    imaginary = np.bincount(log.cell[active], weights=np.sin(angle), minlength=log.num_cells)
    return np.where(np.isnan(first), np.nan, np.hypot(real, imaginary))


def longest_video(videos: Schedule) -> np.ndarray:
    """(T,) seconds; NaN where no video of known duration is scheduled: then the week is one session."""
    longest = np.full(videos.num_weeks, -np.inf)
    known = ~np.isnan(videos.duration) & (videos.week >= 0)
    np.maximum.at(longest, videos.week[known], videos.duration[known])
    return np.where(np.isinf(longest), np.nan, longest)


def _sessions(log: Log, videos: Schedule) -> dict[str, np.ndarray]:
    begins = np.ones(len(log.cell), dtype=bool)
    with np.errstate(invalid="ignore"):
        broken = np.isnan(log.gap) | (log.gap > longest_video(videos)[log.week])
    begins[1:] = broken[:-1]
    at = np.flatnonzero(begins)
    size = np.diff(np.append(at, len(log.cell)))
    kept = size >= MIN_SESSION_CLICKS
    at, last = at[kept], (at + size - 1)[kept]
    cell, start, end = log.cell[at], log.time[at], log.time[last]
    num, mean, std = mean_and_std(cell, end - start, log.num_cells)
    same = cell[1:] == cell[:-1]
    _, _, std_between = mean_and_std(cell[1:][same], (start[1:] - end[:-1])[same], log.num_cells)
    return {
        "NumberOfSessions": num,
        "TotalTimeSessions": np.bincount(cell, weights=end - start, minlength=log.num_cells),
        "AvgTimeSessions": np.nan_to_num(mean),
        "StdTimeBetweenSessions": std_between,
        "StdTimeSessions": np.nan_to_num(std),
    }
