"""One course: its dates and weeks, its schedule, its students' grades; and which rows of its click log are read.

The order of cleaning is that of the published logs, so the counts can be compared: time in the course's dates, week,
known event types, repeated submissions, students with a grade. Every row left out is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmn.data.edu.layout import CourseFiles, choose_course
from mmn.data.edu.tables import read_dates, read_whole
from mmn.data.errors import ContractError
from mmn.data.evidence import CLICK_STREAMS, CLICK_TYPES

WEEK_MICROSECONDS = 7 * 86_400 * 1_000_000
COMPAT_MAX_WEEKS = 20
_STREAM_OF_TYPE = np.array([CLICK_STREAMS.index(name.split(".")[0].lower()) for name in CLICK_TYPES])
SCHEDULE_COLUMNS = ("content", "stream", "week", "date", "duration", "grade_max")


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is known of a course beside its clicks.

    first, last: the dates between which clicks count. start: the Monday 00:00 UTC that week 0 begins with. num_weeks:
    None in compat mode until the log has been read (its last week is the course's). grade_threshold: points that pass;
    None = the metadata does not say. schedule: as `ClickEvidence.schedule`. grades: `user_id`, `grade`, `pass-fail`.
    quarantined: reason -> rows of the schedule left out.
    """

    name: str
    title: str
    mode: str
    files: CourseFiles
    first: pd.Timestamp
    last: pd.Timestamp
    start: pd.Timestamp
    num_weeks: int | None
    grade_threshold: float | None
    schedule: pd.DataFrame
    grades: pd.DataFrame
    quarantined: dict[str, int]

    @property
    def users(self) -> pd.Index:
        """Who may be a student: those with a grade row."""
        return pd.Index(self.grades["user_id"], dtype="str")

    @property
    def weeks(self) -> int:
        """The weeks that may be read."""
        return self.num_weeks or COMPAT_MAX_WEEKS

    def ending(self, num_weeks: int) -> Course:
        """The same course, known to last so long."""
        inside = (self.schedule["week"] < num_weeks).to_numpy()
        counts = Counter(self.quarantined)
        counts["schedule: outside the course's weeks"] += int((~inside).sum())
        left_out = {reason: count for reason, count in counts.items() if count}
        kept = self.schedule[inside].reset_index(drop=True)
        return replace(self, num_weeks=num_weeks, schedule=kept, quarantined=left_out)

    def week_of(self, times: np.ndarray) -> np.ndarray:
        """times: (E,) Unix microseconds, UTC. (E,) int64, 0-based, may lie outside the course.

        Compat mode counts by the calendar, as `strftime("%W")` does, and wraps at 52: right but around the New Year
        after a year whose last Monday is its 53rd.
        """
        if self.mode != "compat":
            return (times - _microseconds(self.start)) // WEEK_MICROSECONDS
        return (_calendar_week(times) - _calendar_week(np.array([_microseconds(self.first)]))) % 52


def read_course(raw: Path, course: str = "", num_weeks: int | None = None, mode: str = "clean") -> Course:
    """num_weeks: of the course; None takes it from the metadata. Raises RawFileError, ContractError, CohortError."""
    files = choose_course(raw, course)
    facts = _course_facts(files, mode)
    if mode == "clean":
        num_weeks = num_weeks or facts.pop("weeks")
    facts.pop("weeks", None)
    bare = Course(
        name=files.course, mode=mode, files=files, num_weeks=num_weeks, schedule=pd.DataFrame(),
        grades=read_whole(files, "grade"), quarantined={}, **facts,
    )  # fmt: skip
    return _with_schedule(bare)


