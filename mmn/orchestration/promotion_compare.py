"""How much worse a model is than another, task by task: paired over folds, on the items that both were tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.errors import MmnError
from mmn.orchestration.operating import PromotionSettings

Against = Literal["current", "best"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One task, fold by fold, on the items that both models were tested on in the same fold.

    candidate, current: the metric per fold; folds where it is undefined for one are left out of both. worse_by: mean
    over folds, positive where the candidate is worse; interval: of that mean, 95 %, corrected for shared training rows.
    against: "best" where `current` is of the best version, which is not the current one.
    """

    task: str
    metric: str
    folds: list[int]
    items: int
    candidate: list[float]
    current: list[float]
    worse_by: float
    interval: list[float] | None
    margin: float
    against: Against = "current"

    @property
    def refused(self) -> bool:
        return self.worse_by > self.margin

    @property
    def told(self) -> str:
        than = " than of the best version" if self.against == "best" else ""
        return f"{self.task}: {self.metric} worse by {self.worse_by:.4g}{than}, allowed {self.margin:.4g}"


def compare(
    cohort: Cohort,
    tasks: Sequence[Task],
    candidate: pd.DataFrame,
    current: pd.DataFrame,
    settings: PromotionSettings,
    against: Against = "current",
) -> list[Comparison]:
    """Raises MmnError where a task cannot be compared: too few items that both were tested on in the same fold."""
    from mmn.modeling.floors import read_target
    from mmn.modeling.metrics import once
    from mmn.modeling.selection import METRICS
    from mmn.orchestration.report.compare import paired

    compared = []
    for task in tasks:
        metric = METRICS[task.kind][0]
        labels = pd.Series(read_target(cohort, task), index=cohort.items["item"].to_numpy(), name="label")
        both = pd.concat([_of_task(frame, task, who) for who, frame in (("new", candidate), ("old", current))],
                         axis=1, join="inner")  # fmt: skip
        both = both.join(labels, on="item").dropna()
        folds, new, old, items = [], [], [], 0
        for fold, part in both.groupby(level="fold"):
            if len(part) < settings.least_items:
                continue
            y, weight = part["label"].to_numpy(), once(len(part))
            said = [part.filter(regex=f"^{who} ").to_numpy() for who in ("new", "old")]
            values = [float(metric.compute(y, p if task.classes else p[:, 0], weight)[0]) for p in said]
            if all(map(math.isfinite, values)):
                folds.append(int(fold))
                new.append(values[0])
                old.append(values[1])
                items += len(part)
        needed = min(settings.least_folds, cohort.num_folds)
        if len(folds) < needed:
            raise MmnError(
                f"{task.name}, against the {against} version: {len(folds)} folds have {settings.least_items} or more "
                f"items that both models were tested on, {needed} are needed: few were tested, or the folds are others "
                "now. Compare them, and decide with `mmn promote`."
            )
        sign = 1 if metric.better == "higher" else -1
        # With the sign that positive is worse.
        worse = sign * (np.asarray(old) - np.asarray(new))
        test = np.mean([len(cohort.rows(f, "test")) / max(len(cohort.rows(f, "train")), 1) for f in folds])
        interval = paired(list(worse), [0.0] * len(worse), float(test))
        margin = settings.rmse_margin * float(np.mean(old)) if task.kind == "regression" else settings.auroc_margin
        compared.append(
            Comparison(
                task=task.name,
                metric=metric.name,
                folds=folds,
                items=items,
                candidate=_rounded(new),
                current=_rounded(old),
                worse_by=round(float(worse.mean()), 6),
                interval=_rounded([interval.low, interval.high]) if interval else None,
                margin=round(margin, 6),
                against=against,
            )
        )
    return compared


def _of_task(predictions: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """By item and fold, after the step at which the task is read; the mean over members where several share a fold.
    (name, number) -> one column, or one per class."""
    from mmn.modeling.prediction_table import value_columns

    rows = predictions[(predictions["task"] == task.name) & (predictions["step"] == task.read_step)]
    values = rows.groupby(["item", "fold"])[[*np.atleast_1d(value_columns(task))]].mean()
    return values.set_axis([f"{name} {number}" for number in range(values.shape[1])], axis=1)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in values]
