"""What the report reads: the result folders of each data set, checked against what it counts on."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mmn.data.cohort import Cohort, read_cohort
from mmn.data.errors import ContractError
from mmn.data.files import read_json

SCORE_COLUMNS = (
    "task", "number", "model", "task_set", "kind", "metric", "primary", "unit", "estimate", "low", "high", "boot_low",
    "boot_high", "num_folds", "num_items", "num_positive", "best_floor", "beats_floor", "fold_values",
)  # fmt: skip
IMC_COLUMNS = ("task", "task_set", "modality", "fold", "imc", "abs_imc")
CP_COLUMNS = ("task", "task_set", "group", "step", "modality", "change", "prediction")
MISSINGNESS_COLUMNS = ("modality", "mechanism", "rate", "test", "model", "skip", "fold", "auroc")
# Of results/<data set>/missingness, beside the folds' own rows.
MISSINGNESS_TABLES = {
    "missingness_summary": (*MISSINGNESS_COLUMNS[:6], "estimate", "low", "high", "above_chance"),
    "missingness_differences": (
        "question", *MISSINGNESS_COLUMNS[:4], "first", "second", "against", "difference", "low", "high", "verdict",
    ),
}  # fmt: skip
EARLY_COLUMNS = (*SCORE_COLUMNS, "share", "step")
STEP_COLUMNS = (*SCORE_COLUMNS, "step")
# Table -> columns the report counts on, of results/<data set>/interpretability and of results/<data set>/subsets.
INSIDE_TABLES = {
    "shapley": ("task", "task_set", "modality", "fold", "shapley", "abs_shapley", "exact", "error"),
    "agreement": ("task", "task_set", "fold", "over_modalities", "over_items", "same_first"),
    "stability": ("task", "task_set", "measure", "rank_correlation", "lowest", "highest", "strongest", "same_first"),
    "imc_items": ("task", "task_set", "item", "modality", "imc"),
    "cp_items": ("task", "task_set", "item", "step", "modality", "change", "prediction"),
}
SUBSETS_TABLES = {
    "subsets": ("task", "task_set", "model", "subset", "num_modalities", "all", "metric", "estimate", "fold_values"),
    "orders": ("task", "task_set", "variant", "order", "first", "metric", "estimate", "fold_values", "moved"),
    "order_sensitivity": ("task", "task_set", "variant", "metric", "in_order", "other", "difference", "low", "high"),
}
# Of results/<data set>/trust; of scores: how two models differ.
TRUST_TABLES: dict[str, tuple[str, ...]] = {
    "calibration": ("task", "task_set", "model", "recalibration", "group", "withheld", "brier", "ece", "slope"),
    "reliability": ("task", "task_set", "model", "recalibration", "group", "mean_prediction", "observed"),
    "decisions": ("task", "task_set", "model", "recalibration", "threshold", "withheld", "net_benefit", "treat_all"),
    "subgroups": ("task", "task_set", "model", "attribute", "group", "metric", "withheld", "estimate", "difference"),
}
COMPARISON_TABLES: dict[str, tuple[str, ...]] = {
    "comparisons": ("task", "question", "metric", "primary", "first", "second", "difference", "p_holm", "verdict")
}
CARD_KEYS = (
    "provenance", "dataset", "title", "version", "generated", "notes", "excluded", "num_items", "num_subjects",
    "num_steps", "num_folds", "skipped", "tasks", "modalities",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of the cohort. labelled, positive: by task, at the step it is read at (positive of binary tasks only).

    test_ratio: test items per training item, averaged over folds; the corrected comparison of two models needs it.
    """

    items: int
    subjects: int
    labelled: dict[str, int]
    positive: dict[str, int]
    test_ratio: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """One data set's results. `missingness` and `early` are None where that was not run.

    inside: what INSIDE_TABLES names, beside imc and cp. items_shown: which single items they hold, and why.
    subsets: what SUBSETS_TABLES names. Tables that were not made are not there.
    """

    name: str
    card: dict[str, Any]
    counts: Counts
    scores: pd.DataFrame
    imc: pd.DataFrame
    cp: pd.DataFrame
    missingness: pd.DataFrame | None
    missingness_card: dict[str, Any]
    missingness_summary: pd.DataFrame = field(default_factory=lambda: _nothing("missingness_summary"))
    missingness_differences: pd.DataFrame = field(default_factory=lambda: _nothing("missingness_differences"))
    early: pd.DataFrame | None = None
    step_by_step: pd.DataFrame | None = None
    inside: dict[str, pd.DataFrame] = field(default_factory=dict)
    items_shown: str = ""
    subsets: dict[str, pd.DataFrame] = field(default_factory=dict)
    binarised: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    trust: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.card["title"]

    @property
    def generated(self) -> bool:
        return bool(self.card["generated"])

    @property
    def tasks(self) -> list[str]:
        """By their number in the paper, those without one last, in the card's order."""
        tasks = self.card["tasks"]
        return sorted(tasks, key=lambda task: (tasks[task]["number"] is None, tasks[task]["number"] or 0))

    def models(self) -> pd.DataFrame:
        """The primary metric of every trained model, one row per model, task set and task."""
        return self.scores[(self.scores["kind"] == "model") & self.scores["primary"]]

    def floors(self, task: str, metric: str) -> pd.DataFrame:
        scores = self.scores
        return scores[(scores["kind"] == "floor") & (scores["task"] == task) & (scores["metric"] == metric)]


