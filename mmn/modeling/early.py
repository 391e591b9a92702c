"""Early reading: how good a prediction is when only a part of a series has been seen (Swamy et al. 2023, section 5).

One sequential model is read at any step; P-Fusion, which reads all steps at once, is trained anew on what was there.
The tasks that ask anew at every step are also read at every one of them, beside the rules that can speak there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, empty_baselines
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.prediction_table import prediction_columns
from mmn.modeling.scores import score
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import train
from mmn.modeling.trained import Trained, one_thread

Progress = Callable[[int, int], None]


def early_reading(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    embeddings: Mapping[str, Embeddings],
    sequential: Mapping[str, Trained],
    fused: Mapping[str, Embeddings],
    settings: TrainingSettings,
    progress: Progress = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda name: None,
) -> pd.DataFrame:
    """The table of `score`, with `share` (of the series) and `step` (0-based, the last one seen), for `Task.early`.

    sequential: task set -> a model that can be read at every step. fused, settings: what P-Fusion reads and how it is
    trained. The cohort's own baselines belong to a task's read step: elsewhere only those that speak at every step are
    floors. A step that the series does not have is left out.
    """
    plan = [(task, share, step) for task in tasks for share, step in task.early.items() if step < cohort.num_steps]
    tables = []
    for done, (task, share, step) in enumerate(plan):
        here = replace(task, read_step=step)
        frames = _read_all(sequential, cohort, embeddings, task, step)
        name = f"p_fusion {task.name} {step}"
        frames[task.name, "p_fusion"] = train(
            cohort, fused, (here,), "p_fusion", settings, checkpoint=checkpoint(name)
        ).predictions
        tables.append(
            score(_at(cohort, task, step), (here,), frames, embeddings).assign(share=share, step=np.int32(step))
        )
        progress(done + 1, len(plan))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def step_by_step(
    cohort: Cohort, tasks: tuple[Task, ...], embeddings: Mapping[str, Embeddings], sequential: Mapping[str, Trained]
) -> pd.DataFrame:
    """The table of `score`, with `step`, for the tasks per step that have `early`: the sequential models, and as floors
    the prevalence or mean, chance, and the rules that speak at every step. A step without any target is left out."""
    tables = []
    for task in tasks:
        if not (task.per_step and task.early):
            continue
        for step in np.flatnonzero(~np.isnan(cohort.targets[task.name]).all(axis=0)):
            here = replace(task, read_step=int(step))
            frames = _read_all(sequential, cohort, embeddings, task, int(step))
            table = score(_at(cohort, task, int(step)), (here,), frames, embeddings)
            tables.append(table.assign(step=np.int32(step)))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _at(cohort: Cohort, task: Task, step: int) -> Cohort:
    """The cohort with the baselines that a task has after a step."""
    if step == task.read_step:
        return cohort
    items = cohort.items["item"].to_numpy()
    rules = [
        pd.DataFrame({"item": items, "task": task.name, "baseline": name, "fold": -1, "prediction": values[:, step]})
        for name, values in cohort.step_baselines.get(task.name, {}).items()
    ]
    return replace(cohort, baselines=pd.concat(rules, ignore_index=True) if rules else empty_baselines())


def _read_all(
    sequential: Mapping[str, Trained], cohort: Cohort, embeddings: Mapping[str, Embeddings], task: Task, step: int
) -> dict[tuple[str, str], pd.DataFrame]:
    return {
        (task_set, "multimodn"): _read_at(trained, cohort, embeddings, task, step)
        for task_set, trained in sequential.items()
        if task.name in {known.name for known in trained.tasks}
    }


def _read_at(
    trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings], task: Task, step: int
) -> pd.DataFrame:
    """Every member's predictions of its test items after a step."""
    rows = [cohort.rows(member.fold, "test") for member in trained.members]
    known = {name: embeddings[name] for name in (shape.name for shape in trained.modalities)}
    with one_thread():
        found = trained.collect(trained.inputs(known), rows, trained.model.read_every_step)[task.name]
    items = cohort.items["item"].to_numpy()
    frames = [
        pd.DataFrame(
            {
                "item": items[rows[k]],
                "fold": np.int32(member.fold),
                "task": task.name,
                "step": np.int32(step),
                **prediction_columns(task, trained.to_unit(task, k, found[k][:, step])),
            }
        )
        for k, member in enumerate(trained.members)
    ]
    return pd.concat(frames, ignore_index=True)
