"""What a data set hands to a featurizer: the kinds of evidence, each with its contract.

Readers produce these, already cut at each item's prediction time; featurizers know nothing of where they came from.
An item for which there is nothing is absent: it gets no row, never an empty text or a zero.
"""

from __future__ import annotations

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
    """Free text. rows: `item`, `hours` (from the item's start, float), `text` (never empty), in time order."""

    rows: pd.DataFrame
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageEvidence:
    """Pictures. rows: `item`, `path` (absolute, existing file). quarantined: reason -> count of those left out."""

    rows: pd.DataFrame
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EventEvidence:
    """Timed numbers. rows: `item`, `signal` (categorical; its categories are the frozen list of signals, in order),
    `hours` (from the item's start, float), `value` (float, known). Sorted by item, signal, time with a defined order
    of ties. units: signal -> unit after conversion."""

    rows: pd.DataFrame
    units: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClickEvidence:
    """A course's click log for the cohort's students.

    events: `item`, `week` (int, 0-based), `time` (datetime64, UTC), `stream` ("video", "problem" or "forum"),
    `event_type`, `content` (video or problem id), and the fields of specs: `current_time`, `old_time`, `new_time`,
    `old_speed`, `new_speed`, `grade`, `submission_number`, `problem_type` (null where they do not apply); sorted by
    item, time.
    schedule: `content`, `stream`, `week`, `date`, `duration` (s), `grade_max`.
    """

    events: pd.DataFrame
    schedule: pd.DataFrame
    num_weeks: int
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HourEvidence:
    """Regular series: values float32 (N, T, V) in the cohort's order, NaN = missing; one name and unit per variable."""

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    quarantined: dict[str, int] = field(default_factory=dict)


Evidence = TableEvidence | TextEvidence | ImageEvidence | EventEvidence | ClickEvidence | HourEvidence
