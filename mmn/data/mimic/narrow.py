"""The narrow table of a big table of events: its numeric rows, in file order, in the few columns that features need.

Made once per raw folder, in one streaming pass; everything later reads it instead of the csv.gz. One row is one row of
the raw table that has a finite number, whatever its itemid; its place in the narrow table settles ties. A laboratory
result whose labevent_id was there before is the same result once more: the first is kept. The same raw bytes give the
same narrow bytes. The rows left out are counted per itemid in the footer, under `mmn_events`.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.errors import ContractError, RawFileError
from mmn.data.files import LEFT_OUT_KEY, PROVENANCE_KEY, atomic_path
from mmn.data.mimic.contracts import ChartEvents, LabEvents, ProcedureEvents, RawTable, columns_in, table_name
from mmn.data.mimic.events_csv import read_batches
from mmn.data.mimic.events_repeats import SeenKeys
from mmn.data.mimic.layout import read_header, usable_layout

COUNTS_KEY = b"mmn_events"
FORMAT = "narrow events/1"
ROW_GROUP = 1 << 19

# Narrow column -> type. `time` is when it was measured, `storetime` when it was entered. Null id: not matched to one.
COLUMNS: dict[str, pa.DataType] = {
    "subject_id": pa.int32(),
    "hadm_id": pa.int32(),
    "stay_id": pa.int32(),
    "itemid": pa.int32(),
    "time": pa.timestamp("us"),
    "storetime": pa.timestamp("us"),
    "number": pa.float64(),
    "unit": pa.string(),
}
KEY = "labevent_id"  # read, not kept


@dataclass(frozen=True)
class Source:
    """The raw table, and its names of the columns that tables call differently."""

    contract: type[RawTable]
    time: str
    number: str
    unit: str = "valueuom"


SOURCES = {
    "chartevents": Source(ChartEvents, "charttime", "valuenum"),
    "labevents": Source(LabEvents, "charttime", "valuenum"),
    "procedureevents": Source(ProcedureEvents, "starttime", "value"),
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the footer says. file: the raw file, relative to its folder; rows: of the raw table; numbers, no_number:
    itemid -> rows kept, and rows left out because they have no finite number; no_time: rows kept without a time; units:
    itemid -> the units of its rows, "" for none; repeated: itemid -> rows left out because their key was
    there before. (The last two are empty where the table was made before they were noted.)"""

    file: str
    rows: int
    numbers: dict[int, int]
    no_number: dict[int, int]
    no_time: int
    units: dict[int, list[str]] = field(default_factory=dict)
    repeated: dict[int, int] = field(default_factory=dict)


def prepare(raw: Path, name: str, out: Path, provenance: dict[str, Any], progress: Callable[[int, int], None]) -> None:
    """Write the narrow table of `chartevents`, `labevents` or `procedureevents` at `out` (parquet, zstd).

    Memory does not grow with the table. progress: bytes of the raw file read so far and in all. Raises RawFileError
    where the file is not there or damaged, ContractError where a column is missing or a cell is not of its type.
    """
    source = SOURCES[name]
    layout = usable_layout(raw)
    path = layout.file(table_name(source.contract))
    file = path.relative_to(layout.raw).as_posix()
    header = read_header(path)
    ours = {source.time: "time", source.number: "number", source.unit: "unit"}
    wanted = {
        in_file: ours.get(promised, promised) for promised, in_file, _ in columns_in(source.contract, header, file)
    }
    names = [column for column in COLUMNS if column in wanted.values()]
    schema = pa.schema(
        [(column, COLUMNS[column]) for column in names],
        metadata={PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode()},
    )
    coded = schema.set(schema.get_field_index("unit"), pa.field("unit", pa.dictionary(pa.int32(), pa.string())))
    types = {old: pa.int32() if new == KEY else coded.field(new).type for old, new in wanted.items()}
    new_names = list(wanted.values())
    batches = read_batches(path, file, header, types, lambda batch: _numeric(batch.rename_columns(new_names)), progress)
    tally = _Tally()
    with (
        atomic_path(out) as temporary,
        pq.ParquetWriter(
            temporary, coded, version="2.6", compression="zstd", store_schema=False, write_statistics=False
        ) as writer,
        ThreadPoolExecutor(1) as pen,  # one row group is written while the next is parsed
    ):
        writing = pen.submit(lambda: None)
        for table in _regroup(tally.count_lost(batches), names):
            writing.result()
            writing = pen.submit(writer.write_table, tally.count(table), row_group_size=ROW_GROUP)
        writing.result()
        writer.add_key_value_metadata(
            {
                # The units are written as they are coded, and are plain strings to who reads them.
                b"ARROW:schema": base64.b64encode(schema.serialize().to_pybytes()),
                PROVENANCE_KEY: schema.metadata[PROVENANCE_KEY],
                LEFT_OUT_KEY: json.dumps(tally.left_out()).encode(),
                COUNTS_KEY: json.dumps({"format": FORMAT, "file": file, **tally.counts()}, sort_keys=True).encode(),
            }
        )


