"""The features of the problem stream. All arrays are (N*T,) by cell."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.content import anticipation
from mmn.featurizers.weekly_clicks.log import Log, Schedule, divide


def problem_features(log: Log, gaps: Log, problems: Schedule) -> dict[str, np.ndarray]:
    """log: the problem clicks. gaps: the clicks that end a gap in TotalTimeProblem (the problem clicks, or all)."""
    return {
        "TotalClicksProblem": log.count(),
        "TotalTimeProblem": gaps.total(np.where(gaps.is_stream("problem"), gaps.valid_gap, 0.0)),
        "CompetencyAnticipation": anticipation(log, problems),
        "StudentSpeed": speed(log),
    }


def speed(log: Log) -> np.ndarray:
    """Time between consecutive checks of a problem, summed per problem, then the mean over the problems that have such
    a time, s; NaN where none has (one check each says nothing of speed)."""
    ordered = log.by_content
    between = np.where(ordered.next_is_same_content, ordered.valid_gap, np.nan)
    timed = ordered.take(~np.isnan(between))
    one_each = np.ones(len(timed.cell), dtype=bool)
    one_each[1:] = (timed.cell[1:] != timed.cell[:-1]) | (timed.content[1:] != timed.content[:-1])
    return divide(ordered.total(between), timed.count(one_each))
