"""How the published studies scaled the weekly features, theirs step for step: what they fill in for NaN, and over whom.

Two of them look where a result must not: `evaluating_explainers` takes its ranges from all students, those of the test
included, and the norms of `meta_transfer` and `interpretcc` are of all the weeks that are seen, so that a week's number
depends on the next ones. The card says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmn.featurizers.weekly_clicks.features import FEATURES

Scaling = Literal["none", "meta_transfer", "interpretcc", "evaluating_explainers", "flipped_classroom"]
WARNINGS = {
    "meta_transfer": "norms of all weeks seen: read at the last of them alone",
    "interpretcc": "norms of all weeks seen: read at the last of them alone",
    "evaluating_explainers": "ranges of all students, those of the test included: a leak, never a result",
    "flipped_classroom": "fitted per fold on training students",
}
_SET_OF = {feature.name: feature.source for feature in FEATURES}


def unit_norm(values: np.ndarray, names: tuple[str, ...], fill: float, weeks: int) -> np.ndarray:
    """meta_transfer (fill -1) and interpretcc (fill 0): the weeks seen, NaN filled, each student's numbers of one
    feature set in all these weeks divided by their length. (N, T, D) -> (N, T, D), zero after the weeks seen; a student
    whose numbers of a set are all 0 keeps them."""
    scaled = np.zeros(values.shape)
    seen = np.nan_to_num(values[:, :weeks].astype(np.float64), nan=fill)
    sets = np.array([_SET_OF[name] for name in names])
    for each in np.unique(sets):
        part = seen[:, :, sets == each]
        length = np.sqrt((part**2).sum(axis=(1, 2), keepdims=True))
        scaled[:, :weeks, sets == each] = part / np.where(length > 0, length, 1.0)
    return scaled


def range_of_everyone(values: np.ndarray) -> np.ndarray:
    """evaluating_explainers: NaN becomes the feature's least value over all students and weeks; then each week's range
    over all students, its top 1 where it is 0, and a thousandth higher. A feature that is nowhere known stays NaN."""
    values = values.astype(np.float64)
    least = np.where(np.isnan(values), np.inf, values).min(axis=(0, 1))
    filled = np.where(np.isnan(values), np.where(np.isinf(least), np.nan, least), values)
    low, top = filled.min(axis=0), filled.max(axis=0)
    top = 1.001 * np.where(top == 0, 1.0, top)
    return (filled - low) / np.where(top == low, 1.0, top - low)


def standard_by_week(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """flipped_classroom: NaN becomes -1; then each week's mean and deviation over the training students. train: their
    rows. A constant is 0."""
    filled = np.nan_to_num(values.astype(np.float64), nan=-1.0)
    mean, deviation = filled[train].mean(axis=0), filled[train].std(axis=0)
    return (filled - mean) / np.where(deviation > 0, deviation, 1.0)
