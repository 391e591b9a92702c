"""The metrics, each for many weightings of the items at once: that is what makes a bootstrap of 1,000 draws cheap.

R weightings, N items. Every function takes y (N,), p (N,) and weights (R, N), and gives (R,): NaN where a weighting
leaves it undefined (AUROC without both classes). Weights are counts of how often an item is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

THRESHOLD = 0.5
# Of visibility, in m: the finest step of a weather report (1/16 mile); fog may be reported as 0.
LEAST_ON_LOG_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`better` is "higher" or "lower". compute(y, p, weights) -> (R,). of_classes: p is (N, C), else (N,)."""

    name: str
    better: str
    compute: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    of_classes: bool = False


def auroc(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The chance that a positive item scores above a negative one, ties counted half."""
    positive, negative = _by_score(y, p, weights)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _divide((positive * below).sum(axis=1), pairs)


def auprc(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: the mean over positives of the precision at their score (no interpolation)."""
    positive, negative = _by_score(y, -p, weights)
    true, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=(true + false) > 0)
    return _divide((positive * precision).sum(axis=1), positive.sum(axis=1))


def balanced_accuracy(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of sensitivity and specificity at P(1) >= 0.5."""
    right = (p >= THRESHOLD) == (y == 1)
    positive, negative = (y == 1).astype(float), (y == 0).astype(float)
    sensitivity = _divide(weights @ (positive * right), weights @ positive)
    specificity = _divide(weights @ (negative * right), weights @ negative)
    return (sensitivity + specificity) / 2


def accuracy(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _mean(((p >= THRESHOLD) == (y == 1)).astype(float), weights)


def mean_squared_error(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of a binary task's P(1) it is the Brier score."""
    return _mean((p - y) ** 2, weights)


def root_mean_squared_error(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(mean_squared_error(y, p, weights))


def mean_absolute_error(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _mean(np.abs(p - y), weights)


def mean_absolute_log_error(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the decimal logarithm: 0.3 is a factor of two. What lies below LEAST_ON_LOG_SCALE counts as that."""
    log_y, log_p = (np.log10(np.maximum(values, LEAST_ON_LOG_SCALE)) for values in (y, p))
    return mean_absolute_error(log_y, log_p, weights)


BINARY = (
    Metric(name="auroc", better="higher", compute=auroc),
    Metric(name="bac", better="higher", compute=balanced_accuracy),
    Metric(name="auprc", better="higher", compute=auprc),
    Metric(name="brier", better="lower", compute=mean_squared_error),
)
# `mse_normalised` is the physical one divided by the square of the fold's training range (see `evaluate.py`).
REGRESSION = (
    Metric(name="rmse", better="lower", compute=root_mean_squared_error),
    Metric(name="mse_normalised", better="lower", compute=mean_squared_error),
    Metric(name="mae", better="lower", compute=mean_absolute_error),
)
# By a target's unit. A distance in m (visibility) spans decades and ends at what its sensor can see, so that its
# squared error is about that end.
BY_UNIT: dict[str, tuple[Metric, ...]] = {
    "m": (Metric(name="mae_log10", better="lower", compute=mean_absolute_log_error),),
}


def once(num_items: int) -> np.ndarray:
    """Every item once: the weighting of the plain metric."""
    return np.ones((1, num_items))


def _by_score(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positives and negatives at each distinct score, ascending: two arrays (R, number of scores)."""
    if not len(y):
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1))
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) != 0])
    ordered = weights[:, order]
    total = np.add.reduceat(ordered, starts, axis=1)
    positive = np.add.reduceat(ordered * (y[order] == 1), starts, axis=1)
    return positive, total - positive


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _divide(weights @ values, weights.sum(axis=1))


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
