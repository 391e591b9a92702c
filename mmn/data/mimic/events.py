"""Chart events, laboratory results and procedures of the cohort's items, up to each item's prediction time.

One streaming scan per table keeps the wanted itemids of the cohort's patients; units are converted, implausible values
set aside and counted; the rest is joined to the items with `charttime <= prediction_time`. Ties in time are ordered by
storetime, then by the place in the file. Each event is judged once, however many items it serves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.evidence import EventEvidence
from mmn.data.mimic.contracts import ChartEvents, DItems, DLabItems, LabEvents, ProcedureEvents, RawTable, table_name
from mmn.data.mimic.reader import Tables
from mmn.data.mimic.signals import CHART_SIGNALS, LAB_SIGNALS, PROCEDURE_SIGNALS, Signal

DICTIONARY_ROWS = 1_000_000
DICTIONARY_AGREEMENT = 0.999
MOST_IMPLAUSIBLE = 0.5
FEWEST_TO_JUDGE = 20

# An event belongs to an item of its stay, of its admission, or (labs drawn before it, in the ED) of its visit.
OF_STAY = "e.stay_id = k.stay_id"
OF_ADMISSION = "e.hadm_id = k.hadm_id"
OF_VISIT = "e.subject_id = k.subject_id AND (e.hadm_id = k.hadm_id OR (e.hadm_id IS NULL AND e.time >= k.start_time))"


@dataclass(frozen=True)
class EventTable:
    """Where one kind of events lies, and how its columns are called."""

    contract: type[RawTable]
    dictionary: type[RawTable]
    signals: tuple[Signal, ...]
    time: str
    value: str
    durations: bool = False


CHART = EventTable(ChartEvents, DItems, CHART_SIGNALS, "charttime", "valuenum")
LABS = EventTable(LabEvents, DLabItems, LAB_SIGNALS, "charttime", "valuenum")
PROCEDURES = EventTable(ProcedureEvents, DItems, PROCEDURE_SIGNALS, "starttime", "value", durations=True)


def read_events(tables: Tables, items: pd.DataFrame, table: EventTable, belongs: str) -> EventEvidence:
    """belongs: OF_STAY, OF_ADMISSION or OF_VISIT.

    Raises ContractError where itemids are not the dictionary's, or where most values of a signal are implausible.
    """
    scan = tables.scan(table.contract)
    file = tables.name(tables.layout.file(table_name(table.contract)))
    wanted, quarantined = _check_dictionary(tables, scan, file, table)
    tables.put("wanted", wanted)
    tables.put("units", _units(table.signals))
    tables.put("keys", item_keys(items))
    with tables.readable():
        tables.connection.execute(_select_events(scan, table, belongs))
        _judge(tables, table, file)
        rows = tables.connection.execute(_join_items(belongs, table.durations)).df()
        quarantined.update(_count_faults(tables, table))
    labels = [signal.label for signal in table.signals]
    return EventEvidence(
        rows=pd.DataFrame(
            {
                "item": items["item"].astype("str").take(rows["position"].to_numpy()).array,
                "signal": pd.Categorical.from_codes(rows["signal"].to_numpy(), categories=labels),
                "hours": rows["hours"].to_numpy(dtype=np.float64),
                "value": rows["value"].to_numpy(dtype=np.float64),
            }
        ),
        units={signal.label: signal.unit for signal in table.signals},
        quarantined=quarantined,
    )


def _check_dictionary(tables: Tables, scan: str, file: str, table: EventTable) -> tuple[pd.DataFrame, dict[str, int]]:
    """(`itemid`, `signal` of the itemids to read, what was set aside).

    The events' itemids must be the dictionary's: checked on the first million rows, which is enough to see a chart
    table beside a lab dictionary. An itemid that means something else in this version (some do in 1.0) is not read.
    """
    dictionary = tables.frame(table.dictionary)
    name = table_name(table.dictionary)
    tables.put("dictionary", dictionary[["itemid"]])
    with tables.readable():
        total, unknown = tables.connection.execute(
            f"SELECT count(*), count(*) FILTER (WHERE itemid NOT IN (SELECT itemid FROM dictionary)) "
            f"FROM (SELECT itemid FROM {scan} LIMIT {DICTIONARY_ROWS})"
        ).fetchall()[0]
    if unknown > (1 - DICTIONARY_AGREEMENT) * total:
        raise ContractError(
            f"{file}.itemid: {unknown} of the first {total} rows name an itemid that is not in {name}; at most "
            f"{1 - DICTIONARY_AGREEMENT:.1%} may. Events and dictionary are of different tables or versions; take "
            "both from one."
        )
    pairs = (
        pd.DataFrame(
            [(itemid, code, signal.label) for code, signal in enumerate(table.signals) for itemid in signal.itemids],
            columns=["itemid", "signal", "label"],
        )
        .astype({"signal": "int8"})
        .merge(dictionary, on="itemid", how="left", suffixes=("", "_found"), validate="many_to_one")
    )
    same = pairs["label"].str.lower().eq(pairs["label_found"].str.strip().str.lower())
    if "fluid" in pairs:
        same &= pairs["fluid"].str.strip().str.lower().eq("blood")
    if lost := [s.label for code, s in enumerate(table.signals) if not same[pairs["signal"].eq(code)].any()]:
        raise ContractError(
            f"{name}: no itemid of {', '.join(lost)} is there under that label. The dictionary is not MIMIC-IV's or "
            "was cut; "
            "download it again, or correct the itemids in mmn/data/mimic/signals.py and cite the version."
        )
    other = pairs["label_found"].notna() & ~same
    aside = {"itemids that mean something else in this version": int(other.sum())} if other.any() else {}
    return pairs.loc[same, ["itemid", "signal"]], aside


def _units(signals: tuple[Signal, ...]) -> pd.DataFrame:
    rows = [
        (code, unit, factor, signal.low, signal.high)
        for code, signal in enumerate(signals)
        for unit, factor in {"": 1.0, "none": 1.0, **signal.known_units}.items()
    ]
    return pd.DataFrame(rows, columns=["signal", "unit", "factor", "low", "high"])


def item_keys(items: pd.DataFrame) -> pd.DataFrame:
    keys = items[["subject_id", "hadm_id", "stay_id", "start_time", "prediction_time"]].reset_index(drop=True)
    whole = dict.fromkeys(("subject_id", "hadm_id", "stay_id"), "Int64")
    return keys.astype(whole).assign(position=np.arange(len(keys), dtype=np.int32))


def _select_events(scan: str, table: EventTable, belongs: str) -> str:
    """Temporary table `events`: every wanted event of the cohort before its latest prediction, with value and fault.

    `row` counts the wanted rows in file order; it settles ties. An event whose time is null is kept to be counted.
    """
    key, same = {
        OF_STAY: ("stay_id", OF_STAY),
        OF_ADMISSION: ("hadm_id", OF_ADMISSION),
        OF_VISIT: ("subject_id", "e.subject_id = k.subject_id"),
    }[belongs]
    stay = "NULL::BIGINT" if table is LABS else "stay_id"
    return f"""
        CREATE OR REPLACE TEMP TABLE events AS
        WITH spans AS (SELECT {key}, max(prediction_time) AS last FROM keys GROUP BY {key}),
        taken AS (
            SELECT row_number() OVER () AS row, subject_id, hadm_id, {stay} AS stay_id, itemid, {table.time} AS time,
                storetime, {table.value} AS number, lower(trim(coalesce(valueuom, ''))) AS unit
            FROM {scan} WHERE itemid IN (SELECT itemid FROM wanted)
        )
        SELECT e.row, e.subject_id, e.hadm_id, e.stay_id, w.signal, e.time, e.storetime, e.unit,
            e.number * u.factor AS value, e.unit IN ('', 'none') AS once,
            CASE WHEN e.time IS NULL THEN 'no time'
                WHEN e.number IS NULL OR NOT isfinite(e.number) THEN 'no number'
                WHEN u.factor IS NULL THEN 'unit not known'
                WHEN e.number * u.factor NOT BETWEEN u.low AND u.high THEN 'outside' END AS fault
        FROM taken e
        JOIN wanted w ON e.itemid = w.itemid
        JOIN spans k ON {same} AND (e.time <= k.last OR e.time IS NULL)
        LEFT JOIN units u ON u.signal = w.signal AND u.unit = e.unit
    """


def _judge(tables: Tables, table: EventTable, file: str) -> None:
    """A signal most of whose values are implausible is in another unit as a whole: it is refused, not thinned out."""
    counts = tables.connection.execute(
        "SELECT signal, count(*) AS total, count(*) FILTER (WHERE fault IN ('outside', 'unit not known')) AS bad, "
        "mode(unit) FILTER (WHERE fault IN ('outside', 'unit not known')) AS unit "
        "FROM events WHERE fault IS NULL OR fault <> 'no number' GROUP BY signal ORDER BY signal"
    ).fetchall()
    for code, total, bad, unit in counts:
        if total >= FEWEST_TO_JUDGE and bad > MOST_IMPLAUSIBLE * total:
            signal = table.signals[code]
            raise ContractError(
                f"{file}: {signal.label}: {bad} of {total} values lie outside [{signal.low:g}, {signal.high:g}] "
                f"{signal.unit} "
                f"or have an unknown unit (most often '{unit or 'none given'}'). If the source changed its unit, "
                "add the "
                "conversion to mmn/data/mimic/signals.py; if the range is wrong, widen it there and cite why."
            )


def _count_faults(tables: Tables, table: EventTable) -> dict[str, int]:
    counts = tables.connection.execute(
        "SELECT signal, fault, count(*) FROM events WHERE fault IS NOT NULL GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    faults = {}
    for code, fault, number in counts:
        signal = table.signals[code]
        said = f"outside [{signal.low:g}, {signal.high:g}] {signal.unit}" if fault == "outside" else fault
        faults[f"{signal.label}: {said}"] = int(number)
    return faults


def _join_items(belongs: str, durations: bool) -> str:
    """What went on at the prediction is known only up to then, so a duration is cut there; what has none counts 1."""
    so_far = "epoch(k.prediction_time - e.time) / 60"
    value = f"CASE WHEN e.once THEN e.value ELSE least(e.value, {so_far}) END" if durations else "e.value"
    return f"""
        SELECT k.position, e.signal, epoch(e.time - k.start_time) / 3600 AS hours, {value} AS value
        FROM events e JOIN keys k ON {belongs} AND e.time <= k.prediction_time
        WHERE e.fault IS NULL
        ORDER BY k.position, e.signal, e.time, e.storetime NULLS LAST, e.row
    """
