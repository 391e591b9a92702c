"""The answer first: sentences made from the results, each true of the tables below it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.compare import Difference, paired, standing
from mmn.orchestration.report.numbers import listing, metric_of, model_name, number, percent, plural, words
from mmn.orchestration.report.results import Results


@dataclass(frozen=True)
class Sentence:
    """lead: the claim, in a few words. text: what it rests on. group: of which data it is said."""

    lead: str
    text: str = ""
    group: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models on one task by the primary metric, over the same folds. difference: None where there is none."""

    dataset: str
    task: str
    metric: str
    first: str
    second: str
    difference: Difference | None

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return "not comparable"
        if not self.difference.clear:
            return "not told apart"
        return f"{self.first if self._first_better else self.second} better"

    @property
    def _first_better(self) -> bool:
        assert self.difference is not None
        return (self.difference.mean > 0) == metric_of(self.metric).higher_is_better


def variant(model: str, task_set: str, task: str) -> str:
    """ "MultiModN, single task" or "MultiModN, multi-task"; P-Fusion is single-task only, so its name is enough."""
    if task_set != task:
        return f"{model_name(model)}, multi-task"
    return model_name(model) if model == "p_fusion" else f"{model_name(model)}, single task"


def comparisons(results: list[Results]) -> list[Comparison]:
    """Every two models of the same task, MultiModN first."""
    found = []
    for result in results:
        for task, rows in result.models().groupby("task", sort=False):
            by_variant = {variant(row.model, row.task_set, task): row for row in rows.itertuples()}
            names = sorted(by_variant, key=lambda name: (not name.startswith("MultiModN"), name))
            for place, first in enumerate(names):
                for second in names[place + 1 :]:
                    one, two = by_variant[first], by_variant[second]
                    difference = paired(list(one.fold_values), list(two.fold_values), result.counts.test_ratio)
                    found.append(Comparison(result.name, str(task), one.metric, first, second, difference))
    return found


