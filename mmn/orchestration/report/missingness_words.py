"""What the missingness experiment says, in words that its numbers decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmn.modeling.missingness_tables import ABSENCE, ABSENCE_BY_MODEL, ABSENCE_BY_SKIP, SKIP
from mmn.orchestration.report.numbers import interval, listing, model_name, number, percent, signed, words
from mmn.orchestration.report.results import Results

MECHANISMS = ("mnar_label", "mnar_severity", "mar", "mcar")
"""In the order in which they are told."""

Said = tuple[str, str]  # the claim, what it rests on


def removal_name(model: str, skip: str) -> str:
    """Skipping per batch is for comparison only, and always named."""
    named = {"p_fusion_bits": "P-Fusion with presence bits", "highmmt_mean": "HighMMT, mean of the pairs there are"}
    name = named.get(model) or model_name(model)
    if model == "multimodn":
        return f"{name} (skips per {'batch, as published' if skip == 'batch' else 'item'})"
    return f"{name} (filled per batch)" if skip == "batch" else name


def mechanism_name(mechanism: str, about: Mapping[str, Any], modality: str) -> str:
    """How items lost the modality: a few words that begin with a small letter."""
    severe = "least" if about.get("removed_class") == 0 else "most"
    driver = words(str(about.get("drivers", {}).get(modality, "what else is known")))
    return {
        "mcar": "at random",
        "mar": f"where {driver} looks {severe} severe",
        "mnar_label": "by label",
        "mnar_severity": f"where its own value looks {severe} severe",
    }[mechanism]


def highest_rate(result: Results) -> float:
    """NaN where nothing was removed or no fold gave an AUROC."""
    known = result.missingness_summary.dropna(subset="estimate")
    return float(known["rate"].max()) if len(known) and known["rate"].max() > 0 else math.nan


def removed_modalities(result: Results) -> list[str]:
    summary = result.missingness_summary
    return list(dict.fromkeys(summary.loc[summary["rate"] > 0, "modality"]))


def chance_answer(result: Results) -> Said | None:
    """Which models had learnt nothing that absence could spoil."""
    before = result.missingness_summary[result.missingness_summary["rate"] == 0]
    before = before[~before["above_chance"].astype(bool)]
    if before.empty or math.isnan(highest_rate(result)):
        return None
    names = [removal_name(row.model, row.skip) for row in before.itertuples()]
    told = "; ".join(
        f"{name} {number(row.estimate, 'auroc')} ({interval(row.low, row.high, 'auroc') or 'too few folds'})"
        for name, row in zip(names, before.itertuples(), strict=True)
    )
    task = words(str(result.missingness_card.get("task", "the task")))
    return (
        f"{result.title}: before anything is removed, {listing(names)} {'does' if len(names) == 1 else 'do'} not "
        f"clearly beat chance for {task}.",
        f"AUROC {told}. Whoever has learnt nothing has nothing that absence could spoil: what follows of "
        f"{'it' if len(names) == 1 else 'them'} tells nothing and is left out of what is said.",
    )


def removal_answers(result: Results, modality: str) -> list[Said]:
    """One per mechanism that is not chance, at the highest rate: who learnt from absence, what skipping per batch had
    to do with it, and how MultiModN stands to P-Fusion."""
    rate = highest_rate(result)
    if math.isnan(rate):
        return []
    found = result.missingness_differences
    found = found[(found["modality"] == modality) & (found["rate"] == rate)]
    return [
        said
        for mechanism in MECHANISMS[:-1]
        if (said := _of_mechanism(result, found[found["mechanism"] == mechanism], modality, mechanism, rate))
    ]


def _of_mechanism(result: Results, found: pd.DataFrame, modality: str, mechanism: str, rate: float) -> Said | None:
    asked = found[(found["question"] == ABSENCE) & ~found["verdict"].isin(["at chance", "too few folds"])]
    per_item = asked[asked["first"].str.endswith(" item")]
    if per_item.empty:
        return None
    about = result.missingness_card
    task = words(str(about.get("task", "the task")))
    taken = {
        "mnar_label": f"from {percent(rate)} of one class",
        "mar": f"from {percent(rate)} of all, {mechanism_name('mar', about, modality)},",
        "mnar_severity": f"from {percent(rate)} of all, {mechanism_name('mnar_severity', about, modality)},",
    }[mechanism]
    learnt = [_named(row.first) for row in per_item.itertuples() if row.verdict == "first higher"]
    lead = f"{result.title}: with “{words(modality)}” taken {taken} in training for {task}, "
    lead += f"{listing(learnt)} clearly learnt" if learnt else "no model clearly learnt"
    lead += " to read absence as a sign of the label when skipping per item."
    against = "trained on removal at random" if (per_item["against"] == "mcar").all() else "on its own complete items"
    numbers = "; ".join(_told(result, row) for row in per_item.itertuples())
    text = f"AUROC where test items lose it in the other class, against the same model {against}: {numbers}."
    return lead, " ".join([text, *_skipping(found, learnt), *_models(found)])


def _told(result: Results, row: Any) -> str:
    model, skip = row.first.split()
    flipped = _estimate(result, row.modality, row.mechanism, row.rate, "flipped", model, skip)
    return f"{_named(row.first)} {number(flipped, 'auroc')} against {number(flipped + row.difference, 'auroc')}"


def _skipping(found: pd.DataFrame, learnt: list[str]) -> list[str]:
    """What was an effect of skipping per batch. learnt: who clearly read absence when skipping per item."""
    rows = _usable(found[found["question"] == ABSENCE_BY_SKIP])
    if rows.empty:
        return []
    said = []
    for row in rows[rows["verdict"] != "no clear difference"].itertuples():
        name, size = _short(row.first), _size(row)
        if row.verdict == "second higher":
            said.append(f"{name} loses {size} more per batch than per item.")
        elif _named(row.first) in learnt:
            said.append(f"Skipping per batch hid it in {name}: per item it loses {size} more than per batch.")
        else:
            said.append(f"{name} loses {size} more per item than per batch.")
    if same := [_short(row.first) for row in rows[rows["verdict"] == "no clear difference"].itertuples()]:
        said.append(f"For {listing(same)} there is no clear difference between skipping per item and per batch.")
    costs = _usable(found[(found["question"] == SKIP) & (found["test"] == "complete")])
    dear = [f"{_short(row.first)} {_size(row)}" for row in costs[costs["verdict"] == "first higher"].itertuples()]
    if dear:
        said.append(f"On complete test items skipping per batch costs {listing(dear)}.")
    return said


def _models(found: pd.DataFrame) -> list[str]:
    """Whether MultiModN's standing to P-Fusion holds when it skips per item."""
    rows = _usable(found[found["question"] == ABSENCE_BY_MODEL]).set_index(["first", "second"])
    verdicts = {
        name: {"first higher": first, "second higher": -first, "no clear difference": 0}[rows.loc[pair, "verdict"]]
        for name, pair, first in (
            ("item", ("multimodn item", "p_fusion item"), -1),
            ("published", ("p_fusion item", "multimodn batch"), 1),
        )
        if pair in rows.index
    }  # 1: MultiModN loses clearly less
    if "item" not in verdicts:
        return []
    per_item = {
        1: "Per item MultiModN loses clearly less than P-Fusion",
        0: "Per item there is no clear difference between what MultiModN and P-Fusion lose",
        -1: "Per item MultiModN loses clearly more than P-Fusion",
    }[verdicts["item"]]
    if "published" not in verdicts:
        return [f"{per_item}."]
    per_batch = {1: "it loses clearly less", 0: "neither is clearly ahead", -1: "it loses clearly more"}
    said = f"{per_item}; as published, where MultiModN skips per batch, {per_batch[verdicts['published']]}"
    if verdicts["published"] == 1:
        holds = "it holds" if verdicts["item"] == 1 else "that advantage was an effect of skipping per batch"
        return [f"{said}: {holds}."]
    return [f"{said}."]


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~rows["verdict"].isin(["at chance", "too few folds"])]


def _estimate(result: Results, modality: str, mechanism: str, rate: float, test: str, model: str, skip: str) -> float:
    summary = result.missingness_summary.set_index(["modality", "mechanism", "rate", "test", "model", "skip"])
    return float(summary["estimate"].get((modality, mechanism, rate, test, model, skip), math.nan))


def _named(variant: str) -> str:
    return removal_name(*variant.split())


def _short(variant: str) -> str:
    return removal_name(variant.split()[0], "item").removesuffix(" (skips per item)")


def _size(row: Any) -> str:
    """A difference, whichever its sign, with its interval."""
    low, high = sorted(abs(value) for value in (row.low, row.high))
    return f"{abs(row.difference):.3f} ({signed(low).lstrip('+')} to {signed(high).lstrip('+')})"
