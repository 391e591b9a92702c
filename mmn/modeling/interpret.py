"""What each modality does to a MultiModN model's predictions (paper, section 5.3), over test items.

IMC, individual modality contribution: one encoder alone, from the initial state, against the prediction of that state.
CP, cumulative prediction: how the prediction moves as the modalities arrive one after the other.
Both are on the model's own scale: P(1), or the target as a share of the fold's training range. Aggregates by default;
single items only where `shown_items` says that they may be seen.
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
from mmn.modeling.settings import InterpretabilitySettings
from mmn.modeling.trained import Trained, one_thread

SMALLEST_GROUP = 10
GENERATED_ITEMS = 4
PRIOR = "prior"


def individual_contributions(trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings]) -> pd.DataFrame:
    """IMC: `task`, `modality`, `fold`, `imc`, `abs_imc`, `num_items`.

    imc is the mean over the fold's test items that have the modality of (prediction after its encoder alone - prior),
    abs_imc of its absolute value. A series is encoded at all steps up to the task's read step. NaN where fewer than 10
    test items have the modality.
    """
    model = multimodn_of(trained)
    rows_of = [cohort.rows(member.fold, "test") for member in trained.members]
    found: list[dict[str, Any]] = []
    with one_thread():
        inputs = trained.inputs(embeddings)
        for shape in trained.modalities:
            at_state = trained.collect(inputs, rows_of, partial(read_states, model, order=(shape.name,)))
            for task in tasks_of(trained):
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
    model = multimodn_of(trained)
    rows_of = [cohort.rows(member.fold, "test") for member in trained.members]
    with one_thread():
        at_state = trained.collect(trained.inputs(embeddings), rows_of, partial(read_states, model))
    names = [(0, PRIOR), *model.applications()]
    found = []
    for task in tasks_of(trained):
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


def shown_items(
    cohort: Cohort, embeddings: Mapping[str, Embeddings], settings: InterpretabilitySettings, generated: bool
) -> tuple[np.ndarray, str]:
    """Positions of the items that are shown one by one, and in words why these, or why none.

    A single item is a person: it is shown if it is generated, or if `interpretability` names it or asks for a number.
    Chosen are test items with the most modalities, spread evenly over the cohort. Raises ParamsError for a named item
    that is in no test part: its model was trained on it.
    """
    test = np.unique(np.concatenate([cohort.rows(fold, "test") for fold in range(cohort.num_folds)]))
    names = cohort.items["item"].to_numpy()
    if settings.items:
        chosen = test[np.isin(names[test], list(settings.items))]
        if missing := sorted(set(settings.items) - set(names[chosen])):
            raise ParamsError(
                f"interpretability.items: {', '.join(missing)} is not among the {len(test)} items of the test parts. "
                "An item outside them would be shown by a model that was trained on it; name others."
            )
        return chosen, f"{len(chosen)} named in params.yaml (interpretability.items)"
    wanted = settings.num_items
    if wanted is None:
        if not generated:
            return test[:0], (
                "none: the data is real, and a single item is a person. Name items in params.yaml "
                "(interpretability.items), or say how many (interpretability.num_items), if they may be seen"
            )
        wanted = GENERATED_ITEMS
    if not wanted or not embeddings:
        return test[:0], "none: interpretability.num_items is 0" if embeddings else "none: there is no modality"
    num_present = np.sum([e.present[test].any(axis=1) for e in embeddings.values()], axis=0)
    richest = test[num_present == num_present.max()]
    chosen = richest[np.unique(np.linspace(0, len(richest) - 1, wanted).round().astype(int))]
    told = "a generated world, no one is behind them" if generated else "params.yaml asks for them (num_items)"
    return chosen, f"{len(chosen)} of those with the most modalities: {told}"


def item_contributions(
    trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings], shown: np.ndarray
) -> pd.DataFrame:
    """IMC of single test items: `task`, `fold`, `item`, `modality`, `imc`; null where the item lacks the modality."""
    model, rows_of, items = *_shown_rows(trained, cohort, shown), cohort.items["item"].to_numpy()
    found = []
    with one_thread():
        inputs = trained.inputs(embeddings)
        for shape in trained.modalities:
            at_state = trained.collect(inputs, rows_of, partial(read_states, model, order=(shape.name,)))
            for task in tasks_of(trained):
                last = min(task.read_step + 1, shape.num_steps)
                for k, member in enumerate(trained.members):
                    there = embeddings[shape.name].present[rows_of[k], :last].any(axis=1)
                    states = at_state[task.name][k].astype(np.float64)
                    found.append(
                        pd.DataFrame(
                            {
                                "task": task.name,
                                "fold": np.int32(member.fold),
                                "item": items[rows_of[k]],
                                "modality": shape.name,
                                "imc": np.where(there, states[:, last] - states[:, 0], np.nan),
                            }
                        )
                    )
    return pd.concat(found, ignore_index=True).astype({"item": "str"})


def item_predictions(
    trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings], shown: np.ndarray
) -> pd.DataFrame:
    """CP of single test items: `task`, `fold`, `item`, `step`, `modality`, `change`, `prediction`, from "prior" on.

    Where the item lacks the modality its prediction stays: `change` is null there, not 0.
    """
    model, rows_of, items = *_shown_rows(trained, cohort, shown), cohort.items["item"].to_numpy()
    with one_thread():
        at_state = trained.collect(trained.inputs(embeddings), rows_of, partial(read_states, model))
    met = list(model.applications())
    steps, names = np.array([0, *(step for step, _ in met)], dtype=np.int32), [PRIOR, *(name for _, name in met)]
    found = []
    for task in tasks_of(trained):
        for k, member in enumerate(trained.members):
            states = at_state[task.name][k].astype(np.float64)  # (n, L + 1)
            there = [embeddings[name].present[rows_of[k], step] for step, name in met]
            here = np.stack([np.ones(len(states), dtype=bool), *there], axis=1)
            change = np.where(here, np.diff(states, axis=1, prepend=states[:, :1]), np.nan)
            found.append(
                pd.DataFrame(
                    {
                        "task": task.name,
                        "fold": np.int32(member.fold),
                        "item": np.repeat(items[rows_of[k]], len(names)),
                        "step": np.tile(steps, len(states)),
                        "modality": names * len(states),
                        "change": change.reshape(-1),
                        "prediction": states.reshape(-1),
                    }
                )
            )
    return pd.concat(found, ignore_index=True).astype({"item": "str", "modality": "str"})


def _shown_rows(trained: Trained, cohort: Cohort, shown: np.ndarray) -> tuple[MultiModN, list[np.ndarray]]:
    """Each member's test items among those shown."""
    tests = (cohort.rows(member.fold, "test") for member in trained.members)
    return multimodn_of(trained), [rows[np.isin(rows, shown)] for rows in tests]


def multimodn_of(trained: Trained) -> MultiModN:
    if not isinstance(trained.model, MultiModN):
        raise ParamsError(f"{trained.architecture.title} has no states to look into; IMC and CP are MultiModN's.")
    return trained.model


def tasks_of(trained: Trained) -> list[Task]:
    """Those whose prediction is one number; a multiclass one moves in several directions at once and is left out."""
    return [task for task in trained.tasks if task.kind != "multiclass"]


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
