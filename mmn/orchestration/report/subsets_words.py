"""What less and another order cost, in words that their numbers decide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.compare import paired
from mmn.orchestration.report.numbers import listing, metric_of, model_name, number, plural, signed, words
from mmn.orchestration.report.results import Results


def less_answers(result: Results) -> list[tuple[str, str]]:
    """What losing a modality and another order cost, in words; [] where neither was asked."""
    said = []
    if costs := costliest(result):
        parts, worst = [], []
        for model in dict.fromkeys(model for model, *_ in costs):
            mine = [entry for entry in costs if entry[0] == model]
            clear = [entry for entry in mine if entry[4]]
            parts.append(f"{model} on {len(clear)} of {plural(len(mine), 'task')}")
            worst += [f"{words(task)}, {model}: without {words(lost)} {cost}" for _, task, lost, cost, _ in clear]
        text = f"{'; '.join(worst)}." if worst else ""
        said.append((f"Without the modality that costs most to lose, clearly worse: {listing(parts)}.", text))
    if clear_orders := order_costs(result):
        parts = [
            f"{name} on {listing([words(task) for task in worse]) if worse else 'none'} (of {plural(num, 'task')})"
            for name, (worse, num) in clear_orders.items()
        ]
        said.append((f"In an order that training did not show, MultiModN is clearly worse: {'; '.join(parts)}.", ""))
    return said


def costliest(result: Results) -> list[tuple[str, str, str, str, bool]]:
    """Single-task models: model, task, the modality whose loss costs most, that cost as printed, whether it is clear.

    The modality is chosen by the same test items, so a cost is a little too large."""
    table = result.subsets.get("subsets")
    if table is None:
        return []
    found = []
    for (task, model), rows in table[table["task_set"] == table["task"]].groupby(["task", "model"], sort=False):
        loss = costliest_loss(result, rows.set_index("subset"))
        if loss is not None and loss[1] is not None:
            lost, apart, worse = loss
            cost = difference_words(apart, str(rows["metric"].iloc[0]), verdict=False)
            found.append((model_name(str(model)), str(task), lost, cost, bool(apart.clear and worse)))
    return found


def order_costs(result: Results) -> dict[str, tuple[list[str], int]]:
    """Kind of model and training -> tasks on which other orders are clearly worse, of how many."""
    table = result.subsets.get("order_sensitivity")
    if table is None:
        return {}
    known = table[np.isfinite(table["low"].astype(float))]
    found: dict[str, tuple[list[str], int]] = {}
    for row in known.itertuples():
        higher = metric_of(row.metric).higher_is_better
        worse, num = found.get(name := order_variant(row), ([], 0))
        clear = row.high < 0 if higher else row.low > 0
        found[name] = ([*worse, str(row.task)] if clear else worse, num + 1)
    return found


def costliest_loss(result: Results, mine: pd.DataFrame) -> tuple[str, Any, bool] | None:
    """mine: one model's rows by subset. The modality, the paired difference (None: too few folds), whether it is for
    the worse. None where the model has one modality."""
    whole = mine[mine["all"].astype(bool)].iloc[0]
    higher = metric_of(str(whole["metric"])).higher_is_better
    size = int(whole["num_modalities"])
    fewer = ((1 if higher else -1) * mine.loc[mine["num_modalities"] == size - 1, "estimate"]).dropna()
    if size < 2 or fewer.empty:
        return None
    given = set(str(fewer.idxmin()).split(" + "))
    lost = next(name for name in str(whole.name).split(" + ") if name not in given)
    without = list(mine.loc[str(fewer.idxmin()), "fold_values"])
    apart = paired(without, list(whole["fold_values"]), result.counts.test_ratio)
    return lost, apart, apart is not None and (apart.mean < 0) == higher


def difference_words(apart: Any, metric: str, verdict: bool = True) -> str:
    if apart is None:
        return "too few folds"
    digits = signed if math.isfinite(metric_of(metric).high) else (lambda v: signed_like(v, metric))
    said = f"{digits(apart.mean)} ({digits(apart.low)} to {digits(apart.high)})"
    return said + ((" ▲▼ told apart" if apart.clear else " ≈ not told apart") if verdict else "")


def signed_like(value: float, metric: str) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value), metric)


def order_variant(row: Any) -> str:
    return f"{'single task' if row.task_set == row.task else 'multi-task'}, {row.variant}"
