"""The part of the report on what happens inside MultiModN: IMC, CP, Shapley values, and single items if shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import SMALLEST_COUNT, anchor, signed, words
from mmn.orchestration.report.panels import FigureView, Panel, panel, task_label
from mmn.orchestration.report.results import CP_COLUMNS, Results

BAR = "lowers the prediction  ←  mean change  →  raises it"
PRIOR = ("", "prior")
MOST_ITEM_PANELS = 3


def inside_view(result: Results) -> dict[str, Any]:
    """What the template needs of one data set."""
    shown = result.inside.get("imc_items")
    return {
        "imc_figure": imc_figure(result),
        "cp_figure": cp_figure(result),
        "worth_figure": worth_figure(result),
        "items_figure": items_figure(result) if shown is not None and len(shown) else None,
        "items_shown": result.items_shown,
        "inside_csvs": sorted(name for name in inside_csvs(result) if not name.startswith(("imc-", "cp-"))),
    }


def inside_csvs(result: Results) -> dict[str, pd.DataFrame]:
    frames = {f"imc-{result.name}": imc_csv(result), f"cp-{result.name}": result.cp[list(CP_COLUMNS)]}
    for name, table in result.inside.items():
        if len(table):
            # Numbers of items are left out: a small one must not be told.
            kept = [column for column in table if not column.startswith("num_")]
            frames[f"{name}-{result.name}"] = table[kept]
            if "item" in table:
                frames[f"{name}-{result.name}"] = table[kept].assign(shown_as=table["item"].map(_shown_as(result)))
    return frames


def imc_csv(result: Results) -> pd.DataFrame:
    """IMC by task, task set and modality: mean over folds, its smallest and largest fold, and the mean size."""
    grouped = result.imc.groupby(["task", "task_set", "modality"], sort=False)
    return grouped.agg(
        imc=("imc", "mean"), imc_fold_min=("imc", "min"), imc_fold_max=("imc", "max"),
        abs_imc=("abs_imc", "mean"), num_folds=("imc", "count"),
    ).reset_index()  # fmt: skip


def imc_figure(result: Results) -> FigureView | None:
    if result.imc.empty or not np.isfinite(result.imc["imc"]).any():
        return None
    limit = _limit(result.imc.groupby(["task", "task_set", "modality"])["imc"].mean())
    made = _maps(result, result.imc, "imc", "abs_imc", limit)
    sizes_by = result.imc.groupby("modality")["abs_imc"].mean().dropna().sort_values(ascending=False)
    strongest = f"On average over tasks {words(sizes_by.index[0])} moves predictions most ({sizes_by.iloc[0]:.3f})"
    if len(sizes_by) > 1:
        strongest += f", {words(sizes_by.index[-1])} least ({sizes_by.iloc[-1]:.3f})"
    return FigureView(
        anchor=anchor("figure-imc", result.name),
        title=f"{result.title}: what each modality contributes on its own (IMC)",
        caption="What to see: red raises the prediction, blue lowers it; a pale cell with a large size moves items "
        f"both ways. {strongest}. A cell is not shown where the model leaves the modality out, or where fewer than "
        f"{SMALLEST_COUNT} test items have it.",
        csv=f"imc-{result.name}",
        panels=made,
    )


def worth_figure(result: Results) -> FigureView | None:
    """Shapley values in the manner of IMC, and how far the two and the folds agree."""
    table = result.inside.get("shapley")
    if table is None or not np.isfinite(table["shapley"]).any():
        return None
    limit = _limit(table.groupby(["task", "task_set", "modality"])["shapley"].mean())
    made = _maps(result, table, "shapley", "abs_shapley", limit)
    error = float(table["error"].max())
    how = "exact: every subset of the modalities was read"
    if not table["exact"].all():
        how = f"estimated from random orders; the largest standard error of a fold's value is {error:.4f}"
    rows = _agreement_rows(result)
    return FigureView(
        anchor=anchor("figure-shapley", result.name),
        title=f"{result.title}: what each modality is worth on average over what else may be known (Shapley)",
        caption="What to see: where this map and that of IMC differ, a modality says something else once others are "
        f"known, or repeats them. The values of an item add up to its prediction minus the prior’s; they are {how}."
        f"{_agreement_words(rows)} The table gives Spearman’s correlation, 1 for the same ranks, 0 for unrelated ones: "
        "between IMC and Shapley values over test items, and over modalities by mean size (mean over folds); and "
        "between pairs of folds, by mean size (lowest and highest pair).",
        csv=f"shapley-{result.name}",
        panels=made,
        head=["Model", "IMC and Shapley, items", "IMC and Shapley, modalities", "Folds, by IMC", "Folds, by Shapley",
              "Strongest (folds)"],
        rows=[row for _, row in rows],
    )  # fmt: skip


def _agreement_rows(result: Results) -> list[tuple[dict[str, Any], list[str]]]:
    """Of each task and model: the numbers, and a row of the table."""
    alike, steady = result.inside.get("agreement"), result.inside.get("stability")
    if alike is None or steady is None:
        return []
    rows = []
    for task in result.tasks:
        of_task = alike[alike["task"] == task]
        for task_set in dict.fromkeys(of_task["task_set"]):
            mine = of_task[of_task["task_set"] == task_set]
            folds = steady[(steady["task"] == task) & (steady["task_set"] == task_set)].set_index("measure")
            items, modalities = (float(mine[c].astype(float).mean()) for c in ("over_items", "over_modalities"))
            worth = folds.loc["shapley"]
            model = task_label(result, task) + ("" if task_set == task else f", {_multi(str(task_set))}")
            rows.append(
                (
                    {"task": task, "single": task_set == task, "items": items, "strongest": worth["strongest"],
                     "folds": float(worth["rank_correlation"])},
                    [
                        model, _correlation(items), _correlation(modalities), _over_folds(folds.loc["imc"]),
                        _over_folds(worth), f"{words(worth['strongest'])} ({worth['same_first']:.0%})"
                        if worth["strongest"] else "too few items",
                    ],
                )
            )  # fmt: skip
    return rows


def _agreement_words(rows: list[tuple[dict[str, Any], list[str]]]) -> str:
    known = [numbers for numbers, _ in rows if math.isfinite(numbers["items"])]
    if not known:
        return ""
    low, high = min(known, key=lambda n: n["items"]), max(known, key=lambda n: n["items"])
    said = f" Over items IMC and Shapley values agree least for {words(low['task'])} ({low['items']:.2f})"
    said += f" and most for {words(high['task'])} ({high['items']:.2f})." if len(known) > 1 else "."
    apart = [numbers for numbers in known if numbers["folds"] < 0.5]
    if apart:
        tasks = ", ".join(dict.fromkeys(words(numbers["task"]) for numbers in apart))
        said += f" The folds’ models rank the modalities differently for {tasks} (below 0.5): read no ranking there."
    return said


def _over_folds(row: pd.Series) -> str:
    if not math.isfinite(row["rank_correlation"]):
        return "too few modalities"
    return f"{_correlation(row['rank_correlation'])} ({_correlation(row['lowest'])} to {_correlation(row['highest'])})"


def _correlation(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "too few modalities"


def items_figure(result: Results) -> FigureView:
    """Single items of the first tasks: IMC, and of the very first one CP; of single-task models where there are any."""
    imc, cp = result.inside["imc_items"], result.inside.get("cp_items", pd.DataFrame())
    alone: list[Panel] = []
    moved: list[Panel] = []
    names = _shown_as(result)
    for task in result.tasks:
        sets = list(dict.fromkeys(imc.loc[imc["task"] == task, "task_set"]))
        if not sets or len(alone) == MOST_ITEM_PANELS:
            continue
        task_set = task if task in sets else sets[0]
        mine = imc[(imc["task"] == task) & (imc["task_set"] == task_set)]
        values = mine.assign(item=mine["item"].map(names)).pivot_table(
            index="item", columns="modality", values="imc", aggfunc="mean", sort=False, dropna=False
        )
        values = values.reindex(index=sorted(values.index), columns=list(dict.fromkeys(mine["modality"])))
        title = task_label(result, task)
        if np.isfinite(values.to_numpy()).any():
            limit = _limit(pd.Series(values.to_numpy().ravel()))
            drawn = figures.change_map(values, None, limit, BAR.replace("mean change", "change"), "absent")
            alone.append(panel(title, drawn, f"Heat map of single items, {title}. {_cells(values)}"))
        rows = cp[(cp["task"] == task) & (cp["task_set"] == task_set)] if len(cp) else cp
        if len(rows) and not moved:
            rows = rows.assign(group=rows["item"].map(names)).sort_values("group", kind="stable")
            drawn_cp = _cp_panel(result, task, task_set, rows)
            moved += [] if drawn_cp is None else [drawn_cp]
    return FigureView(
        anchor=anchor("figure-items", result.name),
        title=f"{result.title}: single items, IMC",
        caption=f"Shown: {result.items_shown}. Each is predicted by the model of the fold whose test part holds it. "
        "What to see: the same modality raises one item and lowers another; a mean over items hides that. “Absent” "
        "says that the item lacks the modality. The csv says which item is which, and holds all tasks.",
        csv=f"imc_items-{result.name}",
        panels=alone,
        more_title="How the same items’ predictions form, for the first task (CP)" if moved else "",
        more=moved,
    )


def _shown_as(result: Results) -> dict[str, str]:
    """Item -> its name on the page."""
    return {item: f"item {n}" for n, item in enumerate(sorted(set(result.inside["imc_items"]["item"])), start=1)}


def _maps(result: Results, table: pd.DataFrame, value: str, size: str, limit: float) -> list[Panel]:
    """Tasks by modalities: one panel of the single-task models, one of each multi-task model."""
    made = []
    for single in (True, False):
        mine = table[(table["task_set"] == table["task"]) == single]
        for task_set, rows in [("", mine)] if single else mine.groupby("task_set", sort=False):
            if rows.empty:
                continue
            order = [task for task in result.tasks if task in set(rows["task"])]
            modalities = list(dict.fromkeys(rows["modality"]))
            values, sizes = (
                rows.pivot_table(index="task", columns="modality", values=column, aggfunc="mean", sort=False)
                .reindex(index=order, columns=modalities)
                .rename(index=lambda task: task_label(result, task))
                for column in (value, size)
            )
            title = "MultiModN, one model per task" if single else f"MultiModN, {_multi(str(task_set))}"
            drawn = figures.change_map(values, sizes, limit, BAR, "not\nshown")
            made.append(panel(title, drawn, f"Heat map, {title}. {_cells(values)}"))
    return made


def cp_figure(result: Results) -> FigureView | None:
    cp = result.cp
    if cp.empty or not np.isfinite(cp["change"]).any():
        return None
    single: list[tuple[int, Panel]] = []
    multi: list[tuple[int, Panel]] = []
    for (task, task_set), rows in cp.groupby(["task", "task_set"], sort=False):
        drawn = _cp_panel(result, str(task), str(task_set), rows)
        if drawn is not None:
            (single if task == task_set else multi).append((result.tasks.index(str(task)), drawn))
    panels, more = ([drawn for _, drawn in sorted(made, key=lambda entry: entry[0])] for made in (single, multi))
    return FigureView(
        anchor=anchor("figure-cp", result.name),
        title=f"{result.title}: how the prediction moves as evidence arrives (CP)",
        caption="What to see: in groups with different outcomes the colours should differ; where they part is where "
        f"the model learnt to tell them apart.{_most_telling(result)}",
        csv=f"cp-{result.name}",
        panels=panels or more,
        more_title="The same for the multi-task models" if panels and more else "",
        more=more if panels else [],
    )


def _cp_panel(result: Results, task: str, task_set: str, rows: pd.DataFrame) -> Panel | None:
    named = rows[~_before_any(rows)]
    if named.empty:
        return None
    modalities = list(dict.fromkeys(named["modality"]))
    title = task_label(result, task) + ("" if task == task_set else f", {_multi(task_set)}")
    limit = _limit(named["change"])
    ends = rows.sort_values("step", kind="stable").groupby("group", sort=False)["prediction"].last()
    groups = list(dict.fromkeys(named["group"]))
    if int(named["step"].max()) == 0:
        values = named.pivot_table(index="group", columns="modality", values="change", aggfunc="mean", sort=False)
        values = values.reindex(index=groups, columns=modalities)
        labels = [f"{words(str(group))}, ends at {ends[group]:.2f}" for group in values.index]
        return panel(
            title, figures.change_map(values.set_axis(labels), None, limit, BAR), f"Heat map, {title}. {_cells(values)}"
        )
    by_group = {}
    for group in groups:
        mine = named[named["group"] == group]
        values = mine.pivot_table(index="modality", columns="step", values="change", aggfunc="mean", sort=False)
        by_group[f"{words(str(group))}: ends at {ends[group]:.2f}"] = values.reindex(modalities).sort_index(axis=1)
    alt = f"Heat maps by time step, {title}. " + "; ".join(
        f"{name}, sum of changes: "
        + ", ".join(f"{words(str(m))} {signed(float(v))}" for m, v in frame.sum(axis=1).items())
        for name, frame in by_group.items()
    )
    return panel(title, figures.step_maps(by_group, limit, BAR), alt)


def _before_any(cp: pd.DataFrame) -> pd.Series:
    """The rows of the prediction before any modality; they change nothing."""
    return cp["modality"].isna() | cp["modality"].isin(PRIOR)


def _most_telling(result: Results) -> str:
    """The modality whose changes differ most between the outer groups of a task."""
    named = result.cp[~_before_any(result.cp)]
    moved = (
        named.groupby(["task", "task_set", "modality", "group"], sort=False)["change"]
        .sum()
        .unstack("group", sort=False)
    )
    groups = [group for group in dict.fromkeys(named["group"]) if group in moved]
    apart = pd.Series(
        {place: row[groups].dropna().iloc[-1] - row[groups].dropna().iloc[0] for place, row in moved.iterrows()},
        dtype=float,
    )
    apart = apart[apart.abs() > 0]
    if apart.empty:
        return ""
    task, task_set, modality = apart.abs().idxmax()
    model = "" if task == task_set else f" ({_multi(str(task_set))})"
    return (
        f" Here the outer groups part most by {words(modality)} for {words(task)}{model}: "
        f"their changes differ by {abs(apart[task, task_set, modality]):.3f}."
    )


def _multi(task_set: str) -> str:
    return "multi-task" if task_set == "multitask" else f"multi-task ({words(task_set)})"


def _limit(values: pd.Series) -> float:
    return max(float(np.nanmax(np.abs(values.to_numpy(dtype=np.float64)))), 1e-3)


def _cells(values: pd.DataFrame) -> str:
    return "; ".join(
        f"{words(str(row))}: "
        + ", ".join(f"{words(str(c))} {signed(float(v)) if np.isfinite(v) else 'not shown'}" for c, v in cells.items())
        for row, cells in values.iterrows()
    )
