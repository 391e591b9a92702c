"""The 45 weekly features by name: which set, which stream, and what becomes of each in clean mode.

Sets: B = Boroujeni et al. 2016, C = Chen & Cui 2020, L = Lallé & Conati 2020, M = Marras et al. 2021, in this order.
Streams: "problem", "video", or "session" for those that look at all clicks of whatever kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Feature:
    """One column. leaky: makes task 5's target, so never an input by default. degenerate: why it says nothing when it
    is computed for one week; clean mode leaves it out, compat mode keeps it."""

    name: str
    source: Literal["B", "C", "L", "M"]
    stream: Literal["session", "video", "problem"]
    unit: str
    leaky: bool = False
    degenerate: str = ""


_ONE_WEEK = "a standard deviation over weeks, of one week: always 0"

FEATURES: tuple[Feature, ...] = (
    Feature("RegPeakTimeDayHour", "B", "session", "nats x clicks"),
    Feature("RegPeriodicityM1", "B", "session", "1"),
    Feature("DelayLecture", "B", "video", "s"),
    Feature("TotalClicks", "C", "session", "clicks"),
    Feature("NumberOfSessions", "C", "session", "sessions"),
    Feature("TotalTimeSessions", "C", "session", "s"),
    Feature("AvgTimeSessions", "C", "session", "s"),
    Feature("StdTimeBetweenSessions", "C", "session", "s"),
    Feature("StdTimeSessions", "C", "session", "s"),
    Feature("TotalClicksWeekday", "C", "session", "clicks"),
    Feature("TotalClicksWeekend", "C", "session", "clicks"),
    Feature("RatioClicksWeekendDay", "C", "session", "1"),
    Feature("TotalClicksVideo", "C", "video", "clicks"),
    Feature("TotalClicksProblem", "C", "problem", "clicks"),
    Feature("TotalTimeProblem", "C", "problem", "s"),
    Feature("TotalTimeVideo", "C", "video", "s"),
    Feature("TotalClicksVideoLoad", "L", "video", "clicks"),
    Feature("AvgWatchedWeeklyProp", "L", "video", "share"),
    Feature("StdWatchedWeeklyProp", "L", "video", "share", degenerate=_ONE_WEEK),
    Feature("AvgReplayedWeeklyProp", "L", "video", "share"),
    Feature("StdReplayedWeeklyProp", "L", "video", "share", degenerate=_ONE_WEEK),
    Feature("AvgInterruptedWeeklyProp", "L", "video", "share"),
    Feature("StdInterruptedWeeklyProp", "L", "video", "share", degenerate=_ONE_WEEK),
    Feature("TotalClicksVideoConati", "L", "video", "clicks", degenerate="the same number as TotalClicksVideo"),
    Feature("FrequencyEventVideo", "L", "video", "1/s"),
    Feature("FrequencyEventLoad", "L", "video", "share"),
    Feature("FrequencyEventPlay", "L", "video", "share"),
    Feature("FrequencyEventPause", "L", "video", "share"),
    Feature("FrequencyEventStop", "L", "video", "share"),
    Feature("FrequencyEventSeekBackward", "L", "video", "share"),
    Feature("FrequencyEventSeekForward", "L", "video", "share"),
    Feature("FrequencyEventSpeedChange", "L", "video", "share"),
    Feature("AvgSeekLength", "L", "video", "s of video"),
    Feature("StdSeekLength", "L", "video", "s of video"),
    Feature("AvgPauseDuration", "L", "video", "s"),
    Feature("StdPauseDuration", "L", "video", "s"),
    Feature("AvgTimeSpeedingUp", "L", "video", "s"),
    Feature("StdTimeSpeedingUp", "L", "video", "s"),
    Feature("CompetencyStrength", "M", "problem", "share", leaky=True),
    Feature("CompetencyAlignment", "M", "problem", "share", leaky=True),
    Feature("CompetencyAnticipation", "M", "problem", "share"),
    Feature("ContentAlignment", "M", "video", "share"),
    Feature("ContentAnticipation", "M", "video", "share"),
    Feature("StudentSpeed", "M", "problem", "s"),
    Feature("StudentShape", "M", "problem", "share", leaky=True),
)


def columns(modality: str, session_features: str, leaky: bool, mode: str = "clean") -> tuple[str, ...]:
    """The names of a modality's columns, in order. See `WeeklyClicksParams`."""
    streams = {modality, "session"} if session_features in ("both_recomputed", modality) else {modality}
    return tuple(
        feature.name
        for feature in FEATURES
        if feature.stream in streams and (mode == "compat" or not feature.degenerate) and (leaky or not feature.leaky)
    )
