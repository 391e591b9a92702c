"""Scores: every model and every floor, on every task and metric, with what the number is worth.

Two intervals. Over folds: mean of the folds' estimates and its t-interval (n - 1 degrees of freedom; folds where the
metric is undefined are left out and counted). Over subjects: test items of all folds are resampled by subject, 1,000
times, the metric is computed within each fold and averaged, so the interval is of the same quantity as the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError
from mmn.modeling.floors import floor_predictions, read_target
from mmn.modeling.metrics import BINARY, REGRESSION, Metric, once

NUM_DRAWS = 1000
# Numbers held at a time for the weights of the draws (64 MB).
_WEIGHTS_AT_ONCE = 8_000_000

Predictions = Mapping[tuple[str, str], pd.DataFrame]
Progress = Callable[[int, int], None]


def score(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    predictions: Predictions,
    embeddings: Mapping[str, Embeddings],
    progress: Progress = lambda done, total: None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per task, metric and model or floor; the first metric of a task (AUROC, RMSE) is its `primary` one.

    predictions: (task set, model) -> the frame that training wrote (`item`, `fold`, `task`, `step`, `prediction`).
    embeddings: the floors' inputs. estimate, low, high: over folds. boot_low, boot_high: over subjects. fold_values:
    one per fold, NaN where undefined. num_items, num_positive: labelled test items. best_floor: the best floor's
    estimate of the same metric. beats_floor: whether the estimate is better; null for floors and where undefined.
    rmse, mae are in the target's `unit`; mse_normalised is the mean squared error divided by the square of the range
    of the fold's training targets (for a per-step task over all steps), which is the scale the model is trained on.
    Raises ContractError where a model predicts an item twice or one that the cohort does not have.
    """
    rows: list[dict[str, Any]] = []
    for done, task in enumerate(tasks):
        target = read_target(cohort, task)
        folds = [_Fold(cohort, task, target, fold) for fold in range(cohort.num_folds)]
        weigh = _subject_draws(cohort, folds, seed)
        of_task = [
            _rows(task, name, task.name, "floor", folds, predicted, weigh)
            for name, predicted in floor_predictions(cohort, task, embeddings).items()
        ]
        for (task_set, model), frame in predictions.items():
            mine = frame[(frame["task"] == task.name) & (frame["step"] == task.read_step)]
            if len(mine):
                predicted = _model_predictions(cohort, folds, mine, f"{task_set}/{model}, {task.name}")
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
    mean = float(known.mean())
    if len(known) == 1:
        return mean, np.nan, np.nan, 1
    half = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half, len(known)


class _Fold:
    """The labelled test items of one fold: positions, labels, subjects, and the range of the training targets."""

    def __init__(self, cohort: Cohort, task: Task, target: np.ndarray, fold: int) -> None:
        test = cohort.rows(fold, "test")
        self.labelled = ~np.isnan(target[test])
        self.rows = test[self.labelled]
        self.y = target[self.rows]
        trained = cohort.targets[task.name][cohort.rows(fold, "train")]
        known = trained[~np.isnan(trained)]
        self.range = float(np.ptp(known)) if known.size and np.ptp(known) > 0 else 1.0


def _subject_draws(cohort: Cohort, folds: list[_Fold], seed: int) -> Callable[[], Any]:
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


def _rows(
    task: Task, model: str, task_set: str, kind: str, folds: list[_Fold], predicted: list[np.ndarray], weigh
) -> list[dict[str, Any]]:
    metrics = BINARY if task.kind == "binary" else REGRESSION
    known, parts = [], []
    for fold, values in zip(folds, predicted, strict=True):
        p = values[fold.labelled]
        known.append(~np.isnan(p) if p.ndim == 1 else ~np.isnan(p).any(axis=1))
        parts.append((fold.y[known[-1]], p[known[-1]], fold.range))
    weights = [once(len(y)) for y, _, _ in parts]
    plain = {m.name: _per_fold(m, parts, weights)[0] for m in metrics}
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in metrics}
    if any(len(y) for y, _, _ in parts):
        for block in weigh():
            block = [counts[:, there] for counts, there in zip(block, known, strict=True)]
            for metric in metrics:
                drawn[metric.name].append(_mean_of_known(_per_fold(metric, parts, block)))
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


def _per_fold(
    metric: Metric, parts: list[tuple[np.ndarray, np.ndarray, float]], weights: list[np.ndarray]
) -> np.ndarray:
    """(draws, folds). Of predictions from several shuffles, (items, shuffles): the mean of the metric over them; a
    bootstrap's draws take them in turn."""
    columns = []
    for (y, p, width), weight in zip(parts, weights, strict=True):
        scale = width if metric.name == "mse_normalised" else 1.0
        if p.ndim == 1:
            columns.append(metric.compute(y / scale, p / scale, weight))
        elif len(weight) == 1:
            each = np.stack([metric.compute(y / scale, one / scale, weight) for one in p.T], axis=1)
            columns.append(_mean_of_known(each))
        else:
            values = np.empty(len(weight))
            for turn, one in enumerate(p.T):
                values[turn :: p.shape[1]] = metric.compute(y / scale, one / scale, weight[turn :: p.shape[1]])
            columns.append(values)
    return np.stack(columns, axis=1)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total, num = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, num, out=np.full(len(values), np.nan), where=num > 0)


def _model_predictions(cohort: Cohort, folds: list[_Fold], frame: pd.DataFrame, where: str) -> list[np.ndarray]:
    """Per fold the predictions of its test items, NaN where there is none."""
    if frame.duplicated(["fold", "item"]).any():
        raise ContractError(
            f"{where}: an item is predicted more than once in a fold. Several seeds per fold are several models: "
            "score each of them alone."
        )
    items = cohort.items["item"].to_numpy()
    if len(unknown := set(frame["item"]) - set(items)):
        raise ContractError(f"{where}: {len(unknown)} predicted items are not in the cohort. Make the model again.")
    by_fold = {fold: part.set_index("item")["prediction"] for fold, part in frame.groupby("fold")}
    return [
        by_fold.get(number, pd.Series(dtype=float))
        .reindex(items[cohort.rows(number, "test")])
        .to_numpy(dtype=np.float64)
        for number in range(len(folds))
    ]


def _with_best_floor(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    better = {metric.name: metric.better for metric in (*BINARY, *REGRESSION)}
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
