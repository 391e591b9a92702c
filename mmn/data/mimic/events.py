"""Chart events, laboratory results and procedures of the cohort's items, up to each item's prediction time.

The narrow table (`narrow.py`) is scanned once: rows of the wanted itemids and of the cohort are judged, each once,
however many items it serves; what is sound waits, parted by item, until the blocks are asked for (`events_spool.py`).
Memory does not grow with the table. Ties in time are ordered by storetime, then by the place in the file.

`clean`: units are converted, implausible values set aside and counted, everything is as of the prediction: an event
counts from when it is known, the later of its time and its storetime; its place in the series is its time's.
`haim`: as published (mimic.md sections 0.1, 0.3, 2.3, 3.2): itemids by the dictionary's label alone, so fluids and
units are mixed; raw numbers; the file's order; events without a time are kept; procedures are never cut.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.evidence import EventBlock, EventEvidence
from mmn.data.mimic.ahead import ahead
from mmn.data.mimic.contracts import Admissions, DItems, DLabItems, IcuStays, RawTable, table_name
from mmn.data.mimic.events_judge import Homes, Judge, wanted_itemids
from mmn.data.mimic.events_keys import NO_ID, NO_TIME, Groups, group_items, moments, order_of_series, ranges
from mmn.data.mimic.events_spool import Arrays, Spool
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.narrow import Counts, prepare, read_counts
from mmn.data.mimic.reader import Tables, open_tables
from mmn.data.mimic.signals import CHART_SIGNALS, LAB_SIGNALS, PROCEDURE_SIGNALS, Signal

Which = Literal["chart", "lab", "procedure"]
Mode = Literal["clean", "haim"]

# An event belongs to an item of its stay, of its admission, or (labs drawn before it, in the ED) of its visit.
OF_STAY = "e.stay_id = k.stay_id"
OF_ADMISSION = "e.hadm_id = k.hadm_id"
OF_VISIT = "e.subject_id = k.subject_id AND (e.hadm_id = k.hadm_id OR (e.hadm_id IS NULL AND e.time >= k.start_time))"

# Of events that wait; beyond it they go to a temporary file. More is slower: memory that is used again is warm, that
# of a first touch is not, and the file stays in the system's cache while there is room.
MEMORY_BYTES = 32 << 20
PART_ROWS = 1 << 19
BLOCK_ROWS = 1 << 17  # as SCAN_ROWS: what one step makes stays in the cache, and in memory that is used again
SCAN_ROWS = 1 << 17
_KEYS = {OF_STAY: ("stay_id",), OF_ADMISSION: ("hadm_id",), OF_VISIT: ("subject_id",)}


@dataclass(frozen=True)
class EventTable:
    """One kind of events. haim_keys: the ids that an event and an item must share there."""

    name: str
    dictionary: type[RawTable]
    signals: tuple[Signal, ...]
    haim_keys: tuple[str, ...]
    durations: bool = False


EVENT_TABLES: dict[Which, EventTable] = {
    "chart": EventTable("chartevents", DItems, CHART_SIGNALS, ("subject_id", "hadm_id", "stay_id")),
    "lab": EventTable("labevents", DLabItems, LAB_SIGNALS, ("subject_id", "hadm_id")),
    "procedure": EventTable("procedureevents", DItems, PROCEDURE_SIGNALS, ("subject_id", "hadm_id", "stay_id"), True),
}


def read_events(
    raw: Path,
    items: pd.DataFrame,
    which: Which,
    *,
    belongs: str,
    mode: Mode,
    narrow: Path | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> EventEvidence:
    """items: the cohort's, in its order. belongs: OF_STAY, OF_ADMISSION or OF_VISIT; mode haim has its own rule.

    narrow: the prepared table; without it one is made in a temporary folder. Raises ContractError where itemids are not
    the dictionary's, where events name stays that are not there, or where most values of a signal are implausible.
    """
    table = EVENT_TABLES[which]
    if narrow is None:
        with tempfile.TemporaryDirectory(prefix="mmn-mimic-") as folder:
            made = Path(folder) / f"{table.name}.parquet"
            prepare(raw, table.name, made, {}, lambda done, total: None)
            return read_events(raw, items, which, belongs=belongs, mode=mode, narrow=made, memory_bytes=memory_bytes)
    counts = read_counts(narrow)
    with open_tables(usable_layout(raw)) as tables:
        dictionary = tables.frame(table.dictionary)
        homes = _homes(tables, "hadm_id" if which == "lab" or belongs == OF_ADMISSION else "stay_id", counts.file)
    wanted, aside = wanted_itemids(dictionary, table.dictionary, table.signals, counts, mode)
    scan = _Scan(
        table=table,
        mode=mode,
        visit=mode == "clean" and belongs == OF_VISIT,
        items=items,
        groups=group_items(items, table.haim_keys if mode == "haim" else _KEYS[belongs]),
    )
    num_rows = sum(counts.numbers.get(itemid, 0) for itemid in wanted)
    spool = Spool(max(1, min(len(items), num_rows // PART_ROWS + 1)), memory_bytes)
    judge = Judge(table.signals, counts.file)
    scan.fill(spool, narrow, wanted, _one_unit(wanted, counts), judge, homes)
    homes.refuse_other_version()
    judge.refuse_other_units()
    for fault, by_itemid in (("no number", counts.no_number), ("repeated", counts.repeated)):
        for itemid in by_itemid.keys() & wanted.keys():
            reason = f"{table.signals[wanted[itemid]].label}: {fault} (in the whole table)"
            aside[reason] = aside.get(reason, 0) + by_itemid[itemid]
    return EventEvidence(
        signals=tuple(signal.label for signal in table.signals),
        blocks=lambda: ahead(scan.blocks(spool), depth=1),
        units={signal.label: signal.unit if mode == "clean" else "as in the table" for signal in table.signals},
        quarantined={**aside, **homes.faults(), **judge.faults()},
    )


def _one_unit(wanted: dict[int, int], counts: Counts) -> dict[int, str] | None:
    """itemid -> its unit, where the table gives each of them one and the same throughout: the column need not be read.
    None where it must be."""
    units = {itemid: counts.units.get(itemid, []) for itemid in wanted if counts.numbers.get(itemid)}
    if any(len(of_itemid) != 1 for of_itemid in units.values()):
        return None
    return {itemid: of_itemid[0] for itemid, of_itemid in units.items()}


def _homes(tables: Tables, key: str, file: str) -> Homes:
    """Every stay, or every admission, of the tables, whether or not it is in the cohort. No cohort is made without that
    table; items made otherwise, of events alone, have nothing to be compared with."""
    contract = IcuStays if key == "stay_id" else Admissions
    if table_name(contract) not in tables.layout.files:
        return Homes(key, None, table_name(contract), file)
    scan = tables.scan(contract)
    with tables.readable():
        known = tables.connection.execute(
            f"SELECT DISTINCT {key} FROM {scan} WHERE {key} IS NOT NULL ORDER BY {key}"
        ).fetchnumpy()[key]
    return Homes(key, np.asarray(known, dtype=np.int64), table_name(contract), file)


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """The way from the narrow table's rows to blocks. visit: the rule OF_VISIT holds."""

    table: EventTable
    mode: Mode
    visit: bool
    items: pd.DataFrame
    groups: Groups

    @property
    def _bounded(self) -> bool:
        return self.mode == "clean" or not self.table.durations

    def fill(
        self,
        spool: Spool,
        narrow: Path,
        wanted: dict[int, int],
        one_unit: dict[int, str] | None,
        judge: Judge,
        homes: Homes,
    ) -> None:
        """All sound events of the cohort's items into the spool; the others are counted."""
        signal_of = np.full(max(wanted, default=0) + 2, -1, dtype=np.int16)
        signal_of[list(wanted)] = list(wanted.values())
        units = sorted(set((one_unit or {}).values()))
        unit_of = np.zeros(len(signal_of), dtype=np.int32)
        for item, unit in (one_unit or {}).items():
            unit_of[item] = units.index(unit)
        parts = _PartsOfGroups(self.groups.of_item, spool.num_parts)
        clean = self.mode == "clean"
        columns = [*self.groups.keys, homes.key, "itemid", "time", "number", *["hadm_id"] * self.visit]
        columns += ["storetime"] * clean + ["unit"] * (clean and one_unit is None)
        ids = {*self.groups.keys, homes.key, *["hadm_id"] * self.visit}
        for rows in ahead(_batches(narrow, list(dict.fromkeys(columns))), depth=8):
            # Out of range is the last place or the first: both belong to no signal.
            itemid = _ids(rows["itemid"])
            signal = signal_of.take(itemid, mode="clip")
            kept = np.flatnonzero(signal >= 0)
            id_of = {key: _ids(rows[key]).take(kept) for key in ids}
            homes.count(id_of[homes.key])
            found = {
                "group": self.groups.of_events(id_of),
                "signal": signal.take(kept),
                "time": _moments(rows["time"]).take(kept),
                "value": _numbers(rows["number"]).take(kept),
            }
            if self.visit:
                found["hadm_id"] = id_of["hadm_id"]
            if clean:
                found["storetime"] = _moments(rows["storetime"]).take(kept)
                if one_unit is None:
                    codes, units = _units(rows["unit"])
                    found["unit"] = codes.take(kept)
                else:
                    found["unit"] = unit_of.take(itemid.take(kept))
            found = _where(self._in_time(found), found)
            if clean:
                sound, once = judge.convert(found, found.pop("unit"), units)
                if self.table.durations:
                    found["once"] = once
                found = _where(sound, found)
            spool.add(*parts.of_events(found))

    def _in_time(self, rows: Arrays) -> np.ndarray:
        """(E,) of an item, and known by the latest prediction of its group. A missing time is kept, to be counted."""
        ours = rows["group"] >= 0
        if not self._bounded:
            return ours
        known = np.maximum(rows["time"], rows["storetime"]) if self.mode == "clean" else rows["time"]
        if not len(self.groups.last):
            return ours
        return ours & ((known <= self.groups.last.take(rows["group"])) | (rows["time"] == NO_TIME))

    def blocks(self, spool: Spool) -> Iterator[EventBlock]:
        edges = part_edges(len(self.items), spool.num_parts)
        for part in range(spool.num_parts):
            if (rows := spool.part(part)) is not None:
                yield from self._blocks_of_part(rows, int(edges[part]), int(edges[part + 1]))

    def _blocks_of_part(self, rows: Arrays, first: int, end: int) -> Iterator[EventBlock]:
        """The items first to end - 1, each with the events of its group that are its own."""
        series = (rows["group"] - rows["group"].min()).astype(np.int64) * len(self.table.signals) + rows["signal"]
        still = np.zeros(len(series), dtype=np.int64)  # mode haim: in the file's order
        clean = self.mode == "clean"
        order = order_of_series(series, rows["time"] if clean else still, _null_last(rows) if clean else still)
        rows = {name: column.take(order) for name, column in rows.items()}
        item = np.flatnonzero(self.groups.of_item[first:end] >= 0) + first
        starts = np.searchsorted(rows["group"], self.groups.of_item[item])
        lengths = np.searchsorted(rows["group"], self.groups.of_item[item], side="right") - starts
        piece = np.cumsum(lengths) // BLOCK_ROWS
        edges = np.flatnonzero(np.r_[True, piece[1:] != piece[:-1], True]) if len(item) else np.zeros(1, dtype=np.int64)
        for begin, stop in pairwise(edges):
            block = self._block(rows, item[begin:stop], starts[begin:stop], lengths[begin:stop])
            if len(block.item):
                yield block

    def _block(self, rows: Arrays, item: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> EventBlock:
        # Where each group is one item's, its events lie as they are wanted: no copy.
        if (starts[1:] == starts[:-1] + lengths[:-1]).all():
            rows = {name: column[starts[0] : starts[-1] + lengths[-1]] for name, column in rows.items()}
        else:
            event = ranges(starts, lengths)
            rows = {name: column.take(event) for name, column in rows.items()}
        shared = bool((self._num_items[self.groups.of_item[item]] > 1).any())
        item = np.repeat(item.astype(np.int32), lengths)
        if shared or self.visit:
            rows, item = self._own(rows, item)
        time, value = rows["time"], rows["value"]
        if self.table.durations and self.mode == "clean":
            # What went on at the prediction is known only up to then, so a duration is cut there.
            value = np.where(rows["once"], value, np.minimum(value, (self._predicted[item] - time) / 60e6))
        hours = (time - self._started[item]) / 3600e6
        if self.mode == "haim":
            hours[time == NO_TIME] = np.nan
        return EventBlock(item=item, signal=rows["signal"], hours=hours, value=value)

    def _own(self, rows: Arrays, item: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """Of the events of an item's group those that are its own. A group of one item was cut at its prediction."""
        own = np.ones(len(item), dtype=bool)
        if self._bounded:
            known = np.maximum(rows["time"], rows["storetime"]) if self.mode == "clean" else rows["time"]
            own &= (known <= self._predicted[item]) | (rows["time"] == NO_TIME)
        if self.visit:
            own &= (rows["hadm_id"] == self._admission[item]) | (
                (rows["hadm_id"] == NO_ID) & (rows["time"] >= self._started[item])
            )
        return _where(own, rows), item if own.all() else item[own]

    @cached_property
    def _predicted(self) -> np.ndarray:
        return moments(self.items["prediction_time"])

    @cached_property
    def _started(self) -> np.ndarray:
        return moments(self.items["start_time"])

    @cached_property
    def _admission(self) -> np.ndarray:
        return self.items["hadm_id"].astype("Int64").fillna(NO_ID - 1).to_numpy(dtype=np.int64)

    @cached_property
    def _num_items(self) -> np.ndarray:
        """(G,) of each group."""
        return np.bincount(self.groups.of_item[self.groups.of_item >= 0], minlength=len(self.groups.last))


def _where(wanted: np.ndarray, rows: Arrays) -> Arrays:
    if wanted.all():
        return rows
    places = np.flatnonzero(wanted)
    return {name: column.take(places) for name, column in rows.items()}


def _null_last(rows: Arrays) -> np.ndarray:
    return np.where(rows["storetime"] == NO_TIME, np.iinfo(np.int64).max, rows["storetime"])


class _PartsOfGroups:
    """In which parts of the spool a group's events are wanted: in those that hold its items, mostly one."""

    def __init__(self, of_item: np.ndarray, num_parts: int) -> None:
        part = np.repeat(np.arange(num_parts), np.diff(part_edges(len(of_item), num_parts)))
        known = of_item >= 0
        pairs = np.unique(of_item[known].astype(np.int64) * num_parts + part[known])
        self._part = (pairs % num_parts).astype(np.int32)
        self._start = np.searchsorted(pairs // num_parts, np.arange(int(of_item.max(initial=-1)) + 1))
        self._num = np.diff(np.r_[self._start, len(pairs)])
        self._each_in_one = bool((self._num == 1).all())

    def of_events(self, rows: Arrays) -> tuple[np.ndarray, Arrays]:
        """(part of each row, the rows; a row that is wanted in two parts is there twice)."""
        group = rows["group"]
        if self._each_in_one:
            return self._part.take(group), rows
        num = self._num[group]
        again = np.repeat(np.arange(len(group)), num)
        return self._part[ranges(self._start[group], num)], {name: column[again] for name, column in rows.items()}


def part_edges(num_items: int, num_parts: int) -> np.ndarray:
    """(P + 1,) the first item of each part, and the end."""
    return np.arange(num_parts + 1) * num_items // num_parts


def _batches(narrow: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(narrow, read_dictionary=["unit"]) as file:
        for number in range(file.num_row_groups):
            for batch in file.read_row_group(number, columns=columns).combine_chunks().to_batches():
                for start in range(0, len(batch), SCAN_ROWS):
                    yield batch.slice(start, SCAN_ROWS)


def _ids(column: pa.Array) -> np.ndarray:
    return (pc.fill_null(column, NO_ID) if column.null_count else column).to_numpy()


def _numbers(column: pa.Array) -> np.ndarray:
    return column.to_numpy()


def _moments(column: pa.Array) -> np.ndarray:
    column = column.view(pa.int64())
    return (pc.fill_null(column, NO_TIME) if column.null_count else column).to_numpy()


def _units(column: pa.DictionaryArray) -> tuple[np.ndarray, list[str]]:
    """(code of each row, unit of each code); where no unit is given it is ''."""
    names = [*column.dictionary.to_pylist(), ""]
    codes = column.indices
    return (pc.fill_null(codes, len(names) - 1) if codes.null_count else codes).to_numpy(), names
