"""MIMIC's raw sources and prepared tables, one definition for both data sets.

A source becomes one pinned manifest; a prepared table is converted once and read by both.
"""

from __future__ import annotations

from dataclasses import replace

from mmn.data.mimic.layout import MAX_LEVELS, Layout, globs, image_globs

# Read by mode haim alone, and only for the order of the stays (`haim_keys.py`). They lie beside icustays.
STAY_ORDER = ("outputevents", "inputevents")

SOURCES: dict[str, tuple[str, ...]] = {
    "tables": globs("patients", "admissions", "icustays", "d_items", "d_labitems"),
    "chartevents": globs("chartevents"),
    "labevents": globs("labevents"),
    "procedureevents": globs("procedureevents"),
    "stay_order": tuple(
        "*/" * level + f"icu/{table}{ending}"
        for level in range(MAX_LEVELS)
        for table in STAY_ORDER
        for ending in (".csv.gz", ".csv")
    ),
    # Not discharge: it is written when the admission is over, so it tells the outcome.
    "notes": globs("radiology", "echo_icustay", "ecg_icustay", "rad_icustay"),
    "cxr_labels": globs("cxr_metadata", "cxr_split", "cxr_chexpert", "cxr_negbio"),
    "images": image_globs(),
}
# Prepared table -> the sources that it is made from; written by `PREPARE`.
PREPARED: dict[str, tuple[str, ...]] = {name: (name,) for name in ("chartevents", "labevents", "procedureevents")}
PREPARE = "mmn.data.mimic.narrow:prepare"


def sources(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: SOURCES[name] for name in names}


def with_stay_order(layout: Layout) -> Layout:
    """The layout with the tables of STAY_ORDER that are there."""
    if "icustays" not in layout.files:
        return layout
    paths = {
        table: layout.files["icustays"].with_name(f"{table}{ending}")
        for ending in (".csv", ".csv.gz")  # of a .csv.gz and its unpacked copy, the .csv.gz
        for table in STAY_ORDER
        if layout.files["icustays"].with_name(f"{table}{ending}").is_file()
    }
    return replace(layout, files={**layout.files, **paths})
