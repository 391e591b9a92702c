"""Whether a score may be relied on: calibration, decisions, subgroups. Every model of a data set, on its test items."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.calibration import calibration_tables, recalibrate
from mmn.modeling.decision_curves import decision_curve
from mmn.modeling.pooled import PATTERN, attributes, pool
from mmn.modeling.subgroups import by_subgroup

Progress = Callable[[int, int], None]
TABLES = ("calibration", "reliability", "decisions", "subgroups")


def look_at_trust(
    cohort: Cohort,
    tasks: tuple[Task, ...],
    predictions: Mapping[tuple[str, str], pd.DataFrame],
    validation: Mapping[tuple[str, str], pd.DataFrame],
    embeddings: Mapping[str, Embeddings],
    read: Mapping[tuple[str, str], tuple[str, ...]],
    progress: Progress = lambda done, total: None,
) -> dict[str, pd.DataFrame]:
    """The tables of TABLES, each with `task`, `task_set`, `model`; see `calibration_tables`, `decision_curve`,
    `by_subgroup`. Those of probabilities are of binary tasks alone; a multiclass
    task has none of them.

    predictions: (task set, model) -> of test items, as training wrote them; validation: the same of validation items.
    read: the modalities that the model reads: their presence makes its patterns.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for done, ((task_set, model), frame) in enumerate(predictions.items()):
        for task in tasks:
            if task.kind == "multiclass" or (pooled := pool(cohort, task, task_set, model, frame)) is None:
                continue
            mine = {name: embeddings[name] for name in read[task_set, model]}
            groups = attributes(cohort, mine, task.read_step)
            found["subgroups"].append(by_subgroup(cohort, pooled, groups))
            if task.kind == "binary":
                pooled = recalibrate(pooled, cohort, validation[task_set, model])
                calibration, reliability = calibration_tables(cohort, pooled, groups[PATTERN].to_numpy())
                found["calibration"].append(calibration)
                found["reliability"].append(reliability)
                found["decisions"].append(decision_curve(cohort, pooled))
        progress(done + 1, len(predictions))
    return {
        name: pd.concat(some, ignore_index=True)
        for name, parts in found.items()
        if (some := [part for part in parts if len(part)])
    }
