"""Which of an item's rows a modality used: its own reader is asked for the evidence of this one item.

So the answer is the reader's, whatever its rule is (the prediction time, copies, values that are set aside), as the
code that is here reads the raw files that are here. Texts, events and pictures are told one by one; of plain facts,
clicks and series every row that carries the item's keys counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data import DATASETS, load_dataset
from mmn.data.cohort import TARGET_PREFIX, Cohort
from mmn.data.dataset import Dataset
from mmn.data.evidence import EventEvidence, ImageEvidence, TextEvidence

USED = ""
LATER = "after the prediction time"
NOT_READ = "not taken: empty, a copy, of another visit, or of a table that is not read"
NO_SIGNAL = "no signal of it"
ASIDE = "not taken: no number, implausible, of an unknown unit, of another visit, or repeated"


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a reader gave for the item. notes: keys, "FILE: row N" or "FILE: ID". moments: (signal, time in µs);
    signals: itemid -> signal. files: path below the raw folder -> USED, or why it was left out."""

    until: pd.Timestamp
    notes: frozenset[str] | None = None
    moments: frozenset[tuple[str, int]] | None = None
    signals: Mapping[int, str] = field(default_factory=dict)
    files: Mapping[str, str] | None = None

    def judge(self, file: str, rows: pd.DataFrame) -> np.ndarray:
        """(N,) USED, or why the row was not. file: the table, below the raw folder. rows: as `item_rows.candidates`
        gives them."""
        why = np.full(len(rows), USED, dtype=object)
        if self.notes is None and self.moments is None:
            return why
        when = _moments(rows, "charttime", "starttime", "time")
        known = np.fmax(when, _moments(rows, "storetime"))
        if self.notes is not None:
            numbers, ids = rows["number"], rows.get("note_id", rows["number"])
            pairs = zip(numbers, ids, strict=True)
            read = [bool({f"{file}: row {number}", f"{file}: {name}"} & self.notes) for number, name in pairs]
            why[:] = NOT_READ
        else:
            itemids = pd.to_numeric(rows.get("itemid", pd.Series(dtype=float)), errors="coerce").reindex(rows.index)
            signals = [self.signals.get(int(i)) if i == i else None for i in itemids]
            read = [pair in (self.moments or ()) for pair in zip(signals, when.astype(np.int64).tolist(), strict=True)]
            why[:] = [ASIDE if signal else NO_SIGNAL for signal in signals]
        if self.until == self.until:
            why[(known > self.until.to_numpy()) & (why != NO_SIGNAL)] = LATER
        why[read] = USED
        return why


def _moments(rows: pd.DataFrame, *columns: str) -> np.ndarray:
    found = next((rows[name] for name in columns if name in rows), None)
    if found is None:
        return np.full(len(rows), np.datetime64("NaT", "us"))
    return pd.to_datetime(found, errors="coerce", utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[us]")


def dataset_of(name: str) -> Dataset | None:
    """None for one that this code does not know."""
    return load_dataset(name) if name in DATASETS else None


def read_used(
    dataset: Dataset, modality: str, raw: Path, items: pd.DataFrame, params: dict[str, Any], prepared: dict[str, Path]
) -> Used | None:
    """items: the item's row of the cohort. None where the modality's kind of evidence tells no rows apart. Raises
    MmnError where the reader refuses what it finds."""
    from mmn.orchestration.settings import cohort_settings

    described = dataset.modality(modality)
    if described.evidence not in {"texts", "events", "images"} or (
        described.evidence == "events" and not described.prepared
    ):
        return None
    own = items.drop(columns=[name for name in items if name.startswith(TARGET_PREFIX)]).reset_index(drop=True)
    cohort = Cohort(items=own, targets={}, folds=pd.DataFrame({"item": [], "fold": [], "split": []}))
    tables = {name: prepared[name] for name in described.prepared}
    settings = cohort_settings(params, dataset)
    evidence = dataset.read_evidence(raw, modality, cohort, settings, *((tables,) if tables else ()))
    until = pd.Timestamp(own["prediction_time"].iloc[0])
    if isinstance(evidence, TextEvidence):
        return Used(until=until, notes=frozenset(evidence.rows["note"].astype(str)))
    if isinstance(evidence, ImageEvidence):
        aside = dict(zip(evidence.set_aside["source"], evidence.set_aside["reason"], strict=True))
        return Used(until=until, files={**aside, **dict.fromkeys(evidence.rows["source"], USED)})
    assert isinstance(evidence, EventEvidence)
    frame = evidence.frame()
    micros = np.round(frame["hours"].to_numpy() * 3600e6).astype("timedelta64[us]")
    times = (own["start_time"].to_numpy(dtype="datetime64[us]")[0] + micros).astype(np.int64).tolist()
    signals = _signals(raw, described.prepared[0], tables[described.prepared[0]], getattr(settings, "mode", "clean"))
    return Used(until=until, moments=frozenset(zip(frame["signal"].astype(str), times, strict=True)), signals=signals)


def _signals(raw: Path, name: str, prepared: Path, mode: str) -> dict[int, str]:
    """itemid -> signal, for MIMIC's events: the one prepared table with numbers of many kinds."""
    from mmn.data.mimic.events import EVENT_TABLES
    from mmn.data.mimic.events_judge import wanted_itemids
    from mmn.data.mimic.layout import usable_layout
    from mmn.data.mimic.narrow import read_counts
    from mmn.data.mimic.reader import open_tables

    table = next(table for table in EVENT_TABLES.values() if table.name == name)
    with open_tables(usable_layout(raw)) as tables:
        dictionary = tables.frame(table.dictionary)
    wanted, _ = wanted_itemids(dictionary, table.dictionary, table.signals, read_counts(prepared), mode)
    return {itemid: table.signals[place].label for itemid, place in wanted.items()}
