"""What a training is judged by: the validation score that picks its epoch, and the metrics of its test items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmn.data.dataset import Task
from mmn.modeling import metrics as m
from mmn.modeling import multiclass
from mmn.modeling.prediction_table import value_columns

METRICS = {"binary": m.BINARY, "multiclass": multiclass.MULTICLASS, "regression": m.REGRESSION}


def validation_score(
    task: Task, y: np.ndarray, p: np.ndarray, select_by: str, target_range: np.ndarray | None
) -> float:
    """Higher is better; NaN without a label. y: (n,), NaN = no label. p: (n,), or (n, C) of a multiclass task; of a
    regression on the [0, 1] scale of `target_range`. select_by: see `TrainingSettings`."""
    known = ~np.isnan(y)
    if not known.any():
        return np.nan
    y, p, weights = y[known], p[known], m.once(int(known.sum()))
    if task.kind == "regression":
        assert target_range is not None
        low, high = target_range
        return -float(m.mean_squared_error((y - low) / (high - low), p, weights)[0])
    several = task.kind == "multiclass"
    if select_by == "mse":
        return -float((multiclass.brier if several else m.mean_squared_error)(y, p, weights)[0])
    right = float((multiclass.accuracy if several else m.accuracy)(y, p, weights)[0])
    if select_by == "accuracy":
        return right
    if len(np.unique(y)) < 2:
        # Of one class neither AUROC nor balanced accuracy exists: accuracy, and chance for AUROC.
        return 0.5 + right
    if several:
        return float(multiclass.balanced_accuracy(y, p, weights)[0] + multiclass.macro_auroc(y, p, weights)[0])
    return float(m.balanced_accuracy(y, p, weights)[0] + m.auroc(y, p, weights)[0])


def metrics_of_test_items(
    task: Task, target: pd.Series, predictions: pd.DataFrame, num_members: int, ranges: Mapping[str, np.ndarray]
) -> dict[str, list[float | None]]:
    """metric -> one value per member, of its labelled items at the read step; None where undefined.

    target: of every item, by name, at the read step. predictions: as `Trained.predict` gives them.
    """
    at_read = predictions[(predictions["task"] == task.name) & (predictions["step"] == task.read_step)]
    columns = value_columns(task)
    values: dict[str, list[float | None]] = {}
    for k in range(num_members):
        mine = at_read[at_read["member"] == k]
        y, p = target.reindex(mine["item"]).to_numpy(), mine[columns].to_numpy()
        y, p = y[~np.isnan(y)], p[~np.isnan(y)]
        for metric in METRICS[task.kind]:
            width = float(np.diff(ranges[task.name][k])[0]) if metric.name == "mse_normalised" else 1.0
            value = float(metric.compute(y / width, p / width, m.once(len(y)))[0])
            values.setdefault(metric.name, []).append(None if np.isnan(value) else round(value, 6))
    return values
