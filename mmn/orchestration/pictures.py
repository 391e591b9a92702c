"""Small pictures for the Dagster UI: aggregates only, under 50 kB, the same bytes for the same numbers.

Those of the experiments are the report's own drawings, one of each; the report has them all.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

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


def removal_picture(summary: pd.DataFrame) -> bytes | None:
    """The first modality by rate, tested on items that lose it in the other class; by label where that was run."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.missingness_words import MECHANISMS, removal_name
    from mmn.orchestration.report.numbers import words

    flipped = summary[(summary["test"] == "flipped") & np.isfinite(summary["estimate"])]
    if flipped.empty:
        return None
    modality = flipped["modality"].iloc[0]
    mechanism = next(name for name in MECHANISMS if name in set(flipped["mechanism"]))
    shown = flipped[(flipped["modality"] == modality) & (flipped["mechanism"] == mechanism)]
    shown = pd.concat([summary[summary["rate"] == 0], shown]).rename(columns={"estimate": "value"})
    shown["series"] = [removal_name(row.model, row.skip) for row in shown.itertuples()]
    limits = (
        max(0.0, min(0.45, float(shown["low"].min()) - 0.02)),
        min(1.0, max(0.55, float(shown["high"].max()) + 0.02)),
    )
    xlabel = f"{words(modality)} removed in training ({words(mechanism)}), %; flipped in the test"
    return figures.png(
        figures.removal(shown, limits, figures.series_styles(list(dict.fromkeys(shown["series"]))), xlabel)
    )


def contribution_picture(shapley: pd.DataFrame) -> bytes | None:
    """Mean Shapley values of the single-task models: tasks by modalities."""
    from mmn.orchestration.report import figures

    single = shapley[shapley["task_set"] == shapley["task"]]
    mine = single if len(single) else shapley
    mine = mine[np.isfinite(mine["shapley"])]
    if mine.empty:
        return None
    values, sizes = (
        mine.pivot_table(index="task", columns="modality", values=column, aggfunc="mean", sort=False)
        for column in ("shapley", "abs_shapley")
    )
    limit = max(float(np.nanmax(np.abs(values.to_numpy()))), 1e-3)
    return figures.png(
        figures.change_map(values, sizes, limit, "Shapley value: lowers the prediction  ←  →  raises it")
    )


def subsets_picture(subsets: pd.DataFrame) -> bytes | None:
    """The first task's single-task models with every subset of their modalities."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.numbers import model_name, words
    from mmn.orchestration.report.subsets import subset_drawing

    if subsets.empty:
        return None
    mine = subsets[(subsets["task_set"] == subsets["task"]) & np.isfinite(subsets["estimate"])]
    mine = mine[mine["task"] == mine["task"].iloc[0]] if len(mine) else mine
    if mine.empty or int(mine["num_modalities"].max()) < 2:
        return None
    mine = mine.assign(series=[model_name(model) for model in mine["model"]])
    drawn, _ = subset_drawing(mine, figures.series_styles(list(dict.fromkeys(mine["series"]))))
    drawn.axes[-1].set_title(words(mine["task"].iloc[0]), fontsize=8.5, loc="left")
    return figures.png(drawn)


def reliability_picture(tables: Mapping[str, pd.DataFrame]) -> bytes | None:
    """The first binary task's single-task models, as they predict. None where no task is binary."""
    from mmn.orchestration.report import figures
    from mmn.orchestration.report.numbers import model_name, words
    from mmn.orchestration.report.trust_figures import reliability_drawing

    if "reliability" not in tables:
        return None
    table = tables["reliability"]
    mine = table[
        (table["task_set"] == table["task"]) & (table["recalibration"] == "none") & (table["group"] == "all items")
    ]
    if mine.empty:
        return None
    mine = mine[mine["task"] == mine["task"].iloc[0]]
    lines = {model_name(str(model)): part for model, part in mine.groupby("model", sort=False)}
    drawn = reliability_drawing(lines)
    drawn.axes[0].set_title(words(mine["task"].iloc[0]), fontsize=8.5, loc="left")
    return figures.png(drawn)


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
