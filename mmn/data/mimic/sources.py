"""MIMIC's raw sources, one definition for both data sets: each becomes one pinned manifest."""

from __future__ import annotations

from mmn.data.mimic.layout import globs, image_globs

SOURCES: dict[str, tuple[str, ...]] = {
    "tables": globs("patients", "admissions", "icustays", "d_items", "d_labitems"),
    "chartevents": globs("chartevents"),
    "labevents": globs("labevents"),
    "procedureevents": globs("procedureevents"),
    # Not discharge: it is written when the admission is over, so it tells the outcome.
    "notes": globs("radiology", "echo_icustay"),
    "cxr_labels": globs("cxr_metadata", "cxr_split", "cxr_chexpert", "cxr_negbio"),
    "images": image_globs(),
}


def sources(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: SOURCES[name] for name in names}
