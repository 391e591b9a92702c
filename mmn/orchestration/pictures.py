"""Small pictures for the Dagster UI: aggregates only, under 50 kB, the same bytes for the same numbers.

Those of the experiments are the report's own drawings, of the single-task models; the report has the others too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from mmn.data.embeddings import Embeddings

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe-Ito: told apart by colour-blind readers too.


def embedding_picture(embeddings: Embeddings) -> bytes:
    """Presence over steps (series) or the spread of each dimension (static)."""
    figure, axes = _figure()
    if embeddings.num_steps > 1:
        axes.bar(np.arange(embeddings.num_steps), embeddings.present.mean(axis=0), color=BLUE)
        axes.set(xlabel="step", ylabel="share of items present", ylim=(0, 1))
    else:
        shown = embeddings.values[0][embeddings.present].astype(np.float64)
        spread = np.sort(np.nanstd(shown, axis=0))[::-1] if len(shown) else np.zeros(1)
        axes.plot(np.arange(len(spread)) + 1, spread, color=BLUE)
        axes.set(xlabel="dimension, sorted", ylabel="standard deviation", yscale="symlog")
    return _png(figure)


def scores_picture(labels: list[str], estimates: list[float], lows: list[float], highs: list[float]) -> bytes:
    figure, axes = _figure(height=0.6 + 0.22 * len(labels))
    rows = np.arange(len(labels))[::-1]
    low = np.nan_to_num(np.asarray(estimates) - np.asarray(lows))
    high = np.nan_to_num(np.asarray(highs) - np.asarray(estimates))
    axes.errorbar(estimates, rows, xerr=[np.abs(low), np.abs(high)], fmt="o", color=BLUE, ms=3, lw=1)
    axes.set_yticks(rows, labels, fontsize=6)
    return _png(figure)


def curve_picture(curve: dict[str, list[float]], xlabel: str, ylabel: str) -> bytes:
    figure, axes = _figure()
    for (name, values), colour in zip(curve.items(), (BLUE, ORANGE, "#009E73", "#CC79A7"), strict=False):
        axes.plot(np.arange(len(values)) + 1, values, color=colour, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize=6, frameon=False)
    return _png(figure)


def removal_pictures(summary: pd.DataFrame) -> dict[str, bytes]:
    """Tested on items that lose the modality in the other class, by rate: a picture per modality and mechanism."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.missingness_words import MECHANISMS, removal_name
    from mmn.orchestration.report.numbers import words

    flipped = summary[(summary["test"] == "flipped") & np.isfinite(summary["estimate"])]
    whole, drawn = summary[summary["rate"] == 0], {}
    for modality, mechanism in product(dict.fromkeys(flipped["modality"]), MECHANISMS):
        mine = flipped[(flipped["modality"] == modality) & (flipped["mechanism"] == mechanism)]
        if mine.empty:
            continue
        shown = pd.concat([whole, mine]).rename(columns={"estimate": "value"})
        shown["series"] = [removal_name(row.model, row.skip) for row in shown.itertuples()]
        limits = (
            max(0.0, min(0.45, float(shown["low"].min()) - 0.02)),
            min(1.0, max(0.55, float(shown["high"].max()) + 0.02)),
        )
        styles = figures.series_styles(list(dict.fromkeys(shown["series"])))
        title = f"{words(modality)} removed in training ({words(mechanism)})"
        drawn[title] = figures.png(figures.removal(shown, limits, styles, f"{title}, %; flipped in the test"))
    return drawn


def contribution_pictures(shapley: pd.DataFrame, imc: pd.DataFrame) -> dict[str, bytes]:
    """Mean Shapley values and mean contributions alone (IMC) of the single-task models: tasks by modalities."""
    wanted = {
        "Shapley values": (shapley, "shapley", "abs_shapley", "Shapley value"),
        "modalities alone (IMC)": (imc, "imc", "abs_imc", "contribution alone"),
    }
    found = {title: _contributions(*asked) for title, asked in wanted.items()}
    return {title: picture for title, picture in found.items() if picture is not None}


def _contributions(table: pd.DataFrame, value: str, size: str, name: str) -> bytes | None:
    from mmn.orchestration.report import figures

    single = table[table["task_set"] == table["task"]]
    mine = single if len(single) else table
    mine = mine[np.isfinite(mine[value])]
    if mine.empty:
        return None
    values, sizes = (
        mine.pivot_table(index="task", columns="modality", values=column, aggfunc="mean", sort=False)
        for column in (value, size)
    )
    limit = max(float(np.nanmax(np.abs(values.to_numpy()))), 1e-3)
    return figures.png(figures.change_map(values, sizes, limit, f"{name}: lowers the prediction  ←  →  raises it"))


def subsets_pictures(subsets: pd.DataFrame) -> dict[str, bytes]:
    """The single-task models with every subset of their modalities, a picture per task."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.numbers import model_name, words
    from mmn.orchestration.report.subsets import subset_drawing

    drawn: dict[str, bytes] = {}
    if subsets.empty:
        return drawn
    single = subsets[(subsets["task_set"] == subsets["task"]) & np.isfinite(subsets["estimate"])]
    for task, of_task in single.groupby("task", sort=False):
        if int(of_task["num_modalities"].max()) < 2:
            continue
        mine = of_task.assign(series=[model_name(model) for model in of_task["model"]])
        figure, _ = subset_drawing(mine, figures.series_styles(list(dict.fromkeys(mine["series"]))))
        drawn[words(str(task))] = figures.png(figure)
    return drawn


def trust_pictures(tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Of the single-task models as they predict: reliability and decision curves, a picture each per binary task."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.numbers import model_name, words
    from mmn.orchestration.report.trust_figures import decision_drawing, reliability_drawing

    drawn = {}
    for name, draw, known in (
        ("reliability", reliability_drawing, "observed"),
        ("decisions", decision_drawing, "net_benefit"),
    ):
        if name not in tables:
            continue
        table = tables[name]
        mine = table[(table["task_set"] == table["task"]) & (table["recalibration"] == "none")]
        if "group" in mine:
            mine = mine[mine["group"] == "all items"]
        for task, of_task in mine.groupby("task", sort=False):
            if np.isfinite(of_task[known]).any():
                lines = {model_name(str(model)): part for model, part in of_task.groupby("model", sort=False)}
                drawn[f"{name}, {words(str(task))}"] = figures.png(draw(lines))
    return drawn


def open_pictures(tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Of the open questions: AUROC by state size, and what modalities cost."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.open_questions import costs_drawing, state_drawing

    return {
        "state sizes": figures.png(state_drawing(tables["state_sizes"])),
        "operations": figures.png(costs_drawing(tables["costs"], "operations")),
        "memory": figures.png(costs_drawing(tables["costs"], "peak_bytes")),
    }


def heat_picture(names: list[str], distances: np.ndarray) -> bytes:
    """(M, M) distances of modalities: dark is far."""
    figure, axes = _figure(0.9 + 0.22 * len(names))
    image = axes.imshow(distances, cmap="cividis_r", vmin=0.0)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    figure.colorbar(image, ax=axes, label="distance")
    return _png(figure)


def _figure(height: float = 1.9):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(7)
    axes.yaxis.label.set_fontsize(7)
    return figure, axes


def _png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})
    return stream.getvalue()
