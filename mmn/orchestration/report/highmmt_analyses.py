"""Of the report's part on several data sets in one model: which parameters take part in what, and what wrong labels of
one data set do to the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmn.orchestration.report import figures
from mmn.orchestration.report.numbers import words
from mmn.orchestration.report.panels import FigureView, panel

PARTS = {"encoders": "encoder", "blocks": "pair block"}
LEARNS = {"all": "the whole model learns", "encoders": "the encoder alone learns", "blocks": "the pair block alone"}


def involvement_view(tables: Mapping[str, Any]) -> FigureView:
    """Shares of parameters by the number of data sets, and of tasks, in which they take part."""
    shares = tables["involvement"].groupby(["part", "level", "num"])["share"].mean()
    panels, rows = [], []
    for level in ("data set", "task"):
        wide = shares.xs(level, level="level").unstack("num").reindex([part for part in PARTS if part in shares])
        wide = wide.rename(index=PARTS)
        alt = f"Parameters by the number of {level}s they take part in. " + "; ".join(
            f"{part}: " + ", ".join(f"{num} {share:.0%}" for num, share in row.items() if share > 0)
            for part, row in wide.iterrows()
        )
        panels.append(panel(f"By {level}", _shares(wide, level), alt))
        rows += [
            [level, str(part), ", ".join(f"{num}: {share:.1%}" for num, share in row.items() if share > 0)]
            for part, row in wide.iterrows()
        ]
    return FigureView(
        anchor="figure-highmmt-involvement",
        title="Which parameters take part in what",
        caption="A parameter takes part in a data set or task in which the gradient of the prediction by it is at "
        f"least {tables['card']['threshold']:g} times as large as where it is largest "
        f"({tables['card']['items']} test items of each task; mean over folds). What to see: what is shared in "
        "name is shared in fact only if it takes part in several.",
        csv="highmmt-involvement-involvement",
        panels=panels,
        head=["by", "part", "number: share of parameters"],
        rows=rows,
    )


def _shares(wide: pd.DataFrame, level: str) -> Any:
    """A bar per part, cut by the number of data sets or tasks; darker is more."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(figures.WIDTH, 1.2 + 0.35 * len(wide)), layout="constrained")
    axes = figure.subplots()
    colours = colormaps["cividis_r"].resampled(max(2, wide.shape[1]))
    left = pd.Series(0.0, index=wide.index)
    for place, num in enumerate(wide.columns):
        axes.barh([str(part) for part in wide.index], wide[num], left=left, color=colours(place), label=str(num))
        for row, (share, start) in enumerate(zip(wide[num], left, strict=True)):
            if share > 0.08:
                ink = "white" if place > wide.shape[1] / 2 else figures.INK
                axes.text(start + share / 2, row, str(num), ha="center", va="center", fontsize=8, color=ink)
        left = left + wide[num]
    axes.set(xlim=(0, 1))
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"share of parameters; in bars, the number of {level}s", fontsize=8.5)
    return figure


def interference_view(tables: Mapping[str, Any]) -> FigureView:
    """A map per part that learns: whose labels were flipped, and the drop of everybody's skill."""
    table = tables["interference"]
    others = table[table["flipped"] != table["measured"]]
    limit = max(0.1, float(others["drop"].abs().max()))  # what a data set does to itself is far beyond
    panels = []
    for learns, title in LEARNS.items():
        mine = table[table["learns"] == learns]
        names = list(dict.fromkeys(mine["flipped"]))
        wide = mine.pivot(index="flipped", columns="measured", values="drop").reindex(index=names, columns=names)
        alt = f"Drop of skill, {title}. " + "; ".join(
            f"{words(r.flipped)} flipped, {words(r.measured)} {r.drop:+.3f}" for r in mine.itertuples()
        )
        named = wide.rename(index=words, columns=words)
        panels.append(panel(title, figures.change_map(named, None, limit, "drop of skill"), alt))
    return FigureView(
        anchor="figure-highmmt-interference",
        title="What the wrong labels of one data set do to the others",
        caption="The joint model is trained on with one data set's labels flipped (rows), and beside it with true "
        "ones; the difference of the skill on true test labels (columns), 95 % interval over folds. What to see: off "
        "the diagonal, harm is evidence that information is shared.",
        csv="highmmt-interference-interference",
        panels=panels,
        head=["learns", "flipped", "measured", "drop of skill", "interval"],
        rows=[
            [LEARNS[r.learns], words(r.flipped), words(r.measured), f"{r.drop:+.3f}", _interval(r)]
            for r in table.itertuples()
        ],
    )


def interference_answer(table: pd.DataFrame) -> tuple[str, str]:
    whole = table[(table["learns"] == "all") & (table["flipped"] != table["measured"])]
    told = whole["low"].notna()
    interval = f"the interval lies above 0 for {int((whole['low'] > 0).sum())} of {int(told.sum())} pairs."
    return (
        "Do data sets interfere?",
        f"With one's labels flipped the others lose {whole['drop'].mean():.3f} of skill on average; "
        + (interval if told.any() else "one fold has no interval."),
    )


def _interval(row: Any) -> str:
    return "one fold" if pd.isna(row.low) else f"{row.low:+.3f} to {row.high:+.3f}"
