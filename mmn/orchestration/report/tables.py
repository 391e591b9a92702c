"""The tables: as the page shows them, and as the csv files hold them. Small counts are hidden in both."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmn.orchestration.report.compare import Standing, standing
from mmn.orchestration.report.numbers import (
    HIDDEN,
    PAPERS_METRIC,
    SMALLEST_COUNT,
    anchor,
    count,
    interval,
    metric_of,
    model_name,
    number,
    part,
    plural,
    share,
    small_cell,
    words,
)  # fmt: skip
from mmn.orchestration.report.results import Results
from mmn.orchestration.report.sentences import best_floor, clear_of_floor, variant

STANDING_WORDS: dict[Standing, tuple[str, str]] = {
    "beats": ("▲", "beats its floor"),
    "unclear": ("≈", "ahead, not clear of its floor"),
    "loses": ("▼", "loses to its floor"),
    "none": ("○", "no floor to compare with"),
    "undefined": ("○", ""),
}
# A floor's AUPRC and Brier score follow from the number of positives: with a small count they would give it away.
TELLING_METRICS = ("auprc", "brier")
_PAPERS_PREFIX = re.compile(r"^(BAC|MSE)\s+")


@dataclass(frozen=True, kw_only=True)
class ScoreCell:
    """One model's score. href: the row that says where the number comes from. undefined: why there is no number."""

    model: str
    task_set: str
    value: str
    interval: str
    subjects: str
    href: str
    standing: Standing
    symbol: str
    verdict: str
    undefined: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PaperCell:
    """The paper's numbers beside ours in the paper's metric. rows: (model, ours, paper's)."""

    metric: str
    rows: list[tuple[str, str, str]]


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    number: str
    name: str
    description: str
    metric: str
    support: str
    columns: dict[str, list[ScoreCell]]
    floor_name: str
    floor: str
    floor_href: str
    other_floors: list[tuple[str, str]] = field(default_factory=list)
    paper: PaperCell | None = None


def columns_of(results: list[Results]) -> list[str]:
    """The models of the table of tasks, MultiModN first; a model that comes later gets its column by being there."""
    names = {variant(row.model, row.task_set, row.task): row.model for r in results for row in r.models().itertuples()}
    return sorted(
        names, key=lambda name: (names[name] != "multimodn", names[name] != "p_fusion", "multi-task" in name, name)
    )


def task_rows(result: Results, columns: list[str]) -> list[TaskRow]:
    return [_task_row(result, task, columns) for task in result.tasks if (result.scores["task"] == task).any()]


def _task_row(result: Results, task: str, columns: list[str]) -> TaskRow:
    about = result.card["tasks"][task]
    rows = result.scores[(result.scores["task"] == task) & result.scores["primary"]]
    metric, unit = str(rows["metric"].iloc[0]), str(rows["unit"].iloc[0] or "")
    cells: dict[str, list[ScoreCell]] = {column: [] for column in columns}
    for row in rows[rows["kind"] == "model"].itertuples():
        cells[variant(row.model, row.task_set, task)].append(score_cell(result, row))
    floor_name, floor = best_floor(result, task, metric)
    others = result.floors(task, metric).sort_values("estimate", ascending=not metric_of(metric).higher_is_better)
    return TaskRow(
        number="" if about["number"] is None else str(about["number"]),
        name=words(task),
        description=about["description"],
        metric=metric_of(metric).label + (f" ({unit})" if unit else ""),
        support=_support(result, task, rows),
        columns=cells,
        floor_name=words(floor_name),
        floor=number(floor, metric) if floor_name else "none computed",
        floor_href=f"#{anchor('made', 'results', result.name, 'scores')}",
        other_floors=[
            (words(r.model), number(r.estimate, metric)) for r in others.itertuples() if r.model != floor_name
        ],
        paper=_paper(result, task, columns),
    )


def score_cell(result: Results, row: Any) -> ScoreCell:
    where = standing(row)
    symbol, verdict = STANDING_WORDS[where]
    if where == "loses" and not clear_of_floor(row):
        verdict = f"{verdict}, not clearly"
    note = ""
    if where != "undefined" and row.num_folds < result.card["num_folds"]:
        note = f"from {row.num_folds} of {result.card['num_folds']} folds; the others had one class only"
    return ScoreCell(
        model=variant(row.model, row.task_set, row.task),
        task_set=words(row.task_set),
        value=number(row.estimate, row.metric),
        interval=interval(row.low, row.high, row.metric),
        subjects=interval(row.boot_low, row.boot_high, row.metric),
        href=f"#{anchor('made', 'models', result.name, row.task_set, row.model)}",
        standing=where,
        symbol=symbol,
        verdict=verdict,
        undefined=_why_undefined(result, row) if where == "undefined" else "",
        note=note,
    )


def _why_undefined(result: Results, row: Any) -> str:
    if result.card["tasks"][row.task]["kind"] != "binary":
        return "Undefined: no test item has a label."
    if row.num_positive == row.num_positive and small_cell(row.num_positive, row.num_items):
        return f"Undefined: too few test items of one class ({HIDDEN}) to have both in a fold."
    if row.num_positive in (0, row.num_items):
        return "Undefined: all test items are of one class."
    return "Undefined: no test fold holds both classes."


def _support(result: Results, task: str, rows: pd.DataFrame) -> str:
    """How many test items the scores rest on."""
    models = rows[rows["kind"] == "model"]
    if models.empty:
        return ""
    row = models.loc[models["num_items"].idxmax()]
    text = f"{count(row['num_items'])} test items"
    if result.card["tasks"][task]["kind"] == "binary" and row["num_positive"] == row["num_positive"]:
        text += f", {part(row['num_positive'], row['num_items'])} positive"
    return text


