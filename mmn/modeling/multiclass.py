"""Metrics of a task with several classes, weighted as those of `metrics.py` are.

R weightings, N items, C classes. Every function takes y (N,), the class's number, p (N, C), the probabilities, and
weights (R, N), and gives (R,): NaN where a weighting leaves it undefined.
"""

from __future__ import annotations

import numpy as np

from mmn.modeling.metrics import Metric, auroc


def macro_auroc(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of each class's AUROC against all others, over the classes that are there; with one alone, NaN."""
    return _mean_of_defined([auroc((y == c).astype(float), p[:, c], weights) for c in range(p.shape[1])])


def balanced_accuracy(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean, over the classes that are there, of the share of its items whose most probable class it is."""
    said, shares = p.argmax(axis=1) if len(p) else np.zeros(0), []
    for c in range(p.shape[1]):
        there = (y == c).astype(float)
        shares.append(_divide(weights @ (there * (said == c)), weights @ there))
    return _mean_of_defined(shares)


def accuracy(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    said = p.argmax(axis=1) if len(p) else np.zeros(0)
    return _divide(weights @ (said == y).astype(float), weights.sum(axis=1))


def brier(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean squared error, summed over classes: 0 to 2 (half of it, for two classes, is the binary task's)."""
    truth = (np.asarray(y)[:, None] == np.arange(p.shape[1])).astype(float)
    return _divide(weights @ ((p - truth) ** 2).sum(axis=1), weights.sum(axis=1))


MULTICLASS = (
    Metric(name="macro_auroc", better="higher", compute=macro_auroc, of_classes=True),
    Metric(name="bac", better="higher", compute=balanced_accuracy, of_classes=True),
    Metric(name="accuracy", better="higher", compute=accuracy, of_classes=True),
    Metric(name="brier", better="lower", compute=brier, of_classes=True),
)


def _mean_of_defined(values: list[np.ndarray]) -> np.ndarray:
    table = np.stack(values)
    defined = ~np.isnan(table)
    return _divide(np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
