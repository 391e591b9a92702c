"""The cohort `cxr`: one item per chest X-ray, attached to the hospital admission that it was taken in.

MultiModN's selection: X-rays whose study says yes or no about both cardiomegaly and the mediastinum. Predictions
are made at the minute of the image. An image before the ICU stay is kept; it simply has no chart events yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import CohortError, ContractError, RawFileError
from mmn.data.folds import subject_folds
from mmn.data.mimic.contracts import CxrChexpert, CxrMetadata, CxrNegbio, CxrSplit
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import CxrParams
from mmn.data.mimic.reader import Tables, open_tables
from mmn.data.mimic.stays import read_admissions, read_stays

TARGETS = ("cardiomegaly", "enlarged_cardiomediastinum")
_STUDY = ["subject_id", "study_id"]


def build_cxr_cohort(raw: Path, params: CxrParams) -> Cohort:
    """Raises CohortError where no X-ray is left, RawFileError where there are none or no labels."""
    layout = usable_layout(raw)
    if "cxr_metadata" not in layout.files:
        raise RawFileError(
            f"{raw}: no MIMIC-CXR-JPG here (mimic-cxr-2.0.0-metadata.csv.gz). Use the icu_stay cohort, data set "
            "mimic_icu."
        )
    with open_tables(layout) as tables:
        admissions = read_admissions(tables)
        stays = read_stays(tables, admissions)
        images = tables.frame(CxrMetadata)
        labels = read_labels(tables, params.labels)
        mislinked = _mislinked(tables, images)
    images["prediction_time"] = image_minutes(images["StudyDate"], images["StudyTime"])
    images = images.merge(labels, on=_STUDY, how="left", validate="many_to_one")

    excluded: dict[str, int] = {}
    images = _leave_out(
        images, images["dicom_id"].isin(mislinked), "metadata and split disagree whose image it is", excluded
    )
    images = _leave_out(images, images["prediction_time"].isna(), "date or time unreadable", excluded)
    known = images[list(TARGETS)].notna()
    unlabelled = ~(known.all(axis=1) if params.both_labels else known.any(axis=1))
    images = _leave_out(
        images, unlabelled, f"{'a' if params.both_labels else 'each'} label missing or uncertain", excluded
    )
    images = attach_admission(images, admissions)
    images = _leave_out(images, images["hadm_id"].isna(), "taken outside every admission", excluded)
    images = attach_stay(images.astype({"hadm_id": "int64"}), stays)
    if params.icu_admissions_only:
        images = _leave_out(
            images, ~images["hadm_id"].isin(stays["hadm_id"]), "admission without an ICU stay", excluded
        )
    if images.empty:
        raise CohortError(
            f"{raw}: no X-ray is left. Left out: {excluded or 'none, the table is empty'}. Check that MIMIC-IV and "
            "MIMIC-CXR-JPG are of the same patients; `both_labels: false` keeps X-rays with one label."
        )
    images = images.sort_values(["subject_id", "prediction_time", "study_id", "dicom_id"], ignore_index=True)
    items = pd.DataFrame(
        {
            "item": images["dicom_id"].astype(str),
            "subject": images["subject_id"].astype(str),
            **images[["prediction_time", "subject_id", "hadm_id", "stay_id", "start_time", "study_id"]],
            "image_path": image_paths(images, layout.image_root or Path()),
        }
    )
    targets = {task: images[task].to_numpy(dtype=float) for task in TARGETS}
    both = (np.nansum(list(targets.values()), axis=0) > 1).astype(int)
    return Cohort(
        items=items,
        targets=targets,
        folds=subject_folds(items, both, params.num_folds, params.seed),
        excluded=excluded,
        notes=(f"mode={params.mode}", f"labels={params.labels}, -1 and blank are no label"),
    )


def image_minutes(date: pd.Series, time: pd.Series) -> pd.Series:
    """StudyDate (YYYYMMDD) and StudyTime (HHMMSS.fff, no leading zeros), rounded down to the minute; NaT if "
    "unreadable."""
    clock = time.where(time.between(0, 235_959.999)).floordiv(1)
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    clock_ok = minutes.lt(60) & seconds.lt(60)
    days = pd.to_datetime(date.astype("Int64").astype("str"), format="%Y%m%d", errors="coerce").astype("datetime64[us]")
    return days + pd.to_timedelta((hours * 60 + minutes).where(clock_ok), unit="min").astype("timedelta64[us]")


