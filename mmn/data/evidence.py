"""What a data set hands to a featurizer: the kinds of evidence, each with its contract.

Readers produce these, already cut at each item's prediction time; featurizers know nothing of where they came from.
An item for which there is nothing is absent: it gets no row, never an empty text or a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class TableEvidence:
    """One row of plain facts per item, in the cohort's order.

    rows: float columns (null = unknown) and categorical columns with frozen categories (null = unknown). A row that is
    null throughout is absent.
    """

    rows: pd.DataFrame
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TextEvidence:
    """Free text. rows: `item`, `note` (string: the note's key in the raw table), `hours` (from the item's start),
    `text` (categorical, so that a text is held once however many items it serves). In mode clean in time order and no
    text is empty; in mode haim in the table's order, a text may be empty or null, and `hours` NaN.

    quarantined: reason -> count of notes left out. set_aside: one row per item and note that was left out: `item`,
    `source` (the note's key), `reason`. notes: what a reader of the results must know of how these were read.
    """

    rows: pd.DataFrame
    quarantined: dict[str, int] = field(default_factory=dict)
    set_aside: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["item", "source", "reason"], dtype=str)
    )
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageEvidence:
    """Pictures. rows: `item`, `path` (absolute, existing file), `source` (the same, relative to the raw folder),
    `weight` (float, at least 0: its share of the item's vector, before they are made to sum to 1). quarantined: reason
    -> count of those left out. set_aside: one row per item and picture left out: `item`, `source`, `reason`. notes: how
    the files were read, where there was a choice."""

    rows: pd.DataFrame
    quarantined: dict[str, int] = field(default_factory=dict)
    set_aside: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["item", "source", "reason"], dtype=str)
    )
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VectorEvidence:
    """Embeddings made elsewhere. values: float32 (N, D) in the cohort's order, finite or NaN; present: (N,) bool;
    names: (D,). A NaN in a present vector is undefined for that item; an absent vector is not read. card: what is known
    of how they were made."""

    values: np.ndarray
    present: np.ndarray
    names: tuple[str, ...]
    card: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EventBlock:
    """Timed numbers of some items, with every event of theirs.

    item: (E,) int32, the item's place in the cohort; signal: (E,) int16, the signal's place in the frozen list; hours:
    (E,) float64 from the item's start; value: (E,) float64, known. Sorted by item, signal, time with a defined order of
    ties; the items of one block are all before those of the next.
    """

    item: np.ndarray
    signal: np.ndarray
    hours: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, kw_only=True)
class EventEvidence:
    """Timed numbers, read block by block, so that memory does not grow with the table. signals: the frozen list, in
    order. blocks(): a fresh pass over them. units: signal -> unit after conversion."""

    signals: tuple[str, ...]
    blocks: Callable[[], Iterator[EventBlock]]
    units: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)

    def frame(self, items: Sequence[str] | pd.Series | None = None) -> pd.DataFrame:
        """All blocks as one frame, for notebooks and tests: `item` (of `items`, the cohort's; else its place), `signal`
        (categorical), `hours`, `value`."""
        blocks = list(self.blocks())
        columns = {
            name: np.concatenate([np.empty(0, dtype=kind), *(getattr(block, name) for block in blocks)])
            for name, kind in (("item", np.int32), ("signal", np.int16), ("hours", float), ("value", float))
        }
        frame = pd.DataFrame(columns)
        frame["signal"] = pd.Categorical.from_codes(columns["signal"], categories=list(self.signals))
        if items is not None:
            frame["item"] = pd.Series(list(items), dtype="str").take(columns["item"]).array
        return frame


CLICK_STREAMS = ("video", "problem", "forum")
CLICK_TYPES = (
    "Video.Load", "Video.Play", "Video.Pause", "Video.Stop", "Video.Seek", "Video.SpeedChange",
    "Problem.Check", "Forum",
)  # fmt: skip
CLICK_FACTS = ("current_time", "old_time", "new_time", "old_speed", "new_speed", "grade", "submission_number")


@dataclass(frozen=True, kw_only=True)
class ClickBlock:
    """Some students of a click log, each with every click of his; a student's clicks lie together, in time order.

    item: (E,) the student's place in the cohort. week: 0-based. time: Unix seconds, UTC. stream, event: codes into
    CLICK_STREAMS and CLICK_TYPES (whatever one does in the forum is "Forum"). content: the row of
    `ClickEvidence.schedule`; from its length on, something that is not scheduled, by a number of its own; -1 = not
    said. facts: name in CLICK_FACTS -> (E,) float64, NaN where it does not apply (positions in s of video, grade in
    points). quarantined: reason -> rows of this stretch of the log that were left out.
    """

    item: np.ndarray
    week: np.ndarray
    time: np.ndarray
    stream: np.ndarray
    event: np.ndarray
    content: np.ndarray
    facts: dict[str, np.ndarray]
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClickEvidence:
    """A course's click log for the cohort's students, read block by block, so that memory does not grow with the log.

    blocks(): a fresh pass over them; a student without a click is in none. schedule: `content`, `stream`, `week`,
    `date`, `duration` (s), `grade_max` (points). weekly: name -> (N, T) float64 in the cohort's order, where weekly
    features were imported ready-made: then there are no clicks, and `blocks()` is empty.
    """

    blocks: Callable[[], Iterator[ClickBlock]]
    schedule: pd.DataFrame
    num_weeks: int
    weekly: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HourEvidence:
    """Regular series: values float32 (N, T, V) in the cohort's order, NaN = missing; one name and unit per variable."""

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    quarantined: dict[str, int] = field(default_factory=dict)


Evidence = TableEvidence | TextEvidence | ImageEvidence | EventEvidence | ClickEvidence | HourEvidence | VectorEvidence
