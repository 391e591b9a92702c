"""A click log as arrays, each click in its cell (student x week), and the sums over cells that features are made of.

Nothing here loops over students: a feature is a mask over clicks, and a sum, mean or deviation of it by cell.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd

from mmn.data.evidence import CLICK_STREAMS, CLICK_TYPES, ClickBlock

MIN_GAP_SECONDS, MAX_GAP_SECONDS = 1.0, 3600.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is planned of one stream. Arrays (S + 1,) by row of the whole schedule, and a last one for "not planned":
    week, -1 for it and for the other stream's; date and duration in seconds (Unix; NaN = unknown)."""

    week: np.ndarray
    date: np.ndarray
    duration: np.ndarray
    num_weeks: int

    @cached_property
    def num_by_week(self) -> np.ndarray:
        """(T,)"""
        return np.bincount(self.week[self.week >= 0], minlength=self.num_weeks).astype(float)

    @cached_property
    def num_later(self) -> np.ndarray:
        """(T,) planned in later weeks."""
        return self.num_by_week.sum() - np.cumsum(self.num_by_week)


@dataclass(frozen=True, kw_only=True)
class Log:
    """The clicks of chosen streams, sorted by cell (student * T + week), then time; arrays (E,).

    time: Unix s. stream, event: codes as in `ClickBlock`. content: row of the schedule; from `num_scheduled` on,
    something else; -1 = not said. The rest: as `ClickBlock.facts`, NaN = none.
    """

    num_students: int
    num_weeks: int
    num_scheduled: int
    cell: np.ndarray
    time: np.ndarray
    stream: np.ndarray
    event: np.ndarray
    content: np.ndarray
    current_time: np.ndarray
    old_time: np.ndarray
    new_time: np.ndarray
    new_speed: np.ndarray

    @property
    def num_cells(self) -> int:
        return self.num_students * self.num_weeks

    @cached_property
    def week(self) -> np.ndarray:
        return self.cell % self.num_weeks

    @cached_property
    def planned(self) -> np.ndarray:
        """The row of the schedule, and its last one ("not planned") for what is not there."""
        inside = (self.content >= 0) & (self.content < self.num_scheduled)
        return np.where(inside, self.content, self.num_scheduled)

    def is_type(self, *names: str) -> np.ndarray:
        mask = np.array([name in names for name in CLICK_TYPES])
        return mask[self.event]

    def is_stream(self, name: str) -> np.ndarray:
        return self.stream == CLICK_STREAMS.index(name)

    def take(self, rows: np.ndarray) -> Log:
        """A mask or an order of clicks; an order must keep cells together."""
        whole = {name: getattr(self, name) for name in ("num_students", "num_weeks", "num_scheduled")}
        parts = {field.name: getattr(self, field.name)[rows] for field in fields(Log) if field.name not in whole}
        return Log(**whole, **parts)

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
        same[:-1] = (self.cell[1:] == self.cell[:-1]) & (self.content[1:] == self.content[:-1])
        return same

    @cached_property
    def content_order(self) -> np.ndarray:
        """The order in which the clicks on one thing in one cell are together, each in time order."""
        key = self.cell.astype("int64") * (int(self.content.max(initial=-1)) + 2) + self.content + 1
        return np.argsort(key, kind="stable")

    @cached_property
    def by_content(self) -> Log:
        return self.take(self.content_order)

    @cached_property
    def first_of_content(self) -> np.ndarray:
        """Positions, in `by_content`, of the first click on each thing in each cell."""
        ordered = self.by_content
        new = np.ones(len(ordered.cell), dtype=bool)
        new[1:] = ~ordered.next_is_same_content[:-1]
        return np.flatnonzero(new)

    def count(self, mask: np.ndarray | None = None) -> np.ndarray:
        """(N*T,) clicks by cell."""
        cell = self.cell if mask is None else self.cell[mask]
        return np.bincount(cell, minlength=self.num_cells).astype(float)

    def total(self, values: np.ndarray) -> np.ndarray:
        """(N*T,) sum by cell; NaN is skipped."""
        return np.bincount(self.cell, weights=np.nan_to_num(values), minlength=self.num_cells)


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


def make_schedule(schedule: pd.DataFrame, stream: str, num_weeks: int) -> Schedule:
    mine = (schedule["stream"] == stream).to_numpy()
    return Schedule(
        week=np.append(np.where(mine, schedule["week"].to_numpy(dtype="int64"), -1), -1),
        date=np.append(unix_seconds(schedule["date"]), np.nan),
        duration=np.append(schedule["duration"].to_numpy(dtype="float64"), np.nan),
        num_weeks=num_weeks,
    )


def make_log(block: ClickBlock, num_scheduled: int, num_weeks: int) -> tuple[Log, np.ndarray]:
    """All streams; and (n,) the place in the cohort of each of the log's students. A block without a click is that of
    one silent student."""
    students, student = np.unique(block.item, return_inverse=True) if len(block.item) else (np.array([0]), block.item)
    cell = student * num_weeks + block.week
    facts = {name: block.facts[name] for name in ("current_time", "old_time", "new_time", "new_speed")}
    log = Log(
        num_students=len(students), num_weeks=num_weeks, num_scheduled=num_scheduled, cell=cell, time=block.time,
        stream=block.stream, event=block.event, content=block.content, **facts,
    )  # fmt: skip
    in_order = (cell[1:] > cell[:-1]) | ((cell[1:] == cell[:-1]) & (block.time[1:] >= block.time[:-1]))
    return (log if in_order.all() else log.take(np.lexsort((block.time, cell)))), students


def unix_seconds(times: pd.Series) -> np.ndarray:
    """Naive UTC times as Unix seconds; NaT = NaN."""
    seconds = times.to_numpy().astype("datetime64[us]").astype("int64") / 1e6
    return np.where(times.isna(), np.nan, seconds)
