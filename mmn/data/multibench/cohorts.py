"""A published split as a cohort of one fold, or folds of our own. Who sits on two sides of it is left out, or named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmn.data.cohort import SPLITS, Cohort
from mmn.data.errors import CohortError
from mmn.data.folds import subject_folds
from mmn.data.multibench.params import PUBLISHED, MultiBenchParams

SEED = 0
BEYOND_LIMIT = "beyond `limit`"


def published_cohort(
    rows: pd.DataFrame,
    params: MultiBenchParams,
    *,
    tasks: Sequence[str],
    num_steps: int = 1,
    excluded: dict[str, int] | None = None,
    notes: Sequence[str] = (),
) -> Cohort:
    """One fold of what the files name, or `params.num_folds` of our own, stratified by the first task.

    rows: `item`, `subject`, `split`, a column per task (a number, NaN = no label; an array of `num_steps` where it is
    per step), and whatever the reader needs. A subject on two sides: in mode clean its items stay on the last of train,
    validation, test that it sits on; in mode published all stay, and a note says so. Raises CohortError where a side
    has nobody.
    """
    excluded, notes = dict(excluded or {}), list(notes)
    rank = rows["split"].map({name: place for place, name in enumerate(SPLITS)})
    straddling = (params.num_folds == 1) & (rank < rank.groupby(rows["subject"]).transform("max"))
    group = "subject"
    if params.mode == PUBLISHED:
        if straddling.any():
            group = "unit"
            rows = rows.assign(unit=rows["item"])
            notes.append(
                f"As published: {rows.loc[straddling, 'subject'].nunique()} subjects sit on two sides of the split, "
                "which is grouped by `unit`, each item for itself."
            )
    elif straddling.any():
        excluded["the subject is in a later split as well"] = int(straddling.sum())
        rows = rows[~straddling]
    if params.limit:
        beyond = rows.groupby("split").cumcount() >= params.limit
        if beyond.any():
            excluded[BEYOND_LIMIT] = int(beyond.sum())
            notes.append(f"Only the first {params.limit} items of each split are here (`limit`).")
        rows = rows[~beyond]
    for split in SPLITS:
        if not (rows["split"] == split).any():
            raise CohortError(f"the {split} split has no item; left out: {excluded or 'none'}. Look at the files.")
    rows = rows.reset_index(drop=True)
    items = rows.drop(columns=["split", *tasks]).assign(
        prediction_time=pd.Series(pd.NaT, index=rows.index, dtype="datetime64[ns]")
    )
    targets = {task: np.stack([np.asarray(value, dtype=np.float64) for value in rows[task]]) for task in tasks}
    folds = rows[["item", "split"]].assign(fold=0)
    if params.num_folds > 1:
        first = targets[tasks[0]]
        stratum = np.nan_to_num(first, nan=-1).astype(int) if first.ndim == 1 else np.zeros(len(rows), dtype=int)
        folds = subject_folds(items, stratum, params.num_folds, SEED)
        notes.append(
            f"{params.num_folds} folds of our own over all items, by subject; the published split is not used."
        )
    return Cohort(
        items=items,
        targets=targets,
        folds=folds,
        fold_group=group,
        num_steps=num_steps,
        excluded=excluded,
        notes=tuple(notes),
    )
