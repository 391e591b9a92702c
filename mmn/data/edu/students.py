"""One pass over a course's sorted log, in memory that grows with its students alone: what the cohort needs to know of
each student's clicks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmn.data.edu.filter import early_grades, no_early_submission
from mmn.data.edu.performance import Checks, weekly_performance
from mmn.data.edu.reader import Course
from mmn.data.edu.sorted_log import Piece, SortedLog, open_log, pieces
from mmn.data.errors import ContractError
from mmn.data.evidence import CLICK_FACTS, CLICK_STREAMS, CLICK_TYPES

NEVER = np.iinfo("int64").max
MIN_SCHEDULED_SHARE = 0.5
# Players round and schedules are a little off; a position at twice the duration is of another unit.
BEYOND_END, MAX_BEYOND_SHARE = 2.0, 0.5
_CLICKED_ON = CLICK_STREAMS[:2]  # what the forum's clicks are of is not said


@dataclass(frozen=True, kw_only=True)
class Students:
    """Of each of the G rows of `Course.grades`.

    course: with its number of weeks known. first: (G,) Unix microseconds of the first video or problem click; NEVER =
    none. active: (G, T) bool, a video or problem click in that week. performance: (G, T) in [0, 1], see
    `WeeklyPerformance.mean`. early: (G, P), see `early_grades`. silent: (G,), see `no_early_submission`.
    quarantined: reason -> rows left out. unscheduled: stream -> rows that are kept although the schedule does not know
    what they are of.
    """

    course: Course
    first: np.ndarray
    active: np.ndarray
    performance: np.ndarray
    early: np.ndarray
    silent: np.ndarray
    quarantined: dict[str, int]
    unscheduled: dict[str, int]


def read_students(course: Course, log: SortedLog | None = None) -> Students:
    """log: the course's prepared table; None makes one for the reading. Raises RawFileError and ContractError."""
    gathered = _Gathered(course)
    for piece in pieces(log or open_log(course, {}), course):
        gathered.add(piece)
    gathered.check()
    last_week = gathered.last_week
    if course.num_weeks is None:
        course = course.ending(max(last_week, 0) + 1)
    weeks = course.weeks
    return Students(
        course=course, first=gathered.first, active=gathered.active[:, :weeks],
        performance=gathered.performance[:, :weeks], early=gathered.early, silent=gathered.silent,
        quarantined=dict(_in_order(gathered.counts, course.mode) + Counter(course.quarantined)),
        unscheduled={name: count for name, count in gathered.strange.items() if count},
    )  # fmt: skip


class _Gathered:
    """What `Students` says, as far as the log has been read."""

    def __init__(self, course: Course) -> None:
        num = len(course.grades)
        nothing = _checks(np.empty(0, dtype="int64"), None)
        self._course = course
        self._duration = np.append(course.schedule["duration"].to_numpy(dtype="float64"), np.nan)
        self._positions = self._beyond = 0
        self._said = dict.fromkeys(_CLICKED_ON, 0)
        self.strange = dict.fromkeys(_CLICKED_ON, 0)
        self.counts: Counter[str] = Counter()
        self.last_week = -1
        self.first = np.full(num, NEVER)
        self.active = np.zeros((num, course.weeks), dtype=bool)
        self.performance = np.tile(weekly_performance(nothing, course.schedule, 1, course.weeks).mean(), (num, 1))
        self.early = np.tile(early_grades(nothing, course.schedule, 1), (num, 1))
        self.silent = np.ones(num, dtype=bool)

    def add(self, piece: Piece) -> None:
        self.counts += piece.counts
        rows, course = piece.rows, self._course
        for code, name in enumerate(_CLICKED_ON):
            content = rows.content[rows.stream == code]
            self._said[name] += int((content >= 0).sum())
            self.strange[name] += int((content >= len(course.schedule)).sum())
        self._see_positions(piece)
        self.last_week = max(self.last_week, int(piece.week[~piece.repeated].max(initial=-1)))
        seen = (rows.stream < len(_CLICKED_ON)) & ~piece.repeated
        np.minimum.at(self.first, rows.user[seen], rows.time[seen])
        self.active[rows.user[seen], piece.week[seen]] = True
        students, item = np.unique(rows.user, return_inverse=True)
        checks = _checks(item, piece)
        weekly = weekly_performance(checks, course.schedule, len(students), course.weeks)
        self.performance[students] = weekly.mean()
        self.early[students] = early_grades(checks, course.schedule, len(students))
        self.silent[students] = no_early_submission(checks, len(students))

    def _see_positions(self, piece: Piece) -> None:
        video = np.flatnonzero(piece.rows.stream == CLICK_STREAMS.index("video"))
        content, nowhere = piece.rows.content[video], len(self._duration) - 1
        row = np.where((content >= 0) & (content < nowhere), content, nowhere)
        share = piece.facts[CLICK_FACTS.index("current_time"), video] / self._duration[row]
        self._positions += int((share > 0).sum())
        self._beyond += int((share > BEYOND_END).sum())

    def check(self) -> None:
        files = self._course.files.files
        for stream in _CLICKED_ON:
            strange, said = self.strange[stream], self._said[stream]
            if strange > (1 - MIN_SCHEDULED_SHARE) * said:
                raise ContractError(
                    f"{files[f'{stream}_event']}: {strange} of {said} rows name a {stream} that is not in "
                    f"{files['schedule']}. The two are of different courses or use different ids."
                )
        if self._beyond > MAX_BEYOND_SHARE * self._positions:
            raise ContractError(
                f"{files['video_event']}: {self._beyond} of {self._positions} positions (current_time) lie past the "
                f"end of their video as {files['schedule']} has it. One of the two is in another unit; both must be "
                "seconds."
            )


def _checks(item: np.ndarray, piece: Piece | None) -> Checks:
    """The submissions that count. item: (E,) whose each row of the piece is; None = no row."""
    if piece is None:
        return Checks(item=item, content=item, week=item, time=item, grade=item * 1.0, submission=item * 1.0)
    rows = piece.rows
    which = np.flatnonzero((rows.event == CLICK_TYPES.index("Problem.Check")) & ~piece.repeated)
    facts = {name: piece.facts[CLICK_FACTS.index(name), which] for name in ("grade", "submission_number")}
    return Checks(
        item=item[which], content=rows.content[which], week=piece.week[which], time=rows.time[which],
        grade=facts["grade"], submission=facts["submission_number"],
    )  # fmt: skip


def _in_order(counts: Counter[str], mode: str) -> Counter[str]:
    """As the cleaning goes: by stream; what is asked of submissions in an order of its own comes last."""
    inside = ("outside the course's dates", "of a type that is not used")
    graded = ("student without a grade row", "repeated")
    order = [f"{stream} events: {reason}" for stream in CLICK_STREAMS for reason in (*inside, graded[0])]
    order.remove(f"problem events: {graded[0]}")
    order += [f"problem events: {reason}" for reason in (graded if mode == "clean" else reversed(graded))]
    return Counter({name: counts[name] for name in order if counts[name]})
