"""How well a student did in each week: the three performance features of Marras et al. 2021.

They make the target of `next_week_performance` and therefore never enter an input; the featurizer offers them only in
an ablation that is labelled leaky. Each week sees that week's events and that week's schedule alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.evidence import ClickEvidence


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


def weekly_performance(evidence: ClickEvidence, items: np.ndarray) -> WeeklyPerformance:
    """items: (N,) in the cohort's order. A problem without grade_max, and a check without a grade, say nothing."""
    num_items, num_weeks = len(items), evidence.num_weeks
    graded = evidence.schedule[(evidence.schedule["stream"] == "problem") & evidence.schedule["grade_max"].notna()]
    graded = graded.set_index("content")
    num_scheduled = np.bincount(graded["week"], minlength=num_weeks).astype(float)

    checks = evidence.events[(evidence.events["stream"] == "problem") & evidence.events["grade"].notna()]
    problem = graded.index.get_indexer(checks["content"])
    in_its_week = (problem >= 0) & (graded["week"].to_numpy()[problem] == checks["week"].to_numpy())
    checks, problem = checks[in_its_week], problem[in_its_week]
    share = checks["grade"].to_numpy() / graded["grade_max"].to_numpy()[problem]
    rows = pd.DataFrame(
        {
            "item": pd.Categorical(checks["item"], categories=items).codes.astype("int64"),
            "problem": problem,
            "share": np.minimum(share, 1.0),  # bonus points are no more than full grade
            "submission": checks["submission_number"].to_numpy(),
        }
    )
    by_problem = rows[rows["item"] >= 0].groupby(["item", "problem"], sort=True)
    per_problem = by_problem.agg(
        best=("share", "max"), first=("share", "first"), submissions=("submission", "max")
    ).reset_index()
    cell = per_problem["item"].to_numpy() * num_weeks + graded["week"].to_numpy()[per_problem["problem"].to_numpy()]

    def grid(weights: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=weights, minlength=num_items * num_weeks).reshape(num_items, num_weeks)

    full, first_full = is_full(per_problem["best"].to_numpy()), is_full(per_problem["first"].to_numpy())
    strength = (per_problem["best"] / per_problem["submissions"]).to_numpy()
    counted = ~np.isnan(strength)
    with np.errstate(invalid="ignore", divide="ignore"):
        return WeeklyPerformance(
            strength=grid(np.where(counted, strength, 0.0)) / grid(counted.astype(float)),
            alignment=np.where(num_scheduled > 0, grid(full.astype(float)) / num_scheduled, np.nan),
            shape=grid(first_full.astype(float)) / grid(np.ones(len(cell))),
        )


def is_full(share: np.ndarray) -> np.ndarray:
    return share >= 1 - 1e-9


def moving_average(weekly: np.ndarray, window_weeks: int) -> np.ndarray:
    """Trailing mean over `window_weeks` columns, truncated at the start. weekly: (N, T), known. 1 = no smoothing;
    T or more = the expanding mean."""
    # Not by differences of cumulative sums: their rounding would leave [0, 1].
    windows = [weekly[:, max(0, week + 1 - window_weeks) : week + 1] for week in range(weekly.shape[1])]
    return np.stack([window.mean(axis=1) for window in windows], axis=1)
