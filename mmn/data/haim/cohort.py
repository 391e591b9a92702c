"""The cohort of HAIM's embedding file: MultiModN's X-rays (`datasets/mimic/mimic_dataset.py`) with its folds.

In its order: of an X-ray that is listed again (every stay of an admission lists all of the admission's X-rays) the
first row stays; then X-rays without a yes or no for both targets are left out. Folds are grouped by haim_id, or by
patient where HAIM's key file says who that is. The vectors are made: nothing can be cut at a time any more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mmn.data.cohort import Cohort, leave_out
from mmn.data.errors import CohortError, ContractError
from mmn.data.folds import haim_folds, subject_folds
from mmn.data.haim.columns import IMAGE, NEEDED, STAY, TARGETS, TIME
from mmn.data.haim.layout import KEYS, HaimFile, find_file
from mmn.data.haim.params import HaimParams
from mmn.data.haim.reader import read_blocks

_IDS = ("subject_id", "hadm_id", "stay_id")


def build_cohort(raw: Path, params: HaimParams) -> Cohort:
    """Raises UnsoundRow for a malformed row that `nrows` does not stop before, CohortError where too little is left."""
    file = find_file(raw)
    rows = read_rows(file, params.nrows)
    excluded: dict[str, int] = {}
    notes = [
        f"mode={params.mode}: the vectors are HAIM's own, made with its published behaviour; procedures and notes may "
        "come from after the X-ray",
        "labels=chexpert, as HAIM has them; -1 and blank are no label",
        f"{len(rows):,} data rows read" + (f" (nrows={params.nrows})" if params.nrows else ""),
    ]
    rows = leave_out(rows, rows[[STAY, IMAGE]].isna().any(axis=1), f"no {STAY} or no {IMAGE}", excluded)
    rows = leave_out(rows, rows.duplicated([IMAGE, TIME]), "the same X-ray, listed for another stay", excluded)
    rows = leave_out(rows, rows.duplicated(IMAGE), "the same X-ray, listed with another time", excluded)
    known = rows[list(TARGETS)].notna()
    unlabelled = ~(known.all(axis=1) if params.both_labels else known.any(axis=1))
    rows = leave_out(rows, unlabelled, f"{'a' if params.both_labels else 'each'} label missing or uncertain", excluded)
    if rows.empty:
        raise CohortError(f"{file.path}: no X-ray is left. Left out: {excluded or 'none, the file has no row'}.")
    if untimed := int(rows["prediction_time"].isna().sum()):
        notes.append(f"{untimed} X-rays have no readable time")

    items = rows[["prediction_time", STAY, "row"]].reset_index(drop=True)
    items.insert(0, "item", rows[IMAGE].to_numpy())
    items[STAY] = items[STAY].astype("int64")
    if file.keys is not None:
        items = items.join(read_keys(file.keys, items[STAY]))
        items.insert(1, "subject", items["subject_id"].astype(str))
    else:
        items.insert(1, "subject", items[STAY].astype(str))
    targets = {task: rows[task].to_numpy(dtype=float) for task in TARGETS}
    both = (np.nansum(list(targets.values()), axis=0) > 1).astype(int)
    if params.folds == "subject":
        if file.keys is None:
            raise CohortError(
                f"{raw}: `folds: subject` needs {KEYS}.csv, which says whose stay a {STAY} is. Put HAIM's key file "
                "beside the embedding file, or take `folds: haim`."
            )
        group, folds = "subject", subject_folds(items, both, params.num_folds, params.seed)
    else:
        group, folds = STAY, haim_folds(items, both, params.num_folds, params.seed)
        notes.append(_about_folds(items, folds, file))
    return Cohort(items=items, targets=targets, folds=folds, fold_group=group, excluded=excluded, notes=tuple(notes))


def read_rows(file: HaimFile, nrows: int | None) -> pd.DataFrame:
    """`row` (0-based data row), haim_id (Int64), img_id, img_charttime as written, `prediction_time`, the two targets.

    A target is 0, 1 or NaN: -1, blank and what cannot be read are no label.
    """
    types = dict.fromkeys(NEEDED, pa.string())
    blocks = [block.to_pandas() for block in read_blocks(file.path, types, nrows)]
    rows = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=list(NEEDED), dtype=str)
    stay = pd.to_numeric(rows[STAY], errors="coerce")
    if (odd := stay.notna() & ((stay < 0) | (stay % 1 != 0))).any():
        raise ContractError(f"{file.path}: {int(odd.sum())} of {len(rows)} values of {STAY} are no place in a list.")
    rows[STAY] = stay.astype("Int64")
    rows["prediction_time"] = pd.to_datetime(rows[TIME], errors="coerce").astype("datetime64[us]")
    for task, label in TARGETS.items():
        value = pd.to_numeric(rows.pop(label), errors="coerce").astype("float64")
        rows[task] = value.where(value.isin([0, 1]))
    return rows.assign(row=np.arange(len(rows)))


def read_keys(path: Path, stays: pd.Series) -> pd.DataFrame:
    """`subject_id`, `hadm_id`, `stay_id` of each haim_id, which is the row's place in the key file, from 0.

    Raises ContractError where the file is not HAIM's or does not reach that far.
    """
    try:
        keys = pd.read_csv(path)
        keys = keys[[column for column in (*_IDS, STAY) if column in keys]].astype("int64")
    except (ValueError, OSError) as error:
        raise ContractError(f"{path}: not readable as whole numbers. Give HAIM's key file.") from error
    if missing := [column for column in _IDS if column not in keys]:
        raise ContractError(f"{path}: no {', '.join(missing)}. HAIM's key file has {', '.join(_IDS)}.")
    if STAY in keys and not keys[STAY].eq(np.arange(len(keys))).all():
        raise ContractError(f"{path}: {STAY} is not the row's place, counted from 0. Give HAIM's key file unsorted.")
    if (beyond := stays.ge(len(keys))).any():
        raise ContractError(
            f"{path}: {len(keys):,} rows, but {int(beyond.sum())} X-rays name a {STAY} beyond them. The key file and "
            "the embedding file are of different runs; give both from one release."
        )
    return keys[list(_IDS)].take(stays.to_numpy()).reset_index(drop=True)


def _about_folds(items: pd.DataFrame, folds: pd.DataFrame, file: HaimFile) -> str:
    """What a reader must know of folds grouped by haim_id."""
    if file.keys is None:
        return (
            f"folds are grouped by {STAY}, an ICU stay, as MultiModN has them: without {KEYS}.csv nobody knows whose "
            "it is, so a patient may sit on two sides of a fold, and intervals over subjects are over stays"
        )
    sides = folds.assign(subject=folds["item"].map(items.set_index("item")["subject"]))
    straddling = sides.groupby(["fold", "subject"])["split"].nunique().gt(1).groupby("subject").any()
    return (
        f"folds are grouped by {STAY}, an ICU stay, as MultiModN has them: {int(straddling.sum())} of "
        f"{len(straddling)} patients sit on two sides of a fold; `folds: subject` keeps them apart"
    )
