"""Notes of the cohort's items. The text goes to the featurizer and nowhere else.

Mode clean: notes that were in the record at each item's prediction time, each once: a note counts from the later of its
charttime and, where the table has one, its storetime. Mode haim: the rows of HAIM's note tables that name the
item's patient, admission and stay. HAIM compares a time that carries a zone with one that carries none, which fails,
and keeps what it cannot compare: such notes, and those without a time, are bounded by nothing (mimic.md section 0.4).
"""

from __future__ import annotations

from typing import Literal

import duckdb
import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.evidence import TextEvidence
from mmn.data.mimic.contracts import EcgNotes, EchoNotes, Radiology, RadiologyStayNotes, RawTable, column, table_name
from mmn.data.mimic.events import OF_ADMISSION, OF_STAY
from mmn.data.mimic.layout import read_header
from mmn.data.mimic.reader import Tables

Which = Literal["echo", "ecg", "radiology"]
Mode = Literal["clean", "haim"]

EMPTY = "empty note"
TIMELESS = "note without a time"
COPIES = "the same note listed for another stay"
REPEATED = "the same note listed twice"
# A time of day, then a zone: +00:00, +0000, -05, Z.
_ZONE = r"([0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)\s*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


def read_notes(tables: Tables, items: pd.DataFrame, which: Which, belongs: str, mode: Mode) -> TextEvidence:
    """belongs: OF_STAY, OF_ADMISSION or OF_VISIT of `events.py`; in mode haim a note is its stay's in any case.

    items: `item`, `subject_id`, `hadm_id`, `stay_id` (may be null), `start_time`, `prediction_time`, and `admittime`,
    which haim's hours start from (`start_time` where it is not there).
    """
    contract, said = _table(tables, which, mode)
    file = tables.name(tables.layout.file(table_name(contract)))
    tables.put("keys", _keys(items))
    if mode == "haim":
        with tables.readable():
            return _read_haim(tables, items, contract, file, said)
    with tables.readable():
        return _read_clean(tables, items, contract, file, belongs, said)


def _table(tables: Tables, which: Which, mode: Mode) -> tuple[type[RawTable], tuple[str, ...]]:
    """Where the notes lie, and what is to be said of the choice. Of the two radiology tables the public one is read,
    but in mode haim HAIM's own, which alone has stays and time zones."""
    if which != "radiology":
        return (EchoNotes if which == "echo" else EcgNotes), ()
    public, own = "radiology" in tables.layout.files, "rad_icustay" in tables.layout.files
    if not (public and own):
        return (RadiologyStayNotes if own else Radiology), ()
    contract, other = (RadiologyStayNotes, Radiology) if mode == "haim" else (Radiology, RadiologyStayNotes)
    return contract, (f"both radiology tables are there; {table_name(contract)} was read, {table_name(other)} was not",)


def _keys(items: pd.DataFrame) -> pd.DataFrame:
    keys = items[["subject_id", "hadm_id", "stay_id", "start_time", "prediction_time"]].reset_index(drop=True)
    admitted = items["admittime" if "admittime" in items else "start_time"].to_numpy()
    whole = dict.fromkeys(("subject_id", "hadm_id", "stay_id"), "Int64")
    return keys.astype(whole).assign(admittime=admitted, position=np.arange(len(keys), dtype=np.int32))


def _rows(scan: str, contract: type[RawTable], storetime: str = "NULL::TIMESTAMP") -> str:
    """Every note with its place in the file, in one form: `row`, `key`, `subject_id`, `hadm_id`, `stay_id`, `note_seq`,
    `charttime`, `storetime`, `text`."""
    if contract is Radiology:
        own = "note_id AS key, NULL::BIGINT AS stay_id, note_seq"
    else:
        own = "'row ' || row_number() OVER () AS key, CAST(stay_id AS BIGINT) AS stay_id, 0 AS note_seq"
    return (
        f"(SELECT row_number() OVER () AS row, {own}, CAST(subject_id AS BIGINT) AS subject_id, "
        f"CAST(hadm_id AS BIGINT) AS hadm_id, charttime, {storetime} AS storetime, text FROM {scan})"
    )


