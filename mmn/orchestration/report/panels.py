"""The figures of the page: each with its panels, what it shows in words for those who cannot see it, and a caption."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import SMALLEST_COUNT, anchor, metric_of, number, percent, signed, words
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.sentences import Removal, best_floor, removal_name, removals, variant

TEST_WORDS = {
    "complete": "tested on complete items",
    "flipped": "tested with the removal flipped to the other class",
    "same": "tested with the same removal",
    "mcar": "tested with removal at random",
}
MECHANISM_WORDS = {"mnar": "Removed by label", "mcar": "Removed at random", "mar": "Removed by what else is known"}

BAR = "lowers the prediction  ←  mean change  →  raises it"
BATCH_WORDS = (
    "Skipping per batch is the published code’s behaviour: one absent value takes the modality from its whole batch, "
    "so that absence is nearly free of the label; it stands here for comparison only."
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """src: a data URI. alt: what is to be seen. width, height: CSS pixels at its own size."""

    title: str
    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """head, rows: a small table under the panels. paired: two panels to a line. more: panels behind a fold."""

    anchor: str
    title: str
    caption: str
    csv: str
    panels: list[Panel]
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    paired: bool = False
    more_title: str = ""
    more: list[Panel] = field(default_factory=list)


def panel(title: str, figure: Any, alt: str) -> Panel:
    data = figures.svg(figure)
    sizes = re.findall(rb'(?:width|height)="([0-9.]+)pt"', data[:2000])
    width, height = (round(float(size) * 4 / 3) for size in sizes[:2])
    return Panel(
        title=title,
        src="data:image/svg+xml;base64," + base64.b64encode(data).decode(),
        alt=alt,
        width=width,
        height=height,
    )


def score_figure(results: list[Results]) -> FigureView | None:
    """Scores beside their floors: AUROC as it is, an error as a multiple of the best floor's error."""
    made = [drawn for result in results for drawn in _score_panels(result)]
    if not made:
        return None
    return FigureView(
        anchor="figure-scores",
        title="Every model beside the best floor",
        caption="Markers are means over the folds, lines their 95 % t-intervals, the black bar is the best floor: what "
        "can be had without a model. What to see: a model is worth its cost only where its line stays clear of the bar "
        "on the better side (right of it for AUROC, left of it for an error).",
        csv="",
        panels=made,
    )


def _score_panels(result: Results) -> list[Panel]:
    made = []
    for name, tasks in result.models().groupby("metric", sort=False):
        metric = metric_of(str(name))
        rows, floors = _beside_floors(result, tasks, scaled=not metric.higher_is_better)
        if rows.empty:
            continue
        better = f"{metric.label} (higher is better)"
        xlabel = (
            better if metric.higher_is_better else f"{metric.label} / best floor’s {metric.label} (lower is better)"
        )
        alt = f"{result.title}, {xlabel}. " + "; ".join(
            f"{row.label}, {row.series}: {row.value:.3f} (interval {row.low:.3f} to {row.high:.3f}), "
            f"best floor {floors[row.label]:.3f}"
            for row in rows.itertuples()
        )
        drawn = figures.dots(rows, floors, xlabel, 0.5 if name == "auroc" else None)
        made.append(panel(f"{result.title}: {metric.label}", drawn, alt))
    return made


def _beside_floors(result: Results, tasks: pd.DataFrame, scaled: bool) -> tuple[pd.DataFrame, dict[str, float]]:
    """label, series, value, low, high of each model, and the floor by label; `scaled`: as multiples of the floor."""
    rows, floors = [], {}
    order = sorted(
        tasks.itertuples(),
        key=lambda row: (result.tasks.index(row.task), _model_order(variant(row.model, row.task_set, row.task))),
    )
    for row in order:
        _, floor = best_floor(result, row.task, row.metric)
        scale = floor if scaled else 1.0
        if not math.isfinite(row.estimate) or not math.isfinite(scale) or scale == 0:
            continue
        label, series = task_label(result, row.task), variant(row.model, row.task_set, row.task)
        rows.append((label, series, row.estimate / scale, row.low / scale, row.high / scale))
        floors[label] = floor / scale
    return pd.DataFrame(rows, columns=["label", "series", "value", "low", "high"]), floors


