"""A regression read as a question of yes or no: how well its predictions rank what lies above a threshold.

No model is trained for it (Swamy et al. 2023, App. C and Fig. 10): the regression's predictions are judged by AUROC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.floors import floor_predictions
from mmn.modeling.metrics import auroc, once
from mmn.modeling.scores import estimate_with_interval

Binarise = Callable[[Cohort, str, int], np.ndarray]


def score_binarised(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    predictions: Mapping[tuple[str, str], pd.DataFrame],
    embeddings: Mapping[str, Embeddings],
    binarise: Binarise,
) -> pd.DataFrame:
    """One row per regression task and model or floor: `task`, `model`, `task_set`, `kind`, `auroc` (mean over folds),
    `low`, `high` (t-interval), `num_folds` (where both classes are in the test items), `fold_values`.

    binarise(cohort, task, fold): (N,) 0, 1, or NaN without a label. predictions: as for `score`.
    """
    items = cohort.items["item"].to_numpy()
    rows: list[dict[str, Any]] = []
    for task in (task for task in tasks if task.kind == "regression"):
        labels = [binarise(cohort, task.name, fold)[cohort.rows(fold, "test")] for fold in range(cohort.num_folds)]
        said: list[tuple[str, str, str, list[np.ndarray]]] = [
            (name, task.name, "floor", per_fold)
            for name, per_fold in floor_predictions(cohort, task, embeddings).items()
        ]
        for (task_set, model), frame in predictions.items():
            mine = frame[(frame["task"] == task.name) & (frame["step"] == task.read_step)]
            by_fold = {fold: part.set_index("item")["prediction"] for fold, part in mine.groupby("fold")}
            if len(mine):
                per_fold = [
                    by_fold.get(fold, pd.Series(dtype=float)).reindex(items[cohort.rows(fold, "test")]).to_numpy(float)
                    for fold in range(cohort.num_folds)
                ]
                said.append((model, task_set, "model", per_fold))
        for model, task_set, kind, per_fold in said:
            values = np.array([_auroc(label, p) for label, p in zip(labels, per_fold, strict=True)])
            estimate, low, high, num_folds = estimate_with_interval(values)
            rows.append(
                {
                    "task": task.name,
                    "model": model,
                    "task_set": task_set,
                    "kind": kind,
                    "auroc": estimate,
                    "low": low,
                    "high": high,
                    "num_folds": num_folds,
                    "fold_values": [float(value) for value in values],
                }
            )
    return pd.DataFrame(rows)


def _auroc(label: np.ndarray, predicted: np.ndarray) -> float:
    """Of predictions of several shuffles, (items, shuffles), the mean."""
    each = predicted if predicted.ndim == 2 else predicted[:, None]
    found = []
    for p in each.T:
        known = ~np.isnan(label) & ~np.isnan(p)
        found.append(float(auroc(label[known], p[known], once(int(known.sum())))[0]))
    return float(np.nanmean(found)) if not np.isnan(found).all() else np.nan
