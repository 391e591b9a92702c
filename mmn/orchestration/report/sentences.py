"""The answer first: sentences made from the results, each true of the tables below it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mmn.orchestration.report.compare import Difference, paired, standing
from mmn.orchestration.report.missingness_words import chance_answer, removal_answers, removed_modalities
from mmn.orchestration.report.numbers import listing, metric_of, model_name, number, plural, words
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.subsets_words import costliest, order_costs
from mmn.orchestration.report.trust_words import calibrated, useful


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
        judged = [result for result in group if result.comparisons is not None]
        plain = names - {result.name for result in judged}
        found = [*_floors(group), *_judged(judged), *_versus([c for c in compared if c.dataset in plain])]
        found += [sentence for result in group for sentence in _removals(result)]
        found += [*_relied_on(group), *_less(group), *_left_out(group)]
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
        losing = [
            (clear_of_floor(row), f"{words(row.task)} (to {floor})") for w, row, floor in compared if w == "loses"
        ]
        if clearly := [told for clear, told in losing if clear]:
            parts.append(f"It clearly loses on {listing(clearly)}.")
        if behind := [told for clear, told in losing if not clear]:
            parts.append(f"It loses, though not clearly, on {listing(behind)}.")
        if close := [f"{words(row.task)} ({floor})" for where, row, floor in compared if where == "unclear"]:
            parts.append(f"It is ahead of the floor, but not clear of it, on {listing(close)}.")
        if undefined := [words(row.task) for where, row, _ in rows if where == "undefined"]:
            parts.append(f"Its score is undefined on {listing(undefined)}.")
        if none := [words(row.task) for where, row, _ in rows if where == "none"]:
            parts.append(f"There is no floor to compare with on {listing(none)}.")
        lead = f"{name}: clearly better than the best floor on {beats} of {plural(len(compared), 'task')}."
        said.append(Sentence(lead if compared else f"{name}: no score to compare.", " ".join(parts)))
    return said


def clear_of_floor(row: Any) -> bool:
    """Whether the best floor lies outside the interval over folds, on whichever side."""
    return math.isfinite(row.low) and math.isfinite(row.high) and not row.low <= row.best_floor <= row.high


def _judged(results: list[Results]) -> list[Sentence]:
    """Experiments 1 and 2, after Holm's adjustment over a data set's tasks, and with TOST for equality."""
    said = []
    for question, first, second, names, what in (
        ("task set", "multimodn", "multimodn", ("the multi-task model", "the single-task models"),
         "One MultiModN for several tasks against one per task"),
        ("architecture", "multimodn", "p_fusion", ("MultiModN", "P-Fusion"),
         "MultiModN against P-Fusion, each trained on one task"),
    ):  # fmt: skip
        rows = [_single_task_rows(result, question, first, second) for result in results]
        table = pd.concat(rows) if rows else pd.DataFrame()
        if table.empty:
            continue
        tasks = {verdict: [words(task) for task in part["task"]] for verdict, part in table.groupby("verdict")}
        better = [(names[0], tasks.get("first better", [])), (names[1], tasks.get("second better", []))]
        equal = tasks.get("equivalent", [])
        unclear = len(table) - len(equal) - sum(len(on) for _, on in better)
        lead = (
            f"{what}: told apart on {sum(len(on) for _, on in better)} of {plural(len(table), 'task')}, shown to be "
            f"equal within the margin on {len(equal)}, neither on {unclear}."
        )
        parts = [f"Better on {listing(on)}: {name}." for name, on in better if on]
        if equal:
            parts.append(f"Equal within the margin: {listing(equal)}.")
        said.append(Sentence(lead, " ".join(parts)))
    return said


def _single_task_rows(result: Results, question: str, first: str, second: str) -> pd.DataFrame:
    table = result.comparisons
    assert table is not None
    if table.empty:
        return table
    mine = table[
        table["primary"].astype(bool)
        & (table["question"] == question)
        & (table["first"] == first)
        & (table["second"] == second)
    ]
    return mine if question == "task set" else mine[mine["first_task_set"] == mine["task"]]


def _relied_on(results: list[Results]) -> list[Sentence]:
    """One sentence on calibration and one on decisions, over all data sets."""
    before, after = ([entry for r in results for entry in calibrated(r, way)] for way in ("none", "platt"))
    found = {(r.name, *key): thresholds for r in results for key, thresholds in useful(r).items()}
    said = []
    if before:
        off, still = (sum(bool(faults) for _, faults in entries) for entries in (before, after))
        lead = f"Probabilities: clearly off as they come for {off} of {plural(len(before), 'model')} of a binary task"
        said.append(Sentence(lead + (f"; after Platt’s recalibration for {still} of {len(after)}." if after else ".")))
    if found:
        helps = sum(bool(thresholds) for thresholds in found.values())
        lead = f"Decisions: clearly better than treating all and treating none, at some threshold, for {helps} of "
        said.append(Sentence(f"{lead}{plural(len(found), 'model')} of a binary task."))
    return said


def _less(results: list[Results]) -> list[Sentence]:
    """One sentence on a modality less and one on another order, over all data sets."""
    costs, orders = [entry for r in results for entry in costliest(r)], [order_costs(r) for r in results]
    said = []
    if costs:
        parts = []
        for model in dict.fromkeys(entry[0] for entry in costs):
            mine = [entry for entry in costs if entry[0] == model]
            parts.append(f"{model} on {sum(entry[4] for entry in mine)} of {plural(len(mine), 'task')}")
        said.append(Sentence(f"Without the modality that costs most to lose, clearly worse: {listing(parts)}."))
    kinds = list(dict.fromkeys(kind for found in orders for kind in found))
    if kinds:
        parts = []
        for kind in kinds:
            counted = [found[kind] for found in orders if kind in found]
            worse, num = sum(len(tasks) for tasks, _ in counted), sum(num for _, num in counted)
            parts.append(f"{kind}, on {worse} of {plural(num, 'task')}")
        said.append(Sentence(f"MultiModN in an order that training did not show, clearly worse: {'; '.join(parts)}."))
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


def _removals(result: Results) -> list[Sentence]:
    """What the missingness experiment shows of each modality, by label where that was run; the rest is in its part."""
    if not (modalities := removed_modalities(result)):
        return []
    told = [chance_answer(result), *(answer for m in modalities for answer in removal_answers(result, m)[:1])]
    return [Sentence(*answer) for answer in told if answer is not None]


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
    return f"{words(name)}, {number(value, row.metric)}" if name else f"its floor, {number(row.best_floor, row.metric)}"


def best_floor(result: Results, task: str, metric: str) -> tuple[str, float]:
    """("", NaN) where there is none."""
    floors = result.floors(task, metric).dropna(subset="estimate")
    if floors.empty:
        return "", math.nan
    place = floors["estimate"].idxmax() if metric_of(metric).higher_is_better else floors["estimate"].idxmin()
    return str(floors.loc[place, "model"]), float(floors.loc[place, "estimate"])
