"""The part of the report on inference with less, and in another order: the same models, read differently."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import (
    anchor,
    count,
    interval,
    metric_of,
    model_name,
    number,
    signed,
    words,
)  # fmt: skip
from mmn.orchestration.report.panels import FigureView, Panel, panel, task_label
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.sentences import variant
from mmn.orchestration.report.subsets_words import (
    costliest_loss,
    difference_words,
    less_answers,
    order_variant,
    signed_like,
)

NOTHING = "nothing"
OTHERS = tuple(model_name(name) for name in ("p_fusion", "fusion_transformer", "xgboost"))
MOST_ROWS = 33
"""Subsets in one drawing; of more, those of one modality, of all but one, of all and of none are drawn."""


def subsets_view(result: Results) -> dict[str, Any]:
    return {
        "less_answers": less_answers(result),
        "subset_figure": subset_figure(result),
        "order_figure": order_figure(result),
        "subset_csvs": sorted(subset_csvs(result)),
    }


def subset_csvs(result: Results) -> dict[str, pd.DataFrame]:
    frames = {}
    for name, table in result.subsets.items():
        frame = table.copy()
        if "fold_values" in frame:
            frame["fold_values"] = [" ".join(f"{value:.6g}" for value in values) for values in frame["fold_values"]]
        if "num_items" in frame:
            frame["num_items"] = [count(value) for value in frame["num_items"]]
        frames[f"{name}-{result.name}"] = frame
    return frames


def subset_figure(result: Results) -> FigureView | None:
    table = result.subsets.get("subsets")
    if table is None or not np.isfinite(table["estimate"]).any():
        return None
    table = table.assign(series=[variant(r.model, r.task_set, r.task) for r in table.itertuples()])
    styles = figures.series_styles(sorted(set(table["series"]), key=_model_order))
    panels = []
    for task in result.tasks:
        mine = table[(table["task"] == task) & np.isfinite(table["estimate"])]
        if len(mine) and (drawn := _subset_panel(result, task, mine, styles)) is not None:
            panels.append(drawn)
    rows = [row for task in result.tasks for row in _subset_rows(result, task, table[table["task"] == task])]
    whole = bool((table.groupby(["task", "series"])["num_modalities"].nunique() > 1).any())
    if not panels or not whole:
        return None
    return FigureView(
        anchor=anchor("figure-subsets", result.name),
        title=f"{result.title}: predictions from a part of the modalities",
        caption="Each row is a subset: a filled dot is a modality that the model is given, a small one is taken from "
        "every test item; nothing is trained anew. Markers are means over folds, lines their 95 % t-intervals. What to "
        "see: how far the score with one modality lies from the score with all, and which loss moves it. A model that "
        "scores worse with one more modality has not learnt to do without the rest. In the table, a loss is told apart "
        "where its interval (over folds, corrected for shared training items) leaves out 0.",
        csv=f"subsets-{result.name}",
        panels=panels[:2],
        head=["Model", "With all", "Best one alone", "Costliest to lose", "That loss", "With nothing"],
        rows=rows,
        more_title="The same for the other tasks" if len(panels) > 2 else "",
        more=panels[2:],
    )


def _subset_rows(result: Results, task: str, table: pd.DataFrame) -> list[list[str]]:
    rows = []
    for series in sorted(set(table["series"]), key=_model_order):
        mine = table[table["series"] == series].set_index("subset")
        metric, whole = str(mine["metric"].iloc[0]), mine[mine["all"].astype(bool)].iloc[0]
        sign = 1 if metric_of(metric).higher_is_better else -1
        alone = (sign * mine.loc[mine["num_modalities"] == 1, "estimate"]).dropna()
        best = "undefined" if alone.empty else f"{words(alone.idxmax())} {number(abs(alone.max()), metric)}"
        lost, cost = "one modality only", ""
        if (loss := costliest_loss(result, mine)) is not None:
            lost, cost = loss[0], difference_words(loss[1], metric)
        nothing = number(float(mine["estimate"].get(NOTHING, math.nan)), metric)
        label = f"{task_label(result, task)}, {series} ({metric_of(metric).label})"
        rows.append([label, number(whole["estimate"], metric), best, words(lost), cost, nothing])
    return rows


def _subset_panel(result: Results, task: str, rows: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> Panel | None:
    metric = str(rows["metric"].iloc[0])
    if int(rows["num_modalities"].max()) < 2:
        return None
    drawn, subsets = subset_drawing(rows, styles)
    title = task_label(result, task)
    alt = f"{title}, {metric_of(metric).label} by subset. " + "; ".join(
        f"{words(subset)}: "
        + ", ".join(
            f"{row.series} {number(row.estimate, metric)} ({interval(row.low, row.high, metric)})"
            for row in rows[rows["subset"] == subset].itertuples()
        )
        for subset in subsets
    )
    return panel(title, drawn, alt)


def subset_drawing(rows: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> tuple[Any, list[str]]:
    """One task's rows of the table `subsets`, with `series`: the drawing, and the subsets in it from top to bottom."""
    metric, unit = str(rows["metric"].iloc[0]), str(rows["unit"].iloc[0] or "")
    names = str(rows.loc[rows["num_modalities"].idxmax(), "subset"]).split(" + ")
    if rows["subset"].nunique() > MOST_ROWS:
        rows = rows[rows["num_modalities"].isin({0, 1, len(names) - 1, len(names)})]
    order = rows.groupby("subset", sort=False)["num_modalities"].first()
    best = rows.groupby("subset")["estimate"].mean() * (-1 if metric_of(metric).higher_is_better else 1)
    subsets = sorted(order.index, key=lambda subset: (-order[subset], best[subset]))
    xlabel = f"{metric_of(metric).label}{f' ({unit})' if unit else ''}, "
    xlabel += "higher is better" if metric_of(metric).higher_is_better else "lower is better"
    limits = (metric_of(metric).low, metric_of(metric).high)
    return membership(rows, subsets, names, styles, xlabel, limits), subsets


