"""How well a student did in each week: the three performance features of Marras et al. 2021.

They make the target of `next_week_performance` and therefore never enter an input; the featurizer offers them only in
an ablation that is labelled leaky. Each week sees that week's events and that week's schedule alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.evidence import CLICK_TYPES, ClickBlock


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Submissions, each student's together and in time order; arrays (E,).

    item: whose. content: row of the schedule, or else from its length on or -1. week: 0-based. time: of any unit.
    grade: points, NaN = not graded. submission: counts from 1, NaN = not said.
    """

    item: np.ndarray
    content: np.ndarray
    week: np.ndarray
    time: np.ndarray
    grade: np.ndarray
    submission: np.ndarray

    @classmethod
    def of_block(cls, block: ClickBlock) -> Checks:
        rows = np.flatnonzero(block.event == CLICK_TYPES.index("Problem.Check"))
        return cls(
            item=block.item[rows], content=block.content[rows], week=block.week[rows], time=block.time[rows],
            grade=block.facts["grade"][rows], submission=block.facts["submission_number"][rows],
        )  # fmt: skip

    def of_items(self, place: np.ndarray) -> Checks:
        """place: item -> its new number, -1 = leave out."""
        item = place[self.item]
        kept = item >= 0
        others = {name: getattr(self, name)[kept] for name in ("content", "week", "time", "grade", "submission")}
        return Checks(item=item[kept], **others)


@dataclass(frozen=True, kw_only=True)
class WeeklyPerformance:
    """Arrays (N, T) in [0, 1], NaN = undefined.

    strength (CompetencyStrength): mean over this week's problems checked this week of the best grade's share of
        grade_max, divided by the largest submission number; NaN where none was checked.
    alignment (CompetencyAlignment): share of this week's problems on which full grade was reached this week; NaN where
        none is scheduled.
    shape (StudentShape): share of this week's problems checked this week whose first check got full grade; NaN where
        none was checked.
    """

    strength: np.ndarray
    alignment: np.ndarray
    shape: np.ndarray

    def mean(self) -> np.ndarray:
        """p_w: the mean of the three, an undefined one counting 0. (N, T) in [0, 1]."""
        return np.mean([np.nan_to_num(part) for part in (self.strength, self.alignment, self.shape)], axis=0)


def weekly_performance(checks: Checks, schedule: pd.DataFrame, num_items: int, num_weeks: int) -> WeeklyPerformance:
    """A problem without grade_max, and a check without a grade, say nothing."""
    planned = schedule["week"].to_numpy(dtype="int64")
    grade_max = schedule["grade_max"].to_numpy(dtype="float64")
    graded = (schedule["stream"] == "problem").to_numpy() & ~np.isnan(grade_max)
    num_scheduled = np.bincount(planned[graded], minlength=num_weeks).astype(float)

    content = np.where((checks.content >= 0) & (checks.content < len(schedule)), checks.content, len(schedule))
    counts = np.append(graded, False)[content] & ~np.isnan(checks.grade)
    counts &= np.append(planned, -1)[content] == checks.week
    rows = np.flatnonzero(counts)
    rows = rows[np.lexsort((rows, content[rows], checks.item[rows]))]
    item, content, submission = checks.item[rows], content[rows], checks.submission[rows]
    share = np.minimum(checks.grade[rows] / grade_max[content], 1.0)  # bonus points are no more than full grade
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (item[1:] != item[:-1]) | (content[1:] != content[:-1])
    at = np.flatnonzero(begins)
    best = np.maximum.reduceat(share, at) if len(at) else share
    most = np.fmax.reduceat(submission, at) if len(at) else submission
    cell = item[at] * num_weeks + planned[content[at]]

    def grid(weights: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=weights, minlength=num_items * num_weeks).reshape(num_items, num_weeks)

    strength = best / most
    counted = ~np.isnan(strength)
    with np.errstate(invalid="ignore", divide="ignore"):
        return WeeklyPerformance(
            strength=grid(np.where(counted, strength, 0.0)) / grid(counted.astype(float)),
            alignment=np.where(num_scheduled > 0, grid(is_full(best).astype(float)) / num_scheduled, np.nan),
            shape=grid(is_full(share[at]).astype(float)) / grid(np.ones(len(cell))),
        )


def is_full(share: np.ndarray) -> np.ndarray:
    return share >= 1 - 1e-9


def moving_average(weekly: np.ndarray, window_weeks: int) -> np.ndarray:
    """Trailing mean over `window_weeks` columns, truncated at the start. weekly: (N, T), known. 1 = no smoothing;
    T or more = the expanding mean."""
    # Not by differences of cumulative sums: their rounding would leave [0, 1].
    windows = [weekly[:, max(0, week + 1 - window_weeks) : week + 1] for week in range(weekly.shape[1])]
    return np.stack([window.mean(axis=1) for window in windows], axis=1)
