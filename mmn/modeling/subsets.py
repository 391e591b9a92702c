"""Inference with a part of the modalities (Swamy et al. 2023, appendix E.5): the same trained model, some inputs taken.

A subset is a tuple of modality names in the order of training; () is nothing at all, the model's prior. What is taken
is absent for every item: MultiModN does not apply its encoder, the others read the training mean instead.
K members, B items, C subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.batch import Batch
from mmn.modeling.floors import read_target
from mmn.modeling.inputs import Inputs
from mmn.modeling.metrics import Metric, once
from mmn.modeling.scores import estimate_with_interval
from mmn.modeling.selection import METRICS
from mmn.modeling.trained import Trained, nothing, one_thread
from mmn.modeling.xgboost_fusion import TrainedXGBoost

MOST_MODALITIES = 10
"""With more, 2^M subsets are too many: those of one, of all but one, of all and of none are scored."""
NOTHING = "nothing"
SUBSETS_AT_ONCE = 64

Progress = Callable[[int, int], None]
Subset = tuple[str, ...]
AnyModel = Trained | TrainedXGBoost


def all_subsets(names: Sequence[str]) -> list[Subset]:
    """All 2^M, the smallest first; see MOST_MODALITIES."""
    whole = range(len(names) + 1)
    sizes = whole if len(names) <= MOST_MODALITIES else sorted({0, 1, len(names) - 1, len(names)})
    return [subset for size in sizes for subset in combinations(names, size)]


def without(batch: Batch, inputs: Inputs, absent: Sequence[str]) -> Batch:
    """The same items, none of which has the modalities `absent`, as if `inputs` had been made without them."""
    if inputs.mean is None:  # a model that never reads what is absent
        return replace(batch, flat=None, x={name: x for name, x in batch.x.items() if name not in absent})
    x, present = dict(batch.x), dict(batch.present)
    for name in absent:
        mean_K1TD = inputs.mean[:, :, inputs.columns[name]].unflatten(-1, x[name].shape[2:])
        x[name], present[name] = mean_K1TD.expand_as(x[name]), torch.zeros_like(present[name])
    return replace(batch, x=x, present=present, flat=None)


def read_subsets(trained: Trained, inputs: Inputs, batch: Batch, *, subsets: Sequence[Subset]) -> dict[str, Tensor]:
    """task -> (K, B, C): at its read step, as `Model.read` gives it, one subset after the other."""
    names = [shape.name for shape in trained.modalities]
    read = [
        trained.model.read(without(batch, inputs, [name for name in names if name not in subset])) for subset in subsets
    ]
    return {task.name: torch.stack([one[task.name] for one in read], dim=-1) for task in trained.tasks}


def subset_scores(
    cohort: Cohort,
    models: Mapping[tuple[str, str], AnyModel],
    embeddings: Callable[[AnyModel], Mapping[str, Embeddings]],
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """One row per task, model and subset: the task's primary metric over the test items of each fold.

    models: (task set, model) -> what was trained. embeddings: what a model reads. Columns `task`, `task_set`, `model`,
    `subset` (names joined by " + ", or "nothing"), `num_modalities`, `all` (nothing was taken), `metric`, `unit`,
    `estimate`, `low`, `high` (t-interval over folds), `num_folds`, `num_items`, `fold_values`.
    """
    rows: list[dict[str, Any]] = []
    for done, ((task_set, name), trained) in enumerate(models.items()):
        rows_of = rows_to_test(cohort, trained)
        subsets = all_subsets([shape.name for shape in trained.modalities])
        given = embeddings(trained)
        if isinstance(trained, Trained):
            readings = _read_by_steps(trained, given, rows_of, subsets)
        else:
            readings = _read_trees(trained, given, rows_of, subsets)
        for part, found in readings:
            rows += [
                {
                    "task": task.name,
                    "task_set": task_set,
                    "model": name,
                    "subset": " + ".join(subset) or NOTHING,
                    "num_modalities": len(subset),
                    "all": len(subset) == len(trained.modalities),
                    **score_row(cohort, task, rows_of, [_of_subset(v, place, subset) for v in found[task.name]]),
                }
                for task in trained.tasks
                for place, subset in enumerate(part)
            ]
        progress(done + 1, len(models))
    table = pd.DataFrame(rows)
    return table.sort_values(["task", "task_set", "model"], kind="stable", ignore_index=True) if rows else table


def _read_by_steps(
    trained: Trained, embeddings: Mapping[str, Embeddings], rows_of: Sequence[np.ndarray], subsets: Sequence[Subset]
) -> Iterator[tuple[Sequence[Subset], dict[str, list[np.ndarray]]]]:
    """Some subsets at a time, with task -> per member (n, C) in the target's unit."""
    with one_thread():
        inputs = trained.inputs(embeddings)
        for first in range(0, len(subsets), SUBSETS_AT_ONCE):
            part = subsets[first : first + SUBSETS_AT_ONCE]
            said = trained.collect(inputs, rows_of, partial(read_subsets, trained, inputs, subsets=part))
            yield part, {t.name: [trained.to_unit(t, k, p) for k, p in enumerate(said[t.name])] for t in trained.tasks}


def _read_trees(
    trained: TrainedXGBoost,
    embeddings: Mapping[str, Embeddings],
    rows_of: Sequence[np.ndarray],
    subsets: Sequence[Subset],
) -> Iterator[tuple[Sequence[Subset], dict[str, list[np.ndarray]]]]:
    some, shape = next(iter(embeddings.values())), trained.modalities[0]
    wanted = np.unique(np.concatenate(rows_of))
    columns = []
    for subset in subsets:
        given = {name: embeddings[name] for name in subset} or {shape.name: nothing(some.items, shape)}
        frame = trained.predict(given, wanted)
        columns.append(frame["prediction"].to_numpy().reshape(len(rows_of), -1))
    table = np.stack(columns, axis=-1)  # (K, wanted, C)
    yield subsets, {trained.task.name: [table[k, np.searchsorted(wanted, rows)] for k, rows in enumerate(rows_of)]}


def rows_to_test(cohort: Cohort, trained: AnyModel) -> list[np.ndarray]:
    return [cohort.rows(member.fold, "test") for member in trained.members]


def score_row(
    cohort: Cohort, task: Task, rows_of: Sequence[np.ndarray], predicted: Sequence[np.ndarray]
) -> dict[str, Any]:
    """The task's primary metric: `metric`, `unit`, `estimate`, `low`, `high`, `num_folds`, `num_items`, `fold_values`.

    predicted: per member, of its rows: P(1), or the target in its unit.
    """
    metric, target = primary_metric(task), read_target(cohort, task)
    values, num_items = [], 0
    for rows, said in zip(rows_of, predicted, strict=True):
        known = ~np.isnan(target[rows])
        values.append(float(metric.compute(target[rows][known], said[known], once(known.sum()))[0]))
        num_items += int(known.sum())
    estimate, low, high, num_folds = estimate_with_interval(np.array(values))
    return {
        "metric": metric.name,
        "unit": task.unit if metric.name == "rmse" else "",
        "estimate": estimate,
        "low": low,
        "high": high,
        "num_folds": num_folds,
        "num_items": num_items,
        "fold_values": values,
    }


def primary_metric(task: Task) -> Metric:
    return METRICS[task.kind][0]


def _of_subset(values: np.ndarray, place: int, subset: Subset) -> np.ndarray:
    """Of nothing all items are predicted alike; a product's last digit must not rank them."""
    mine = values[..., place]
    return mine if subset else np.broadcast_to(mine[:1], mine.shape)
