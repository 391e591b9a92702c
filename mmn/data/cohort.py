"""The cohort: which items there are, whose, when the prediction is made, what is to be predicted, and the folds.

On disk a folder: `items.parquet` (one row per item), `folds.parquet` (one row per item and fold it takes part in),
`baselines.parquet` (predictions of rules that need no model), `card.json` (counts, what was left out and why); where
there is any, `step_baselines.parquet` (rules that speak at every step) and `subgroups.parquet` (whom results are split
by).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.errors import ContractError
from mmn.data.files import read_json, write_json, write_parquet

SPLITS = ("train", "validation", "test")
TARGET_PREFIX = "target_"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """N items in a fixed order, T time steps (1 for static data).

    items: `item` (unique string), `subject` (string), `prediction_time` (datetime64, or NaT where the data has no
        clock: nothing later may enter a feature), then whatever the readers need to find the evidence (ids, paths).
    targets: task -> float64 (N,) if static, (N, T) if per step; NaN = no label. Binary targets are 0 or 1.
    folds: columns `item`, `fold` (int), `split` (train, validation, test). An item absent from a fold plays no part
        in it. fold_group: the column of `items` that a fold never splits; another than `subject` repeats a published
        protocol, and a note must say so.
    baselines: columns `item`, `task`, `baseline`, `prediction` (same unit as the target; for a binary task a score),
        and `fold` (int; -1 where nothing was fitted, so that it serves all folds).
    step_baselines: task per step -> rule -> (N, T), what a rule of `baselines` that needs no fit says at every step.
    subgroups: `item`, in the order of `items`, and a column per attribute that results are told apart by (sex, age
        band): strings, null = not known. None = there is none. Never an input of a model.
    excluded: reason -> number of candidate items left out for it. notes: what a reader of the results must know.
    """

    items: pd.DataFrame
    targets: dict[str, np.ndarray]
    folds: pd.DataFrame
    fold_group: str = "subject"
    num_steps: int = 1
    baselines: pd.DataFrame = field(default_factory=lambda: empty_baselines())
    step_baselines: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    subgroups: pd.DataFrame | None = None
    excluded: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_folds(self) -> int:
        return int(self.folds["fold"].max()) + 1

    def rows(self, fold: int, split: str) -> np.ndarray:
        """Positions in `items` of one side of one fold, ascending."""
        wanted = self.folds[(self.folds["fold"] == fold) & (self.folds["split"] == split)]["item"]
        return np.flatnonzero(self.items["item"].isin(wanted).to_numpy())


def empty_baselines() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item": pd.Series(dtype="str"),
            "task": pd.Series(dtype="str"),
            "baseline": pd.Series(dtype="str"),
            "fold": pd.Series(dtype="int64"),
            "prediction": pd.Series(dtype="float64"),
        }
    )


def leave_out(rows: pd.DataFrame, out: pd.Series, reason: str, excluded: dict[str, int]) -> pd.DataFrame:
    """The candidates that stay; those that do not are counted under their reason, if there are any."""
    if out.any():
        excluded[reason] = int(out.sum())
    return rows[~out]


def check_cohort(cohort: Cohort, where: str) -> None:
    """The promises of `Cohort`, checked before anything is written. Raises ContractError."""
    items, folds = cohort.items, cohort.folds
    for column in ("item", "subject", "prediction_time", cohort.fold_group):
        if column not in items:
            raise ContractError(f"{where}.items: column '{column}' is missing; the cohort builder must give it.")
    if items.empty:
        raise ContractError(f"{where}.items: no item is left. Excluded by reason: {cohort.excluded or 'none'}.")
    if (duplicated := items["item"].duplicated()).any():
        raise ContractError(f"{where}.items: {int(duplicated.sum())} of {len(items)} rows repeat an `item` key.")
    for task, target in cohort.targets.items():
        if target.shape not in {(len(items),), (len(items), cohort.num_steps)}:
            raise ContractError(
                f"{where}.targets[{task}]: shape {target.shape}, expected {(len(items),)} "
                f"or {(len(items), cohort.num_steps)}."
            )
    for task, rules in cohort.step_baselines.items():
        for name, values in rules.items():
            if values.shape != (len(items), cohort.num_steps):
                raise ContractError(
                    f"{where}.step_baselines[{task}][{name}]: shape {values.shape}, expected "
                    f"{(len(items), cohort.num_steps)}."
                )
    if cohort.subgroups is not None:
        _check_subgroups(cohort.subgroups, items, where)
    if unknown := set(folds["split"]) - set(SPLITS):
        raise ContractError(f"{where}.folds: unknown split {sorted(unknown)}; known: {list(SPLITS)}.")
    if folds.duplicated(["item", "fold"]).any():
        raise ContractError(f"{where}.folds: an item sits twice in one fold.")
    sides = folds.assign(group=folds["item"].map(items.set_index("item")[cohort.fold_group]))
    if sides["group"].isna().any():
        raise ContractError(f"{where}.folds: {int(sides['group'].isna().sum())} rows name an item that is not there.")
    straddling = sides.groupby(["fold", "group"])["split"].nunique().gt(1)
    if straddling.any():
        raise ContractError(
            f"{where}.folds: {int(straddling.sum())} values of `{cohort.fold_group}` sit on two sides of one fold."
        )
    if cohort.fold_group != "subject" and not any(cohort.fold_group in note for note in cohort.notes):
        raise ContractError(
            f"{where}.notes: folds are grouped by `{cohort.fold_group}`, so a subject may sit on two sides of one; a "
            "note must say so."
        )
    for fold in range(cohort.num_folds):
        for split in SPLITS:
            if not len(cohort.rows(fold, split)):
                raise ContractError(
                    f"{where}.folds: fold {fold} has no {split} item ({len(items)} items, "
                    f"{items['subject'].nunique()} subjects). Use fewer folds or more subjects."
                )


def _check_subgroups(subgroups: pd.DataFrame, items: pd.DataFrame, where: str) -> None:
    if list(subgroups.get("item", ())) != list(items["item"]):
        raise ContractError(
            f"{where}.subgroups: its `item` column is not the items, in their order; give a row of each."
        )
    for name in subgroups.columns.drop("item"):
        known = subgroups[name].dropna()
        if not known.map(lambda value: isinstance(value, str)).all():
            raise ContractError(f"{where}.subgroups.{name}: holds other than text; name each group, null = not known.")


def write_cohort(folder: Path, cohort: Cohort, provenance: dict[str, Any]) -> None:
    """Write into `folder`, which must be a fresh (temporary) folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(cohort.items.reset_index(drop=True), preserve_index=False)
    for task, target in cohort.targets.items():
        table = table.append_column(TARGET_PREFIX + task, _target_column(target))
    write_parquet(folder / "items.parquet", table, provenance)
    folds = cohort.folds.sort_values(["fold", "split", "item"], kind="stable")[["item", "fold", "split"]]
    write_parquet(folder / "folds.parquet", pa.Table.from_pandas(folds, preserve_index=False), provenance)
    write_parquet(
        folder / "baselines.parquet", pa.Table.from_pandas(cohort.baselines, preserve_index=False), provenance
    )
    if cohort.step_baselines:
        every = pa.Table.from_pandas(cohort.items[["item"]].reset_index(drop=True), preserve_index=False)
        for task, rules in cohort.step_baselines.items():
            for name, values in rules.items():
                every = every.append_column(f"{task}/{name}", _target_column(values))
        write_parquet(folder / "step_baselines.parquet", every, provenance)
    if cohort.subgroups is not None:
        text = cohort.subgroups.astype("str")
        write_parquet(folder / "subgroups.parquet", pa.Table.from_pandas(text, preserve_index=False), provenance)
    write_json(
        folder / "card.json",
        {
            "excluded": cohort.excluded,
            "fold_group": cohort.fold_group,
            "notes": list(cohort.notes),
            "num_folds": cohort.num_folds,
            "num_items": len(cohort),
            "num_steps": cohort.num_steps,
            "num_subjects": int(cohort.items["subject"].nunique()),
            "provenance": provenance,
            "targets": {task: _target_summary(target) for task, target in cohort.targets.items()},
        },
    )


