"""A model's test predictions of all folds together, the groups they fall into, and which are too small to be shown.

Trust is looked at in pooled test items, since a group of one fold is small; every item is in one test set only. Ranks
are compared within folds alone: two folds' models need not be on one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.floors import read_target
from mmn.modeling.resampling import TestItems, model_predictions, subject_draws
from mmn.modeling.trained import Trained, one_thread

if TYPE_CHECKING:
    from mmn.modeling.xgboost_fusion import TrainedXGBoost

SMALLEST = 10  # groups of fewer items, subjects, positives or negatives are not shown
LEAST_PATTERN = 30  # items; rarer presence patterns are looked at together
ALL, OTHERS, UNKNOWN, NOTHING = "all items", "other patterns", "not known", "nothing"
PATTERN = "presence"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """n labelled and predicted test items of one task and model. rows: positions in the cohort's items. p: P(1), or the
    target in its unit. after: way of recalibrating -> (n,), NaN in folds where it could not be fitted."""

    task: Task
    task_set: str
    model: str
    rows: np.ndarray
    fold: np.ndarray
    y: np.ndarray
    p: np.ndarray
    subject: np.ndarray
    folds: list[TestItems] = field(repr=False)
    known: np.ndarray = field(repr=False)
    after: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, str]:
        return {"task": self.task.name, "task_set": self.task_set, "model": self.model}

    def draws(self, cohort: Cohort, seed: int = 0) -> Iterator[np.ndarray]:
        """Blocks of (draws, n): how often each item is drawn, whole subjects at a time."""
        for block in subject_draws(cohort, self.folds, seed)():
            yield np.concatenate(block, axis=1)[:, self.known]


def pool(cohort: Cohort, task: Task, task_set: str, model: str, frame: pd.DataFrame) -> Pooled | None:
    """frame: as training wrote it. None where no labelled test item is predicted. Raises ContractError where the
    predictions do not fit the cohort."""
    mine = frame[(frame["task"] == task.name) & (frame["step"] == task.read_step)]
    target = read_target(cohort, task)
    folds = [TestItems(cohort, task, target, fold) for fold in range(cohort.num_folds)]
    predicted = model_predictions(cohort, task, folds, mine, f"{task_set}/{model}, {task.name}")
    p = np.concatenate([values[fold.labelled] for fold, values in zip(folds, predicted, strict=True)])
    rows = np.concatenate([fold.rows for fold in folds])
    number = np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds])
    known = ~np.isnan(p)
    if not known.any():
        return None
    codes, _ = pd.factorize(cohort.items["subject"])
    rows = rows[known]
    return Pooled(
        task=task,
        task_set=task_set,
        model=model,
        rows=rows,
        fold=number[known],
        y=target[rows],
        p=p[known],
        subject=codes[rows],
        folds=folds,
        known=known,
    )


def validation_predictions(
    trained: Trained | TrainedXGBoost, cohort: Cohort, embeddings: Mapping[str, Embeddings]
) -> pd.DataFrame:
    """Every member's predictions of its validation items, as training writes those of its test items."""
    rows = [cohort.rows(member.fold, "validation") for member in trained.members]
    items = cohort.items["item"].to_numpy()
    if isinstance(trained, Trained):
        with one_thread():
            return trained.predict_rows(trained.inputs(embeddings), items, rows)
    every = trained.predict(embeddings, np.unique(np.concatenate(rows)))
    wanted = cohort.folds.loc[cohort.folds["split"] == "validation", ["item", "fold"]]
    return every.merge(wanted, on=["item", "fold"])


def attributes(cohort: Cohort, embeddings: Mapping[str, Embeddings], read_step: int) -> pd.DataFrame:
    """(N items, attributes) of group names: the cohort's subgroups, `has X` of each modality, and the presence pattern;
    what is seen of a series is what is there up to the read step."""
    there = {name: e.present[:, : read_step + 1].any(axis=1) for name, e in embeddings.items()}
    table = pd.DataFrame(index=range(len(cohort)))
    if cohort.subgroups is not None:
        for name in cohort.subgroups.columns.drop("item"):
            table[name] = cohort.subgroups[name].astype("object").fillna(UNKNOWN).to_numpy()
    for name, present in there.items():
        table[f"has {name}"] = np.where(present, "yes", "no")
    codes = sum(
        (present.astype(np.int64) << place for place, present in enumerate(there.values())),
        np.zeros(len(cohort), np.int64),
    )
    names = {code: _pattern(int(code), list(there)) for code in np.unique(codes)}
    table[PATTERN] = pd.Series(codes).map(names).to_numpy()
    return table


def _pattern(code: int, names: Sequence[str]) -> str:
    return " + ".join(name for place, name in enumerate(names) if code >> place & 1) or NOTHING


def withheld(sizes: pd.DataFrame) -> set[str]:
    """Groups that are not shown. sizes: a row per group of a whole that is known, a column per count.

    Those with a count of 1 to 9, and, where the whole would give a hidden one away, the next smallest with it.
    """
    hidden = set(sizes.index[((sizes > 0) & (sizes < SMALLEST)).any(axis=1)])
    while hidden:
        together = sizes.loc[sorted(hidden)].sum()
        if len(hidden) > 1 and not ((together > 0) & (together < SMALLEST)).any():
            break
        rest = sizes.drop(index=sorted(hidden)).sort_values("items", kind="stable")
        if rest.empty:
            break
        hidden.add(str(rest.index[0]))
    return hidden


def group_sizes(pooled: Pooled, group: np.ndarray) -> pd.DataFrame:
    """One row per group name: items, subjects, and of a binary task positives and negatives."""
    table = pd.DataFrame({"group": group, "subject": pooled.subject, "y": pooled.y})
    sizes = table.groupby("group", sort=True).agg(items=("y", "size"), subjects=("subject", "nunique"))
    if pooled.task.kind == "binary":
        sizes["positive"] = table.groupby("group", sort=True)["y"].sum().astype(int)
        sizes["negative"] = sizes["items"] - sizes["positive"]
    return sizes


def pool_patterns(pooled: Pooled, pattern: np.ndarray) -> np.ndarray:
    """The presence patterns with the rare ones together under one name, until that is no small group either."""
    sizes = group_sizes(pooled, pattern)
    small = (sizes["items"] < LEAST_PATTERN) | ((sizes > 0) & (sizes < SMALLEST)).any(axis=1)
    order = sizes.assign(small=small).sort_values(["small", "items"], ascending=[False, True], kind="stable").index
    num = int(small.sum())
    while 0 < num < len(order):
        together = sizes.loc[order[:num]].sum()
        if not ((together > 0) & (together < SMALLEST)).any():
            break
        num += 1
    return np.where(np.isin(pattern, order[:num]), OTHERS, pattern)


def at_least(count: int) -> int:
    """To the ten below: exact counts of overlapping groups would give those of hidden ones away."""
    return count // 10 * 10
