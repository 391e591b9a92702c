"""What the student did of the plan: this week's and later weeks' videos or problems. All arrays are (N*T,) by cell."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.log import Log, Schedule, divide


def planned_by_cell(log: Log, planned: np.ndarray) -> np.ndarray:
    """(T,) to (N*T,)."""
    return np.tile(planned, log.num_students)


def touched_now(log: Log, schedule: Schedule) -> np.ndarray:
    """Mask of clicks on what is scheduled in the very week."""
    return (log.content >= 0) & (_week(log, schedule) == log.week)


def alignment(log: Log, schedule: Schedule) -> np.ndarray:
    """Share of the week's planned things that were touched in it; NaN where none is planned."""
    touched = log.cell[log.distinct(touched_now(log, schedule))]
    return divide(np.bincount(touched, minlength=log.num_cells), planned_by_cell(log, schedule.num_by_week))


def anticipation(log: Log, schedule: Schedule) -> np.ndarray:
    """Share of what is planned for later weeks that was touched already; NaN where nothing is left, as in the last."""
    later = (log.content >= 0) & (_week(log, schedule) > log.week)
    touched = log.cell[log.distinct(later)]
    return divide(np.bincount(touched, minlength=log.num_cells), planned_by_cell(log, schedule.num_later))


def _week(log: Log, schedule: Schedule) -> np.ndarray:
    return np.append(schedule.week, -1)[log.content]