def read_counts(path: Path) -> Counts:
    """Raises ContractError where the file is not a narrow table of this form."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise RawFileError(
            f"{path}: not a complete parquet file ({type(error).__name__}). Remove it; the next run makes it again."
        ) from None
    found = json.loads(metadata.get(COUNTS_KEY, b"{}"))
    if found.get("format") != FORMAT:
        raise ContractError(
            f"{path}: its footer says format {found.get('format')!r}, this code reads {FORMAT!r}. Remove it; the next "
            "run makes it again."
        )
    by_itemid = {key: {int(k): v for k, v in found[key].items()} for key in ("numbers", "no_number")}
    by_itemid["repeated"] = {int(itemid): num for itemid, num in found.get("repeated", {}).items()}
    by_itemid["units"] = {int(itemid): units for itemid, units in found.get("units", {}).items()}
    return Counts(file=found["file"], rows=found["rows"], no_time=found["no_time"], **by_itemid)


def _numeric(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray]:
    """(the rows with a finite number, the itemids of the others)."""
    numeric = np.isfinite(batch["number"].to_numpy(zero_copy_only=False))
    if numeric.all():
        return batch, np.empty(0, dtype=np.int64)
    return batch.filter(pa.array(numeric)), _itemids(batch["itemid"])[~numeric]


class _Tally:
    """Counts the rows that are kept and those that are not, and which units each itemid has."""

    def __init__(self) -> None:
        self.no_time = 0
        self.numbers: Counter[int] = Counter()
        self.no_number: Counter[int] = Counter()
        self.repeated: Counter[int] = Counter()
        self.units: dict[int, set[str]] = defaultdict(set)

    def count_lost(self, batches: Iterator[tuple[pa.RecordBatch, np.ndarray]]) -> Iterator[pa.RecordBatch]:
        """The batches without what repeats an earlier row."""
        seen = SeenKeys()
        for batch, lost in batches:
            self.no_number.update(dict(zip(*_counted(lost), strict=True)))
            if KEY in batch.schema.names:
                first = seen.first(pc.fill_null(batch[KEY], 0).to_numpy())
                if not first.all():
                    self.repeated.update(dict(zip(*_counted(_itemids(batch["itemid"])[~first]), strict=True)))
                    batch = batch.filter(pa.array(first))
            yield batch

    def left_out(self) -> dict[str, int]:
        repeated = sum(self.repeated.values())
        return {"no number": sum(self.no_number.values()), **({f"{KEY} repeated": repeated} if repeated else {})}

    def count(self, table: pa.Table) -> pa.Table:
        """A row group. Its units' codes are made anew: those used, in the order of their names, whatever the pieces."""
        self.no_time += table["time"].null_count
        units = table["unit"].unify_dictionaries().combine_chunks()
        units = units.chunk(0) if isinstance(units, pa.ChunkedArray) else units
        names = [*units.dictionary.to_pylist(), ""]
        codes = pc.fill_null(units.indices, len(names) - 1).to_numpy()
        used = np.bincount(codes, minlength=len(names)) > 0
        order = sorted(np.flatnonzero(used[:-1]).tolist(), key=names.__getitem__)
        place = np.zeros(len(names), dtype=np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        units = pa.DictionaryArray.from_arrays(
            pa.array(place.take(codes), mask=codes == len(names) - 1),
            pa.array([names[code] for code in order], pa.string()),
        )
        kinds, counts = _counted(_itemids(table["itemid"].combine_chunks()) * len(names) + codes)
        for kind, count in zip(kinds, counts, strict=True):
            self.numbers[kind // len(names)] += count
            self.units[kind // len(names)].add(names[kind % len(names)])
        return table.set_column(table.schema.get_field_index("unit"), "unit", units)

    def counts(self) -> dict[str, Any]:
        return {
            "rows": sum(map(sum, (self.numbers.values(), self.no_number.values(), self.repeated.values()))),
            "no_time": self.no_time,
            "numbers": self.numbers,
            "no_number": self.no_number,
            "repeated": self.repeated,
            "units": {itemid: sorted(units) for itemid, units in self.units.items()},
        }


def _itemids(column: pa.Array) -> np.ndarray:
    """int64; a missing one is 0."""
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return pc.fill_null(column, 0).to_numpy().astype(np.int64)


def _counted(numbers: np.ndarray) -> tuple[list[int], list[int]]:
    """(the different numbers, how often each is there)."""
    if not len(numbers):
        return [], []
    low, high = int(numbers.min()), int(numbers.max())
    if high - low > 4 * len(numbers) + (1 << 20):
        found, counts = np.unique(numbers, return_counts=True)
        return found.tolist(), counts.tolist()
    counts = np.bincount(numbers - low)
    found = np.flatnonzero(counts)
    return (found + low).tolist(), counts[found].tolist()


def _regroup(batches: Iterator[pa.RecordBatch], names: list[str]) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP rows, the last one shorter, however they were cut before."""
    waiting: list[pa.Table] = []
    num_rows = 0
    for batch in batches:
        waiting.append(pa.Table.from_batches([batch.select(names)]))
        num_rows += len(batch)
        while num_rows >= ROW_GROUP:
            table = pa.concat_tables(waiting)
            yield table.slice(0, ROW_GROUP)
            waiting, num_rows = [table.slice(ROW_GROUP)], num_rows - ROW_GROUP
    if waiting:
        yield pa.concat_tables(waiting)
