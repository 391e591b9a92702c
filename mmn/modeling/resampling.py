"""Test items of the folds, drawn again by subject: what the bootstrap of scores, comparisons and subgroups stands on.

Draws are of whole subjects from all test items together, so an interval is of the same quantity as its estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.modeling.metrics import Metric
from mmn.modeling.prediction_table import value_columns

NUM_DRAWS = 1000
# Numbers held at a time for the weights of the draws (64 MB).
_WEIGHTS_AT_ONCE = 8_000_000

Draws = Callable[[], Any]


class TestItems:
    """The labelled test items of one fold: positions, labels, subjects, and the range of the training targets."""

    def __init__(self, cohort: Cohort, task: Task, target: np.ndarray, fold: int) -> None:
        test = cohort.rows(fold, "test")
        self.labelled = ~np.isnan(target[test])
        self.rows = test[self.labelled]
        self.y = target[self.rows]
        trained = cohort.targets[task.name][cohort.rows(fold, "train")]
        known = trained[~np.isnan(trained)]
        self.range = float(np.ptp(known)) if known.size and np.ptp(known) > 0 else 1.0


def subject_draws(cohort: Cohort, folds: list[TestItems], seed: int) -> Draws:
    """Gives, anew at each call, blocks of draws: per fold how often each of its items is drawn, (draws, items)."""
    codes, _ = pd.factorize(cohort.items["subject"])
    pooled = np.unique(np.concatenate([codes[fold.rows] for fold in folds])) if folds else np.array([], dtype=int)
    places = [np.searchsorted(pooled, codes[fold.rows]) for fold in folds]
    block = max(1, _WEIGHTS_AT_ONCE // max(1, len(pooled)))

    def blocks():
        rng = np.random.default_rng(seed)
        for first in range(0, NUM_DRAWS, block):
            num = min(block, NUM_DRAWS - first)
            drawn = rng.integers(0, len(pooled), (num, len(pooled)), dtype=np.int64)
            drawn += np.arange(num)[:, None] * len(pooled)
            counts = np.bincount(drawn.reshape(-1), minlength=num * len(pooled)).reshape(num, -1).astype(np.float32)
            yield [counts[:, place] for place in places]

    return blocks


def per_fold(
    metric: Metric, parts: list[tuple[np.ndarray, np.ndarray, float]], weights: list[np.ndarray]
) -> np.ndarray:
    """(draws, folds). Of predictions from several shuffles, along a last axis more: the mean of the metric over them; a
    bootstrap's draws take them in turn."""
    columns = []
    for (y, p, width), weight in zip(parts, weights, strict=True):
        scale = width if metric.name == "mse_normalised" else 1.0
        if p.ndim == 1 + metric.of_classes:
            columns.append(metric.compute(y / scale, p / scale, weight))
        elif len(weight) == 1:
            each = np.stack([metric.compute(y / scale, one / scale, weight) for one in np.moveaxis(p, -1, 0)], axis=1)
            columns.append(mean_of_known(each))
        else:
            values = np.empty(len(weight))
            for turn, one in enumerate(np.moveaxis(p, -1, 0)):
                values[turn :: p.shape[-1]] = metric.compute(y / scale, one / scale, weight[turn :: p.shape[-1]])
            columns.append(values)
    return np.stack(columns, axis=1)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total, num = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, num, out=np.full(len(values), np.nan), where=num > 0)


def model_predictions(
    cohort: Cohort, task: Task, folds: list[TestItems], frame: pd.DataFrame, where: str
) -> list[np.ndarray]:
    """Per fold the predictions of its test items, (n,), or (n, C) of a multiclass task; NaN where there is none."""
    if frame.duplicated(["fold", "item"]).any():
        raise ContractError(
            f"{where}: an item is predicted more than once in a fold. Several seeds per fold are several models: "
            "score each of them alone."
        )
    items = cohort.items["item"].to_numpy()
    if len(unknown := set(frame["item"]) - set(items)):
        raise ContractError(f"{where}: {len(unknown)} predicted items are not in the cohort. Make the model again.")
    columns = value_columns(task)
    by_fold = {fold: part.set_index("item")[columns] for fold, part in frame.groupby("fold")}
    return [
        by_fold.get(number, frame.iloc[:0].set_index("item")[columns])
        .reindex(items[cohort.rows(number, "test")])
        .to_numpy(dtype=np.float64)
        for number in range(len(folds))
    ]
