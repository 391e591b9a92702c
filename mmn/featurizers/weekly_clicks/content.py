"""What the student did of the plan: this week's and later weeks' videos or problems. All arrays are (N*T,) by cell."""

from __future__ import annotations

import numpy as np

from mmn.featurizers.weekly_clicks.log import Log, Schedule, divide


def planned_by_cell(log: Log, planned: np.ndarray) -> np.ndarray:
    """(T,) to (N*T,)."""
    return np.tile(planned, log.num_students)


def touched_now(log: Log, schedule: Schedule) -> np.ndarray:
    """Mask of clicks on what is scheduled in the very week."""
    return schedule.week[log.planned] == log.week


def alignment(log: Log, schedule: Schedule) -> np.ndarray:
    """Share of the week's planned things that were touched in it; NaN where none is planned."""
    ordered, first = log.by_content, log.first_of_content
    touched = ordered.cell[first[touched_now(ordered, schedule)[first]]]
    return divide(np.bincount(touched, minlength=log.num_cells), planned_by_cell(log, schedule.num_by_week))


def anticipation(log: Log, schedule: Schedule) -> np.ndarray:
    """Share of what is planned for later weeks that was touched already; NaN where nothing is left, as in the last."""
    ordered, first = log.by_content, log.first_of_content
    later = schedule.week[ordered.planned] > ordered.week
    touched = ordered.cell[first[later[first]]]
    return divide(np.bincount(touched, minlength=log.num_cells), planned_by_cell(log, schedule.num_later))
