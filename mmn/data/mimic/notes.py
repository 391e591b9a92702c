"""Notes of the cohort's items, up to each item's prediction time. The text goes to the featurizer and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.evidence import TextEvidence
from mmn.data.mimic.contracts import EchoNotes, Radiology
from mmn.data.mimic.events import OF_ADMISSION, OF_VISIT, item_keys
from mmn.data.mimic.reader import Tables

# HAIM's echo table lists a report once per ICU stay of its admission; one is enough.
_ECHO = (
    "SELECT min(row) AS row, hadm_id, 0 AS subject_id, 0 AS note_seq, time, text, count(*) - 1 AS copies FROM ("
    "SELECT row_number() OVER () AS row, CAST(hadm_id AS BIGINT) AS hadm_id, charttime AS time, trim(text) AS text "
    "FROM {scan}) GROUP BY hadm_id, time, text"
)
_RADIOLOGY = (
    "SELECT row_number() OVER () AS row, subject_id, hadm_id, note_seq, charttime AS time, trim(text) AS text, "
    "0 AS copies FROM {scan}"
)


def read_echo_notes(tables: Tables, items: pd.DataFrame) -> TextEvidence:
    """Echocardiography reports of the admission."""
    return _read(tables, items, _ECHO.format(scan=tables.scan(EchoNotes)), OF_ADMISSION)


def read_radiology_notes(tables: Tables, items: pd.DataFrame) -> TextEvidence:
    """Radiology reports of the admission, and those matched to none that were written during the visit."""
    return _read(tables, items, _RADIOLOGY.format(scan=tables.scan(Radiology)), OF_VISIT)


def _read(tables: Tables, items: pd.DataFrame, notes: str, belongs: str) -> TextEvidence:
    tables.put("keys", item_keys(items))
    key = "hadm_id" if belongs == OF_ADMISSION else "subject_id"
    with tables.readable():
        tables.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE notes AS SELECT * FROM ({notes}) WHERE {key} IN (SELECT {key} FROM keys)"
        )
        empty, timeless, copies = tables.connection.execute(
            "SELECT count(*) FILTER (WHERE text IS NULL OR text = ''), count(*) FILTER (WHERE time IS NULL), "
            "coalesce(sum(copies), 0)::BIGINT FROM notes"
        ).fetchall()[0]
        rows = tables.connection.execute(
            f"SELECT k.position, epoch(e.time - k.start_time) / 3600 AS hours, e.text FROM notes e "
            f"JOIN keys k ON {belongs} AND e.time <= k.prediction_time WHERE e.text <> '' "
            "ORDER BY k.position, e.time, e.note_seq, e.row"
        ).df()
    left_out = {"empty note": empty, "note without a time": timeless, "the same note listed for another stay": copies}
    return TextEvidence(
        rows=pd.DataFrame(
            {
                "item": items["item"].to_numpy()[rows["position"].to_numpy()],
                "hours": rows["hours"].to_numpy(dtype=np.float64),
                "text": rows["text"].to_numpy(),
            }
        ).astype({"item": "str", "text": "str"}),
        quarantined={reason: int(count) for reason, count in left_out.items() if count},
    )