def membership(
    rows: pd.DataFrame,
    subsets: list[str],
    names: list[str],
    styles: dict[str, dict[str, Any]],
    xlabel: str,
    limits: tuple[float, float],
) -> Any:
    """Rows of subsets: at the left which modalities are in it, at the right a marker and interval per model.

    limits: what the metric can be, where intervals are cut.
    """
    from matplotlib.figure import Figure

    series = [name for name in styles if name in set(rows["series"])]
    figure = Figure(figsize=(figures.WIDTH, 1.5 + 0.2 * len(series) + 0.19 * len(subsets)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[0.17 * len(names), 3.0])
    heights = {subset: len(subsets) - 1 - place for place, subset in enumerate(subsets)}
    inside = np.array([[name in subset.split(" + ") for name in names] for subset in subsets])
    at_rows, at_columns = np.nonzero(inside)
    left.scatter(at_columns, len(subsets) - 1 - at_rows, s=26, color=figures.INK, zorder=2)
    at_rows, at_columns = np.nonzero(~inside)
    left.scatter(at_columns, len(subsets) - 1 - at_rows, s=5, color="#BBBBBB", zorder=2)
    left.set_xticks(range(len(names)), [words(name) for name in names], rotation=90)
    left.xaxis.tick_top()
    left.set_yticks([])
    left.set(xlim=(-0.6, len(names) - 0.4), ylim=(-0.7, len(subsets) - 0.3))
    left.spines[:].set_visible(False)
    left.tick_params(length=0, labelsize=7.5)
    for place, name in enumerate(series):
        mine = rows[rows["series"] == name]
        shift = ((len(series) - 1) / 2 - place) * 0.22
        ends = mine[["low", "high"]].clip(*limits).to_numpy()
        reach = np.abs(ends - mine[["estimate"]].to_numpy()).T
        right.errorbar(
            mine["estimate"], mine["subset"].map(heights) + shift, xerr=np.nan_to_num(reach), label=name,
            **{**styles[name], "linestyle": "none"}, ms=3.5, lw=0.9,
        )  # fmt: skip
    sizes = [int(rows.loc[rows["subset"] == subset, "num_modalities"].iloc[0]) for subset in subsets]
    for place in range(1, len(subsets)):
        if sizes[place] != sizes[place - 1]:
            for axes in (left, right):
                axes.axhline(len(subsets) - place - 0.5, color="#DDDDDD", lw=0.7, zorder=0)
    if limits == (0.0, 1.0):
        right.axvline(0.5, color=figures.GREY, lw=0.8, linestyle=(0, (4, 3)), zorder=0)
    right.set_xlabel(xlabel, fontsize=8.5)
    right.tick_params(axis="x", labelsize=8)
    right.tick_params(axis="y", length=0)
    right.spines[["top", "right", "left"]].set_visible(False)
    right.grid(axis="x", color="#E5E5E5", lw=0.6)
    right.set_axisbelow(True)
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper left", ncols=1, frameon=False, fontsize=8)
    return figure


def order_figure(result: Results) -> FigureView | None:
    orders, table = result.subsets.get("orders"), result.subsets.get("order_sensitivity")
    if orders is None or table is None or not np.isfinite(orders["estimate"]).any():
        return None
    panels = []
    for metric, rows in orders[np.isfinite(orders["estimate"])].groupby("metric", sort=False):
        if (drawn := _order_panel(result, str(metric), rows)) is not None:
            panels.append(drawn)
    if not panels:
        return None
    order = {task: place for place, task in enumerate(result.tasks)}
    shown = table.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
    most = int(shown["num_orders"].max())
    how = f"up to {most} orders, all where there are no more"
    if shown["all_orders"].all():
        how = f"all {most} orders"
    elif not shown["all_orders"].any():
        how = f"{most} orders, that of training and others by chance"
    return FigureView(
        anchor=anchor("figure-orders", result.name),
        title=f"{result.title}: the same modalities in another order",
        caption=f"A MultiModN model meets its modalities one after the other; here in {how}. A dot is one order, the "
        "bar the order that the model was trained on. What to see: dots far on the worse side of the bar are the "
        "price of meeting the modalities in an order that training never showed; a model trained in random orders "
        "should have its dots together, and its bar should not lie on the worse side of the other’s. In the table the "
        "difference is the mean over the other orders minus the training order, with its interval over folds "
        "(corrected for shared training items).",
        csv=f"orders-{result.name}",
        panels=panels,
        head=[
            "Model",
            "Order of training",
            "Other orders",
            "Difference",
            "Lowest and highest",
            "A prediction moves by",
        ],
        rows=[_order_row(result, row) for row in shown.itertuples()],
    )


def _order_row(result: Results, row: Any) -> list[str]:
    digits = signed if math.isfinite(metric_of(row.metric).high) else (lambda v: signed_like(v, row.metric))
    difference = "too few folds"
    if math.isfinite(row.low):
        difference = f"{digits(row.difference)} ({digits(row.low)} to {digits(row.high)})"
        difference += " ≈ not told apart" if row.low <= 0 <= row.high else " ▲▼ told apart"
    return [
        f"{task_label(result, row.task)}, {order_variant(row)} ({metric_of(row.metric).label})",
        number(row.in_order, row.metric),
        number(row.other, row.metric),
        difference,
        f"{number(row.lowest, row.metric)} and {number(row.highest, row.metric)}",
        f"{row.moved:.3f}",
    ]


def _order_panel(result: Results, metric: str, rows: pd.DataFrame) -> Panel | None:
    """AUROC as it is; an error as a multiple of the first model's in its order of training."""
    rows = rows.assign(series=[order_variant(row) for row in rows.itertuples()])
    tasks = [task for task in result.tasks if task in set(rows["task"])]
    scaled = not metric_of(metric).higher_is_better
    if scaled:
        first = rows[rows["first"].astype(bool)].drop_duplicates("task").set_index("task")["estimate"]
        rows = rows.assign(estimate=rows["estimate"] / rows["task"].map(first))
    series = sorted(set(rows["series"]), key=_model_order)
    styles = figures.series_styles(series)
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(figures.WIDTH, 0.8 + 0.22 * len(series) + 0.24 * len(series) * len(tasks)), layout="constrained"
    )
    axes = figure.subplots()
    for place, name in enumerate(series):
        mine = rows[rows["series"] == name]
        height = len(tasks) - 1 - mine["task"].map(tasks.index).to_numpy() + 0.3 - 0.6 * (place + 0.5) / len(series)
        axes.scatter(
            mine["estimate"], height, s=14, marker=styles[name]["marker"], color=styles[name]["color"], alpha=0.45,
            label=name, linewidths=0,
        )  # fmt: skip
        first_order = mine["first"].to_numpy(dtype=bool)
        axes.scatter(
            mine["estimate"][first_order], height[first_order], s=90, marker="|", color=figures.INK, linewidths=1.8
        )
    axes.scatter([], [], s=90, marker="|", color=figures.INK, linewidths=1.8, label="order of training")
    axes.set_yticks(range(len(tasks)), [task_label(result, task) for task in reversed(tasks)])
    axes.set_ylim(-0.55, len(tasks) - 0.45)
    label = metric_of(metric).label
    axes.set_xlabel(
        f"{label} / {label} in the order of training (lower is better)" if scaled else f"{label} (higher is better)",
        fontsize=8.5,
    )
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=1, frameon=False, fontsize=8)
    alt = f"{result.title}, {label} by order of the modalities. " + "; ".join(
        f"{task_label(result, str(task))}, {name}: from {mine['estimate'].min():.3f} to {mine['estimate'].max():.3f}, "
        f"{mine.loc[mine['first'].astype(bool), 'estimate'].iloc[0]:.3f} in the order of training"
        for (task, name), mine in rows.groupby(["task", "series"], sort=False)
        if mine["first"].any()
    )
    return panel(f"{result.title}: {label}", figure, alt)


def _model_order(name: str) -> tuple[bool, bool, bool, str]:
    """MultiModN before the others, single task before multi-task, random orders last."""
    return ("random" in name, name.startswith(OTHERS), "multi-task" in name, name)
