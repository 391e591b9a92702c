"""The narrow table of a big table of events: its numeric rows, in file order, in the few columns that features need.

Made once per raw folder, in one streaming pass; everything later reads it instead of the csv.gz. One row is one row of
the raw table that has a finite number, whatever its itemid; its place in the narrow table settles ties. The same raw
bytes give the same narrow bytes. The rows left out are counted per itemid in the footer, under `mmn_events`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.errors import ContractError, RawFileError
from mmn.data.files import LEFT_OUT_KEY, PROVENANCE_KEY, atomic_path
from mmn.data.mimic.contracts import ChartEvents, LabEvents, ProcedureEvents, RawTable, columns_in, table_name
from mmn.data.mimic.events_csv import read_batches
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
    itemid -> rows kept, and rows left out because they have no finite number; no_time: rows kept without a time."""

    file: str
    rows: int
    numbers: dict[int, int]
    no_number: dict[int, int]
    no_time: int


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
    batches = read_batches(path, file, header, {old: COLUMNS[new] for old, new in wanted.items()}, progress)
    tally = _Tally()
    with (
        atomic_path(out) as temporary,
        pq.ParquetWriter(temporary, schema, version="2.6", compression="zstd", store_schema=True) as writer,
    ):
        kept = (tally.keep(batch.rename_columns([wanted[old] for old in batch.schema.names])) for batch in batches)
        for table in _regroup(kept, schema):
            writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata(
            {
                LEFT_OUT_KEY: json.dumps({"no number": sum(tally.no_number.values())}).encode(),
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
    return Counts(file=found["file"], rows=found["rows"], no_time=found["no_time"], **by_itemid)


class _Tally:
    """Keeps the rows with a finite number and counts both kinds."""

    def __init__(self) -> None:
        self.rows = 0
        self.no_time = 0
        self.numbers: Counter[int] = Counter()
        self.no_number: Counter[int] = Counter()

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        numeric = pc.fill_null(pc.is_finite(batch["number"]), False)
        self._count(batch["itemid"].filter(pc.invert(numeric)), self.no_number)
        self.rows += len(batch)
        batch = batch.take(pc.indices_nonzero(numeric))  # several times faster than `filter` where there are strings
        self._count(batch["itemid"], self.numbers)
        self.no_time += batch["time"].null_count
        return batch

    def counts(self) -> dict[str, Any]:
        return {"rows": self.rows, "no_time": self.no_time, "numbers": self.numbers, "no_number": self.no_number}

    @staticmethod
    def _count(itemids: pa.Array, into: Counter[int]) -> None:
        values, counts = pc.value_counts(pc.fill_null(itemids, 0)).flatten()
        into.update(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))


def _regroup(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP rows, the last one shorter, however they were cut before."""
    waiting = pa.Table.from_batches([], schema=schema)
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch.select(schema.names)])])
        while len(waiting) >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP)
            waiting = waiting.slice(ROW_GROUP)
    yield waiting
