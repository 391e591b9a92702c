"""The click logs of a raw folder as one parquet file in the order they are read in: course, student, time.

Nothing is left out here and nothing decided: what a row means depends on the course's dates and the mode, and those
are applied when it is read. Sorting spills to disk, so memory does not grow with the log.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.edu.layout import CourseFiles, find_courses, find_sets
from mmn.data.edu.tables import read_blocks
from mmn.data.errors import ParamsError, RawFileError
from mmn.data.evidence import CLICK_FACTS, CLICK_STREAMS
from mmn.data.files import EMPTY_KEY, PROVENANCE_KEY, atomic_path

# One row per click. Key: course, stream, row. null as in `contracts`.
SCHEMA = pa.schema(
    [
        ("course", pa.string()),
        ("user_id", pa.string()),
        ("time", pa.int64()),  # Unix microseconds, UTC
        ("stream", pa.int8()),  # code into CLICK_STREAMS
        ("row", pa.int64()),  # data row of its csv, from 0: events of one microsecond keep the order of the file
        ("event_type", pa.string()),
        ("content", pa.string()),  # video or problem id; null for forum clicks
        *((name, pa.float64()) for name in CLICK_FACTS),
    ]
)
ROW_GROUP = 1 << 17
SORT_MEMORY = "512MB"
_NO_LOG = b"The raw folder holds weekly features and no log: there is no click to prepare."


def prepare(raw: Path, name: str, out: Path, provenance: dict[str, Any], progress: Callable[[int, int], None]) -> None:
    """Write the table `events` of every course under `raw`. Raises RawFileError, ContractError, and ParamsError for an
    unknown name. progress counts percents: half of them are the reading."""
    if name != "events":
        raise ParamsError(f"edu: unknown prepared table '{name}'; known: events.")
    courses = find_courses(raw)
    if not courses and not find_sets(raw):
        raise RawFileError(f"{raw}: no course with all its tables is there, so no click log can be prepared.")
    write_events(courses, out, provenance, progress)


def write_events(
    courses: Mapping[str, CourseFiles], out: Path, provenance: dict[str, Any], progress: Callable[[int, int], None]
) -> None:
    """The logs of these courses, sorted, at `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{out.name}-unsorted.{os.getpid()}.tmp")
    scratch.mkdir(exist_ok=True)
    try:
        num_rows = _gather(courses, scratch / "log.parquet", progress)
        with atomic_path(out) as temporary:
            footer = {PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode()}
            _write_sorted(scratch, temporary, num_rows, footer | ({} if courses else {EMPTY_KEY: _NO_LOG}), progress)
    finally:
        shutil.rmtree(scratch)


def stream_blocks(files: CourseFiles, stream: str) -> Iterator[pa.Table]:
    """One csv as blocks in SCHEMA, checked by its contract."""
    code = CLICK_STREAMS.index(stream)
    for frame in read_blocks(files, f"{stream}_event"):
        size = len(frame)
        columns: dict[str, Any] = {
            "course": pa.repeat(pa.scalar(files.course), size),
            "user_id": frame["user_id"],
            "time": np.round(frame["timestamp"].to_numpy() * 1e6).astype("int64"),
            "stream": np.full(size, code, dtype="int8"),
            "row": np.asarray(frame.index, dtype="int64"),
            "event_type": frame["event_type"],
            "content": pa.nulls(size, pa.string()) if stream == "forum" else frame[f"{stream}_id"],
        }
        for name in CLICK_FACTS:
            columns[name] = frame[name].to_numpy() if name in frame else pa.nulls(size, pa.float64())
        yield pa.table([_array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    array = pa.array(values, from_pandas=True)
    return array.cast(kind)


def _gather(courses: Mapping[str, CourseFiles], path: Path, progress: Callable[[int, int], None]) -> int:
    """All logs, as they come, into one file; the number of rows."""
    logs = [(c, stream) for c in courses.values() for stream in CLICK_STREAMS if f"{stream}_event" in c.files]
    sizes = [course.files[f"{stream}_event"].stat().st_size for course, stream in logs]
    num_rows = 0
    with pq.ParquetWriter(path, SCHEMA, compression="lz4") as writer:
        for done, (course, stream) in enumerate(logs):
            progress(50 * sum(sizes[:done]) // max(sum(sizes), 1), 100)
            for table in stream_blocks(course, stream):
                writer.write_table(table)
                num_rows += len(table)
    # What Arrow keeps for later would be held beside the sorter's memory.
    pa.default_memory_pool().release_unused()
    return num_rows


def _write_sorted(
    scratch: Path, out: Path, num_rows: int, footer: dict[bytes, bytes], progress: Callable[[int, int], None]
) -> None:
    import duckdb

    schema = SCHEMA.with_metadata(footer)
    written = 0
    with duckdb.connect(config=bounded_memory(scratch / "spill")) as connection, _writer(out, schema) as writer:
        log = connection.read_parquet(str(scratch / "log.parquet"))
        reader = log.order("course, user_id, time, stream, row").to_arrow_reader(ROW_GROUP)
        for table in _even(reader):
            writer.write_table(table.cast(SCHEMA), row_group_size=ROW_GROUP)
            written += len(table)
            progress(50 + 50 * written // max(num_rows, 1), 100)
    if written != num_rows:
        raise RawFileError(f"{out}: {written} of {num_rows} rows were written. Prepare the table again.")
    progress(100, 100)


def bounded_memory(spill: Path | str) -> dict[str, str | bool | int | float | list[str]]:
    """Settings of a DuckDB connection that sorts in SORT_MEMORY, and on disk below `spill` beyond that."""
    return {"memory_limit": SORT_MEMORY, "temp_directory": str(spill), "threads": min(2, os.cpu_count() or 1)}


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, version="2.6", compression="zstd")


def _even(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP, so that the bytes do not depend on how the sorter hands them over."""
    waiting: list[pa.Table] = []
    size = 0
    for batch in reader:
        waiting.append(pa.Table.from_batches([batch]))
        size += len(batch)
        while size >= ROW_GROUP:
            table = pa.concat_tables(waiting)
            yield table.slice(0, ROW_GROUP)
            waiting, size = [table.slice(ROW_GROUP)], size - ROW_GROUP
    if size:
        yield pa.concat_tables(waiting)
