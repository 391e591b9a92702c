"""The cohort `cxr`: one item per chest X-ray, attached to the hospital admission that it was taken in.

MultiModN's selection: X-rays whose study says yes or no about both cardiomegaly and the mediastinum. Predictions
are made at the minute of the image. An image before the ICU stay is kept; it simply has no chart events yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, leave_out
from mmn.data.errors import CohortError
from mmn.data.folds import subject_folds
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import CxrParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.stays import read_admissions, read_stays
from mmn.data.mimic.subgroups import read_subgroups
from mmn.data.mimic.xray_index import SIZE, STUDY, TARGETS, read_labels, read_xray_index, require_xrays

# Whom a model is trained and tested on then depends on what was not known at every X-ray, so the cohort says it.
ICU_ONLY = "admissions with an ICU stay alone, whether before or after the X-ray (icu_admissions_only)"


def build_cxr_cohort(raw: Path, params: CxrParams) -> Cohort:
    """Raises CohortError where no X-ray is left, RawFileError where there are none or no labels."""
    layout = usable_layout(raw)
    require_xrays(layout)
    excluded: dict[str, int] = {}
    with open_tables(layout) as tables:
        admissions = read_admissions(tables)
        stays = read_stays(tables, admissions, excluded)
        images = read_xray_index(tables).rename(columns={"time": "prediction_time"})
        images = images.merge(read_labels(tables, params.labels), on=STUDY, how="left", validate="many_to_one")

    images = leave_out(images, images["mislinked"], "metadata and split disagree whose image it is", excluded)
    images = leave_out(images, images["prediction_time"].isna(), "date or time unreadable", excluded)
    known = images[list(TARGETS)].notna()
    unlabelled = ~(known.all(axis=1) if params.both_labels else known.any(axis=1))
    images = leave_out(
        images, unlabelled, f"{'a' if params.both_labels else 'each'} label missing or uncertain", excluded
    )
    images = attach_admission(images, admissions)
    images = leave_out(images, images["hadm_id"].isna(), "taken outside every admission", excluded)
    images = attach_stay(images.astype({"hadm_id": "int64"}), stays)
    if params.icu_admissions_only:
        images = leave_out(images, ~images["hadm_id"].isin(stays["hadm_id"]), "admission without an ICU stay", excluded)
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
            **images[["image_path", *SIZE]],
        }
    )
    targets = {task: images[task].to_numpy(dtype=float) for task in TARGETS}
    both = (np.nansum(list(targets.values()), axis=0) > 1).astype(int)
    with open_tables(layout) as tables:
        subgroups = read_subgroups(tables, items)
    return Cohort(
        items=items,
        targets=targets,
        subgroups=subgroups,
        folds=subject_folds(items, both, params.num_folds, params.seed),
        excluded=excluded,
        notes=(
            f"mode={params.mode}",
            f"labels={params.labels}, -1 and blank are no label",
            *([ICU_ONLY] if params.icu_admissions_only else []),
        ),
    )


def attach_admission(images: pd.DataFrame, admissions: pd.DataFrame) -> pd.DataFrame:
    """Adds `hadm_id` (null if none) and `start_time`, of the admission that contains the image; of several, the
    latest."""
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