def _read_clean(
    tables: Tables, items: pd.DataFrame, contract: type[RawTable], file: str, belongs: str, said: tuple[str, ...]
) -> TextEvidence:
    assert not (contract is Radiology and belongs == OF_STAY), "MIMIC-IV-Note names no stay"
    key = {OF_ADMISSION: "hadm_id", OF_STAY: "stay_id"}.get(belongs, "subject_id")
    public = contract is Radiology
    # HAIM's tables list a note once per ICU stay of its admission; one is enough.
    per_stay = ", n.stay_id" if belongs == OF_STAY else ""
    once = "coalesce(n.key, 'row ' || n.row)" if public else f"n.hadm_id{per_stay}, n.charttime, trim(n.text)"
    copies = REPEATED if public else COPIES
    header = read_header(tables.layout.file(table_name(contract)))
    rows_of_file = _rows(tables.scan(contract), contract, *["storetime"] * ("storetime" in header))
    execute = tables.connection.execute
    execute(f"""
        CREATE OR REPLACE TEMP TABLE notes AS
        WITH spans AS (SELECT {key}, max(prediction_time) AS last FROM keys GROUP BY {key}),
        -- greatest() passes over a null storetime
        known AS (
            SELECT *, CASE WHEN charttime IS NOT NULL THEN greatest(charttime, storetime) END AS known
            FROM {rows_of_file}
        )
        SELECT n.row, n.key, n.subject_id, n.hadm_id, n.stay_id, n.note_seq, n.charttime AS time, n.known,
            trim(n.text) AS text, count(*) OVER same - 1 AS copies
        FROM known n JOIN spans k ON n.{key} = k.{key} AND (n.known <= k.last OR n.charttime IS NULL)
        WINDOW same AS (PARTITION BY n.subject_id, {once})
        QUALIFY row_number() OVER (same ORDER BY n.row) = 1
    """)
    counts = execute(f"""
        SELECT count(*) FILTER (WHERE coalesce(text, '') = '') AS "{EMPTY}",
            count(*) FILTER (WHERE time IS NULL) AS "{TIMELESS}", coalesce(sum(copies), 0)::BIGINT AS "{copies}"
        FROM notes
    """).df()
    left_out = execute(f"""
        SELECT k.position, e.key, CASE WHEN coalesce(e.text, '') = '' THEN '{EMPTY}' ELSE '{TIMELESS}' END AS reason
        FROM notes e JOIN keys k ON {belongs} AND (e.known <= k.prediction_time OR e.time IS NULL)
        WHERE coalesce(e.text, '') = '' OR e.time IS NULL ORDER BY k.position, e.row
    """).df()
    rows = execute(f"""
        SELECT k.position, epoch(e.time - k.start_time) / 3600 AS hours, e.row, e.key
        FROM notes e JOIN keys k ON {belongs} AND e.known <= k.prediction_time
        WHERE e.text <> '' ORDER BY k.position, e.time, e.note_seq, e.row
    """).df()
    return TextEvidence(
        rows=_frame(tables, items, rows, file),
        quarantined={str(reason): int(count) for reason, count in counts.iloc[0].items() if count},
        set_aside=pd.DataFrame(
            {
                "item": _items(items, left_out),
                "source": f"{file}: " + left_out["key"].astype("str"),
                "reason": left_out["reason"].astype("str"),
            }
        ),
        notes=said,
    )


def _read_haim(
    tables: Tables, items: pd.DataFrame, contract: type[RawTable], file: str, said: tuple[str, ...]
) -> TextEvidence:
    execute = tables.connection.execute
    execute(f"""
        CREATE OR REPLACE TEMP TABLE notes AS
        SELECT n.* EXCLUDE (charttime, storetime), n.charttime AS written,
            regexp_matches(n.charttime, '{_ZONE}') AS zoned,
            TRY_CAST(regexp_replace(n.charttime, '{_ZONE}', '\\1') AS TIMESTAMP) AS time
        FROM {_rows(tables.scan(_as_written(contract)), contract)} n
        WHERE n.hadm_id IN (SELECT hadm_id FROM keys)
    """)
    _check_times(tables.connection, file)
    if contract is Radiology:
        belongs = "e.subject_id = k.subject_id AND e.hadm_id = k.hadm_id"
        said = (*said, "radiology names no stay: an admission's notes are given to each of its stays")
    else:
        belongs = "e.subject_id = k.subject_id AND e.hadm_id = k.hadm_id AND e.stay_id = k.stay_id"
    later = "e.time > k.prediction_time"
    rows = execute(f"""
        SELECT k.position, epoch(e.time - k.admittime) / 3600 AS hours, e.row, e.key, coalesce({later}, false) AS later
        FROM notes e JOIN keys k ON {belongs} AND (e.zoned OR e.time IS NULL OR NOT {later})
        ORDER BY k.position, e.row
    """).df()
    if rows["later"].any():
        later_rows = rows[rows["later"]]
        of_items = later_rows["position"].nunique()
        said = (*said, f"{len(later_rows)} notes of {of_items} items are later than the prediction, as HAIM's are")
    return TextEvidence(rows=_frame(tables, items, rows, file), notes=said)


def _as_written(contract: type[RawTable]) -> type[RawTable]:
    """The same table with its times as text, since the zone is lost in reading them."""

    class AsWritten(contract):  # type: ignore[misc, valid-type]
        charttime: str = column(nullable=True)
        storetime: str = column(optional=True, nullable=True)

    return AsWritten


def _check_times(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    unreadable, first = connection.execute(
        "SELECT count(*), min(row) FROM notes WHERE written IS NOT NULL AND time IS NULL"
    ).fetchall()[0]
    if unreadable:
        raise ContractError(
            f"{file}.charttime: {unreadable} notes have something there that is no time, the first in row {first}. "
            "Check that the file is the original one; a cell opened and saved in a spreadsheet often loses its form."
        )


def _frame(tables: Tables, items: pd.DataFrame, rows: pd.DataFrame, file: str) -> pd.DataFrame:
    """`rows` of the evidence from `position`, `hours`, `row` and `key`; each different text is held once."""
    first_use = rows["row"].drop_duplicates()
    tables.put("used", first_use.to_frame())
    texts = tables.connection.execute("SELECT row, text FROM notes SEMI JOIN used USING (row)").df()
    tables.connection.execute("DROP TABLE notes")
    texts = texts.set_index("row")["text"].astype("str").reindex(first_use)
    code, different = pd.factorize(texts)
    return pd.DataFrame(
        {
            "item": _items(items, rows),
            "note": f"{file}: " + rows["key"].astype("str"),
            "hours": rows["hours"].to_numpy(dtype=np.float64, na_value=np.nan),
            "text": pd.Categorical.from_codes(code[texts.index.get_indexer(rows["row"])], categories=different),
        }
    )


def _items(items: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(items["item"].to_numpy()[rows["position"].to_numpy()], dtype="str")
