"""What one data set's wrong labels do to the others that share its parameters (paper, table 7).

A trained joint model is trained on, with one data set's labels flipped: the whole of it, its encoders alone, or its
pair blocks alone. Beside it stands the same training with true labels. Where nothing is shared
nothing can be lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import pandas as pd

from mmn.data.dataset import Task
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.floors import read_target
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint, train_jointly
from mmn.modeling.selection import metrics_of_test_items
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.trained import Trained

LEARNS: tuple[Literal["all", "encoders", "blocks"], ...] = ("all", "encoders", "blocks")
NOBODY = "none"


def flipped(source: Source) -> Source:
    """Every label wrong: the next class, and, which is ours, a regression's value mirrored within its range."""
    targets = dict(source.cohort.targets)
    for task in source.tasks:
        targets[task.name] = _flip(targets[task.name], task)
    return dataclasses.replace(source, cohort=dataclasses.replace(source.cohort, targets=targets))


def _flip(target: np.ndarray, task: Task) -> np.ndarray:
    """NaN stays NaN."""
    if task.kind == "regression":
        return np.nanmin(target) + np.nanmax(target) - target
    return (target + 1) % (2 if task.kind == "binary" else len(task.classes))


def interferences(
    sources: Mapping[str, Source],
    start: Joint,
    settings: TrainingSettings,
    batch_sizes: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda name: None,
) -> Iterator[tuple[str, str, Joint]]:
    """(which part learnt, whose labels were flipped or "none", the model after the last epoch: a best epoch would be
    the one that has suffered least). start: the joint model; settings: as its, for the training that follows."""
    total, done = len(LEARNS) * (len(sources) + 1), 0
    for learns in LEARNS:
        for name in (NOBODY, *sources):
            read = {n: flipped(source) if n == name else source for n, source in sources.items()}
            kept = checkpoint(f"{learns} {name}")
            joint = train_jointly(read, settings, batch_sizes, start, checkpoint=kept, only=learns, last=True)
            done += 1
            progress(done, total)
            yield learns, name, joint


def skills(source: Source, trained: Trained) -> np.ndarray:
    """(K,): each member's skill on its test items under the labels of `source`, the mean over tasks: 2 AUROC - 1, or
    1 - (RMSE / RMSE of the training mean) squared; NaN where no task says anything."""
    items, per_task = source.cohort.items["item"].to_numpy(), []
    for task in source.tasks:
        target = pd.Series(read_target(source.cohort, task), index=items)
        found = metrics_of_test_items(
            task, target, trained.predictions, len(trained.members), trained.target_ranges
        )  # fmt: skip
        if task.kind == "regression":
            per_task.append(1.0 - (_numbers(found["rmse"]) / _constant_rmse(source, task, trained)) ** 2)
        else:
            per_task.append(2.0 * _numbers(found["macro_auroc" if task.kind == "multiclass" else "auroc"]) - 1.0)
    known = ~np.isnan(per_task)
    total = np.where(known, per_task, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _constant_rmse(source: Source, task: Task, trained: Trained) -> np.ndarray:
    target, found = read_target(source.cohort, task), []
    for member in trained.members:
        learn, judge = (target[source.cohort.rows(member.fold, split)] for split in ("train", "test"))
        found.append(np.sqrt(np.nanmean((judge - np.nanmean(learn)) ** 2)) if (~np.isnan(judge)).any() else np.nan)
    return np.array(found)
