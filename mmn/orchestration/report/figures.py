"""The drawings: tables in, matplotlib figures out, the same bytes for the same numbers.

Every figure is at most 4.6 inches wide, so that it is read at its own size on a phone; the page sets several side by
side. Colours are Okabe and Ito's, heat maps blue to red or cividis, and a line or marker never differs by colour alone.
"""

from __future__ import annotations

import io
import textwrap
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.numbers import words

WIDTH = 4.6
BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
STYLES = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILLION, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": "-."},
    {"color": PURPLE, "marker": "D", "linestyle": ":"},
    {"color": ORANGE, "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    {"color": SKY, "marker": "P", "linestyle": (0, (8, 2))},
)
INK, GREY = "#222222", "#767676"


def svg(figure: Any) -> bytes:
    """No date, no creator, ids from a fixed salt, letters as outlines: the page needs no font."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "mmn", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})
    return stream.getvalue()


def dots(rows: pd.DataFrame, floors: dict[str, float], xlabel: str, line: float | None = None) -> Any:
    """One line per `label`, one marker per `series` with its interval (columns value, low, high), the floor as a bar.

    `line`: where the chance level is (0.5), or where model and floor are equal (1).
    """
    labels, series = list(dict.fromkeys(rows["label"])), list(dict.fromkeys(rows["series"]))
    figure, axes = _axes(0.95 + 0.2 * len(series) + 0.52 * len(labels))
    offsets = np.linspace(0.24, -0.24, len(series)) if len(series) > 1 else np.zeros(1)
    for style, name, offset in zip(_styles(len(series)), series, offsets, strict=True):
        mine = rows[rows["series"] == name]
        height = len(labels) - 1 - mine["label"].map(labels.index).to_numpy() + offset
        reach = np.abs(mine[["low", "high"]].to_numpy() - mine[["value"]].to_numpy()).T
        axes.errorbar(
            mine["value"], height, xerr=np.nan_to_num(reach), label=name, **{**style, "linestyle": "none"}, ms=5, lw=1.3
        )
    for position, label in enumerate(reversed(labels)):
        if np.isfinite(floors.get(label, np.nan)):
            axes.plot([floors[label]] * 2, [position - 0.36, position + 0.36], color=INK, lw=2.2, solid_capstyle="butt")
    axes.plot([], [], color=INK, lw=2.2, label="best floor")
    if line is not None:
        axes.axvline(line, color=GREY, lw=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(labels)), [_wrap(label) for label in reversed(labels)])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set_xlabel(xlabel)
    axes.grid(axis="x", color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def removal(curves: pd.DataFrame, limits: tuple[float, float], styles: dict[str, dict[str, Any]], xlabel: str) -> Any:
    """AUROC against the removal rate, one line per `series`, with its interval over folds."""
    figure, axes = _axes(3.3)
    names = [name for name in styles if name in set(curves["series"])]
    for place, name in enumerate(names):
        mine = curves[curves["series"] == name].sort_values("rate")
        shift = (place - (len(names) - 1) / 2) * 0.9
        reach = np.abs(mine[["low", "high"]].to_numpy() - mine[["value"]].to_numpy()).T
        axes.errorbar(
            100 * mine["rate"] + shift, mine["value"], yerr=np.nan_to_num(reach), label=name,
            **styles[name], ms=5, lw=1.6, elinewidth=1, capsize=2,
        )  # fmt: skip
    axes.axhline(0.5, color=GREY, lw=0.8, linestyle=(0, (4, 3)), zorder=0, label="chance")
    axes.set(xlabel=xlabel, ylabel="AUROC on the test items", ylim=limits)
    axes.set_xticks(sorted({100 * float(rate) for rate in curves["rate"]}))
    axes.grid(axis="y", color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=1, frameon=False, fontsize=8)
    return figure


def series_styles(series: list[str]) -> dict[str, dict[str, Any]]:
    return dict(zip(series, _styles(len(series)), strict=True))


def change_map(values: pd.DataFrame, sizes: pd.DataFrame | None, limit: float, label: str, absent: str = "") -> Any:
    """A heat map of signed changes, rows by columns; a cell says its value and, below it, the mean size (`sizes`).

    absent: what a cell without a value says.
    """
    rows = len(values)
    figure, axes = _axes(1.15 + (0.62 if sizes is not None else 0.48) * rows)
    image = _signed_image(axes, values, limit)
    for (row, column), value in np.ndenumerate(values.to_numpy(dtype=np.float64)):
        if np.isnan(value):
            axes.text(column, row, absent, ha="center", va="center", fontsize=7, color="#444444")
            continue
        ink = "white" if abs(value) > 0.62 * limit else INK
        size = float(sizes.iat[row, column]) if sizes is not None else np.nan
        axes.text(
            column, row - (0.14 if np.isfinite(size) else 0), f"{value:+.3f}".replace("-", "−"),
            ha="center", va="center", fontsize=8.5, color=ink,
        )  # fmt: skip
        if np.isfinite(size):
            axes.text(column, row + 0.22, f"size {size:.3f}", ha="center", va="center", fontsize=6.5, color=ink)
    _column_names(axes, [str(name) for name in values.columns])
    axes.set_yticks(range(rows), [_wrap(str(name)) for name in values.index])
    _colour_bar(figure, image, [axes], label)
    return figure


def step_maps(by_group: dict[str, pd.DataFrame], limit: float, label: str) -> Any:
    """Per group a heat map of signed changes, modalities by time steps."""
    from matplotlib.figure import Figure

    modalities = len(next(iter(by_group.values())))
    height = 0.95 + len(by_group) * (0.42 + 0.2 * modalities)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(len(by_group), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (group, values) in zip(panels, by_group.items(), strict=True):
        image = _signed_image(axes, values, limit, lines=False)
        axes.set_title(group, fontsize=8.5, loc="left", color=INK)
        axes.set_yticks(range(len(values)), [words(str(name)) for name in values.index])
        axes.tick_params(labelsize=8)
    steps = [int(step) + 1 for step in next(iter(by_group.values())).columns]
    every = max(1, len(steps) // 8)
    panels[-1].set_xticks(range(0, len(steps), every), steps[::every])
    panels[-1].set_xlabel("time step", fontsize=8.5)
    _colour_bar(figure, image, list(panels), label)
    return figure


def distance_map(values: pd.DataFrame, measured: pd.DataFrame) -> Any:
    """A heat map of distances, light is near; what was not measured is hatched."""
    size = len(values)
    figure, axes = _axes(1.6 + 0.27 * size)
    shown = np.ma.masked_invalid(values.to_numpy(dtype=np.float64))
    image = axes.imshow(shown, cmap="cividis_r", vmin=0.0, interpolation="nearest")
    for (row, column), known in np.ndenumerate(measured.fillna(True).to_numpy(dtype=bool)):
        if not known:
            axes.fill([column - 0.5, column + 0.5, column + 0.5, column - 0.5],
                      [row - 0.5, row - 0.5, row + 0.5, row + 0.5], fill=False, hatch="////", lw=0)  # fmt: skip
    names = [words(str(name)) for name in values.index]
    axes.set_xticks(range(size), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_yticks(range(size), names, fontsize=7.5)
    axes.tick_params(length=0)
    _colour_bar(figure, image, [axes], "distance")
    return figure


def front(rows: pd.DataFrame, marks: dict[str, str]) -> Any:
    """Mean skill against the number of parameters, a marker per kind of plan."""
    figure, axes = _axes(3.2)
    colours = dict(zip(marks, cycle((GREY, BLUE, GREEN, VERMILLION, PURPLE, ORANGE, SKY)), strict=False))
    for kind, part in rows.groupby("kind", sort=False):
        axes.plot(
            part["num_parameters"], part["mean_skill"], marks[str(kind)], color=colours[str(kind)], ms=6, label=kind
        )
    axes.set(xlabel="parameters of one member", ylabel="mean skill", xscale="log")
    axes.grid(color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def lines(
    curves: pd.DataFrame, xlabel: str, ylabel: str, ceiling: float | None = None, logarithmic: bool = False
) -> Any:
    """`value` against `x`, one line per `series`, with its interval where there is one (`low`, `high`). x is shown on a
    scale of doublings; logarithmic: so are the values. ceiling: the best value there is."""
    figure, axes = _axes(3.2)
    names = list(dict.fromkeys(curves["series"]))
    for name, style in series_styles(names).items():
        mine = curves[curves["series"] == name].sort_values("x")
        reach = None
        if "low" in mine:
            reach = np.nan_to_num(np.abs(mine[["low", "high"]].to_numpy() - mine[["value"]].to_numpy()).T)
        axes.errorbar(mine["x"], mine["value"], yerr=reach, label=name, **style, ms=5, lw=1.6, elinewidth=1, capsize=2)
    if ceiling is not None:
        axes.axhline(ceiling, color=INK, lw=1.0, linestyle=(0, (4, 3)), zorder=0, label="the best there is")
    axes.set_xscale("log", base=2)
    if logarithmic:
        axes.set_yscale("log")
    axes.set_xticks(sorted(set(curves["x"])), [f"{x:g}" for x in sorted(set(curves["x"]))])
    axes.minorticks_off()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(axis="y", color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def _signed_image(axes: Any, values: pd.DataFrame, limit: float, lines: bool = True) -> Any:
    from matplotlib import colormaps

    colours = colormaps["RdBu_r"].with_extremes(bad="#DDDDDD")
    shown = np.ma.masked_invalid(values.to_numpy(dtype=np.float64))
    image = axes.imshow(shown, cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if lines:
        axes.set_xticks(np.arange(values.shape[1] - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(values.shape[0] - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def _colour_bar(figure: Any, image: Any, axes: list[Any], label: str) -> None:
    bar = figure.colorbar(image, ax=axes, location="bottom", fraction=0.06, aspect=40, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)


def _column_names(axes: Any, names: list[str]) -> None:
    """Under each other's column without touching: wrapped, then smaller, then slanted."""
    room = 50 / max(1, len(names))  # letters of size 8 in a column
    longest = max((len(word) for name in names for word in words(name).split()), default=0)
    if longest <= 1.35 * room:
        size = 8 if longest <= room else 6.5
        axes.set_xticks(range(len(names)), [_wrap(name, max(longest, int(room * 8 / size))) for name in names])
        axes.tick_params(axis="x", labelsize=size)
    else:
        axes.set_xticks(range(len(names)), [words(name) for name in names], rotation=35, ha="right")


def _axes(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8.5)
    axes.yaxis.label.set_fontsize(8.5)
    return figure, axes


def _styles(number_of: int) -> list[dict[str, Any]]:
    return [dict(STYLES[place % len(STYLES)]) for place in range(number_of)]


def _wrap(name: str, width: int = 17) -> str:
    return "\n".join(textwrap.wrap(words(name), width, break_long_words=False)) or name
