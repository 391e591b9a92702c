"""Small pictures for the Dagster UI: aggregates only, under 50 kB, the same bytes for the same numbers."""

from __future__ import annotations

import io

import numpy as np

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
