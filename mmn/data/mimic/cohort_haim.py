"""The cohort `cxr` in mode haim: the X-rays of HAIM's table as MultiModN selects and splits them, bug for bug.

What differs from `cohort_cxr.py`, on purpose (Soenksen et al. 2022, Swamy et al. 2023, and their public code):
- a sample is an image and an ICU stay of its admission; of the samples of one image MultiModN keeps the first, so that
  all images of an admission go to its first-listed stay, whichever stay they were taken in;
- the clock starts at admittime, also for who came through the emergency department;
- folds keep a `haim_id` together, not a patient: one who comes back may be in train and in test;
- CheXpert's labels alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, leave_out
from mmn.data.errors import CohortError, RawFileError
from mmn.data.folds import haim_folds
from mmn.data.mimic.contracts import Admissions, CxrChexpert, CxrSplit, table_name
from mmn.data.mimic.haim_keys import IN_ORDER, read_haim_keys
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import CxrParams
from mmn.data.mimic.reader import open_tables
from mmn.data.mimic.sources import with_stay_order
from mmn.data.mimic.subgroups import read_subgroups
from mmn.data.mimic.xray_index import SIZE, STUDY, TARGETS, read_labels, read_xray_index, require_xrays


def build_haim_cohort(raw: Path, params: CxrParams) -> Cohort:
    """Raises CohortError where no X-ray is left, RawFileError where one of HAIM's tables is not there."""
    layout = usable_layout(raw)
    require_xrays(layout)
    if table_name(CxrSplit) not in layout.files:
        raise RawFileError(
            f"{raw}: no mimic-cxr-2.0.0-split.csv.gz (of MIMIC-CXR-JPG), whose order is that of HAIM's image table; "
            "mode haim cannot do without. Add the file, or set `mimic.mode: clean`."
        )
    with open_tables(with_stay_order(layout)) as tables:
        labels = read_labels(tables, params.labels)
        keys, key_tables = read_haim_keys(tables, tables.frame(CxrChexpert)["subject_id"])
        spans = tables.frame(Admissions)[["subject_id", "hadm_id", "admittime", "dischtime"]]
        images = read_xray_index(tables).rename(columns={"time": "prediction_time"})
    images = images.merge(labels, on=STUDY, how="left", validate="many_to_one")

    excluded: dict[str, int] = {}
    images = leave_out(images, images["haim_order"].isna(), "not in the split table", excluded)
    images = leave_out(images, images["mislinked"], "metadata and split disagree whose image it is", excluded)
    images = leave_out(images, images["prediction_time"].isna(), "date or time unreadable", excluded)
    samples = list_samples(images, keys, spans)
    leave_out(images, ~images["dicom_id"].isin(samples["dicom_id"]), "taken outside every ICU admission", excluded)
    samples = leave_out(
        samples,
        samples.duplicated(["dicom_id", "prediction_time"]),
        "the same image listed again for another stay",
        excluded,
    )
    known = samples[list(TARGETS)].notna()
    unlabelled = ~(known.all(axis=1) if params.both_labels else known.any(axis=1))
    reason = f"{'a' if params.both_labels else 'each'} label missing or uncertain"
    samples = leave_out(samples, unlabelled, reason, excluded).reset_index(drop=True)
    if samples.empty:
        raise CohortError(
            f"{raw}: no X-ray is left in mode haim. Left out: {excluded or 'none, the table is empty'}. Check that "
            "MIMIC-IV and MIMIC-CXR-JPG are of the same patients, or use mode clean."
        )
    items = pd.DataFrame(
        {
            "item": samples["dicom_id"].astype(str),
            "subject": samples["subject_id"].astype(str),
            **samples[["prediction_time", "subject_id", "hadm_id", "stay_id", "haim_id"]],
            "start_time": samples["admittime"],
            **samples[["admittime", "study_id", "image_path", *SIZE]],
        }
    )
    targets = {task: samples[task].to_numpy(dtype=float) for task in TARGETS}
    missing = [table_name(contract) for contract in IN_ORDER if table_name(contract) not in key_tables]
    with open_tables(layout) as tables:
        subgroups = read_subgroups(tables, items)
    return Cohort(
        items=items,
        targets=targets,
        subgroups=subgroups,
        folds=haim_folds(items, np.nansum(list(targets.values()), axis=0) > 1, params.num_folds, params.seed),
        fold_group="haim_id",
        excluded=excluded,
        notes=(
            "mode=haim: repeats the published cohort with its faults",
            "labels=chexpert, -1 and blank are no label",
            "folds keep a haim_id (an ICU stay) together, not a patient: a patient who came back may sit on two sides",
            f"stays numbered in the order of {', '.join(key_tables)}"
            + (f"; {', '.join(missing)} not there, so haim_id differs from HAIM's" if missing else ""),
        ),
    )


def list_samples(images: pd.DataFrame, keys: pd.DataFrame, spans: pd.DataFrame) -> pd.DataFrame:
    """An image and a stay per row, wherever the image's minute lies within the stay's admission, both ends included; in
    HAIM's order: by haim_id, then as the image table lists them."""
    stays = keys.merge(spans, on=["subject_id", "hadm_id"], validate="many_to_one")
    pairs = stays.merge(images, on="subject_id")
    pairs = pairs[pairs["prediction_time"].between(pairs["admittime"], pairs["dischtime"])]
    return pairs.sort_values(["haim_id", "haim_order"], ignore_index=True)