def read_cohort(folder: Path) -> Cohort:
    table = pq.read_table(folder / "items.parquet")
    card = read_json(folder / "card.json")
    names = [name for name in table.column_names if name.startswith(TARGET_PREFIX)]
    return Cohort(
        items=table.drop_columns(names).to_pandas(),
        targets={name.removeprefix(TARGET_PREFIX): _target_array(table[name]) for name in names},
        folds=pq.read_table(folder / "folds.parquet").to_pandas(),
        baselines=pq.read_table(folder / "baselines.parquet").to_pandas(),
        step_baselines=_step_baselines(folder / "step_baselines.parquet"),
        subgroups=pq.read_table(folder / "subgroups.parquet").to_pandas()
        if (folder / "subgroups.parquet").exists()
        else None,
        fold_group=card["fold_group"],
        num_steps=card["num_steps"],
        excluded=card["excluded"],
        notes=tuple(card["notes"]),
    )


def _step_baselines(path: Path) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    if path.exists():
        table = pq.read_table(path).drop_columns(["item"])
        for column in table.column_names:
            task, name = column.split("/", 1)
            found.setdefault(task, {})[name] = _target_array(table[column])
    return found


def _target_column(target: np.ndarray) -> pa.Array:
    flat = pa.array(target.reshape(-1).astype("float64"), from_pandas=True)
    return flat if target.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, target.shape[1])


def _target_array(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        flat = array.flatten().to_numpy(zero_copy_only=False).astype("float64")
        return flat.reshape(len(array), array.type.list_size)
    return array.to_numpy(zero_copy_only=False).astype("float64")


def _target_summary(target: np.ndarray) -> dict[str, Any]:
    """Counts only (and the mean of all labels, an aggregate)."""
    known = target[~np.isnan(target)]
    return {
        "labelled": int(known.size),
        "unlabelled": int(np.isnan(target).sum()),
        "mean": round(float(known.mean()), 6) if known.size else None,
    }
