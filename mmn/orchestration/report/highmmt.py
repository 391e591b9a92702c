"""The part of the report on several data sets in one HighMMT: which modalities carry the same information, and what it
costs and gives to share parameters between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.files import read_json
from mmn.orchestration.report import figures
from mmn.orchestration.report.highmmt_analyses import interference_answer, interference_view, involvement_view
from mmn.orchestration.report.numbers import words
from mmn.orchestration.report.panels import FigureView, panel
from mmn.orchestration.step import Step

KINDS = ("unimodal", "crossmodal", "sharing", "transfer", "ablations", "involvement", "interference")
KEYS = {kind: f"results/highmmt/{kind}" for kind in KINDS}
TABLES = {
    "unimodal": ("distances", "groups", "completion", "gains"),
    "crossmodal": ("distances", "groups", "completion", "gains"),
    "sharing": ("front", "scores"),
    "transfer": ("scores",),
    "ablations": ("ablations",),
    "involvement": ("involvement",),
    "interference": ("interference",),
}
_TITLES = {"unimodal": "Modalities: distance (MU)", "crossmodal": "Pairs of modalities: distance (MC)"}
_MARKS = {
    "pre-training": "s", "all shared": "o", "groups": "^", "groups by lot": "x", "none shared": "D",
    "groups by features": "v", "groups without pre-training": "<", "encoders shared alone": "P",
    "pair blocks shared alone": "*",
}  # fmt: skip

JOINED = """\
{% if joined %}
<section aria-labelledby="joined">
<h2 id="joined">Several data sets in one model</h2>
<ul class="answers">
{% for lead, rest in joined.answers %}<li><b>{{ lead }}</b> {{ rest }}</li>{% endfor %}
</ul>
{% for view in joined.figures %}{{ drawing(view) }}{% endfor %}
</section>
{% endif %}
"""


def read_joined(path: Callable[[str], Path], steps: Mapping[str, Step]) -> dict[str, dict[str, Any]]:
    """kind -> its tables, and `card`; {} where no data sets are joined."""
    return {
        kind: {"card": read_json(path(key) / "card.json")}
        | {name: pd.read_parquet(path(key) / f"{name}.parquet") for name in TABLES[kind]}
        for kind, key in KEYS.items()
        if key in steps
    }


def joined_csvs(found: Mapping[str, Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Scores without their counts of items, which the pages of the data sets tell."""
    return {
        f"highmmt-{kind}-{name}": table.drop(
            columns=[c for c in ("fold_values", "num_items", "num_positive") if c in table]
        )
        for kind, tables in found.items()
        for name, table in tables.items()
        if name != "card"
    }


