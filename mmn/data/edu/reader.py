"""A course's raw tables to one clean click log, and the log to the evidence of a cohort.

The order of cleaning is that of the published logs, so the counts can be compared: time in the course's dates, week,
known event types, repeated submissions, students with a grade. Every row left out is counted by reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc

from mmn.data.cohort import Cohort
from mmn.data.edu.contracts import TABLES, check_key, check_table, columns_of
from mmn.data.edu.layout import CourseFiles, choose_course
from mmn.data.errors import ContractError, RawFileError
from mmn.data.evidence import ClickEvidence

STREAMS = ("video", "problem", "forum")
VIDEO_EVENTS = ("Video.Load", "Video.Play", "Video.Pause", "Video.Stop", "Video.Seek", "Video.SpeedChange")
PROBLEM_EVENTS = ("Problem.Check",)
EVENT_FIELDS = (
    "current_time", "old_time", "new_time", "old_speed", "new_speed", "grade", "submission_number", "problem_type",
)  # fmt: skip
WEEK_SECONDS = 7 * 86_400
_BLOCK_BYTES = 1 << 24
_NULLS = ["", "NaN", "nan", "NULL"]


@dataclass(frozen=True, kw_only=True)
class Course:
    """One course, clean.

    events: as `ClickEvidence.events`, with `user_id` (categorical) for `item`, sorted by user_id, time. schedule: as
    there. grades: `user_id`, `grade`, `pass-fail`. start: the Monday 00:00 UTC that week 0 begins with.
    quarantined: reason -> rows left out.
    """

    name: str
    title: str
    start: pd.Timestamp
    num_weeks: int
    grade_threshold: float | None
    events: pd.DataFrame
    schedule: pd.DataFrame
    grades: pd.DataFrame
    quarantined: dict[str, int]


def read_course(raw: Path, course: str = "", num_weeks: int | None = None) -> Course:
    """num_weeks: of the course; None takes it from the metadata. Raises RawFileError, ContractError, CohortError."""
    files = choose_course(raw, course)
    facts = _course_facts(files)
    start, num_weeks = facts.start, num_weeks or facts.num_weeks
    counts: Counter[str] = Counter()
    schedule = _schedule(files, start, num_weeks, counts)
    grades = _whole(files, "grade")
    log = [
        _stream(files, stream, facts, num_weeks, grades["user_id"], counts)
        for stream in STREAMS
        if f"{stream}_event" in files.files
    ]
    events = pd.concat(log, ignore_index=True)
    events["stream"] = pd.Categorical(events["stream"], categories=STREAMS)
    events["user_id"] = events["user_id"].astype("category")
    # Stable: events of one second stay in the order of the files, video before problem.
    order = np.lexsort((events["time"].to_numpy(), events["user_id"].cat.codes.to_numpy()))
    return Course(
        name=files.course,
        title=facts.title,
        start=start,
        num_weeks=num_weeks,
        grade_threshold=facts.grade_threshold,
        events=events.iloc[order].reset_index(drop=True),
        schedule=schedule,
        grades=grades,
        quarantined={reason: count for reason, count in counts.items() if count},
    )


def click_evidence(course: Course, items: pd.DataFrame) -> ClickEvidence:
    """The log of the students in `items` (`item` is the user_id), all streams, all weeks."""
    codes = pd.Categorical(course.events["user_id"], categories=items["item"])
    kept = codes.codes >= 0
    events = course.events[kept].drop(columns="user_id")
    events.insert(0, "item", codes[kept])
    return ClickEvidence(
        events=events.reset_index(drop=True),
        schedule=course.schedule,
        num_weeks=course.num_weeks,
        quarantined=dict(course.quarantined),
    )


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: Any) -> ClickEvidence:
    """The clicks of every stream: the featurizer takes the columns of `modality`.

    The log runs to the last week, past `prediction_time`: step t's features see week t alone, the tasks per step are
    trained at every step, and what is read at `Task.read_step` has seen the steps up to there and no more.
    """
    del modality, params  # the cohort knows its course and its weeks
    course = read_course(raw, str(cohort.items["course"].iloc[0]), cohort.num_steps)
    return click_evidence(course, cohort.items)


@dataclass(frozen=True)
class _Facts:
    title: str
    first: pd.Timestamp
    last: pd.Timestamp
    start: pd.Timestamp
    num_weeks: int
    grade_threshold: float | None


def _course_facts(files: CourseFiles) -> _Facts:
    path = files.files["metadata"]
    table = _whole(files, "metadata")
    row = table[table["course_id"] == files.course]
    if row.empty:
        raise ContractError(f"{path}: no row with course_id '{files.course}'. Add it: its dates make the weeks.")
    facts = row.iloc[0]
    dates = _dates(row["start_date"], path, "start_date"), _dates(row["end_date"], path, "end_date")
    first, last = dates[0].iloc[0], dates[1].iloc[0]
    if not first < last:
        raise ContractError(f"{path}: course '{files.course}' ends on or before the day it starts. Mend its dates.")
    if last == last.normalize():
        last += pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)  # a date without a time means the whole day
    start = first.normalize() - pd.Timedelta(days=first.weekday())
    weeks = facts.get("weeks")
    num_weeks = int(weeks) if pd.notna(weeks) else int(np.ceil((last - start) / pd.Timedelta(weeks=1)))
    share, top = facts.get("grade_thr"), facts.get("grade_max")
    threshold = float(share * top) if pd.notna(share) and pd.notna(top) else None
    title = facts.get("title")
    return _Facts(str(title) if pd.notna(title) else files.course, first, last, start, num_weeks, threshold)


def _schedule(files: CourseFiles, start: pd.Timestamp, num_weeks: int, counts: Counter[str]) -> pd.DataFrame:
    table = _whole(files, "schedule")
    table["date"] = _dates(table["date"], files.files["schedule"], "date")
    counts["schedule: no date"] += int(table["date"].isna().sum())
    table = table[table["date"].notna()]
    week = (table["date"] - start) // pd.Timedelta(weeks=1)
    inside = week.between(0, num_weeks - 1)
    counts["schedule: outside the course's weeks"] += int((~inside).sum())
    table = table[inside].assign(week=week[inside].astype("int64"))
    table = table.rename(columns={"id": "content", "type": "stream"})
    columns = ["content", "stream", "week", "date", "duration", "grade_max"]
    return table.sort_values(["stream", "week", "date", "content"], kind="stable")[columns].reset_index(drop=True)


def _stream(
    files: CourseFiles, stream: str, facts: _Facts, num_weeks: int, graded: pd.Series, counts: Counter[str]
) -> pd.DataFrame:
    """One event file, block by block, so that only the rows that are kept are ever in memory together."""
    content = None if stream == "forum" else f"{stream}_id"
    users = pd.Index(graded)
    frames = []
    for block in _blocks(files, f"{stream}_event"):
        time = pd.to_datetime((block["timestamp"] * 1e6).round().astype("int64"), unit="us")
        inside = (time >= facts.first) & (time <= facts.last)
        week = (time - facts.start) // pd.Timedelta(weeks=1)
        inside &= week.between(0, num_weeks - 1)
        known = _known_types(block["event_type"], stream)
        with_grade = block["user_id"].isin(users)
        counts[f"{stream} events: outside the course's dates"] += int((~inside).sum())
        counts[f"{stream} events: of a type that is not used"] += int((inside & ~known).sum())
        counts[f"{stream} events: student without a grade row"] += int((inside & known & ~with_grade).sum())
        kept = inside & known & with_grade
        frame = block.loc[kept].reindex(columns=["user_id", "event_type", *EVENT_FIELDS])
        frame.insert(1, "week", week[kept].astype("int64"))
        frame.insert(2, "time", time[kept])
        frame.insert(3, "stream", stream)
        frame.insert(5, "content", block.loc[kept, content] if content else pd.Series(pd.NA, frame.index, dtype="str"))
        frames.append(frame)
    columns = ["user_id", "week", "time", "stream", "event_type", "content", *EVENT_FIELDS]
    log = pd.concat(frames, ignore_index=True)[columns]
    for name in EVENT_FIELDS:
        log[name] = log[name].astype("str" if name == "problem_type" else "float64")
    if stream == "problem":
        # The published cleaning leaves user_id out of this key, so two students in one second lost one row.
        repeated = log.duplicated(["user_id", "content", "event_type", "time"])
        counts["problem events: repeated"] += int(repeated.sum())
        log = log[~repeated]
    return log


def _known_types(event_type: pd.Series, stream: str) -> pd.Series:
    if stream == "forum":
        return event_type.str.startswith("Forum.") & ~event_type.str.contains("Assignment", regex=False)
    return event_type.isin(VIDEO_EVENTS if stream == "video" else PROBLEM_EVENTS)


def _whole(files: CourseFiles, table: str) -> pd.DataFrame:
    """A small table, checked, its key too."""
    frame = pd.concat(list(_blocks(files, table)), ignore_index=True)
    where = str(files.files[table])
    check_key(frame, table, where)
    if frame.empty:
        raise ContractError(f"{where}: the table has a header and no row. Download it again.")
    return frame


def _blocks(files: CourseFiles, table: str) -> Iterator[pd.DataFrame]:
    """Checked blocks of a table, at least one. Raises RawFileError for unsound bytes, ContractError for the rest."""
    path, contract = files.files[table], TABLES[table]
    wanted = columns_of(contract)
    header = _reading(path, table, lambda: pc.open_csv(path).schema.names)
    if missing := [name for name, (_, required) in wanted.items() if required and name not in header]:
        raise ContractError(
            f"{path}: column {', '.join(map(repr, missing))} missing; the table {table} must have "
            f"{', '.join(name for name, (_, required) in wanted.items() if required)}."
        )
    present = [name for name in wanted if name in header]
    options = pc.ConvertOptions(
        include_columns=present,
        column_types={name: pa.string() if wanted[name][0] else pa.float64() for name in present},
        null_values=_NULLS,
        strings_can_be_null=True,
    )
    blocks = pc.ReadOptions(block_size=_BLOCK_BYTES)
    reader = _reading(path, table, lambda: pc.open_csv(path, read_options=blocks, convert_options=options))
    first_row, empty = 0, True
    while (batch := _reading(path, table, lambda: next(reader, None))) is not None:
        frame = pa.Table.from_batches([batch]).to_pandas()
        for name in present:
            if wanted[name][0]:
                frame[name] = frame[name].astype("str")
            if name.endswith("id"):
                frame[name] = _whole_numbers(frame[name])
        check_table(frame, contract, str(path), first_row)
        first_row += len(frame)
        empty = False
        yield frame
    if empty:
        dtypes = {name: "str" if wanted[name][0] else "float64" for name in present}
        yield pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})


def _reading(path: Path, table: str, action: Callable):
    """Run one reading step; Arrow's errors become ours, without the value that they quote."""
    try:
        return action()
    except pa.ArrowInvalid as error:
        text = str(error)
        if "Empty CSV" in text:
            raise RawFileError(f"{path}: the file is empty. Download it again.") from None
        if found := re.search(r"In CSV column #(\d+):.*? CSV conversion error to (\w+)", text):
            names = pc.open_csv(path).schema.names
            raise ContractError(
                f"{path}: column '{names[int(found[1])]}' of {table} holds something that is no {found[2]}. "
                "Mend the file: numbers only, empty where unknown."
            ) from None
        if found := re.search(r"Expected (\d+) columns, got (\d+)", text):
            raise RawFileError(
                f"{path}: a row has {found[2]} fields where the header has {found[1]}; the file is cut short or "
                "damaged. Download it again."
            ) from None
        raise RawFileError(f"{path}: not readable as csv. Download it again.") from None
    except OSError as error:
        raise RawFileError(
            f"{path}: unreadable or cut short ({type(error).__name__}: {_first_words(error)}). "
            "Download it again and compare its checksum."
        ) from error


def _first_words(error: Exception) -> str:
    return str(error).split(".")[0][:80]


def _whole_numbers(ids: pd.Series) -> pd.Series:
    """Repair: pandas writes an id column that has a missing value as 12.0; the schedule calls it 12. It applies only
    where every known id of the block has that form."""
    known = ids.dropna()
    return ids.str.removesuffix(".0") if len(known) and known.str.fullmatch(r"\d+\.0").all() else ids


def _dates(texts: pd.Series, path: Path, column: str) -> pd.Series:
    """Naive UTC. Raises ContractError for a date that cannot be read."""
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    if (bad := dates.isna() & texts.notna()).any():
        raise ContractError(
            f"{path}: column '{column}': {int(bad.sum())} of {len(texts)} dates are unreadable, the first in data row "
            f"{int(bad.to_numpy().argmax()) + 1}. Write YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS (UTC)."
        )
    return dates.astype("datetime64[us]")
