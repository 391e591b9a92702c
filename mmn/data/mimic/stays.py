"""Patients, admissions and ICU stays joined: what both cohorts start from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.mimic.contracts import Admissions, IcuStays
from mmn.data.mimic.reader import Tables

AGREEMENT = 0.999
LOST = "ICU stay of an admission that is not in admissions"


def read_admissions(tables: Tables) -> pd.DataFrame:
    """One row per admission, with `start_time`: when the visit began, in the emergency department if it did."""
    admissions = tables.frame(Admissions)
    starts = admissions[["edregtime", "admittime"]].min(axis=1)
    return admissions.assign(start_time=starts).sort_values("hadm_id", ignore_index=True)


def read_stays(tables: Tables, admissions: pd.DataFrame, excluded: dict[str, int] | None = None) -> pd.DataFrame:
    """One row per ICU stay. excluded: gets the count of the few stays that name unknown admissions.

    Raises ContractError where they are not few.
    """
    stays = tables.frame(IcuStays)
    known = stays.merge(admissions[["subject_id", "hadm_id"]], on=["subject_id", "hadm_id"], validate="many_to_one")
    if len(known) < AGREEMENT * len(stays):
        raise ContractError(
            f"icu/icustays: {len(stays) - len(known)} of {len(stays)} stays name an admission that is not in "
            "admissions, or another patient's. The two files are of different versions; take both from one."
        )
    if excluded is not None and len(known) < len(stays):
        excluded[LOST] = len(stays) - len(known)
    return known.sort_values("stay_id", ignore_index=True)


def within(start: pd.Series, time: pd.Series, hours: float) -> np.ndarray:
    """Whether `time` is later than `start` and at most `hours` later."""
    delay = time - start
    return ((delay > pd.Timedelta(0)) & (delay <= pd.Timedelta(hours=hours))).to_numpy()
