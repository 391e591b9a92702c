"""Scores: every model and every floor, on every task and metric, with what the number is worth.

Two intervals. Over folds: mean of the folds' estimates and its t-interval (n - 1 degrees of freedom; folds where the
metric is undefined are left out and counted). Over subjects: test items of all folds are resampled by subject, 1,000
times, the metric is computed within each fold and averaged, so the interval is of the same quantity as the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.differences import t_interval
from mmn.modeling.floors import floor_predictions, read_target
from mmn.modeling.metrics import BY_UNIT, once
from mmn.modeling.resampling import TestItems, mean_of_known, model_predictions, per_fold, subject_draws
from mmn.modeling.selection import METRICS

Predictions = Mapping[tuple[str, str], pd.DataFrame]
Progress = Callable[[int, int], None]


def score(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    predictions: Predictions,
    embeddings: Mapping[str, Embeddings],
    progress: Progress = lambda done, total: None,
    seed: int = 0,
    alone: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """One row per task, metric and model or floor; the first metric of a task (AUROC, its mean over classes, RMSE) is
    its `primary` one.

    predictions: (task set, model) -> the frame that training wrote (`item`, `fold`, `task`, `step`, `prediction`).
    embeddings: the floors' inputs. alone: task -> the modalities that are tried alone as its floors (those that its
    models may read); None = none is. estimate, low, high: over folds. boot_low, boot_high: over subjects. fold_values:
    one per fold, NaN where undefined. num_items, num_positive: labelled test items. best_floor: the best floor's
    estimate of the same metric. beats_floor: whether the estimate is better; null for floors and where undefined.
    rmse, mae are in the target's `unit`; mse_normalised is the mean squared error divided by the square of the range
    of the fold's training targets (for a per-step task over all steps), which is the scale the model is trained on.
    Raises ContractError where a model predicts an item twice or one that the cohort does not have.
    """
    rows: list[dict[str, Any]] = []
    for done, task in enumerate(tasks):
        target = read_target(cohort, task)
        folds = [TestItems(cohort, task, target, fold) for fold in range(cohort.num_folds)]
        weigh = subject_draws(cohort, folds, seed)
        of_task = [
            _rows(task, name, task.name, "floor", folds, predicted, weigh)
            for name, predicted in floor_predictions(cohort, task, embeddings, (alone or {}).get(task.name, ())).items()
        ]
        for (task_set, model), frame in predictions.items():
            mine = frame[(frame["task"] == task.name) & (frame["step"] == task.read_step)]
            if len(mine):
                predicted = model_predictions(cohort, task, folds, mine, f"{task_set}/{model}, {task.name}")
                of_task.append(_rows(task, model, task_set, "model", folds, predicted, weigh))
        rows += _with_best_floor([row for group in of_task for row in group])
        progress(done + 1, len(tasks))
    table = pd.DataFrame(rows)
    return table.astype({"number": "Int64", "num_positive": "Int64", "beats_floor": "boolean"}) if len(table) else table


def estimate_with_interval(fold_values: np.ndarray) -> tuple[float, float, float, int]:
    """Mean, low and high of the 95 % t-interval, number of folds where it is defined. One fold has no interval."""
    known = fold_values[~np.isnan(fold_values)]
    if not len(known):
        return np.nan, np.nan, np.nan, 0
    if (found := t_interval(known)) is None:
        return float(known[0]), np.nan, np.nan, 1
    return found.mean, found.low, found.high, len(known)


def _rows(
    task: Task, model: str, task_set: str, kind: str, folds: list[TestItems], predicted: list[np.ndarray], weigh
) -> list[dict[str, Any]]:
    metrics = (*METRICS[task.kind], *BY_UNIT.get(task.unit, ()))
    known, parts = [], []
    for fold, values in zip(folds, predicted, strict=True):
        p = values[fold.labelled]
        known.append(~np.isnan(p).reshape(len(p), -1).any(axis=1))
        parts.append((fold.y[known[-1]], p[known[-1]], fold.range))
    weights = [once(len(y)) for y, _, _ in parts]
    plain = {m.name: per_fold(m, parts, weights)[0] for m in metrics}
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in metrics}
    if any(len(y) for y, _, _ in parts):
        for block in weigh():
            block = [counts[:, there] for counts, there in zip(block, known, strict=True)]
            for metric in metrics:
                drawn[metric.name].append(mean_of_known(per_fold(metric, parts, block)))
    rows = []
    for metric in metrics:
        estimate, low, high, num_folds = estimate_with_interval(plain[metric.name])
        draws = np.concatenate(drawn[metric.name]) if drawn[metric.name] else np.array([np.nan])
        draws = draws[~np.isnan(draws)]
        boot_low, boot_high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
        rows.append(
            {
                "task": task.name,
                "number": task.number,
                "model": model,
                "task_set": task_set,
                "kind": kind,
                "metric": metric.name,
                "primary": metric is metrics[0],
                "unit": task.unit if metric.name in {"rmse", "mae"} else "",
                "estimate": estimate,
                "low": low,
                "high": high,
                "boot_low": float(boot_low),
                "boot_high": float(boot_high),
                "num_folds": num_folds,
                "num_items": int(sum(len(y) for y, _, _ in parts)),
                "num_positive": int(sum((y == 1).sum() for y, _, _ in parts)) if task.kind == "binary" else None,
                "fold_values": [float(value) for value in plain[metric.name]],
            }
        )
    return rows


def _with_best_floor(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    better = {m.name: m.better for found in (*METRICS.values(), *BY_UNIT.values()) for m in found}
    for row in rows:
        floors = [
            other["estimate"]
            for other in rows
            if other["kind"] == "floor" and other["metric"] == row["metric"] and not np.isnan(other["estimate"])
        ]
        higher = better[row["metric"]] == "higher"
        best = (max(floors) if higher else min(floors)) if floors else np.nan
        row["best_floor"] = best
        row["beats_floor"] = None
        if row["kind"] == "model" and not np.isnan(best) and not np.isnan(row["estimate"]):
            row["beats_floor"] = bool(row["estimate"] > best if higher else row["estimate"] < best)
    return rows
