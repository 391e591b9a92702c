"""The part of the report on the missingness experiment: a figure for each modality that was taken away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mmn.modeling.missingness_tables import ABSENCE
from mmn.orchestration.report import figures
from mmn.orchestration.report.missingness_words import (
    MECHANISMS,
    chance_answer,
    highest_rate,
    mechanism_name,
    removal_answers,
    removal_name,
    removed_modalities,
)
from mmn.orchestration.report.numbers import anchor, interval, number, percent, signed, words
from mmn.orchestration.report.panels import FigureView, Panel, panel
from mmn.orchestration.report.results import Results

TEST_WORDS = {
    "complete": "tested on complete items",
    "same": "tested with the same removal",
    "flipped": "tested with it taken from the other class",
}
SKIP_WORDS = {"item": "per item", "batch": "per batch"}
BATCH_WORDS = (
    "Skipping per batch is the published code’s behaviour: one absent value takes the modality from its whole batch, "
    "so that absence is nearly free of the label; it stands here for comparison only."
)


def removal_view(result: Results) -> dict[str, Any]:
    modalities = [] if math.isnan(highest_rate(result)) else removed_modalities(result)
    said = [chance_answer(result)] if modalities else []
    return {
        "removal_figures": [removal_figure(result, modality) for modality in modalities],
        "removal_answers": [one for one in said if one]
        + [one for modality in modalities for one in removal_answers(result, modality)],
        "removal_csvs": sorted(removal_csvs(result)),
    }


def removal_csvs(result: Results) -> dict[str, pd.DataFrame]:
    if result.missingness is None:
        return {}
    return {
        f"missingness-{result.name}": result.missingness,
        f"missingness_summary-{result.name}": result.missingness_summary,
        f"missingness_differences-{result.name}": result.missingness_differences,
    }


def removal_figure(result: Results, modality: str) -> FigureView:
    summary = result.missingness_summary
    about, rate = result.missingness_card, highest_rate(result)
    styles = figures.series_styles(list(dict.fromkeys(summary["model"])))
    mechanisms = [name for name in MECHANISMS if name in set(summary.loc[summary["modality"] == modality, "mechanism"])]
    flipped, more = (
        [
            drawn
            for mechanism in mechanisms
            for test in tests
            for skip in dict.fromkeys(summary["skip"])
            if (drawn := _panel(result, modality, mechanism, test, skip, styles)) is not None
        ]
        for tests in (("flipped",), ("same", "complete"))
    )
    task, severe = words(str(about.get("task", "one task"))), "least" if about.get("removed_class") == 0 else "most"
    caption = (
        f"In training, “{words(modality)}” is taken from a share of the items: by label (of one class only), because "
        f"of what its own value or another modality says (the {severe} severe lose it), or at random. What to see: a "
        "model that has learnt “absent means this class” falls where test items lose it in the other class, below 0.5 "
        "where it follows absence alone. Losing a modality costs any model information, so the fair comparison is the "
        "same model trained on removal at random. Lines are means over folds with corrected 95 % t-intervals; “at "
        "chance” marks a model whose interval before any removal holds 0.5: its further rows tell nothing. A loss is "
        "called clear after Holm’s adjustment over the models of a mechanism and rate."
    )
    if (summary["skip"] == "batch").any():
        caption += f" {BATCH_WORDS}"
    return FigureView(
        anchor=anchor("figure-removal", result.name, modality),
        title=f"{result.title}: does a model read the absence of {words(modality)} as a sign of {task}?",
        caption=f"{caption} The table is at {percent(rate)}.",
        csv="",
        panels=flipped,
        head=["Removed", "Model", "Before", "Complete", "Same removal", "Flipped", "Loss by reading absence"],
        rows=_rows(result, modality, mechanisms, rate),
        paired=True,
        more_title="On complete test items, and with the same removal as in training",
        more=more,
    )


def _panel(
    result: Results, modality: str, mechanism: str, test: str, skip: str, styles: dict[str, dict[str, Any]]
) -> Panel | None:
    """AUROC by rate; at rate 0 every mechanism and test is the same."""
    summary = result.missingness_summary
    mine = summary[
        (summary["skip"] == skip)
        & (
            (summary["rate"] == 0)
            | ((summary["modality"] == modality) & (summary["mechanism"] == mechanism) & (summary["test"] == test))
        )
    ]
    curves = mine.rename(columns={"estimate": "value"}).assign(series=mine["model"])
    if mine.loc[mine["rate"] > 0, "estimate"].dropna().empty:
        return None
    told = {model: removal_name(model, skip) for model in styles if model in set(curves["series"])}
    named = curves.assign(series=curves["series"].map(told))
    title = f"Removed {mechanism_name(mechanism, result.missingness_card, modality)} in training, {TEST_WORDS[test]}, "
    title += SKIP_WORDS[skip]
    alt = f"Line chart, AUROC by removal rate. {title}. " + "; ".join(
        f"{name}: " + ", ".join(f"{number(r.value, 'auroc')} at {percent(r.rate)}" for r in part.itertuples())
        for name, part in named.groupby("series", sort=False)
    )
    shown = summary.loc[summary["modality"].isin([modality, "none"]), ["estimate", "low", "high"]].to_numpy()
    limits = (max(0.0, min(0.45, float(np.nanmin(shown)) - 0.02)), min(1.0, float(np.nanmax(shown)) + 0.02))
    taken = "one class in training" if mechanism == "mnar_label" else "all training items"
    drawn = figures.removal(
        named, limits, {told[m]: styles[m] for m in told}, f"{words(modality)} taken from … % of {taken}"
    )
    return panel(title, drawn, alt)


def _rows(result: Results, modality: str, mechanisms: list[str], rate: float) -> list[list[str]]:
    summary, found = result.missingness_summary, result.missingness_differences
    before = summary[summary["rate"] == 0].set_index(["model", "skip"])
    at_rate = summary[(summary["modality"] == modality) & (summary["rate"] == rate)]
    losses = found[(found["question"] == ABSENCE) & (found["modality"] == modality) & (found["rate"] == rate)]
    rows = []
    for mechanism in mechanisms:
        mine = at_rate[at_rate["mechanism"] == mechanism].set_index(["test", "model", "skip"])["estimate"]
        loss = losses[losses["mechanism"] == mechanism].set_index("first")
        for (model, skip), row in before.iterrows():
            cells = [_auroc(mine.get((test, model, skip), math.nan)) for test in ("complete", "same", "flipped")]
            name = f"{model} {skip}"
            rows.append(
                [
                    mechanism_name(mechanism, result.missingness_card, modality),
                    removal_name(model, skip),
                    _auroc(row["estimate"])
                    + (
                        ""
                        if row["above_chance"]
                        else f" (at chance: {interval(row['low'], row['high'], 'auroc') or 'too few folds'})"
                    ),
                    *cells,
                    _loss(loss.loc[name]) if name in loss.index else "the comparison",
                ]
            )
    return rows


def _auroc(value: float) -> str:
    return number(value, "auroc") if math.isfinite(value) else "undefined"


def _loss(row: Any) -> str:
    if row["verdict"] in {"at chance", "too few folds"}:
        return {"at chance": "tells nothing", "too few folds": "too few folds"}[row["verdict"]]
    text = f"{row['difference']:.3f} ({signed(row['low'])} to {signed(row['high'])})".replace("-", "−")
    learnt = {"first higher": "▼ learnt from absence", "second higher": "▲ better than at random"}
    unclear = "≈ not clear after Holm" if row["low"] > 0 or row["high"] < 0 else "≈ no clear difference"
    return f"{text} {learnt.get(row['verdict'], unclear)}"