def comparison_table(found: list[Comparison]) -> pd.DataFrame:
    rows = []
    for entry in found:
        spread = entry.difference or Difference(math.nan, math.nan, math.nan)
        rows.append(
            {
                "dataset": entry.dataset, "task": entry.task, "metric": entry.metric, "first": entry.first,
                "second": entry.second, "first_minus_second": spread.mean, "low": spread.low, "high": spread.high,
                "verdict": entry.verdict,
            }
        )  # fmt: skip
    columns = ["dataset", "task", "metric", "first", "second", "first_minus_second", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def answers(results: list[Results]) -> list[Sentence]:
    """Generated worlds and real data are never counted together."""
    if not any(len(result.models()) for result in results):
        return [
            Sentence("No model has a score yet.", "What follows says what was left out, and why."),
            *_left_out(results),
        ]
    said = []
    compared = comparisons(results)
    for generated in (False, True):
        group = [result for result in results if result.generated is generated]
        names = {result.name for result in group}
        found = [*_floors(group), *_versus([c for c in compared if c.dataset in names])]
        found += [sentence for result in group if (sentence := removal_answer(result))]
        found += _left_out(group)
        title = "On generated worlds, which say nothing of real people or places" if generated else "On real data"
        said += [replace(sentence, group=title) for sentence in found]
    return said


def _floors(results: list[Results]) -> list[Sentence]:
    standings: dict[str, list[tuple[str, Any, str]]] = {}
    for result in results:
        for row in result.models().itertuples():
            name = variant(row.model, row.task_set, row.task)
            standings.setdefault(name, []).append((standing(row), row, _floor_name(result, row)))
    said = []
    for name in sorted(standings, key=lambda name: (not name.startswith("MultiModN"), "multi-task" in name, name)):
        rows = standings[name]
        compared = [entry for entry in rows if entry[0] in {"beats", "unclear", "loses"}]
        beats = sum(entry[0] == "beats" for entry in compared)
        parts = []
        if losing := [f"{words(row.task)} (to {floor})" for where, row, floor in compared if where == "loses"]:
            parts.append(f"It loses on {listing(losing)}.")
        if close := [f"{words(row.task)} ({floor})" for where, row, floor in compared if where == "unclear"]:
            parts.append(f"It is ahead of the floor, but not clear of it, on {listing(close)}.")
        if undefined := [words(row.task) for where, row, _ in rows if where == "undefined"]:
            parts.append(f"Its score is undefined on {listing(undefined)}.")
        if none := [words(row.task) for where, row, _ in rows if where == "none"]:
            parts.append(f"There is no floor to compare with on {listing(none)}.")
        lead = f"{name}: clearly better than the best floor on {beats} of {plural(len(compared), 'task')}."
        said.append(Sentence(lead if compared else f"{name}: no score to compare.", " ".join(parts)))
    return said


def _versus(compared: list[Comparison]) -> list[Sentence]:
    said = []
    pairs = (
        ("MultiModN, multi-task", "MultiModN, single task", "One model for several tasks against one model per task"),
        ("MultiModN, single task", "P-Fusion", "MultiModN against P-Fusion, each trained on one task"),
    )
    for first, second, what in pairs:
        usable = [c for c in compared if {c.first, c.second} == {first, second} and c.difference is not None]
        if not usable:
            continue
        apart = [c for c in usable if c.difference is not None and c.difference.clear]
        how_many = (
            f"on {len(apart)} of {plural(len(usable), 'task')}"
            if apart
            else f"on none of {plural(len(usable), 'task')}"
        )
        better = {name: [words(c.task) for c in apart if c.verdict == f"{name} better"] for name in (first, second)}
        parts = [f"{name} is better on {listing(tasks)}." for name, tasks in better.items() if tasks]
        said.append(Sentence(f"{what}: told apart {how_many}.", " ".join(parts)))
    return said


@dataclass(frozen=True)
class Removal:
    """One model of the missingness experiment at its highest rate: AUROC as means over folds, NaN where not measured.

    Test items that lose a modality cost any model information. What label-bound removal taught (`loss`) is therefore
    read against the same model trained on removal at random, on the same flipped test items; without that control,
    against its own complete test items.
    """

    name: str
    before: float
    complete: float
    flipped: float
    control: float
    loss: Difference | None

    @property
    def learnt(self) -> bool:
        return self.loss is not None and self.loss.low > 0


def removals(result: Results) -> tuple[float, list[Removal]]:
    """The highest rate, and every model at it; (NaN, []) where the experiment was not run."""
    table = result.missingness
    if table is None or not (table["mechanism"] == "mnar").any():
        return math.nan, []
    rate = float(table.loc[table["mechanism"] == "mnar", "rate"].max())
    found = []
    for (model, skip), rows in table.groupby(["model", "skip"], sort=False):
        flipped, complete = _folds(rows, "mnar", rate, "flipped"), _folds(rows, "mnar", rate, "complete")
        control, before = _folds(rows, "mcar", rate, "flipped"), _folds(rows, "mnar", 0.0, "complete")
        if not np.isnan(flipped).all():
            against = complete if np.isnan(control).all() else control
            loss = paired(list(against), list(flipped), result.counts.test_ratio)
            name = removal_name(str(model), str(skip))
            found.append(Removal(name, _mean(before), _mean(complete), _mean(flipped), _mean(control), loss))
    return rate, found


def removal_answer(result: Results) -> Sentence | None:
    """What the missingness experiment shows."""
    rate, found = removals(result)
    if not found:
        return None
    about = result.missingness_card
    modality, task = words(about.get("modality", "a modality")), words(about.get("task", "the task"))
    lead = f"{result.title}: with “{modality}” taken from {percent(rate)} of one class in training for {task}, "
    learnt = [entry.name for entry in found if entry.learnt]
    lead += f"{listing(learnt)} clearly learnt" if learnt else "no model clearly learnt"
    parts = [
        f"{entry.name} {number(entry.flipped, 'auroc')}"
        + (f" against {number(entry.control, 'auroc')}" if math.isfinite(entry.control) else "")
        for entry in found
    ]
    text = (
        "AUROC where the test items lose it in the other class, against the same model trained on removal at random: "
    )
    return Sentence(f"{lead} to read absence as a sign of the label.", f"{text}{'; '.join(parts)}.")


def removal_name(model: str, skip: str) -> str:
    """skip="batch" is the published behaviour, kept for comparison and always named so."""
    ways = {
        "": "",
        "item": "skips per item",
        "batch": "skips per batch, as published",
        "mask bits": "also told what is present",
    }
    way = ways.get(skip, words(skip))
    return f"{model_name(model)} ({way})" if way else model_name(model)


def _left_out(results: list[Results]) -> list[Sentence]:
    skipped = {result.title: list(result.card["skipped"]) for result in results if result.card["skipped"]}
    if not skipped:
        return []
    told = "; ".join(f"{title}: {listing([words(name) for name in names])}" for title, names in skipped.items())
    number_of = sum(len(names) for names in skipped.values())
    lead = (
        "One modality or task could not be run."
        if number_of == 1
        else f"{number_of} modalities or tasks could not be run."
    )
    return [Sentence(lead, f"{told}. The reasons are under “The data”.")]


def _floor_name(result: Results, row: Any) -> str:
    name, value = best_floor(result, row.task, row.metric)
    return f"{name}, {number(value, row.metric)}" if name else f"its floor, {number(row.best_floor, row.metric)}"


def best_floor(result: Results, task: str, metric: str) -> tuple[str, float]:
    """("", NaN) where there is none."""
    floors = result.floors(task, metric).dropna(subset="estimate")
    if floors.empty:
        return "", math.nan
    place = floors["estimate"].idxmax() if metric_of(metric).higher_is_better else floors["estimate"].idxmin()
    return str(floors.loc[place, "model"]), float(floors.loc[place, "estimate"])


def _folds(rows: pd.DataFrame, mechanism: str, rate: float, test: str) -> np.ndarray:
    mine = rows[(rows["mechanism"] == mechanism) & np.isclose(rows["rate"], rate) & (rows["test"] == test)]
    return mine.groupby("fold")["auroc"].mean().to_numpy(dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