def joined_view(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    if not found:
        return None
    views = [_distances(kind, found[kind]) for kind in _TITLES if kind in found]
    if "sharing" in found:
        views.append(_front(found["sharing"]["front"]))
    if "transfer" in found:
        views.append(_transfer(found["transfer"]["scores"]))
    if "ablations" in found:
        views.append(_ablations(found["ablations"]["ablations"]))
    if "involvement" in found:
        views.append(involvement_view(found["involvement"]))
    if "interference" in found:
        views.append(interference_view(found["interference"]))
    return {"figures": views, "answers": _answers(found)}


def _distances(kind: str, tables: Mapping[str, Any]) -> FigureView:
    names = list(tables["card"]["nodes"])
    table = tables["distances"]
    wide = table.pivot(index="source", columns="target", values="distance").reindex(index=names, columns=names)
    measured = table.pivot(index="source", columns="target", values="measured").reindex(index=names, columns=names)
    silent = tables["card"]["hardly_better_than_a_constant"]
    nearest = table[table["source"] < table["target"]].nsmallest(3, "distance")
    alt = f"{_TITLES[kind]} between {len(names)}. The nearest: " + "; ".join(
        f"{words(r.source)} and {words(r.target)} {r.distance:.3f}" for r in nearest.itertuples()
    )
    groups = tables["groups"]
    rows = [
        [str(budget), "; ".join(", ".join(words(n) for n in part["node"]) for _, part in of_budget.groupby("group"))]
        for budget, of_budget in groups.groupby("budget")
    ]
    caption = (
        "How much worse each is for having begun with the other's weights, both directions added, as a share of what "
        "its own model gains over a constant. Near (light) means: the same encoder serves both. "
        f"{tables['card']['num_measured']} of {tables['card']['num_pairs']} pairs were measured"
        + (", the others (hatched) filled in by a matrix of rank 3." if not _all(measured) else ".")
        + (
            f" A model of {', '.join(map(words, silent))} hardly beats a constant, so its distances say nothing: they "
            "are filled in, too."
            if silent
            else ""
        )
        + ("" if _all(measured) else _filled_in(tables["completion"]))
    )
    return FigureView(
        anchor=f"figure-highmmt-{kind}",
        title=_TITLES[kind],
        caption=caption,
        csv=f"highmmt-{kind}-distances",
        panels=[panel("", figures.distance_map(wide, measured), alt)],
        head=["groups", "who shares with whom"],
        rows=rows,
    )


def _filled_in(completion: pd.DataFrame) -> str:
    mine = completion[completion["share"] == completion["share"].max()]
    if mine.empty:
        return " How good that is cannot be said: too few were measured."
    hidden, missed, by_mean = 1 - mine["share"].iloc[0], mine["completed"].mean(), mine["mean_filled"].mean()
    return (
        f" Of the measured ones, {hidden:.0%} hidden in turn, it misses by {missed:.3f}, their mean by {by_mean:.3f}"
        + (": so what is filled in is no better than their mean." if missed >= by_mean else ".")
    )


def _all(measured: pd.DataFrame) -> bool:
    values = measured.to_numpy()[~np.eye(len(measured), dtype=bool)]
    return bool(np.all(values.astype(bool)))


def _front(front: pd.DataFrame) -> FigureView:
    alt = "; ".join(f"{r.plan}: {r.num_parameters:,} parameters, skill {r.mean_skill:.3f}" for r in front.itertuples())
    return FigureView(
        anchor="figure-highmmt-front",
        title="Skill against parameters",
        caption="One model over all data sets, by who shares with whom. Skill is 0 for a constant and 1 for a perfect "
        "prediction, averaged over tasks. What to see: groups by heterogeneity are worth their name only where they "
        "lie above groups by lot of as many parameters.",
        csv="highmmt-sharing-front",
        panels=[panel("", figures.front(front, _MARKS), alt)],
        head=["who shares", "encoders", "pair blocks", "parameters", "mean skill"],
        rows=[
            [r.plan, str(r.num_encoders), str(r.num_blocks), f"{r.num_parameters:,}", f"{r.mean_skill:.3f}"]
            for r in front.itertuples()
        ],
    )


def _transfer(scores: pd.DataFrame) -> FigureView:
    skill = scores.groupby(["dataset", "share", "way"], sort=False)["skill"].mean().unstack()
    ways = list(skill.columns)
    return FigureView(
        anchor="figure-highmmt-transfer",
        title="What the other data sets are worth",
        caption="Mean skill over a data set's tasks, trained alone, after the others, and with them, on a share of its "
        "training labels.",
        csv="highmmt-transfer-scores",
        panels=[],
        head=["data set", "labels", *ways],
        rows=[
            [words(dataset), f"{share:.0%}", *(f"{value:.3f}" for value in row)]
            for (dataset, share), row in zip(skill.index, skill.to_numpy(), strict=True)
        ],
    )


def _ablations(table: pd.DataFrame) -> FigureView:
    return FigureView(
        anchor="figure-highmmt-ablations",
        title="What each part is worth",
        caption="The same training without one part: without the marks that say which modality a token is of, without "
        "the encoder (pairs read tokens), without the pair block (the heads read all latents).",
        csv="highmmt-ablations-ablations",
        panels=[],
        head=["without", "parameters", "mean skill"],
        rows=[[r.without, f"{r.num_parameters:,}", f"{r.mean_skill:.3f}"] for r in table.itertuples()],
    )


def _mode(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    mode = next(iter(found.values()))["card"].get("mode", "paper")
    return ("Models follow", "the published code, where it differs from the paper."
            if mode == "published" else "the paper, where its published code differs.")  # fmt: skip


def _answers(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    told = [_mode(found)]
    if "sharing" in found:
        front = found["sharing"]["front"]
        best = front.loc[front["mean_skill"].idxmax()]
        apart = front[front["kind"] == "none shared"]["num_parameters"].max()
        told.append(
            (
                f"Best: {best['plan']}",
                f"(mean skill {best['mean_skill']:.3f} with {best['num_parameters'] / apart:.0%} of the parameters "
                "that sharing nothing takes). One training each: differences of a few hundredths are no finding.",
            )
        )
        gains = []
        for _, by_size in front[front["kind"].isin(["groups", "groups by lot"])].groupby("num_parameters"):
            skill = by_size.groupby("kind")["mean_skill"].mean()
            if len(skill) == 2:
                gains.append(float(skill["groups"] - skill["groups by lot"]))
        if gains:
            lead = "Groups by heterogeneity against groups by lot:"
            told.append((lead, f"{np.mean(gains):+.3f} of skill on average, at as many parameters."))
    if "interference" in found:
        told.append(interference_answer(found["interference"]["interference"]))
    for kind, what in (("unimodal", "modalities"), ("crossmodal", "pairs")):
        if kind in found and len(completion := found[kind]["completion"]):
            half = completion[completion["share"] == 0.5]
            if len(half):
                agreement = half["rand"].mean()
                told.append(
                    (
                        f"Would half of the measured distances between {what} do?",
                        f"Completed at rank 3 they are wrong by {half['completed'].mean():.3f} on average, the mean of "
                        f"the known ones by {half['mean_filled'].mean():.3f}"
                        + (f"; agreement of the groups {agreement:.2f} (1 is the same, 0 chance)."
                           if math.isfinite(agreement) else "."),
                    )
                )  # fmt: skip
    return told
