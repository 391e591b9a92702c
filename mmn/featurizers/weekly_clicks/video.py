"""The features of the video stream. All arrays are (N*T,) by cell; a cell without a video click is absent anyway."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.content import alignment, anticipation, planned_by_cell, touched_now
from mmn.featurizers.weekly_clicks.log import MAX_GAP_SECONDS, Log, Schedule, divide, mean_and_std

MIN_LEFT_SECONDS = 60.0
_DAY_SECONDS = 86_400


def video_features(log: Log, gaps: Log, videos: Schedule) -> dict[str, np.ndarray]:
    """log: the video clicks. gaps: the clicks that end a gap in TotalTimeVideo (the video clicks, or all)."""
    clicks = log.count()
    watched = alignment(log, videos)
    features = {
        "DelayLecture": delay(log, videos),
        "TotalClicksVideo": clicks,
        "TotalTimeVideo": gaps.total(np.where(gaps.stream == "video", gaps.valid_gap, 0.0)),
        "TotalClicksVideoLoad": log.count(log.is_type("Video.Load")),
        "AvgWatchedWeeklyProp": watched,
        "AvgReplayedWeeklyProp": replayed(log, videos),
        "AvgInterruptedWeeklyProp": interrupted(log, videos),
        "FrequencyEventVideo": divide(clicks, _time_after(log.by_content, "Video.Play")),
        "ContentAlignment": watched,
        "ContentAnticipation": anticipation(log, videos),
    }
    # Of the video clicks: a denominator with problem clicks would carry the other modality.
    for name in ("Load", "Play", "Pause", "Stop", "SpeedChange"):
        features[f"FrequencyEvent{name}"] = divide(log.count(log.is_type(f"Video.{name}")), clicks)
    return {**features, **_seeks(log, clicks), **_pauses(log), **_speeding(log)}


def delay(log: Log, videos: Schedule) -> np.ndarray:
    """Mean over the week's scheduled videos seen in it of first click - scheduled date, s; negative = before it."""
    first = log.distinct(touched_now(log, videos))
    _, mean, _ = mean_and_std(log.cell[first], log.time[first] - videos.date[log.content[first]], log.num_cells)
    return mean


def replayed(log: Log, videos: Schedule) -> np.ndarray:
    """Share of the week's scheduled videos touched on two or more of its days; NaN where none is scheduled."""
    one_per_day = log.take(log.distinct(touched_now(log, videos), log.time // _DAY_SECONDS))
    one_per_video = one_per_day.distinct(np.ones(len(one_per_day.cell), dtype=bool))
    num_days = np.diff(np.append(one_per_video, len(one_per_day.cell)))
    cell = one_per_day.cell[one_per_video[num_days >= 2]]
    return divide(np.bincount(cell, minlength=log.num_cells), planned_by_cell(log, videos.num_by_week))


def interrupted(log: Log, videos: Schedule) -> np.ndarray:
    """Interruptions / videos scheduled in the week, clipped to 1; NaN where none is scheduled or no click tells its
    position.

    An interruption is a click on one of the week's videos, not the first on it, with over 60 s of video left, and
    (a) a Pause, Stop or Load before a gap of over an hour, or (b) one of these before another video, or (c) any click
    before another video that comes sooner than what was left could play.
    """
    now = touched_now(log, videos)
    first = np.zeros(len(log.cell), dtype=bool)
    first[log.distinct(now)] = True
    left = np.append(videos.duration, np.nan)[log.content] - log.facts["current_time"]
    to_other = ~np.isnan(log.gap) & ~log.next_is_same_content
    halts = log.is_type("Video.Pause", "Video.Stop", "Video.Load")
    with np.errstate(invalid="ignore"):
        leaves = (halts & ((log.gap > MAX_GAP_SECONDS) | to_other)) | (to_other & (log.gap < left))
        mask = now & ~first & (left > MIN_LEFT_SECONDS) & leaves
    share = np.minimum(divide(log.count(mask), planned_by_cell(log, videos.num_by_week)), 1.0)
    return np.where(log.count(~np.isnan(log.facts["current_time"])) > 0, share, np.nan)


def _seeks(log: Log, clicks: np.ndarray) -> dict[str, np.ndarray]:
    jump = np.where(log.is_type("Video.Seek"), log.facts["new_time"] - log.facts["old_time"], np.nan)
    _, mean, std = mean_and_std(log.cell, np.abs(jump), log.num_cells)
    with np.errstate(invalid="ignore"):
        backward, forward = log.count(jump < 0), log.count(jump > 0)
    return {
        "FrequencyEventSeekBackward": divide(backward, clicks),
        "FrequencyEventSeekForward": divide(forward, clicks),
        "AvgSeekLength": mean,
        "StdSeekLength": std,
    }


def _pauses(log: Log) -> dict[str, np.ndarray]:
    ordered = log.by_content
    rest = np.where(ordered.is_type("Video.Pause") & ordered.next_is_same_content, ordered.valid_gap, np.nan)
    _, mean, std = mean_and_std(ordered.cell, rest, log.num_cells)
    return {"AvgPauseDuration": np.nan_to_num(mean), "StdPauseDuration": np.nan_to_num(std)}


def _speeding(log: Log) -> dict[str, np.ndarray]:
    """Time to the next video click while the speed last set in the week is above 1."""
    set_here = log.is_type("Video.SpeedChange") & ~np.isnan(log.facts["new_speed"])
    last = np.maximum.accumulate(np.where(set_here, np.arange(len(log.cell)), -1))
    in_cell = (last >= 0) & (log.cell[last] == log.cell)
    speed = np.where(in_cell, log.facts["new_speed"][last], 1.0)
    with np.errstate(invalid="ignore"):
        fast = np.where((speed > 1) & (log.gap <= MAX_GAP_SECONDS), log.gap, np.nan)
    _, mean, std = mean_and_std(log.cell, fast, log.num_cells)
    return {"AvgTimeSpeedingUp": np.nan_to_num(mean), "StdTimeSpeedingUp": np.nan_to_num(std)}


def _time_after(ordered: Log, event: str) -> np.ndarray:
    """Valid time from such clicks to the next on the same video. ordered: `Log.by_content`."""
    return ordered.total(np.where(ordered.is_type(event) & ordered.next_is_same_content, ordered.valid_gap, 0.0))
