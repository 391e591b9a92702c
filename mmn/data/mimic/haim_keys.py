"""HAIM's numbers of ICU stays: `haim_id`, the place of a stay in the order in which HAIM first meets it.

HAIM goes through six tables, each sorted by (subject_id, hadm_id, stay_id), and numbers the stays by first appearance:
procedureevents, outputevents, inputevents, icustays, datetimeevents, chartevents; then it keeps those of patients with
a chest X-ray. The order matters: folds are drawn over it, and of an image that several stays list, the first keeps it.
The last two tables are not read here: icustays lists every stay, so they can add none, and chartevents has 433 million
rows. A person without the first three gets icustays' own order, and the cohort says so.
"""

from __future__ import annotations

import pandas as pd

from mmn.data.mimic.contracts import RawTable, column, table_name
from mmn.data.mimic.reader import Tables

KEYS = ["subject_id", "hadm_id", "stay_id"]


class StayKeys(RawTable):
    """Any table of icu/, for whose stays they are. One row per event; only the keys are read."""

    subject_id: pd.Int64Dtype = column(nullable=True)
    hadm_id: pd.Int64Dtype = column(nullable=True)
    stay_id: pd.Int64Dtype = column(nullable=True)


class ProcedureKeys(StayKeys):
    """icu/procedureevents."""

    class Config:
        metadata = {"table": "procedureevents", "key": ()}  # noqa: RUF012


class OutputKeys(StayKeys):
    """icu/outputevents."""

    class Config:
        metadata = {"table": "outputevents", "key": ()}  # noqa: RUF012


class InputKeys(StayKeys):
    """icu/inputevents."""

    class Config:
        metadata = {"table": "inputevents", "key": ()}  # noqa: RUF012


class IcuStayKeys(StayKeys):
    """icu/icustays."""

    class Config:
        metadata = {"table": "icustays", "key": ()}  # noqa: RUF012


IN_ORDER: tuple[type[StayKeys], ...] = (ProcedureKeys, OutputKeys, InputKeys, IcuStayKeys)


def read_haim_keys(tables: Tables, subjects: pd.Series) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """(`haim_id`, `subject_id`, `hadm_id`, `stay_id`, ascending by haim_id; the tables that were there).

    tables: opened on `with_stay_order(layout)`. subjects: the patients with a chest X-ray. Rows without one of the
    three keys name no stay and are passed over.
    """
    found, names = [], []
    for contract in IN_ORDER:
        name = table_name(contract)
        if name not in tables.layout.files:
            continue
        scan = tables.scan(contract)
        with tables.readable():
            found.append(
                tables.connection.execute(
                    f"SELECT DISTINCT {', '.join(KEYS)} FROM {scan} WHERE subject_id IS NOT NULL AND hadm_id IS NOT "
                    "NULL AND stay_id IS NOT NULL ORDER BY ALL"
                ).df()
            )
        names.append(name)
    keys = pd.concat(found, ignore_index=True).drop_duplicates(ignore_index=True).astype("int64")
    keys = keys[keys["subject_id"].isin(subjects)].reset_index(drop=True)
    keys.insert(0, "haim_id", range(len(keys)))
    return keys, tuple(names)
