"""Models against each other on the same test items: Experiments 1 and 2 (Swamy et al. 2023, Table 1 and Fig. 3).

Two questions. Architecture: two models trained on the same task set. Task set: one model trained on several tasks,
against the same model trained on one. Three ways to say what a difference is worth, which answer different questions:

- over folds: a t-interval with the correction of `differences.py`, its test (Holm over the tasks) and TOST: would it be
  there with other training items?
- over subjects: both models on the same 1,000 draws of subjects: would it be there with other test subjects?
- DeLong (AUROC alone): as over subjects, in closed form, items taken as independent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.modeling.differences import (
    delong_over_folds,
    differences,
    equivalence,
    holm,
    p_of_difference,
    paired,
)
from mmn.modeling.floors import read_target
from mmn.modeling.metrics import Metric, once
from mmn.modeling.resampling import TestItems, mean_of_known, model_predictions, per_fold, subject_draws
from mmn.modeling.scores import Predictions, Progress
from mmn.modeling.selection import METRICS
from mmn.modeling.settings import ComparisonSettings

# The paper's metric, compared besides the first one of the task: its numbers stand in it.
PAPERS_METRIC = {"binary": "bac", "multiclass": "bac", "regression": "mse_normalised"}
# In the target's unit, so that a margin is a share of the range of the training targets.
_IN_UNIT = ("rmse", "mae")
_PUBLISHED = re.compile(r"(\d*\.\d+)\s*±\s*(\d*\.\d+)")
_ORDER = ("multimodn", "p_fusion", "fusion_transformer")

Key = tuple[str, str]  # task set, model


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One model on one task by one metric. fold_values: (folds,); draws: (draws,) over subjects."""

    fold_values: np.ndarray
    draws: np.ndarray


