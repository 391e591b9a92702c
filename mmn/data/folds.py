"""Subject-disjoint, stratified folds: five test sets that share nobody, 80-10-10 as the papers have it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.errors import CohortError


def subject_folds(items: pd.DataFrame, stratum: np.ndarray, num_folds: int, seed: int) -> pd.DataFrame:
    """Columns `item`, `fold`, `split`; every item sits once in each fold.

    items: `item`, `subject`. stratum: (N,) integers, one per item; a subject's stratum is the largest of its items'.
    The subjects are cut into `num_folds` stratified parts; the held-out part of fold f is halved, stratified, into
    test and validation. Rare strata (fewer subjects than folds) are merged into the most frequent one, as they
    cannot be spread. Raises CohortError where there are too few subjects for the folds.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split  # half a second to import

    subjects = pd.DataFrame({"subject": items["subject"], "stratum": stratum}).groupby("subject")["stratum"].max()
    if len(subjects) < 2 * num_folds:
        raise CohortError(
            f"{len(subjects)} subjects are too few for {num_folds} folds with separate validation and test; "
            f"at least {2 * num_folds} are needed. Set fewer folds, or give more data."
        )
    labels = _merge_rare(subjects.to_numpy(), num_folds)
    names = subjects.index.to_numpy()
    frames = []
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(names, labels)):
        strata = _merge_rare(labels[held_out], 2)
        test, validation = train_test_split(
            held_out,
            test_size=0.5,
            random_state=seed + fold,
            stratify=strata if len(np.unique(strata)) > 1 and len(held_out) >= 2 * len(np.unique(strata)) else None,
        )
        split = pd.Series("train", index=names)
        split.iloc[test] = "test"
        split.iloc[validation] = "validation"
        frames.append(
            pd.DataFrame(
                {"item": items["item"].to_numpy(), "fold": fold, "split": items["subject"].map(split).to_numpy()}
            )
        )
    return pd.concat(frames, ignore_index=True)


def haim_folds(items: pd.DataFrame, both: np.ndarray, num_folds: int, seed: int) -> pd.DataFrame:
    """MultiModN's folds of HAIM's X-rays (`mimic_multi_task_pipeline.py`): columns `item`, `fold`, `split`.

    items: `item`, `haim_id` (an ICU stay). both: (N,) whether both findings are there. Over the haim_ids in ascending
    order, stratified by whether at least half of a haim_id's X-rays have both; of the held-out part the first half is
    test, the second validation.
    """
    half = pd.Series(both, index=items.index).groupby(items["haim_id"]).transform("mean").ge(0.5)
    # The names are padded, so that their order is that of the numbers.
    groups = pd.DataFrame({"item": items["item"], "subject": items["haim_id"].map("{:012d}".format)})
    return subject_folds(groups, half.to_numpy().astype(int), num_folds, seed)


def _merge_rare(labels: np.ndarray, smallest: int) -> np.ndarray:
    values, counts = np.unique(labels, return_counts=True)
    rare = values[counts < smallest]
    return np.where(np.isin(labels, rare), values[counts.argmax()], labels)
