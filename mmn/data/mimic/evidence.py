"""Each modality's evidence, cut at the prediction time: modality -> the function that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.evidence import Evidence
from mmn.data.mimic.demographics import read_demographics
from mmn.data.mimic.events import CHART, LABS, OF_ADMISSION, OF_STAY, OF_VISIT, PROCEDURES, read_events
from mmn.data.mimic.images import read_images
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.notes import read_echo_notes, read_radiology_notes
from mmn.data.mimic.reader import Tables, open_tables


def read_cxr_evidence(raw: Path, modality: str, cohort: Cohort) -> Evidence:
    """Raises RawFileError where the modality's files are not there, KeyError for an unknown modality."""
    if modality == "xray":
        return read_images(raw, cohort.items)
    readers: dict[str, Callable[[Tables, pd.DataFrame], Evidence]] = {
        "demographics": read_demographics,
        "notes": read_echo_notes,
        # Of the whole admission: an image may follow one stay and precede another.
        "chart_events": lambda tables, items: read_events(tables, items, CHART, OF_ADMISSION),
    }
    read = readers[modality]
    with open_tables(usable_layout(raw)) as tables:
        return read(tables, cohort.items)


def read_icu_evidence(raw: Path, modality: str, cohort: Cohort) -> Evidence:
    """Raises RawFileError where the modality's files are not there, KeyError for an unknown modality."""
    readers: dict[str, Callable[[Tables, pd.DataFrame], Evidence]] = {
        "demographics": read_demographics,
        "chart_events": lambda tables, items: read_events(tables, items, CHART, OF_STAY),
        "lab_events": lambda tables, items: read_events(tables, items, LABS, OF_VISIT),
        "procedures": lambda tables, items: read_events(tables, items, PROCEDURES, OF_STAY),
        "notes": read_radiology_notes,
    }
    read = readers[modality]
    with open_tables(usable_layout(raw)) as tables:
        return read(tables, cohort.items)
