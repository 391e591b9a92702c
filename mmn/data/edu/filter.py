"""The two-week filter: students who obviously fail are left out, as the paper does, or by rules that do so more fairly.

The published filter's code does not exist; this is its description: a logistic regression on the grades of the first
two weeks, students whose failing is at least 99 % probable are removed. It chooses the population by the labels, those
of later test students among them: a selection bias that every result on this data carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.edu.performance import Checks
from mmn.data.errors import CohortError

FILTER_WEEKS = 2
NUM_PARTS = 5
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)


@dataclass(frozen=True)
class FilterCurve:
    """Balanced accuracy of "p(fail) >= threshold" over all labelled students, by threshold, and the tuned threshold:
    the largest within 0.005 of the best."""

    balanced_accuracy: dict[float, float]
    tuned: float


def early_grades(checks: Checks, schedule: pd.DataFrame, num_items: int) -> np.ndarray:
    """(N, P): the best grade in points, reached in weeks 0-1, of each graded problem due in weeks 0-1; missing = 0."""
    due = schedule[
        (schedule["stream"] == "problem") & (schedule["week"] < FILTER_WEEKS) & schedule["grade_max"].notna()
    ]
    column = due.index.get_indexer(checks.content)
    known = (column >= 0) & (checks.week < FILTER_WEEKS) & ~np.isnan(checks.grade)
    grades = np.zeros((num_items, len(due)))
    np.maximum.at(grades, (checks.item[known], column[known]), checks.grade[known])
    return grades


def fail_probability(grades: np.ndarray, passed: np.ndarray, seed: int) -> np.ndarray:
    """(N,) cross-fitted: no student's own label is used for his probability. passed: 1, 0 or NaN = not known; those
    get the prediction of a model of all the others."""
    known = ~np.isnan(passed)
    failed = (passed[known] == 0).astype(int)
    rarer = int(np.bincount(failed, minlength=2).min())
    if rarer < 2:
        raise CohortError(
            f"The two-week filter needs students who passed and students who failed: {int((1 - failed).sum())} of "
            f'{len(failed)} passed. Set edu.cohort.filter to "none", or look at the column pass-fail.'
        )
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    parts = StratifiedKFold(min(NUM_PARTS, rarer), shuffle=True, random_state=seed)
    probability = np.empty(len(grades))
    probability[known] = cross_val_predict(_learner(), grades[known], failed, cv=parts, method="predict_proba")[:, 1]
    if not known.all():
        probability[~known] = _learner().fit(grades[known], failed).predict_proba(grades[~known])[:, 1]
    return probability


def fail_probability_by_fold(grades: np.ndarray, passed: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """(N,) as one fold may know it: fitted on its training students alone, cross-fitted for these themselves."""
    probability = np.empty(len(grades))
    probability[train] = fail_probability(grades[train], passed[train], seed)
    outside = np.setdiff1d(np.arange(len(grades)), train)
    known = train[~np.isnan(passed[train])]
    probability[outside] = _learner().fit(grades[known], passed[known] == 0).predict_proba(grades[outside])[:, 1]
    return probability


def no_early_submission(checks: Checks, num_items: int) -> np.ndarray:
    """(N,) bool: no problem check at all in weeks 0-1. A rule that knows no label."""
    submitted = np.zeros(num_items, dtype=bool)
    submitted[checks.item[checks.week < FILTER_WEEKS]] = True
    return ~submitted


def filter_curve(probability: np.ndarray, passed: np.ndarray) -> FilterCurve:
    from sklearn.metrics import balanced_accuracy_score

    known = ~np.isnan(passed)
    failed = passed[known] == 0
    curve = {
        threshold: round(float(balanced_accuracy_score(failed, probability[known] >= threshold)), 4)
        for threshold in THRESHOLDS
    }
    best = max(curve.values())
    return FilterCurve(curve, max(threshold for threshold, value in curve.items() if value >= best - 0.005))


def _learner() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000)