def compare(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    predictions: Predictions,
    settings: ComparisonSettings | None = None,
    progress: Progress = lambda done, total: None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per task, metric (the task's first, and the paper's) and pair of models; empty where there is no pair.

    predictions: as for `score`. question: "architecture" or "task set". difference: first minus second, over folds, in
    the metric; `better` says which sign is good. low, high: at `settings.level`. p, p_holm: of no difference, and
    adjusted over the tasks that the pair shares. boot_low, boot_high: over subjects. delong_p: NaN but for AUROC.
    margin: within which the two count as equal, in the metric. tost_p, tost_p_holm: small where they do. verdict:
    "first better", "second better", "equivalent" (within the margin, whether or not there is a difference),
    "not told apart". published_first, published_second: the paper's, where it has both models' on the task.
    Raises ContractError where a model's predictions do not fit the cohort.
    """
    settings = settings or ComparisonSettings()
    rows: list[dict[str, Any]] = []
    for done, task in enumerate(tasks):
        mine = {
            key: frame[(frame["task"] == task.name) & (frame["step"] == task.read_step)]
            for key, frame in predictions.items()
        }
        rows += _of_task(cohort, task, {key: frame for key, frame in mine.items() if len(frame)}, settings, seed)
        progress(done + 1, len(tasks))
    return _judged(pd.DataFrame(rows), settings) if rows else pd.DataFrame()


def _of_task(
    cohort: Cohort, task: Task, frames: Mapping[Key, pd.DataFrame], settings: ComparisonSettings, seed: int
) -> Iterator[dict[str, Any]]:
    target = read_target(cohort, task)
    folds = [TestItems(cohort, task, target, fold) for fold in range(cohort.num_folds)]
    pairs = list(_pairs(task, frames))
    predicted = {}
    for key in dict.fromkeys(key for _, *pair in pairs for key in pair):
        every = model_predictions(cohort, task, folds, frames[key], f"{key[0]}/{key[1]}, {task.name}")
        predicted[key] = [values[fold.labelled] for fold, values in zip(folds, every, strict=True)]
    sizes = cohort.folds.groupby(["fold", "split"]).size().unstack(fill_value=0)
    ratio = float((sizes["test"] / sizes["train"]).mean())
    all_metrics = METRICS[task.kind]
    metrics = [metric for metric in all_metrics if metric is all_metrics[0] or metric.name == PAPERS_METRIC[task.kind]]
    measured: dict[tuple[Key, str, bytes], _Measured] = {}
    for question, first, second in pairs:
        # Items that both predict, so that a difference is never one of items.
        both = [
            ~np.isnan(np.column_stack([one, two])).any(axis=1)
            for one, two in zip(predicted[first], predicted[second], strict=True)
        ]
        which = b"".join(np.packbits(there).tobytes() for there in both)
        for key in (first, second):
            if (key, metrics[0].name, which) not in measured:
                for name, found in _measure(cohort, folds, predicted[key], both, metrics, seed).items():
                    measured[key, name, which] = found
        parts = [
            (fold.y[there], one[there], two[there])
            for fold, there, one, two in zip(folds, both, predicted[first], predicted[second], strict=True)
        ]
        for metric in metrics:
            one, two = measured[first, metric.name, which], measured[second, metric.name, which]
            tested = delong_over_folds(parts) if metric.name == "auroc" else None
            margin = settings.margin[metric.name] * (_range(folds) if metric.name in _IN_UNIT else 1.0)
            yield {
                "task": task.name,
                "number": task.number,
                "question": question,
                "metric": metric.name,
                "primary": metric is metrics[0],
                "better": metric.better,
                "unit": task.unit if metric.name in _IN_UNIT else "",
                "first": first[1],
                "first_task_set": first[0],
                "second": second[1],
                "second_task_set": second[0],
                **_difference(one, two, ratio, margin, settings.level),
                "delong_p": tested.p if tested else np.nan,
                "delong_error": tested.error if tested else np.nan,
                "num_items": int(sum(there.sum() for there in both)),
                **_published(task, metric.name, first, second),
            }


def _pairs(task: Task, keys: Mapping[Key, Any]) -> Iterator[tuple[str, Key, Key]]:
    """(question, first, second): MultiModN first, several tasks before one."""

    def place(key: Key) -> tuple[int, str, bool, str]:
        known = _ORDER.index(key[1]) if key[1] in _ORDER else len(_ORDER)
        return known, key[1], key[0] == task.name, key[0]

    for first, second in combinations(sorted(keys, key=place), 2):
        if first[1] != second[1] and first[0] == second[0]:
            yield "architecture", first, second
        elif first[1] == second[1] and second[0] == task.name:
            yield "task set", first, second


def _measure(
    cohort: Cohort,
    folds: list[TestItems],
    predicted: list[np.ndarray],
    there: list[np.ndarray],
    metrics: list[Metric],
    seed: int,
) -> dict[str, _Measured]:
    parts = [(f.y[known], p[known], f.range) for f, p, known in zip(folds, predicted, there, strict=True)]
    plain = [once(len(y)) for y, _, _ in parts]
    drawn: dict[str, list[np.ndarray]] = {metric.name: [] for metric in metrics}
    if any(len(y) for y, _, _ in parts):
        for block in subject_draws(cohort, folds, seed)():
            block = [counts[:, known] for counts, known in zip(block, there, strict=True)]
            for metric in metrics:
                drawn[metric.name].append(mean_of_known(per_fold(metric, parts, block)))
    return {
        metric.name: _Measured(
            fold_values=per_fold(metric, parts, plain)[0],
            draws=np.concatenate(drawn[metric.name]) if drawn[metric.name] else np.array([np.nan]),
        )
        for metric in metrics
    }


def _difference(first: _Measured, second: _Measured, ratio: float, margin: float, level: float) -> dict[str, Any]:
    values = differences(list(first.fold_values), list(second.fold_values))
    assert values is not None
    found, narrow = (
        paired(list(first.fold_values), list(second.fold_values), ratio, wide) for wide in (level, 2 * level - 1)
    )
    drawn = first.draws - second.draws
    drawn = drawn[~np.isnan(drawn)]
    tail = 50 * (1 - level)
    boot_low, boot_high = np.percentile(drawn, [tail, 100 - tail]) if len(drawn) else (np.nan, np.nan)
    known = ~np.isnan(values)
    # Both means over the folds where both are defined, so that they differ by the difference.
    return {
        "first_estimate": float(first.fold_values[known].mean()) if known.any() else np.nan,
        "second_estimate": float(second.fold_values[known].mean()) if known.any() else np.nan,
        "difference": float(values[known].mean()) if known.any() else np.nan,
        "low": found.low if found else np.nan,
        "high": found.high if found else np.nan,
        "level": level,
        "p": p_of_difference(values, ratio),
        "boot_low": float(boot_low),
        "boot_high": float(boot_high),
        "margin": margin,
        "tost_p": equivalence(values, margin, ratio),
        # Within the margin exactly where TOST says equal.
        "tost_low": narrow.low if narrow else np.nan,
        "tost_high": narrow.high if narrow else np.nan,
        "num_folds": int(known.sum()),
    }


def _published(task: Task, metric: str, first: Key, second: Key) -> dict[str, Any]:
    """The paper's numbers are of single-task models, in its own metric."""
    said = {key[1]: task.published.get(key[1], "") for key in (first, second)}
    asked = metric == PAPERS_METRIC[task.kind] and first[0] == second[0] == task.name and all(said.values())
    one, two = (_PUBLISHED.search(said[key[1]]) if asked else None for key in (first, second))
    both = one is not None and two is not None
    return {
        "published_first": said[first[1]] if both else "",
        "published_second": said[second[1]] if both else "",
        "published_difference": round(float(one[1]) - float(two[1]), 6) if one and two else np.nan,
    }


def _judged(table: pd.DataFrame, settings: ComparisonSettings) -> pd.DataFrame:
    """Holm over the tasks of each pair, then a verdict."""
    # A multi-task set has its own name in each data set, a single-task one the task's: one family either way.
    single = table["first_task_set"].where(table["first_task_set"] != table["task"], "")
    family = [table["question"], table["metric"], table["first"], table["second"], single]
    for name in ("p", "tost_p"):
        table[f"{name}_holm"] = table.groupby(family, sort=False)[name].transform(lambda p: holm(p.to_numpy()))
    alpha = 1 - settings.level
    equal = table["tost_p_holm"] < alpha
    apart = table["p_holm"] < alpha
    first_better = (table["difference"] > 0) == (table["better"] == "higher")
    table["verdict"] = np.select(
        [equal, apart & first_better, apart & ~first_better],
        ["equivalent", "first better", "second better"],
        np.where(table["p"].isna(), "too few folds", "not told apart"),
    )
    return table.astype({"number": "Int64"})


def _range(folds: list[TestItems]) -> float:
    return float(np.mean([fold.range for fold in folds]))
