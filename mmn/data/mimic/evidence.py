"""Each modality's evidence, cut at the prediction time: modality -> what reads it, and what belongs to an item.

In mode haim an item's evidence is that of its own ICU stay (laboratory results: of its admission), as it is there; the
readers say what else differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmn.data.cohort import Cohort
from mmn.data.evidence import Evidence
from mmn.data.mimic.demographics import read_demographics, read_haim_demographics
from mmn.data.mimic.events import EVENT_TABLES, OF_ADMISSION, OF_STAY, OF_VISIT, read_events
from mmn.data.mimic.events import Which as Events
from mmn.data.mimic.images import read_image_history, read_images
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.notes import Which as Notes
from mmn.data.mimic.notes import read_notes
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.xray_index import subject_xrays

# Modality -> its table, and what belongs to an item in mode clean and in mode haim. In mode clean an image's are the
# whole admission's events, as it may follow one stay and precede another.
CXR_EVENTS: dict[str, tuple[Events, str, str]] = {
    "chart_events": ("chart", OF_ADMISSION, OF_STAY),
    "lab_events": ("lab", OF_VISIT, OF_ADMISSION),
    "procedures": ("procedure", OF_ADMISSION, OF_STAY),
}
ICU_EVENTS: dict[str, tuple[Events, str]] = {
    "chart_events": ("chart", OF_STAY),
    "lab_events": ("lab", OF_VISIT),
    "procedures": ("procedure", OF_STAY),
}
# Modality -> its notes, and what belongs to an item in mode clean; in mode haim a note is its stay's.
CXR_NOTES: dict[str, tuple[Notes, str]] = {
    "notes": ("echo", OF_ADMISSION),
    "ecg_notes": ("ecg", OF_ADMISSION),
    "radiology_notes": ("radiology", OF_VISIT),
}
ICU_NOTES: dict[str, tuple[Notes, str]] = {"notes": ("radiology", OF_VISIT)}
IMAGES = ("xray", "xray_findings")
IMAGE_HISTORIES = ("xray_history", "xray_history_findings")


def read_cxr_evidence(
    raw: Path, modality: str, cohort: Cohort, params: CxrParams, prepared: Mapping[str, Path]
) -> Evidence:
    """prepared: name -> file of the prepared tables that are there. Raises RawFileError where the modality's files are
    not there, KeyError for an unknown modality."""
    items, mode = cohort.items, params.mode
    if modality in IMAGES:
        return read_images(raw, items)
    if modality in CXR_EVENTS:
        which, clean, haim = CXR_EVENTS[modality]
        belongs, narrow = (haim if mode == "haim" else clean), prepared.get(EVENT_TABLES[which].name)
        return read_events(raw, items, which, belongs=belongs, mode=mode, narrow=narrow)
    with open_tables(usable_layout(raw)) as tables:
        if modality in IMAGE_HISTORIES:
            return read_image_history(raw, items, subject_xrays(tables, items), mode)
        if modality == "demographics" and mode == "haim":
            return read_haim_demographics(tables, items, dummies=params.haim_dummies)
        if modality == "demographics":
            return read_demographics(tables, items)
        return read_notes(tables, items, *CXR_NOTES[modality], mode)


def read_icu_evidence(
    raw: Path, modality: str, cohort: Cohort, params: IcuParams, prepared: Mapping[str, Path]
) -> Evidence:
    """As `read_cxr_evidence`."""
    items, mode = cohort.items, params.mode
    if modality in ICU_EVENTS:
        which, belongs = ICU_EVENTS[modality]
        return read_events(raw, items, which, belongs=belongs, mode=mode, narrow=prepared.get(EVENT_TABLES[which].name))
    with open_tables(usable_layout(raw)) as tables:
        if modality == "demographics":
            return read_demographics(tables, items)
        return read_notes(tables, items, *ICU_NOTES[modality], mode)