def read_results(name: str, path: Callable[[str], Path], keys: Container[str]) -> Results:
    """`path(key)` is where a step's output lies; `keys` are the steps there are. Raises ContractError."""
    folder = path(f"results/{name}/scores")
    card = _read_card(folder)
    looked = (key := f"results/{name}/interpretability") in keys
    interpretability = path(key) if looked else folder
    missingness, missingness_card, removal = None, {}, {}
    if (key := f"results/{name}/missingness") in keys:
        missingness = _read_table(path(key) / "missingness.parquet", MISSINGNESS_COLUMNS)
        removal = {
            table: _read_table(path(key) / f"{table}.parquet", columns) for table, columns in MISSINGNESS_TABLES.items()
        }
        missingness_card = read_json(path(key) / "card.json")
    scores = _read_table(folder / "scores.parquet", SCORE_COLUMNS)
    if unknown := set(scores["task"]) - set(card["tasks"]):
        raise ContractError(
            f"{folder}: scores name tasks {sorted(unknown)} that its card does not describe. "
            f"Type `mmn run results/{name}/scores`."
        )
    scores["primary"] = scores["primary"].astype(bool)
    return Results(
        name=name,
        card=card,
        counts=count_cohort(read_cohort(path(f"cohorts/{name}")), card["tasks"]),
        scores=scores,
        imc=_read_table(interpretability / "imc.parquet", IMC_COLUMNS) if looked else pd.DataFrame(columns=IMC_COLUMNS),
        cp=_read_table(interpretability / "cp.parquet", CP_COLUMNS) if looked else pd.DataFrame(columns=CP_COLUMNS),
        inside=_read_tables(interpretability, INSIDE_TABLES) if looked else {},
        items_shown=str(read_json(interpretability / "card.json").get("items_shown", "")) if looked else "",
        subsets=_read_tables(path(key), SUBSETS_TABLES) if (key := f"results/{name}/subsets") in keys else {},
        comparisons=_read_tables(folder, COMPARISON_TABLES).get("comparisons"),
        trust=_read_tables(path(key), TRUST_TABLES) if (key := f"results/{name}/trust") in keys else {},
        missingness=missingness,
        missingness_card=missingness_card,
        **removal,
        early=_read_table(path(key) / "early.parquet", EARLY_COLUMNS)
        if (key := f"results/{name}/early") in keys
        else None,
        step_by_step=_read_table(steps, STEP_COLUMNS)
        if key in keys and (steps := path(key) / "step_by_step.parquet").exists()
        else None,
        binarised=pq.read_table(folder / "binarised.parquet").to_pandas()
        if (folder / "binarised.parquet").exists()
        else None,
    )


def _nothing(table: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(MISSINGNESS_TABLES[table]))


def count_cohort(cohort: Cohort, tasks: dict[str, dict[str, Any]]) -> Counts:
    labelled, positive = {}, {}
    for task, about in tasks.items():
        if task not in cohort.targets:
            continue
        target = cohort.targets[task]
        read = target[:, min(int(about["read_step"]), target.shape[1] - 1)] if target.ndim == 2 else target
        labelled[task] = int((~np.isnan(read)).sum())
        if about["kind"] == "binary":
            positive[task] = int((read == 1).sum())
    sizes = cohort.folds.groupby(["fold", "split"]).size().unstack(fill_value=0)
    return Counts(
        items=len(cohort),
        subjects=int(cohort.items["subject"].nunique()),
        labelled=labelled,
        positive=positive,
        test_ratio=float((sizes["test"] / sizes["train"]).mean()),
    )


def _read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    if not path.exists():
        raise ContractError(f"{path}: not there. Type `mmn run {_key(path)}`, which writes it.")
    frame = pq.read_table(path).to_pandas()
    if missing := [column for column in columns if column not in frame]:
        raise ContractError(f"{path}: column '{missing[0]}' is missing. Type `mmn run {_key(path)}` to write it anew.")
    return frame


def _read_tables(folder: Path, tables: Mapping[str, tuple[str, ...]]) -> dict[str, pd.DataFrame]:
    """Those that there are: a data set with one modality has no orders."""
    there = {name: folder / f"{name}.parquet" for name in tables if (folder / f"{name}.parquet").exists()}
    return {name: _read_table(file, tables[name]) for name, file in there.items()}


def _read_card(folder: Path) -> dict[str, Any]:
    if not (folder / "card.json").exists():
        raise ContractError(f"{folder}/card.json: not there. Type `mmn run {_key(folder / 'card.json')}`.")
    card = read_json(folder / "card.json")
    if missing := [key for key in CARD_KEYS if key not in card]:
        raise ContractError(
            f"{folder}/card.json: '{missing[0]}' is missing. "
            f"Type `mmn run {_key(folder / 'card.json')}` to write it anew."
        )
    return card


def _key(path: Path) -> str:
    return "/".join(path.parent.parts[-3:])
