"""What the difference of two models is worth: intervals and tests of paired folds, and DeLong's test of AUROCs.

Folds share most of their training items, so a difference over k folds varies more than 1/k says: its variance is
multiplied by 1/k + test items per training item (Nadeau and Bengio 2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_FOLDS = 3  # that can be paired; an interval from two would say nothing


@dataclass(frozen=True)
class Difference:
    """first minus second, with an interval (95 % unless another level was asked for)."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """AUROC of the first and of the second, their difference, its standard error and two-sided p (null: no difference).

    p is NaN where the difference cannot vary (a test item of each class, or equal ranks throughout).
    """

    first: float
    second: float
    difference: float
    error: float
    p: float


def t_interval(values: Sequence[float] | np.ndarray, correction: float = 0.0, level: float = 0.95) -> Difference | None:
    """Mean of fold values with its t-interval; None for fewer than two. NaN folds are left out.

    correction: test items per training item where the values are differences over folds.
    """
    known = _known(values)
    if len(known) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(known) - 1)) * _error(known, correction)
    mean = float(known.mean())
    return Difference(mean, mean - half, mean + half)


def paired(
    first: Sequence[float], second: Sequence[float], test_ratio: float, level: float = 0.95
) -> Difference | None:
    """first minus second, fold by fold, with the corrected interval; None where under 3 folds can be paired."""
    difference = differences(first, second)
    if difference is None or (~np.isnan(difference)).sum() < FEWEST_FOLDS:
        return None
    return t_interval(difference, test_ratio, level)


def differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray | None:
    """Per fold, NaN where either is; None where the two are not over the same folds."""
    if len(first) != len(second):
        return None
    return np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)


def p_of_difference(values: np.ndarray, correction: float = 0.0) -> float:
    """Two-sided, that the mean of the folds' differences is 0; NaN for fewer than 3 folds."""
    known = _known(values)
    if len(known) < FEWEST_FOLDS:
        return math.nan
    from scipy.stats import t

    return float(2 * t.sf(abs(_over(float(known.mean()), _error(known, correction))), len(known) - 1))


def equivalence(values: np.ndarray, margin: float, correction: float = 0.0) -> float:
    """The p of TOST (Schuirmann 1987): small where the mean difference lies within (-margin, margin). NaN for fewer
    than 3 folds. It is below 5 % exactly where the corrected 90 % interval lies within the margin."""
    known = _known(values)
    if len(known) < FEWEST_FOLDS:
        return math.nan
    from scipy.stats import t

    mean, error, degrees = float(known.mean()), _error(known, correction), len(known) - 1
    above = t.sf(_over(mean + margin, error), degrees)
    below = t.cdf(_over(mean - margin, error), degrees)
    return float(max(above, below))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values adjusted for a family of that many tests (Holm 1979); NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    adjusted = np.full(len(p), np.nan)
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def delong(y: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Two scores of the same items (DeLong, DeLong and Clarke-Pearson 1988). y: 0 or 1. Items count as independent.

    NaN throughout where a class is not there.
    """
    return delong_over_folds([(y, first, second)])


def delong_over_folds(folds: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> DeLong:
    """As `delong`, of the mean AUROC over folds whose test items are disjoint. Folds of one class are left out."""
    from scipy.stats import norm

    found = [_of_fold(*fold) for fold in folds if 0 < (fold[0] == 1).sum() < len(fold[0])]
    if not found:
        return DeLong(first=math.nan, second=math.nan, difference=math.nan, error=math.nan, p=math.nan)
    first, second, variance = np.array(found).T
    difference = float(first.mean() - second.mean())
    error = math.sqrt(float(variance.sum())) / len(found)
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else math.nan
    return DeLong(first=float(first.mean()), second=float(second.mean()), difference=difference, error=error, p=p)


def _of_fold(y: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Both AUROCs and the variance of their difference (NaN with a single item of a class)."""
    parts = [_placements(y, score) for score in (first, second)]
    variance = sum(
        np.var(parts[0][side] - parts[1][side], ddof=1) / len(parts[0][side]) if len(parts[0][side]) > 1 else math.nan
        for side in (0, 1)
    )
    return float(parts[0][0].mean()), float(parts[1][0].mean()), float(variance)


def _placements(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each positive: the share of negatives below it. Of each negative: the share of positives above it. Ties half.

    From ranks (Sun and Xu 2014), so that no table of all pairs is made.
    """
    from scipy.stats import rankdata

    is_positive = y == 1
    ranks = rankdata(score)
    positive, negative = ranks[is_positive], ranks[~is_positive]
    below = (positive - rankdata(score[is_positive])) / len(negative)
    above = 1 - (negative - rankdata(score[~is_positive])) / len(positive)
    return below, above


def _known(values: Sequence[float] | np.ndarray) -> np.ndarray:
    known = np.asarray(values, dtype=np.float64)
    return known[~np.isnan(known)]


def _error(known: np.ndarray, correction: float) -> float:
    return float(known.std(ddof=1)) * math.sqrt(1 / len(known) + correction)


def _over(mean: float, error: float) -> float:
    """mean / error, where an error of 0 decides outright."""
    if error > 0:
        return mean / error
    return math.copysign(math.inf, mean) if mean else 0.0
