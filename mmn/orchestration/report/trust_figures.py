"""The drawings of `trust.py`: reliability diagrams and decision curves, in the manner of `figures.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.figures import GREY, INK, WIDTH, series_styles


def reliability_drawing(lines: dict[str, pd.DataFrame]) -> Any:
    """Per name: `mean_prediction`, `observed`, `low`, `high` of each bin."""
    figure, axes = _square(3.6)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, linestyle=(0, (4, 3)), zorder=0)
    styles = series_styles(list(lines))
    for name, part in lines.items():
        reach = np.abs(part[["low", "high"]].to_numpy() - part[["observed"]].to_numpy()).T
        axes.errorbar(
            part["mean_prediction"], part["observed"], yerr=reach, label=name, **styles[name],
            ms=4.5, lw=1.4, elinewidth=0.9, capsize=2,
        )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean prediction", ylabel="share of positives")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def decision_drawing(lines: dict[str, pd.DataFrame]) -> Any:
    """Per name: `threshold`, `net_benefit`, `treat_all`."""
    figure, axes = _square(3.2)
    styles = series_styles(list(lines))
    known = [part["net_benefit"].to_numpy(dtype=np.float64) for part in lines.values()]
    top = max(np.nanmax(values) for values in known if np.isfinite(values).any())
    for name, part in lines.items():
        shown = part.dropna(subset="net_benefit")
        axes.plot(shown["threshold"], shown["net_benefit"], label=name, **styles[name], ms=4, lw=1.5)
    every = next(iter(lines.values())).dropna(subset="treat_all")
    axes.plot(every["threshold"], every["treat_all"], color=INK, lw=1.2, label="treat all")
    axes.axhline(0, color=GREY, lw=1.0, linestyle=(0, (4, 3)), label="treat none")
    axes.set(
        xlim=(0, 1), ylim=(-0.25 * max(top, 0.04), 1.15 * max(top, 0.04)), xlabel="threshold", ylabel="net benefit"
    )
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def _square(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