def removal_figure(result: Results) -> FigureView | None:
    if result.missingness is None or result.missingness.empty:
        return None
    curves = figures.removal_curves(result.missingness)
    curves["series"] = [removal_name(str(m), str(s)) for m, s in zip(curves["model"], curves["skip"], strict=True)]
    styles = figures.series_styles(list(dict.fromkeys(curves["series"])))
    shown = curves[["value", "low", "high"]].to_numpy()
    if not np.isfinite(shown).any():
        return None
    limits = (max(0.0, min(0.45, float(np.nanmin(shown)) - 0.02)), min(1.0, float(np.nanmax(shown)) + 0.02))
    made = []
    about = result.missingness_card
    modality, task = words(about.get("modality", "one modality")), words(about.get("task", "one task"))
    groups = sorted(curves.groupby(["mechanism", "test"]), key=lambda pair: _panel_order(*pair[0]))
    for (mechanism, test), rows in groups:
        if not np.isfinite(rows["value"]).any():
            continue
        title = f"{MECHANISM_WORDS.get(mechanism, words(mechanism))} in training, "
        title += TEST_WORDS.get(test, f"tested: {words(test)}")
        alt = f"Line chart, AUROC by removal rate. {title}. " + "; ".join(
            f"{name}: " + ", ".join(f"{number(r.value, 'auroc')} at {percent(r.rate)}" for r in mine.itertuples())
            for name, mine in rows.groupby("series", sort=False)
        )
        taken = "all training items" if mechanism == "mcar" else "one class in training"
        drawn = figures.removal(rows, limits, styles, f"{modality} taken from … % of {taken}")
        made.append(panel(title, drawn, alt))
    rate, found = removals(result)
    return FigureView(
        anchor=anchor("figure-removal", result.name),
        title=f"{result.title}: does a model read the absence of {modality} as a sign of {task}?",
        caption=f"In training, “{modality}” is taken from a share of the items of one class; in the flipped test items "
        "it is taken from the other class. What to see: a model that has learnt “absent means this class” falls on the "
        "flipped items, below 0.5 where it follows absence alone. Losing a modality costs any model information, so "
        "the fair comparison is the panel trained on removal at random and tested on the same flipped items. Lines are "
        "means over folds with 95 % t-intervals."
        + (f" {BATCH_WORDS}" if (curves["skip"] == "batch").any() else "")
        + (f" The table is at {percent(rate)}." if found else ""),
        csv=f"missingness-{result.name}",
        panels=made,
        head=["Model", "Nothing removed", "Complete test items", "Flipped", "Flipped, trained at random", "Loss"],
        rows=[
            [
                entry.name,
                *(_auroc(v) for v in (entry.before, entry.complete, entry.flipped, entry.control)),
                _loss(entry),
            ]
            for entry in found
        ],
        paired=True,
    )


def _auroc(value: float) -> str:
    return number(value, "auroc") if math.isfinite(value) else "not run"


def _loss(entry: Removal) -> str:
    if entry.loss is None:
        return "too few folds"
    text = f"{entry.loss.mean:.3f} ({signed(entry.loss.low)} to {signed(entry.loss.high)})".replace("-", "−")
    return f"{text} {'▼ learnt from absence' if entry.learnt else '≈ not clear of 0'}"


def imc_figure(result: Results) -> FigureView | None:
    if result.imc.empty or not np.isfinite(result.imc["imc"]).any():
        return None
    limit = _limit(result.imc.groupby(["task", "task_set", "modality"])["imc"].mean())
    made = []
    for single in (True, False):
        mine = result.imc[(result.imc["task_set"] == result.imc["task"]) == single]
        for task_set, rows in [("", mine)] if single else mine.groupby("task_set", sort=False):
            if rows.empty:
                continue
            order = [task for task in result.tasks if task in set(rows["task"])]
            modalities = list(dict.fromkeys(rows["modality"]))
            values, sizes = (
                rows.pivot_table(index="task", columns="modality", values=column, aggfunc="mean", sort=False)
                .reindex(index=order, columns=modalities)
                .rename(index=lambda task: task_label(result, task))
                for column in ("imc", "abs_imc")
            )
            title = "MultiModN, one model per task" if single else f"MultiModN, {_multi(str(task_set))}"
            drawn = figures.change_map(values, sizes, limit, BAR, "not\nshown")
            made.append(panel(title, drawn, f"Heat map, {title}. {_cells(values)}"))
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
    return cp["modality"].isna() | cp["modality"].isin(["", "prior"])


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


def overview_png(results: list[Results]) -> bytes:
    """A small picture for the Dagster UI: AUROC where there is one, else error over floor; b"" where neither is."""
    for metric in dict.fromkeys(["auroc", *(m for r in results for m in r.models()["metric"])]):
        rows: list[pd.DataFrame] = []
        floors: dict[str, float] = {}
        for result in results:
            models = result.models()
            frame, found = _beside_floors(result, models[models["metric"] == metric], scaled=metric != "auroc")
            rows.append(frame.assign(label=result.name + " " + frame["label"]))
            floors |= {f"{result.name} {label}": floor for label, floor in found.items()}
        if floors:
            xlabel = metric_of(metric).label + ("" if metric == "auroc" else " / best floor’s")
            return figures.png(figures.dots(pd.concat(rows, ignore_index=True), floors, xlabel))
    return b""


def task_label(result: Results, task: str) -> str:
    place = result.card["tasks"][task]["number"]
    return words(task) if place is None else f"{place} {words(task)}"


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


def _model_order(name: str) -> tuple[bool, bool, str]:
    return (not name.startswith("MultiModN"), "multi-task" in name, name)


def _panel_order(mechanism: str, test: str) -> tuple[bool, str, bool, str]:
    return (mechanism != "mnar", mechanism, test != "complete", test)
