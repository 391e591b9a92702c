"""The click log of a cohort's students, read from the prepared table block by block, whole students at a time."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.cohort import Cohort
from mmn.data.edu.arrays import read_arrays
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import SCHEMA, prepare
from mmn.data.edu.reader import (
    SCHEDULE_COLUMNS,
    Contents,
    Course,
    Rows,
    admit,
    count_rows,
    read_course,
    read_rows,
    repeated,
)
from mmn.data.errors import StaleInputError
from mmn.data.evidence import CLICK_FACTS, CLICK_STREAMS, ClickBlock, ClickEvidence

BLOCK_ROWS = 1 << 19
_TEXTS = ["course", "user_id", "event_type", "content"]
_PROBLEM = CLICK_STREAMS.index("problem")


def read_clicks(
    raw: Path, cohort: Cohort, params: EduCohortParams, prepared: Mapping[str, Path], block_rows: int = BLOCK_ROWS
) -> ClickEvidence:
    """The clicks of every stream: the featurizer takes what its modality needs.

    The log runs to the last week, past `prediction_time`: step t's features see week t alone, the tasks per step are
    trained at every step, and what is read at `Task.read_step` has seen the steps up to there and no more.
    block_rows: about so many clicks are in memory at a time; the features do not depend on it.
    """
    course = read_course(raw, str(cohort.items["course"].iloc[0]), cohort.num_steps, params.mode)
    items = pd.Index(cohort.items["item"], dtype="str")
    table = _Prepared(prepared["events"]) if "events" in prepared else _Temporary(raw)
    return ClickEvidence(
        blocks=lambda: _blocks(table, course, items, block_rows), schedule=course.schedule, num_weeks=cohort.num_steps
    )


class _Prepared:
    """Where the prepared table is; whoever reads it holds this object."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def path(self) -> Path:
        return self._path


class _Temporary(_Prepared):
    """Made at the first reading, in a folder that is removed when nobody holds this object any more."""

    def __init__(self, raw: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mmn-edu-"))
        super().__init__(folder / "events.parquet")
        self._raw = raw
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def path(self) -> Path:
        if not self._path.exists():
            prepare(self._raw, "events", self._path, {}, lambda done, total: None)
        return self._path


def read_arrays_as_clicks(raw: Path, cohort: Cohort) -> ClickEvidence:
    """Ready-made weekly features: no clicks, and no schedule."""
    arrays = read_arrays(raw, str(cohort.items["course"].iloc[0]))
    rows = pd.Index(arrays.users, dtype="str").get_indexer(cohort.items["item"])
    if (rows < 0).any():
        raise StaleInputError(
            f"{raw}: {int((rows < 0).sum())} of {len(rows)} students of the cohort are not in the feature arrays. "
            "Make the cohort again."
        )
    weekly = {name: values[rows, : cohort.num_steps] for name, values in arrays.values.items()}
    schedule = pd.DataFrame(columns=list(SCHEDULE_COLUMNS))
    return ClickEvidence(blocks=lambda: iter(()), schedule=schedule, num_weeks=cohort.num_steps, weekly=weekly)


def _blocks(prepared: _Prepared, course: Course, items: pd.Index, block_rows: int) -> Iterator[ClickBlock]:
    path = prepared.path()
    contents, users = Contents(course.schedule), course.users
    place = items.get_indexer(users)
    lost = _lost_to_others(path, course) if course.mode == "compat" else None
    counts: Counter[str] = Counter()
    waiting: list[tuple[Rows, np.ndarray, np.ndarray]] = []
    size = 0
    for table in _tables(path, course.name):
        rows = read_rows(course, contents, users, table)
        kept, week = admit(course, rows, counts)
        if lost is not None:
            again = kept & (rows.stream == _PROBLEM) & np.isin(rows.row, lost)
            count_rows(counts, rows.stream, again, "repeated")
            kept &= ~again
        count_rows(counts, rows.stream, kept & (rows.user < 0), "student without a grade row")
        which = np.flatnonzero(kept & (rows.user >= 0))
        facts = np.stack([table[name].to_numpy()[which] for name in CLICK_FACTS])
        waiting.append((rows.take(which), week[which], facts))
        size += len(which)
        if size >= block_rows:
            rows, week, facts = _joined(waiting)
            # The last student may go on in the next table.
            end = int(np.flatnonzero(rows.user != rows.user[-1]).max(initial=-1)) + 1
            if end:
                yield _block(course, place, rows.take(slice(0, end)), week[:end], facts[:, :end], counts)
                counts = Counter()
            waiting = [(rows.take(slice(end, None)), week[end:], facts[:, end:])]
            size = len(rows.user) - end
    if waiting:
        yield _block(course, place, *_joined(waiting), counts)


def _block(
    course: Course, place: np.ndarray, rows: Rows, week: np.ndarray, facts: np.ndarray, counts: Counter[str]
) -> ClickBlock:
    again = repeated(rows, course.mode) if course.mode != "compat" else np.zeros(len(rows.user), dtype=bool)
    count_rows(counts, rows.stream, again, "repeated")
    item = place[rows.user]
    kept = np.flatnonzero((item >= 0) & ~again)
    return ClickBlock(
        item=item[kept], week=week[kept], time=rows.time[kept] / 1e6, stream=rows.stream[kept],
        event=rows.event[kept], content=rows.content[kept],
        facts=dict(zip(CLICK_FACTS, facts[:, kept], strict=True)), quarantined=dict(counts),
    )  # fmt: skip


def _tables(path: Path, course: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of one course, in order."""
    with pq.ParquetFile(path, read_dictionary=_TEXTS) as file:
        if file.schema_arrow.names != SCHEMA.names:
            raise StaleInputError(
                f"{path}: its columns are not those of the prepared table `events`. Prepare it again (`mmn run`)."
            )
        for group in range(file.metadata.num_row_groups):
            statistics = file.metadata.row_group(group).column(0).statistics
            if statistics is not None and statistics.has_min_max and not statistics.min <= course <= statistics.max:
                continue
            table = file.read_row_group(group, columns=columns)
            named = table["course"].unify_dictionaries().combine_chunks()
            mine = named.dictionary.index(course).as_py() if course in named.dictionary.to_pylist() else -1
            mask = named.indices.to_numpy(zero_copy_only=False) == mine
            if mask.any():
                yield table if mask.all() else table.filter(pa.array(mask))


def _lost_to_others(path: Path, course: Course) -> np.ndarray:
    """Compat mode: the csv rows of submissions that another row of the same second hides, sorted."""
    contents, users = Contents(course.schedule), course.users
    parts = []
    names = ["course", "user_id", "time", "stream", "row", "event_type", "content"]
    for table in _tables(path, course.name, names):
        table = table.filter(pa.array(table["stream"].to_numpy() == _PROBLEM))
        rows = read_rows(course, contents, users, table)
        kept, _ = admit(course, rows, Counter())
        parts.append(rows.take(kept))
    if not parts:
        return np.empty(0, dtype="int64")
    rows = Rows.joined(parts)
    rows = rows.take(np.lexsort((rows.row, rows.time)))
    return np.sort(rows.row[repeated(rows, "compat")])


def _joined(waiting: list[tuple[Rows, np.ndarray, np.ndarray]]) -> tuple[Rows, np.ndarray, np.ndarray]:
    rows, weeks, facts = zip(*waiting, strict=True)
    return Rows.joined(rows), np.concatenate(weeks), np.concatenate(facts, axis=1)