def _paper(result: Results, task: str, columns: list[str]) -> PaperCell | None:
    about = result.card["tasks"][task]
    published = about.get("published") or {}
    if not published:
        return None
    metric = PAPERS_METRIC[about["kind"]]
    ours = result.scores[
        (result.scores["kind"] == "model") & (result.scores["metric"] == metric) & (result.scores["task"] == task)
    ]
    single = ours[ours["task_set"] == task].drop_duplicates("model").set_index("model")
    rows = [
        (
            model_name(m),
            number(float(single["estimate"].get(m, math.nan)), metric) if m in single.index else "not run",
            _PAPERS_PREFIX.sub("", said),
        )
        for m, said in published.items()
    ]
    return PaperCell(metric=metric_of(metric).label, rows=rows)


# The csv files.


def scores_csv(result: Results) -> pd.DataFrame:
    """Every score of every model and floor; small counts are hidden, and with them what would give them away."""
    frame = result.scores.copy()
    small = np.array([small_cell(p, n) for p, n in zip(frame["num_positive"], frame["num_items"], strict=True)], bool)
    telling = frame["metric"].isin(TELLING_METRICS)
    floor = frame["kind"] == "floor"
    frame["fold_values"] = [
        "" if secret or values is None else " ".join(f"{v:.6g}" for v in values)
        for values, secret in zip(frame["fold_values"], telling & floor, strict=True)
    ]
    hide = small & telling & floor
    frame["standing"] = [standing(row) if row.kind == "model" else "" for row in frame.itertuples()]
    frame.loc[hide, ["estimate", "low", "high", "boot_low", "boot_high"]] = np.nan
    frame.loc[small & telling, "best_floor"] = np.nan
    frame["withheld"] = np.where(hide, "yes", "")
    frame["num_positive"] = [part(p, n) for p, n in zip(frame["num_positive"], frame["num_items"], strict=True)]
    frame["num_items"] = [count(n) for n in frame["num_items"]]
    return frame


def presence_csv(results: list[Results]) -> pd.DataFrame:
    rows = [
        {
            "dataset": result.name,
            "modality": name,
            "description": modality["description"],
            "present": share(modality["presence"], result.card["num_items"] * result.card["num_steps"]),
            "featurizer": featurizer_name(modality["featurizer"]),
            "card": "; ".join(f"{k}: {v}" for k, v in featurizer_facts(modality["featurizer"])),
        }
        for result in results
        for name, modality in result.card["modalities"].items()
    ]
    return pd.DataFrame(rows, columns=["dataset", "modality", "description", "present", "featurizer", "card"])


def left_out_csv(results: list[Results]) -> pd.DataFrame:
    """Candidate items left out of a cohort, and rows left out of a modality, by reason."""
    rows = []
    for result in results:
        rows += [
            {"dataset": result.name, "from": "cohort", "reason": words(reason), "count": count(n)}
            for reason, n in result.card["excluded"].items()
        ]
        for name, modality in result.card["modalities"].items():
            rows += [
                {"dataset": result.name, "from": name, "reason": words(reason), "count": count(n)}
                for reason, n in (modality["featurizer"].get("quarantined") or {}).items()
            ]
    return pd.DataFrame(rows, columns=["dataset", "from", "reason", "count"])


def skipped_csv(results: list[Results]) -> pd.DataFrame:
    rows = [
        {"dataset": result.name, "skipped": name, "why": why}
        for result in results
        for name, why in result.card["skipped"].items()
    ]
    return pd.DataFrame(rows, columns=["dataset", "skipped", "why"])


def counts_csv(results: list[Results]) -> pd.DataFrame:
    rows = [
        {
            "dataset": result.name, "task": task,
            "items": count(result.counts.items), "subjects": count(result.counts.subjects),
            "labelled": part(result.counts.labelled[task], result.counts.items),
            "positive": part(result.counts.positive.get(task, math.nan), result.counts.labelled[task]),
        }
        for result in results for task in result.tasks if task in result.counts.labelled
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["dataset", "task", "items", "subjects", "labelled", "positive"])


def featurizer_name(card: dict[str, Any]) -> str:
    return words(str(card.get("name", card.get("featurizer", "not stated"))))


def featurizer_facts(card: dict[str, Any]) -> list[tuple[str, str]]:
    """What the featurizer says of itself, flattened; hashes whole, quarantined rows left to their own table."""
    facts: list[tuple[str, str]] = []
    for key, value in card.items():
        if key in {"name", "featurizer", "quarantined"}:
            continue
        facts += _flat(words(key), value)
    return facts


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [fact for name, inner in value.items() for fact in _flat(f"{key}, {words(str(name))}", inner)]
    if isinstance(value, list | tuple):
        if len(value) > 12:
            return [(key, f"{len(value)} of them")]
        return [(key, ", ".join(str(entry) for entry in value) or "none")]
    if value is None or value == "":
        return []
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < SMALLEST_COUNT and "num" in key.split():
        return [(key, HIDDEN)]
    return [(key, f"{value:.4g}" if isinstance(value, float) else str(value))]


def size_line(result: Results) -> str:
    """How much data there is, in one line."""
    card = result.card
    line = f"{count(result.counts.items)} items of {count(result.counts.subjects)} subjects"
    line += f", {plural(card['num_folds'], 'fold')}"
    return line + (f", {card['num_steps']} time steps" if card["num_steps"] > 1 else "")
