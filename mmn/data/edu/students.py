"""One pass over a course's csv files, in memory that grows with its students and submissions alone: what the cohort
needs to know of each student's clicks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mmn.data.edu.performance import Checks
from mmn.data.edu.prepared import stream_blocks
from mmn.data.edu.reader import Contents, Course, Rows, admit, count_rows, read_rows, repeated
from mmn.data.errors import ContractError
from mmn.data.evidence import CLICK_STREAMS

NEVER = np.iinfo("int64").max
MIN_SCHEDULED_SHARE = 0.5
# Players round and schedules are a little off; a position at twice the duration is of another unit.
BEYOND_END, MAX_BEYOND_SHARE = 2.0, 0.5


@dataclass(frozen=True, kw_only=True)
class Students:
    """Of each of the G rows of `Course.grades`.

    course: with its number of weeks known. first: (G,) Unix microseconds of the first video or problem click; NEVER =
    none. active: (G, T) bool, a video or problem click in that week. checks: the submissions, `item` being the row of
    `Course.grades`. quarantined: reason -> rows left out. unscheduled: stream -> rows that are kept although the
    schedule does not know what they are of.
    """

    course: Course
    first: np.ndarray
    active: np.ndarray
    checks: Checks
    quarantined: dict[str, int]
    unscheduled: dict[str, int]


def read_students(course: Course) -> Students:
    """Raises RawFileError and ContractError."""
    counts: Counter[str] = Counter()
    unscheduled: dict[str, int] = {}
    contents, users = Contents(course.schedule), course.users
    first = np.full(len(users), NEVER)
    active = np.zeros((len(users), course.weeks), dtype=bool)
    last_week = -1
    submissions: list[_Submissions] = []
    positions = _Positions(course.schedule["duration"].to_numpy(dtype="float64"))
    for stream in CLICK_STREAMS:
        if f"{stream}_event" not in course.files.files:
            continue
        said = strange = 0
        for table in stream_blocks(course.files, stream):
            rows = read_rows(course, contents, users, table)
            kept, week = admit(course, rows, counts)
            if stream == "problem":
                submissions.append(_Submissions.of(rows, kept, week, table))
                kept = kept & (rows.user >= 0)
            else:
                kept = _drop_ungraded(rows, kept, counts)
            if stream == "forum":
                last_week = max(last_week, int(week[kept].max(initial=-1)))
                continue
            said += int((rows.content[kept] >= 0).sum())
            strange += int((rows.content[kept] >= contents.num_scheduled).sum())
            if stream == "video":
                _see(first, active, rows.user[kept], week[kept], rows.time[kept])
                positions.add(rows.content[kept], table["current_time"].to_numpy()[kept])
        if strange > (1 - MIN_SCHEDULED_SHARE) * said:
            raise ContractError(
                f"{course.files.files[f'{stream}_event']}: {strange} of {said} rows name a {stream} that is not in "
                f"{course.files.files['schedule']}. The two are of different courses or use different ids."
            )
        if strange:
            unscheduled[stream] = strange
    positions.check(course)
    checks = _checks(course, submissions, counts)
    _see(first, active, checks.item, checks.week, checks.time)
    if course.num_weeks is None:
        weeks = np.flatnonzero(active.any(axis=0))
        course, row = course.ending(max(last_week, int(weeks.max(initial=-1)), 0) + 1)
        known = (checks.content >= 0) & (checks.content < len(row))
        content = np.where(known, np.append(row, -1)[np.where(known, checks.content, -1)], -1)
        checks = replace(checks, content=content)
    left_out = counts + Counter(course.quarantined)
    return Students(
        course=course, first=first, active=active[:, : course.weeks], checks=checks,
        quarantined=dict(left_out), unscheduled=unscheduled,
    )  # fmt: skip


class _Positions:
    """Whether positions in videos and the videos' durations are in one unit."""

    def __init__(self, duration: np.ndarray) -> None:
        self._duration = np.append(duration, np.nan)
        self._known = self._beyond = 0

    def add(self, content: np.ndarray, position: np.ndarray) -> None:
        row = np.where((content >= 0) & (content < len(self._duration) - 1), content, len(self._duration) - 1)
        share = position / self._duration[row]
        self._known += int((share > 0).sum())
        self._beyond += int((share > BEYOND_END).sum())

    def check(self, course: Course) -> None:
        if self._beyond > MAX_BEYOND_SHARE * self._known:
            raise ContractError(
                f"{course.files.files['video_event']}: {self._beyond} of {self._known} positions (current_time) lie "
                f"past the end of their video as {course.files.files['schedule']} has it. One of the two is in another "
                "unit; both must be seconds."
            )


@dataclass(frozen=True)
class _Submissions:
    rows: Rows
    week: np.ndarray
    grade: np.ndarray
    submission: np.ndarray

    @classmethod
    def of(cls, rows: Rows, kept: np.ndarray, week: np.ndarray, table: pa.Table) -> _Submissions:
        grade, submission = (table[name].to_numpy()[kept] for name in ("grade", "submission_number"))
        return cls(rows.take(kept), week[kept].astype("int16"), grade, submission)


def _checks(course: Course, submissions: list[_Submissions], counts: Counter[str]) -> Checks:
    """In the published order: repeated ones first in compat mode, else those without a grade row."""
    rows = Rows.joined([part.rows for part in submissions])
    facts = [np.concatenate([getattr(s, name) for s in submissions]) for name in ("week", "grade", "submission")]
    if course.mode == "compat":
        order = np.lexsort((rows.row, rows.time))
    else:
        order = np.lexsort((rows.row, rows.time, rows.user))
    rows, facts = rows.take(order), [fact[order] for fact in facts]
    graded = rows.user >= 0
    again = repeated(rows, course.mode)
    if course.mode == "compat":
        count_rows(counts, rows.stream, again, "repeated")
        count_rows(counts, rows.stream, ~again & ~graded, "student without a grade row")
    else:
        count_rows(counts, rows.stream, ~graded, "student without a grade row")
        count_rows(counts, rows.stream, graded & again, "repeated")
    kept = np.flatnonzero(graded & ~again)
    kept = kept[np.lexsort((rows.row[kept], rows.time[kept], rows.user[kept]))]
    week, grade, submission = (fact[kept] for fact in facts)
    return Checks(
        item=rows.user[kept], content=rows.content[kept], week=week, time=rows.time[kept], grade=grade,
        submission=submission,
    )  # fmt: skip


def _drop_ungraded(rows: Rows, kept: np.ndarray, counts: Counter[str]) -> np.ndarray:
    count_rows(counts, rows.stream, kept & (rows.user < 0), "student without a grade row")
    return kept & (rows.user >= 0)


def _see(first: np.ndarray, active: np.ndarray, user: np.ndarray, week: np.ndarray, time: np.ndarray) -> None:
    np.minimum.at(first, user, time)
    active[user, week] = True
