"""The prepared table of one course, whole students at a time: which of their rows count, and why the others do not.

Cohort and features are both made from it, so that a row which counts in one counts in the other.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.edu.prepared import SCHEMA, bounded_memory, write_events
from mmn.data.edu.reader import Contents, Course, Rows, admit, count_rows, read_rows, repeated
from mmn.data.errors import StaleInputError
from mmn.data.evidence import CLICK_FACTS, CLICK_STREAMS

BLOCK_ROWS = 1 << 19
_TEXTS = ["course", "user_id", "event_type", "content"]
_PROBLEM = CLICK_STREAMS.index("problem")


class SortedLog:
    """Where the prepared table is; whoever reads it holds this object."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def path(self) -> Path:
        return self._path


class _Temporary(SortedLog):
    """Of one course, made at the first reading, in a folder that is removed when nobody holds this object any more."""

    def __init__(self, course: Course) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mmn-edu-"))
        super().__init__(folder / "events.parquet")
        self._files = course.files
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def path(self) -> Path:
        if not self._path.exists():
            write_events({self._files.course: self._files}, self._path, {}, lambda done, total: None)
        return self._path


def open_log(course: Course, prepared: Mapping[str, Path]) -> SortedLog:
    """prepared: as `Dataset.read_evidence` gets it; without `events` a table of this course is made for the reading."""
    return SortedLog(prepared["events"]) if "events" in prepared else _Temporary(course)


@dataclass(frozen=True)
class Piece:
    """Some students' rows, each student with all of his, in time order; of those that are in the course's dates, of a
    known type, and of a student with a grade row.

    week: (E,) 0-based. facts: (len(CLICK_FACTS), E). repeated: (E,) bool, submissions logged before, which do not
    count. counts: reason -> rows of this stretch of the log that were left out, the repeated ones among them.
    """

    rows: Rows
    week: np.ndarray
    facts: np.ndarray
    repeated: np.ndarray
    counts: Counter[str]


def pieces(log: SortedLog, course: Course, block_rows: int = BLOCK_ROWS) -> Iterator[Piece]:
    """block_rows: about so many rows are in memory at a time; what is read does not depend on it."""
    path = log.path()
    contents, users = Contents(course.schedule), course.users
    lost = _lost_to_others(path, course) if course.mode == "compat" else None
    counts: Counter[str] = Counter()
    waiting: list[tuple[Rows, np.ndarray, np.ndarray]] = []
    size = 0
    for table in _tables(path, course.name):
        rows = read_rows(course, contents, users, table)
        kept, week = admit(course, rows, counts)
        again = np.zeros(len(kept), dtype=bool)
        if lost is not None:
            again = kept & (rows.stream == _PROBLEM) & np.isin(rows.row, lost)
            count_rows(counts, rows.stream, again, "repeated")
        count_rows(counts, rows.stream, kept & ~again & (rows.user < 0), "student without a grade row")
        which = np.flatnonzero(kept & (rows.user >= 0))
        facts = np.stack([table[name].to_numpy()[which] for name in CLICK_FACTS])
        waiting.append((rows.take(which), week[which], facts))
        size += len(which)
        if size >= block_rows:
            rows, week, facts = _joined(waiting)
            # The last student may go on in the next table.
            end = int(np.flatnonzero(rows.user != rows.user[-1]).max(initial=-1)) + 1
            if end:
                yield _piece(course, rows.take(slice(0, end)), week[:end], facts[:, :end], lost, counts)
                counts = Counter()
            waiting = [(rows.take(slice(end, None)), week[end:], facts[:, end:])]
            size = len(rows.user) - end
    if waiting:
        yield _piece(course, *_joined(waiting), lost, counts)


def _piece(
    course: Course, rows: Rows, week: np.ndarray, facts: np.ndarray, lost: np.ndarray | None, counts: Counter[str]
) -> Piece:
    if lost is not None:
        return Piece(rows, week, facts, (rows.stream == _PROBLEM) & np.isin(rows.row, lost), counts)
    again = repeated(rows)
    count_rows(counts, rows.stream, again, "repeated")
    return Piece(rows, week, facts, again, counts)


def _tables(path: Path, course: str) -> Iterator[pa.Table]:
    """The row groups of one course, in order."""
    with pq.ParquetFile(path, read_dictionary=_TEXTS) as file:
        if file.schema_arrow.names != SCHEMA.names:
            raise _stale(path)
        for group in range(file.metadata.num_row_groups):
            statistics = file.metadata.row_group(group).column(0).statistics
            if statistics is not None and statistics.has_min_max and not statistics.min <= course <= statistics.max:
                continue
            table = file.read_row_group(group)
            named = table["course"].unify_dictionaries().combine_chunks()
            mine = named.dictionary.index(course).as_py() if course in named.dictionary.to_pylist() else -1
            mask = named.indices.to_numpy(zero_copy_only=False) == mine
            if mask.any():
                yield table if mask.all() else table.filter(pa.array(mask))


def _stale(path: Path) -> StaleInputError:
    return StaleInputError(
        f"{path}: its columns are not those of the prepared table `events`. Prepare it again (`mmn run`)."
    )


def _lost_to_others(path: Path, course: Course) -> np.ndarray:
    """Compat mode: the csv rows of submissions that another row of the same second hides, sorted. The published
    cleaning leaves the student out of the key, so that of two who submit in one second one loses the row."""
    import duckdb

    if pq.read_schema(path).names != SCHEMA.names:
        raise _stale(path)
    with tempfile.TemporaryDirectory(prefix="mmn-edu-") as spill, duckdb.connect(config=bounded_memory(spill)) as con:
        found = con.execute(
            "SELECT row FROM read_parquet(?) WHERE course = ? AND stream = ? AND event_type = 'Problem.Check' "
            "QUALIFY row_number() OVER (PARTITION BY content, time ORDER BY row) > 1 ORDER BY row",
            [str(path), course.name, _PROBLEM],
        ).fetchnumpy()
    return np.asarray(found["row"], dtype="int64")


def _joined(waiting: list[tuple[Rows, np.ndarray, np.ndarray]]) -> tuple[Rows, np.ndarray, np.ndarray]:
    rows, weeks, facts = zip(*waiting, strict=True)
    return Rows.joined(rows), np.concatenate(weeks), np.concatenate(facts, axis=1)
