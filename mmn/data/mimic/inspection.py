"""What a raw folder offers to each of the two cohorts, from names and headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmn.data.dataset import Inspection
from mmn.data.mimic.layout import MAX_LEVELS, Layout, find_layout
from mmn.data.mimic.sources import STAY_ORDER, with_stay_order

_BASE = ("patients", "admissions", "icustays")
_OWN = "(in no public release; columns subject_id, hadm_id, stay_id, charttime, text)"
_WHERE = {
    "chartevents": "icu/chartevents.csv.gz of MIMIC-IV",
    "labevents": "hosp/labevents.csv.gz of MIMIC-IV",
    "procedureevents": "icu/procedureevents.csv.gz of MIMIC-IV",
    "d_items": "icu/d_items.csv.gz of MIMIC-IV",
    "d_labitems": "hosp/d_labitems.csv.gz of MIMIC-IV",
    "radiology": "note/radiology.csv.gz of MIMIC-IV-Note",
    "echo_icustay": f"a table of your own at note/echo_icustay.csv.gz {_OWN}",
    "ecg_icustay": f"a table of your own at note/ecg_icustay.csv.gz {_OWN}",
    "patients": "hosp/patients.csv.gz (core/ in 1.0)",
    "admissions": "hosp/admissions.csv.gz (core/ in 1.0)",
    "icustays": "icu/icustays.csv.gz",
}
# A table that will do in place of another.
_INSTEAD = {"radiology": "rad_icustay"}
# Modality -> the tables that it cannot do without.
_EVENTS = {
    "chart_events": ("chartevents", "d_items"),
    "lab_events": ("labevents", "d_labitems"),
    "procedures": ("procedureevents", "d_items"),
}
_CXR_NEEDS = {"notes": ("echo_icustay",), **_EVENTS, "ecg_notes": ("ecg_icustay",), "radiology_notes": ("radiology",)}
_ICU_NEEDS = {**_EVENTS, "notes": ("radiology",)}
_PICTURES = ("xray", "xray_findings", "xray_history", "xray_history_findings")
_IN_SOURCE = {
    "tables": (*_BASE, "d_items", "d_labitems"),
    "chartevents": ("chartevents",),
    "labevents": ("labevents",),
    "procedureevents": ("procedureevents",),
    "stay_order": STAY_ORDER,
    "notes": ("radiology", "echo_icustay", "ecg_icustay", "rad_icustay"),
    "cxr_labels": ("cxr_metadata", "cxr_split", "cxr_chexpert", "cxr_negbio"),
}


def inspect_cxr(raw: Path) -> Inspection:
    layout = find_layout(raw)
    skipped = _skipped(layout, _CXR_NEEDS)
    if layout.image_root is None:
        no_images = "no images; files/p10/p10000032/s.../....jpg of MIMIC-CXR-JPG would bring it back"
        skipped |= dict.fromkeys(_PICTURES, no_images)
    problem = layout.problem or _missing_base(layout)
    if problem is None and "cxr_metadata" not in layout.files:
        problem = (
            f"{raw}: no MIMIC-CXR-JPG here (mimic-cxr-2.0.0-metadata.csv.gz and -chexpert.csv.gz), so there is no "
            "X-ray to predict about. Use the icu_stay cohort, data set mimic_icu, or add MIMIC-CXR-JPG to this folder."
        )
    elif problem is None and not {"cxr_chexpert", "cxr_negbio"} & set(layout.files):
        problem = (
            f"{raw}: neither mimic-cxr-2.0.0-chexpert.csv.gz nor -negbio.csv.gz is here, so no X-ray has a label. "
            "Add the one that `mimic.cohort.labels` names (chexpert, if it names none), or use the "
            "icu_stay cohort, data set mimic_icu."
        )
    seen = ("tables", "chartevents", "labevents", "procedureevents", "stay_order", "notes", "cxr_labels", "images")
    return _inspection(layout, skipped, problem, seen)


def inspect_icu(raw: Path) -> Inspection:
    layout = find_layout(raw)
    problem = layout.problem or _missing_base(layout)
    seen = ("tables", "chartevents", "labevents", "procedureevents", "notes")
    return _inspection(layout, _skipped(layout, _ICU_NEEDS), problem, seen)


def _inspection(layout: Layout, skipped: dict[str, str], problem: str | None, sources: tuple[str, ...]) -> Inspection:
    known = with_stay_order(layout).files
    found = {}
    for source in sources:
        files = [known[table] for table in _IN_SOURCE.get(source, ()) if table in known]
        if files:
            megabytes = sum(file.stat().st_size for file in files) / 1e6
            found[source] = f"{', '.join(str(file.relative_to(layout.raw)) for file in files)} ({megabytes:,.1f} MB)"
        elif source == "images" and layout.image_root is not None:
            found[source] = f"{(layout.image_root / 'files').as_posix()}/p*/p*/s*/*.jpg"
    return Inspection(version=layout.version, found=found, skipped=skipped, problem=problem, generated=layout.generated)


def _missing_base(layout: Layout) -> str | None:
    missing = [table for table in _BASE if table not in layout.files]
    if not missing:
        return None
    if len(missing) == len(_BASE):
        return (
            f"{layout.raw}: no MIMIC-IV here: neither hosp/ (core/ in 1.0) nor icu/ with its tables within "
            f"{MAX_LEVELS} levels. Give the folder that holds them."
        )
    return f"{layout.raw}: no cohort without {' and '.join(_WHERE[table] for table in missing)}. Add what is missing."


def _skipped(layout: Layout, needs: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    skipped = {}
    for modality, tables in needs.items():
        if missing := [table for table in tables if not {table, _INSTEAD.get(table)} & set(layout.files)]:
            files = " and ".join(_WHERE[table] for table in missing)
            skipped[modality] = f"no {' and no '.join(missing)}; {files} would bring it back"
    return skipped
