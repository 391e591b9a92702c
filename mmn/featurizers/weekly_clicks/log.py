"""A click log as arrays, each click in its cell (student x week), and the sums over cells that features are made of.

Nothing here loops over students: a feature is a mask over clicks, and a sum, mean or deviation of it by cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from mmn.data.evidence import ClickEvidence

MIN_GAP_SECONDS, MAX_GAP_SECONDS = 1.0, 3600.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is planned, one stream: content id -> position; arrays by position.

    week; date and duration in seconds (Unix; NaN = unknown). num_by_week: (T,) planned.
    """

    content: pd.Index
    week: np.ndarray
    date: np.ndarray
    duration: np.ndarray
    num_weeks: int

    @cached_property
    def num_by_week(self) -> np.ndarray:
        return np.bincount(self.week, minlength=self.num_weeks).astype(float)

    @cached_property
    def num_later(self) -> np.ndarray:
        """(T,) planned in later weeks."""
        return self.num_by_week.sum() - np.cumsum(self.num_by_week)


@dataclass(frozen=True, kw_only=True)
class Log:
    """The clicks of chosen streams, sorted by cell (student * T + week), then time.

    time: Unix s. event: event_type codes into `types`. content: position in `planned` of its stream, -1 = not there.
    content_id: an integer per thing clicked on, planned or not. facts: the other fields, NaN = none.
    """

    num_students: int
    num_weeks: int
    cell: np.ndarray
    time: np.ndarray
    stream: np.ndarray
    event: np.ndarray
    types: tuple[str, ...]
    content: np.ndarray
    content_id: np.ndarray
    facts: dict[str, np.ndarray]

    @property
    def num_cells(self) -> int:
        return self.num_students * self.num_weeks

    @property
    def week(self) -> np.ndarray:
        return self.cell % self.num_weeks

    def is_type(self, *names: str) -> np.ndarray:
        return np.isin(self.event, [code for code, name in enumerate(self.types) if name in names])

    def take(self, rows: np.ndarray) -> Log:
        """A mask or an order of clicks; an order must keep cells together."""
        facts = {name: values[rows] for name, values in self.facts.items()}
        return Log(
            num_students=self.num_students, num_weeks=self.num_weeks, types=self.types, facts=facts,
            cell=self.cell[rows], time=self.time[rows], stream=self.stream[rows], event=self.event[rows],
            content=self.content[rows], content_id=self.content_id[rows],
        )  # fmt: skip

    @cached_property
    def gap(self) -> np.ndarray:
        """Seconds to the next click of the same cell; NaN at its last."""
        gap = np.full(len(self.cell), np.nan)
        gap[:-1] = np.where(self.cell[1:] == self.cell[:-1], np.diff(self.time), np.nan)
        return gap

    @cached_property
    def valid_gap(self) -> np.ndarray:
        """The gap where it counts as time spent, 1 s to 1 h; else NaN."""
        with np.errstate(invalid="ignore"):
            return np.where((self.gap >= MIN_GAP_SECONDS) & (self.gap <= MAX_GAP_SECONDS), self.gap, np.nan)

    @cached_property
    def next_is_same_content(self) -> np.ndarray:
        """Whether the next click of the cell is on the same thing; False at the last."""
        same = np.zeros(len(self.cell), dtype=bool)
        same[:-1] = (self.cell[1:] == self.cell[:-1]) & (self.content_id[1:] == self.content_id[:-1])
        return same

    @cached_property
    def by_content(self) -> Log:
        """The same clicks, those of one thing in one cell together, in time order."""
        return self.take(np.lexsort((np.arange(len(self.cell)), self.content_id, self.cell)))

    def count(self, mask: np.ndarray | None = None) -> np.ndarray:
        """(N*T,) clicks by cell."""
        cell = self.cell if mask is None else self.cell[mask]
        return np.bincount(cell, minlength=self.num_cells).astype(float)

    def total(self, values: np.ndarray) -> np.ndarray:
        """(N*T,) sum by cell; NaN is skipped."""
        return np.bincount(self.cell, weights=np.nan_to_num(values), minlength=self.num_cells)

    def distinct(self, mask: np.ndarray, *more: np.ndarray) -> np.ndarray:
        """Indices of the first click of each distinct (cell, content, *more) among `mask`."""
        rows = np.flatnonzero(mask)
        keys = (*(key[rows] for key in reversed(more)), self.content[rows], self.cell[rows])
        rows_sorted = rows[np.lexsort((rows, *keys))]
        ordered = [key[rows_sorted] for key in (self.cell, self.content, *more)]
        new = np.ones(len(rows_sorted), dtype=bool)
        new[1:] = np.any([key[1:] != key[:-1] for key in ordered], axis=0)
        return rows_sorted[new]


def mean_and_std(cell: np.ndarray, values: np.ndarray, num_cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By cell: the number of known values, their mean and population deviation; NaN where there is none."""
    known = ~np.isnan(values)
    cell, values = cell[known], values[known]
    num = np.bincount(cell, minlength=num_cells).astype(float)
    mean = divide(np.bincount(cell, weights=values, minlength=num_cells), num)
    # Two passes: sums of squares of seconds since the epoch would lose the digits that matter.
    square = np.bincount(cell, weights=(values - mean[cell]) ** 2, minlength=num_cells)
    return num, mean, np.sqrt(divide(square, num))


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """NaN where the bottom is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)


def make_schedule(evidence: ClickEvidence, stream: str) -> Schedule:
    rows = evidence.schedule[evidence.schedule["stream"] == stream]
    return Schedule(
        content=pd.Index(rows["content"]),
        week=rows["week"].to_numpy(dtype="int64"),
        date=unix_seconds(rows["date"]),
        duration=rows["duration"].to_numpy(dtype="float64"),
        num_weeks=evidence.num_weeks,
    )


def make_log(evidence: ClickEvidence, items: np.ndarray) -> Log:
    """All streams. Clicks of students who are not in `items` are left out."""
    events = evidence.events
    student = pd.Categorical(events["item"], categories=items).codes.astype("int64")
    events, student = events[student >= 0], student[student >= 0]
    cell = student * evidence.num_weeks + events["week"].to_numpy(dtype="int64")
    time = unix_seconds(events["time"])
    stream = events["stream"].astype("str").to_numpy(dtype=object)
    event, types = pd.factorize(events["event_type"].astype("str"))
    content = np.full(len(events), -1, dtype="int64")
    content_id = np.full(len(events), -1, dtype="int64")
    for name in ("video", "problem"):
        mine = stream == name
        ids = events["content"][mine]
        content[mine] = make_schedule(evidence, name).content.get_indexer(ids)
        content_id[mine] = pd.factorize(ids)[0] + 1 + content_id.max(initial=-1)
    names = ("current_time", "old_time", "new_time", "new_speed")
    facts = {name: events[name].to_numpy(dtype="float64") for name in names}
    log = Log(
        num_students=len(items), num_weeks=evidence.num_weeks, cell=cell, time=time, stream=stream, event=event,
        types=tuple(types), content=content, content_id=content_id, facts=facts,
    )  # fmt: skip
    return log.take(np.lexsort((time, cell)))


def unix_seconds(times: pd.Series) -> np.ndarray:
    """Naive UTC times as Unix seconds; NaT = NaN."""
    seconds = times.to_numpy().astype("datetime64[us]").astype("int64") / 1e6
    return np.where(times.isna(), np.nan, seconds)