def image_paths(images: pd.DataFrame, root: Path) -> pd.Series:
    """Where MIMIC-CXR-JPG keeps each image, relative to the raw folder."""
    subject, study = images["subject_id"].astype(str), images["study_id"].astype(str)
    prefix = f"{root.as_posix()}/" if root != Path() else ""
    return (
        prefix
        + "files/p"
        + subject.str[:2]
        + "/p"
        + subject
        + "/s"
        + study
        + "/"
        + images["dicom_id"].astype(str)
        + ".jpg"
    )


def read_labels(tables: Tables, whose: str) -> pd.DataFrame:
    """`subject_id`, `study_id` and the two targets in {0, 1}; -1 (uncertain) and blank (not mentioned) are null."""
    contracts = {"chexpert": (CxrChexpert,), "negbio": (CxrNegbio,), "agreement": (CxrChexpert, CxrNegbio)}[whose]
    sides = []
    for contract in contracts:
        labels = tables.frame(contract).set_index(_STUDY)[list(TARGETS)]
        sides.append(labels.where(labels.isin([0, 1])))
    if whose == "agreement":
        first, second = sides[0].align(sides[1], join="inner", axis=0)
        return first.where(first.eq(second)).reset_index()
    return sides[0].reset_index()


def attach_admission(images: pd.DataFrame, admissions: pd.DataFrame) -> pd.DataFrame:
    """Adds `hadm_id` (null if none) and `start_time`, of the admission that contains the image; of several, the "
    "latest."""
    spans = admissions.loc[
        admissions["dischtime"].notna(), ["subject_id", "hadm_id", "admittime", "dischtime", "start_time"]
    ]
    pairs = images[["dicom_id", "subject_id", "prediction_time"]].merge(spans, on="subject_id")
    pairs = pairs[pairs["prediction_time"].between(pairs["admittime"], pairs["dischtime"])]
    pairs = pairs.sort_values(["admittime", "hadm_id"]).drop_duplicates("dicom_id", keep="last")
    return images.merge(pairs[["dicom_id", "hadm_id", "start_time"]], on="dicom_id", how="left", validate="one_to_one")


def attach_stay(images: pd.DataFrame, stays: pd.DataFrame) -> pd.DataFrame:
    """Adds `stay_id` (null if none): the admission's stay that contains the image, else the next, else the last."""
    pairs = images[["dicom_id", "hadm_id", "prediction_time"]].merge(
        stays.loc[stays["intime"].notna(), ["hadm_id", "stay_id", "intime", "outtime"]], on="hadm_id"
    )
    time = pairs["prediction_time"]
    inside, later = time.between(pairs["intime"], pairs["outtime"]), pairs["intime"] > time
    distance = (pairs["intime"] - time).abs()
    pairs = pairs.assign(rank=np.select([inside, later], [0, 1], 2), distance=distance)
    pairs = pairs.sort_values(["rank", "distance", "stay_id"]).drop_duplicates("dicom_id")
    images = images.merge(pairs[["dicom_id", "stay_id"]], on="dicom_id", how="left", validate="one_to_one")
    return images.astype({"stay_id": "Int64"})


def _mislinked(tables: Tables, images: pd.DataFrame) -> pd.Index:
    """Images that the split file gives to another study or patient. Raises ContractError where that is the rule."""
    if "cxr_split" not in tables.layout.files:
        return pd.Index([])
    pairs = images[["dicom_id", *_STUDY]].merge(tables.frame(CxrSplit), on="dicom_id", suffixes=("", "_split"))
    wrong = pairs["study_id"].ne(pairs["study_id_split"]) | pairs["subject_id"].ne(pairs["subject_id_split"])
    if wrong.sum() > max(10, 0.01 * len(pairs)):
        raise ContractError(
            f"MIMIC-CXR-JPG: metadata and split disagree about {int(wrong.sum())} of {len(pairs)} images. "
            "The two files are of different versions; take both from one."
        )
    return pd.Index(pairs.loc[wrong, "dicom_id"])


def _leave_out(images: pd.DataFrame, out: pd.Series, reason: str, excluded: dict[str, int]) -> pd.DataFrame:
    if out.any():
        excluded[reason] = int(out.sum())
    return images[~out]
