"""What each modality does to a MultiModN model's predictions (paper, section 5.3): aggregates over test items only.

IMC, individual modality contribution: one encoder alone, from the initial state, against the prediction of that state.
CP, cumulative prediction: how the prediction moves as the modalities arrive one after the other.
Both are on the model's own scale: P(1), or the target as a share of the fold's training range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.batch import Batch
from mmn.modeling.floors import read_target
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.trained import Trained, one_thread

SMALLEST_GROUP = 10
PRIOR = "prior"


def individual_contributions(trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings]) -> pd.DataFrame:
    """IMC: `task`, `modality`, `fold`, `imc`, `abs_imc`, `num_items`.

    imc is the mean over the fold's test items that have the modality of (prediction after its encoder alone - prior),
    abs_imc of its absolute value. A series is encoded at all steps up to the task's read step. NaN where fewer than 10
    test items have the modality.
    """
    model = _multimodn(trained)
    rows_of = [cohort.rows(member.fold, "test") for member in trained.members]
    found: list[dict[str, Any]] = []
    with one_thread():
        inputs = trained.inputs(embeddings)
        for shape in trained.modalities:
            at_state = trained.collect(inputs, rows_of, partial(read_states, model, order=(shape.name,)))
            for task in trained.tasks:
                last = min(task.read_step + 1, shape.num_steps)
                for k, member in enumerate(trained.members):
                    there = embeddings[shape.name].present[rows_of[k], :last].any(axis=1)
                    states = at_state[task.name][k][there].astype(np.float64)
                    moved = states[:, last] - states[:, 0]
                    enough = len(moved) >= SMALLEST_GROUP
                    found.append(
                        {
                            "task": task.name,
                            "modality": shape.name,
                            "fold": member.fold,
                            "imc": float(moved.mean()) if enough else np.nan,
                            "abs_imc": float(np.abs(moved).mean()) if enough else np.nan,
                            "num_items": len(moved),
                        }
                    )
    return pd.DataFrame(found)


def cumulative_predictions(trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings]) -> pd.DataFrame:
    """CP: `task`, `group`, `step`, `modality`, `change`, `prediction`, `num_items`.

    Test items of all folds, by true class, or by thirds of the true value: `change` is the mean change of the
    prediction at (step, modality), an item without the modality counting 0; `prediction` the mean after it. Each group
    begins with modality "prior" (change 0). Groups of fewer than 10 items are left out.
    """
    model = _multimodn(trained)
    rows_of = [cohort.rows(member.fold, "test") for member in trained.members]
    with one_thread():
        at_state = trained.collect(trained.inputs(embeddings), rows_of, partial(read_states, model))
    names = [(0, PRIOR), *model.applications()]
    found = []
    for task in trained.tasks:
        target = read_target(cohort, task)[np.concatenate(rows_of)]
        states = np.concatenate(at_state[task.name]).astype(np.float64)  # (test items, L + 1)
        for group, mine in _groups(task, target):
            if mine.sum() < SMALLEST_GROUP:
                continue
            mean = states[mine].mean(axis=0)
            found.append(
                pd.DataFrame(
                    {
                        "task": task.name,
                        "group": group,
                        "step": np.array([step for step, _ in names], dtype=np.int32),
                        "modality": [name for _, name in names],
                        "change": np.diff(mean, prepend=mean[0]),
                        "prediction": mean,
                        "num_items": int(mine.sum()),
                    }
                )
            )
    columns = ["task", "group", "step", "modality", "change", "prediction", "num_items"]
    return (
        pd.concat(found, ignore_index=True)
        if found
        else pd.DataFrame(columns=columns).astype(
            {"task": "str", "group": "str", "step": "int32", "modality": "str", "change": float, "prediction": float}
        )
    )


def _multimodn(trained: Trained) -> MultiModN:
    if not isinstance(trained.model, MultiModN):
        raise ParamsError(f"{trained.architecture.title} has no states to look into; IMC and CP are MultiModN's.")
    return trained.model


def read_states(model: MultiModN, batch: Batch, order: Sequence[str] | None = None) -> dict[str, Tensor]:
    """task -> (K, B, L + 1): after every state, items first."""
    return {task: p.transpose(1, 2) for task, p in model.read_every_state(batch, order).items()}


def _groups(task: Task, target: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if task.kind == "binary":
        return [(f"class {label}", target == label) for label in (0, 1)]
    known = target[~np.isnan(target)]
    if not len(known):
        return []
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    return [
        ("lowest third", target <= low),
        ("middle third", (target > low) & (target <= high)),
        ("top third", target > high),
    ]
