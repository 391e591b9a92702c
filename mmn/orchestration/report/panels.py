"""The figures of the page: each with its panels, what it shows in words for those who cannot see it, and a caption."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import metric_of, words
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.sentences import best_floor, variant


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
        csv="figure-scores",
        panels=made,
    )


def score_figure_csv(results: list[Results]) -> pd.DataFrame:
    """What the figure shows: a row per marker."""
    rows = []
    for result in results:
        for name, tasks in result.models().groupby("metric", sort=False):
            metric = metric_of(str(name))
            drawn, floors = _beside_floors(result, tasks, scaled=not metric.higher_is_better)
            shown = metric.label if metric.higher_is_better else f"{metric.label} / best floor’s"
            named = drawn.rename(columns={"label": "task", "series": "model"})
            rows.append(
                named.assign(dataset=result.name, metric=shown, best_floor=drawn["label"].map(floors))[
                    ["dataset", "task", "model", "metric", "value", "low", "high", "best_floor"]
                ]
            )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["dataset", "task", "model"])


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


def _model_order(name: str) -> tuple[bool, bool, str]:
    return (not name.startswith("MultiModN"), "multi-task" in name, name)


def _panel_order(mechanism: str, test: str) -> tuple[bool, str, bool, str]:
    return (mechanism != "mnar", mechanism, test != "complete", test)