@dataclass(frozen=True)
class Rows:
    """Rows of a click log as codes, of several streams perhaps; arrays (E,).

    time: Unix microseconds. user: the row of `Course.grades`, -1 = without a grade. event: into CLICK_TYPES, -1 = of a
    type that is not used. content: see `Contents`, -1 = not said. row: its data row in its csv.
    """

    time: np.ndarray
    stream: np.ndarray
    user: np.ndarray
    event: np.ndarray
    content: np.ndarray
    row: np.ndarray

    def take(self, which: np.ndarray | slice) -> Rows:
        return Rows(*(getattr(self, field.name)[which] for field in fields(Rows)))

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def admit(course: Course, rows: Rows, counts: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """(E,) bool: in the course's dates and of a known type (the grade is not asked for yet); and the week."""
    week = course.week_of(rows.time)
    inside = (rows.time >= _microseconds(course.first)) & (rows.time <= _microseconds(course.last))
    inside &= (week >= 0) & (week < course.weeks)
    known = rows.event >= 0
    count_rows(counts, rows.stream, ~inside, "outside the course's dates")
    count_rows(counts, rows.stream, inside & ~known, "of a type that is not used")
    return inside & known, week


def count_rows(counts: Counter[str], stream: np.ndarray, mask: np.ndarray, reason: str) -> None:
    for name, number in zip(CLICK_STREAMS, np.bincount(stream[mask], minlength=len(CLICK_STREAMS)), strict=True):
        if number:
            counts[f"{name} events: {reason}"] += int(number)


def read_rows(course: Course, contents: Contents, users: pd.Index, table: pa.Table) -> Rows:
    """table: in the schema of `prepared`, of one course. users: the `user_id` of `Course.grades`."""
    stream = table["stream"].to_numpy().astype("int64")
    event = text_codes(table["event_type"], lambda texts: np.array([event_code(text) for text in texts], dtype="int64"))
    # A type in a file of another stream is not one of that file's.
    event = np.where(_STREAM_OF_TYPE[event] == stream, event, -1)
    content = np.full(len(stream), -1, dtype="int64")
    for code, name in enumerate(CLICK_STREAMS[:2]):
        if (mine := stream == code).any():
            content[mine] = text_codes(table["content"].filter(pa.array(mine)), partial(contents.codes, name))
    user = text_codes(table["user_id"], lambda texts: users.get_indexer(pd.Index(texts, dtype="str")))
    return Rows(
        time=table["time"].to_numpy(), stream=stream.astype("int8"), user=user.astype("int32"),
        event=event.astype("int8"), content=content.astype("int32"), row=table["row"].to_numpy(),
    )  # fmt: skip


def text_codes(column: pa.ChunkedArray, code_of: Callable[[list[str]], np.ndarray]) -> np.ndarray:
    """(E,) int64: each distinct text is looked up once; null = -1."""
    encoded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    codes = np.append(code_of(encoded.dictionary.to_pylist()), -1).astype("int64")
    return codes[encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]


def repeated(rows: Rows) -> np.ndarray:
    """(E,) bool: submissions that the same student has logged before. rows: each student's in time order."""
    keys = {"content": rows.content, "event": rows.event, "time": rows.time, "user": rows.user}
    checks = np.flatnonzero(rows.stream == CLICK_STREAMS.index("problem"))
    mask = np.zeros(len(rows.time), dtype=bool)
    mask[checks] = pd.DataFrame({name: values[checks] for name, values in keys.items()}).duplicated().to_numpy()
    return mask


def event_code(name: str) -> int:
    """Code into CLICK_TYPES; -1 for a type that is not used."""
    if name.startswith("Forum."):
        return -1 if "Assignment" in name else CLICK_TYPES.index("Forum")
    return CLICK_TYPES.index(name) if name in CLICK_TYPES[:-1] else -1


class Contents:
    """Codes of what is clicked on: the row of the schedule, or from its length on a number of its own."""

    def __init__(self, schedule: pd.DataFrame) -> None:
        self.num_scheduled = len(schedule)
        pairs = zip(schedule["stream"], schedule["content"], strict=True)
        self._codes = {pair: row for row, pair in enumerate(pairs)}

    def codes(self, stream: str, texts: list[str]) -> np.ndarray:
        return np.array([self._codes.setdefault((stream, text), len(self._codes)) for text in texts], dtype="int64")


def _course_facts(files: CourseFiles, mode: str) -> dict[str, Any]:
    path = files.files["metadata"]
    table = read_whole(files, "metadata")
    row = table[table["course_id"] == files.course]
    if row.empty:
        raise ContractError(f"{path}: no row with course_id '{files.course}'. Add it: its dates make the weeks.")
    facts = row.iloc[0]
    dates = read_dates(row["start_date"], path, "start_date"), read_dates(row["end_date"], path, "end_date")
    first, last = dates[0].iloc[0], dates[1].iloc[0]
    if not first < last:
        raise ContractError(f"{path}: course '{files.course}' ends on or before the day it starts. Mend its dates.")
    if mode == "clean" and last == last.normalize():
        # A date without a time means the whole day; the published cleaning stops at its first second.
        last += pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
    start = first.normalize() - pd.Timedelta(days=first.weekday())
    weeks = facts.get("weeks")
    share, top, title = facts.get("grade_thr"), facts.get("grade_max"), facts.get("title")
    return {
        "title": str(title) if pd.notna(title) else files.course,
        "first": first,
        "last": last,
        "start": start,
        "weeks": int(weeks) if pd.notna(weeks) else int(np.ceil((last - start) / pd.Timedelta(weeks=1))),
        "grade_threshold": float(share * top) if pd.notna(share) and pd.notna(top) else None,
    }


def _with_schedule(course: Course) -> Course:
    table = read_whole(course.files, "schedule")
    table["date"] = read_dates(table["date"], course.files.files["schedule"], "date")
    counts = {"schedule: no date": int(table["date"].isna().sum())}
    table = table[table["date"].notna()]
    week = course.week_of(table["date"].to_numpy().astype("datetime64[us]").astype("int64"))
    inside = (week >= 0) & (week < course.weeks)
    counts["schedule: outside the course's weeks"] = int((~inside).sum())
    table = table[inside].assign(week=week[inside]).rename(columns={"id": "content", "type": "stream"})
    ordered = table.sort_values(["stream", "week", "date", "content"], kind="stable")[list(SCHEDULE_COLUMNS)]
    left_out = {reason: count for reason, count in counts.items() if count}
    return replace(course, schedule=ordered.reset_index(drop=True), quarantined=left_out)


def _calendar_week(times: np.ndarray) -> np.ndarray:
    """Weeks of the year that begin on a Monday; 0 before the first one."""
    days = times // 86_400_000_000
    year_start = times.astype("datetime64[us]").astype("datetime64[Y]").astype("datetime64[D]").astype("int64")
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday = 0
    return (days - year_start + 7 - weekday) // 7


def _microseconds(time: pd.Timestamp) -> int:
    return int(time.to_datetime64().astype("datetime64[us]").astype("int64"))
