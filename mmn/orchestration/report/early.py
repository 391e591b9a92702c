"""The part of the report on reading early: what is known when a part of the series has been seen."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mmn.modeling.floors import PRESENCE, SHUFFLED
from mmn.orchestration.report.numbers import interval, metric_of, model_name, number, small_cell, words
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.tables import TELLING_METRICS


def early_table(result: Results) -> dict[str, Any] | None:
    """Of each task's first metric: `shares`, and `rows` of task, model and a cell per share (value, interval, whether
    it beats the best floor there); None where nothing was read early."""
    table = result.early
    if table is None or table.empty:
        return None
    shares = list(dict.fromkeys(table.sort_values("step")["share"]))
    shown = table[table["primary"].astype(bool)]
    rows = []
    for task in result.tasks:
        of_task = shown[shown["task"] == task]
        if of_task.empty:
            continue
        metric = str(of_task["metric"].iloc[0])
        models = of_task[of_task["kind"] == "model"]
        for (task_set, model), mine in models.groupby(["task_set", "model"], sort=False):
            single = task_set == task
            rows.append(
                {
                    "task": words(task),
                    "metric": metric_of(metric).label,
                    "model": model_name(str(model)) + ("" if single else f", {words(str(task_set))}"),
                    "cells": [_cell(mine[mine["share"] == share], metric) for share in shares],
                }
            )
        rows.append(
            {
                "task": words(task),
                "metric": metric_of(metric).label,
                "model": "best floor",
                "cells": [_floor(of_task[of_task["share"] == share], metric) for share in shares],
            }
        )
    return {"shares": shares, "rows": rows}


def early_csv(result: Results) -> pd.DataFrame:
    """Every model's numbers at every share. Floors stay in the page, which withholds those that tell a small count."""
    assert result.early is not None
    kept = result.early[result.early["kind"] == "model"]
    columns = ["task", "model", "task_set", "metric", "share", "step", "estimate", "low", "high", "beats_floor"]
    return kept[columns].reset_index(drop=True)


def step_tables(result: Results) -> list[dict[str, Any]]:
    """For each task that asks anew at every step: `task`, `steps` (counted from 1), and `rows` of metric, who, and a
    value per step: how many are positive, the models (P-Fusion where it was trained), the rules that speak there."""
    table = result.step_by_step
    if table is None or table.empty:
        return []
    if result.early is not None:
        table = pd.concat([table, result.early[result.early["model"] == "p_fusion"]], ignore_index=True)
    found = []
    for task, of_task in table.groupby("task", sort=False):
        binary = bool(of_task["num_positive"].notna().any())
        steps = sorted(of_task.loc[of_task["kind"] == "floor", "step"].unique())
        trivial = {PRESENCE, SHUFFLED, *(("training prevalence",) if binary else ())}
        of_task = of_task[of_task["step"].isin(steps) & ~of_task["model"].isin(trivial)]
        rows = [_positives(of_task, steps)] if binary else []
        for metric in of_task["metric"].unique():
            if metric in ("auroc", "bac") or not binary:
                of_metric = of_task[of_task["metric"] == metric].sort_values("kind", ascending=False, kind="stable")
                for (task_set, model), mine in of_metric.groupby(["task_set", "model"], sort=False):
                    name = model_name(str(model)) + ("" if task_set == task else f", {words(str(task_set))}")
                    values = mine.set_index("step")["estimate"].reindex(steps)
                    cells = [number(value, metric) if step in mine["step"].values else ""
                             for step, value in values.items()]  # fmt: skip
                    rows.append({"metric": metric_of(metric).label, "who": name, "cells": cells})
        found.append({"task": words(str(task)), "steps": [int(step) + 1 for step in steps], "rows": rows})
    return found


def step_csv(result: Results) -> pd.DataFrame:
    """Every model's and rule's numbers at every step, without those of floors that tell a small count."""
    assert result.step_by_step is not None
    kept = result.step_by_step
    kept = kept[(kept["kind"] == "model") | ~kept["metric"].isin(TELLING_METRICS)]
    columns = ["task", "model", "task_set", "kind", "metric", "step", "estimate", "low", "high", "beats_floor"]
    return kept[columns].reset_index(drop=True)


def _positives(of_task: pd.DataFrame, steps: list[int]) -> dict[str, Any]:
    counts = of_task.dropna(subset=["num_positive"]).drop_duplicates("step").set_index("step").reindex(steps)
    shares = [
        "withheld" if small_cell(row.num_positive, row.num_items) else f"{row.num_positive / row.num_items:.1%}"
        for row in counts.itertuples()
    ]
    return {"metric": "share with 1", "who": "", "cells": shares}


def _cell(rows: pd.DataFrame, metric: str) -> dict[str, Any]:
    if rows.empty:
        return {"value": "", "interval": "", "beats": None}
    row = rows.iloc[0]
    beats = None if pd.isna(row["beats_floor"]) else bool(row["beats_floor"])
    return {
        "value": number(row["estimate"], metric),
        "interval": interval(row["low"], row["high"], metric),
        "beats": beats,
    }


def _floor(rows: pd.DataFrame, metric: str) -> dict[str, Any]:
    if rows.empty:
        return {"value": "", "interval": "", "beats": None}
    row = rows.iloc[0]
    hidden = metric in TELLING_METRICS and small_cell(row["num_positive"], row["num_items"])
    return {"value": "withheld" if hidden else number(row["best_floor"], metric), "interval": "", "beats": None}
