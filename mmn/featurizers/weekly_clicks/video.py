"""The features of the video stream. All arrays are (N*T,) by cell."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.content import alignment, anticipation, planned_by_cell, touched_now
from mmn.featurizers.weekly_clicks.log import MAX_GAP_SECONDS, Log, Schedule, divide, mean_and_std

MIN_LEFT_SECONDS = 60.0
_DAY_SECONDS = 86_400


def video_features(log: Log, gaps: Log, videos: Schedule) -> dict[str, np.ndarray]:
    """Clean mode. log: the video clicks. gaps: the clicks that end a gap in TotalTimeVideo (those, or all)."""
    clicks = log.count()
    watched = alignment(log, videos)
    return {
        "DelayLecture": delay(log, videos),
        "TotalClicksVideo": clicks,
        "TotalTimeVideo": gaps.total(np.where(gaps.is_stream("video"), gaps.valid_gap, 0.0)),
        "TotalClicksVideoLoad": log.count(log.is_type("Video.Load")),
        "AvgWatchedWeeklyProp": watched,
        "AvgReplayedWeeklyProp": replayed(log, videos),
        "AvgInterruptedWeeklyProp": interrupted(log, videos),
        "FrequencyEventVideo": divide(clicks, _time_after(log.by_content, "Video.Play")),
        "ContentAlignment": watched,
        "ContentAnticipation": anticipation(log, videos),
        # Of the video clicks: a denominator with problem clicks would carry the other modality.
        **{name: divide(count, clicks) for name, count in event_counts(log).items()},
        **_seek_lengths(log),
        **_pauses(log),
        **_speeding(log),
    }


def published(features: dict[str, np.ndarray], log: Log, everything: Log) -> dict[str, np.ndarray]:
    """Clean features as the published library has them, its degenerate columns and all. everything: all clicks."""
    clicks = everything.count()
    shares = {name: np.nan_to_num(divide(count, clicks)) for name, count in event_counts(log).items()}
    deviations = {
        name.replace("Avg", "Std"): 0.0 * features[name]  # of one number: 0, or NaN where that is not known
        for name in ("AvgWatchedWeeklyProp", "AvgReplayedWeeklyProp", "AvgInterruptedWeeklyProp")
    }
    return {
        **features,
        **shares,
        **deviations,
        "TotalClicksVideoConati": features["TotalClicksVideo"],
        # Its event name is written in title case there and never matches.
        "FrequencyEventSpeedChange": np.zeros(log.num_cells),
    }


def event_counts(log: Log) -> dict[str, np.ndarray]:
    """The numerators of the FrequencyEvent features, but FrequencyEventVideo."""
    jump = _jumps(log)
    with np.errstate(invalid="ignore"):
        back, forth = log.count(jump < 0), log.count(jump > 0)
    kinds = ("Load", "Play", "Pause", "Stop", "SpeedChange")
    counts = {f"FrequencyEvent{name}": log.count(log.is_type(f"Video.{name}")) for name in kinds}
    return {**counts, "FrequencyEventSeekBackward": back, "FrequencyEventSeekForward": forth}


def delay(log: Log, videos: Schedule) -> np.ndarray:
    """Mean over the week's scheduled videos seen in it of first click - scheduled date, s; negative = before it."""
    ordered, first = log.by_content, log.first_of_content
    first = first[touched_now(ordered, videos)[first]]
    late = ordered.time[first] - videos.date[ordered.planned[first]]
    return mean_and_std(ordered.cell[first], late, log.num_cells)[1]


def replayed(log: Log, videos: Schedule) -> np.ndarray:
    """Share of the week's scheduled videos touched on two or more of its days; NaN where none is scheduled."""
    ordered, first = log.by_content, log.first_of_content
    day = ordered.time // _DAY_SECONDS
    another_day = np.zeros(len(day), dtype=bool)
    another_day[1:] = ordered.next_is_same_content[:-1] & (day[1:] != day[:-1])
    times = np.add.reduceat(another_day, first) if len(first) else first
    again = first[(times > 0) & touched_now(ordered, videos)[first]]
    return divide(np.bincount(ordered.cell[again], minlength=log.num_cells), planned_by_cell(log, videos.num_by_week))


def interrupted(log: Log, videos: Schedule) -> np.ndarray:
    """Interruptions / videos scheduled in the week, clipped to 1; NaN where none is scheduled or no click tells its
    position.

    An interruption is a click on one of the week's videos, not the first on it, with over 60 s of video left, and
    (a) a Pause, Stop or Load before a gap of over an hour, or (b) one of these before another video, or (c) any click
    before another video that comes sooner than what was left could play.
    """
    first = np.zeros(len(log.cell), dtype=bool)
    first[log.content_order[log.first_of_content]] = True
    left = videos.duration[log.planned] - log.current_time
    to_other = ~np.isnan(log.gap) & ~log.next_is_same_content
    halts = log.is_type("Video.Pause", "Video.Stop", "Video.Load")
    with np.errstate(invalid="ignore"):
        leaves = (halts & ((log.gap > MAX_GAP_SECONDS) | to_other)) | (to_other & (log.gap < left))
        mask = touched_now(log, videos) & ~first & (left > MIN_LEFT_SECONDS) & leaves
    share = np.minimum(divide(log.count(mask), planned_by_cell(log, videos.num_by_week)), 1.0)
    return np.where(log.count(~np.isnan(log.current_time)) > 0, share, np.nan)


def _jumps(log: Log) -> np.ndarray:
    return np.where(log.is_type("Video.Seek"), log.new_time - log.old_time, np.nan)


def _seek_lengths(log: Log) -> dict[str, np.ndarray]:
    _, mean, std = mean_and_std(log.cell, np.abs(_jumps(log)), log.num_cells)
    return {"AvgSeekLength": mean, "StdSeekLength": std}


def _pauses(log: Log) -> dict[str, np.ndarray]:
    ordered = log.by_content
    rest = np.where(ordered.is_type("Video.Pause") & ordered.next_is_same_content, ordered.valid_gap, np.nan)
    _, mean, std = mean_and_std(ordered.cell, rest, log.num_cells)
    return {"AvgPauseDuration": np.nan_to_num(mean), "StdPauseDuration": np.nan_to_num(std)}


def _speeding(log: Log) -> dict[str, np.ndarray]:
    """Time to the next video click while the speed last set in the week is above 1."""
    set_here = log.is_type("Video.SpeedChange") & ~np.isnan(log.new_speed)
    last = np.maximum.accumulate(np.where(set_here, np.arange(len(log.cell)), -1))
    in_cell = (last >= 0) & (log.cell[last] == log.cell)
    speed = np.where(in_cell, log.new_speed[last], 1.0)
    with np.errstate(invalid="ignore"):
        fast = np.where((speed > 1) & (log.gap <= MAX_GAP_SECONDS), log.gap, np.nan)
    _, mean, std = mean_and_std(log.cell, fast, log.num_cells)
    return {"AvgTimeSpeedingUp": np.nan_to_num(mean), "StdTimeSpeedingUp": np.nan_to_num(std)}


def _time_after(ordered: Log, event: str) -> np.ndarray:
    """Valid time from such clicks to the next on the same video. ordered: `Log.by_content`."""
    return ordered.total(np.where(ordered.is_type(event) & ordered.next_is_same_content, ordered.valid_gap, 0.0))
