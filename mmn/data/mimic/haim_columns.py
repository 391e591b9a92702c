"""The columns of HAIM's embedding file that are no embedding: ids, times, outcome, labels, view."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError
from mmn.data.haim.columns import AFTER, BEFORE, LABELS
from mmn.data.mimic.contracts import ALL_CXR_VERSIONS, RawTable, column
from mmn.data.mimic.layout import usable_layout
from mmn.data.mimic.params import CxrParams
from mmn.data.mimic.reader import open_tables


class Discharges(RawTable):
    """One row per admission: how it ended. hosp/admissions (core/ in 1.0)."""

    hadm_id: int = column(ge=1)
    admittime: pd.Timestamp = column()
    dischtime: pd.Timestamp = column(nullable=True)
    discharge_location: str = column(nullable=True)

    class Config:
        metadata = {"table": "admissions", "key": ("hadm_id",)}  # noqa: RUF012


class Views(RawTable):
    """One row per image: how it was taken. mimic-cxr-2.*-metadata."""

    dicom_id: str = column(ALL_CXR_VERSIONS)
    PerformedProcedureStepDescription: str = column(ALL_CXR_VERSIONS, nullable=True)
    ViewPosition: str = column(ALL_CXR_VERSIONS, nullable=True)

    class Config:
        metadata = {"table": "cxr_metadata", "key": ("dicom_id",)}  # noqa: RUF012


class Splits(RawTable):
    """One row per image: the publisher's train, validate, test. mimic-cxr-2.*-split."""

    dicom_id: str = column(ALL_CXR_VERSIONS)
    split: str = column(ALL_CXR_VERSIONS, isin=["train", "validate", "test"])

    class Config:
        metadata = {"table": "cxr_split", "key": ("dicom_id",)}  # noqa: RUF012


def _finding(name: str) -> float:
    return column(ALL_CXR_VERSIONS, also=name, isin=[-1, 0, 1], nullable=True)


class Findings(RawTable):
    """One row per study: CheXpert's 14 labels. 1 present, 0 absent, -1 uncertain, null not mentioned."""

    study_id: int = column(ALL_CXR_VERSIONS)
    atelectasis: float = _finding("Atelectasis")
    cardiomegaly: float = _finding("Cardiomegaly")
    consolidation: float = _finding("Consolidation")
    edema: float = _finding("Edema")
    enlarged_cardiomediastinum: float = _finding("Enlarged Cardiomediastinum")
    fracture: float = _finding("Fracture")
    lung_lesion: float = _finding("Lung Lesion")
    lung_opacity: float = _finding("Lung Opacity")
    no_finding: float = _finding("No Finding")
    pleural_effusion: float = _finding("Pleural Effusion")
    pleural_other: float = _finding("Pleural Other")
    pneumonia: float = _finding("Pneumonia")
    pneumothorax: float = _finding("Pneumothorax")
    support_devices: float = _finding("Support Devices")

    class Config:
        metadata = {"table": "cxr_chexpert", "key": ("study_id",)}  # noqa: RUF012


def haim_columns(raw: Path, cohort: Cohort) -> pd.DataFrame:
    """`BEFORE` and `AFTER` of `mmn.data.haim.columns`, one row per item in the cohort's order.

    img_deltacharttime: h from admittime to the image; img_length_of_stay: h from the image to dischtime; death_status:
    1 where discharge_location is DIED, else 0; labels as in the file, -1 and null included. Raises ContractError for a
    cohort without haim_id, which is one of another mode.
    """
    items = cohort.items
    if "haim_id" not in items:
        raise ContractError("cohort.items: no column 'haim_id'; make the cohort in mode haim (mimic.mode: haim).")
    with open_tables(usable_layout(raw)) as tables:
        discharges, views, splits, findings = map(tables.frame, (Discharges, Views, Splits, Findings))
    findings = findings.rename(columns={label.lower().replace(" ", "_"): label for label in LABELS})
    rows = (
        items[["haim_id", "item", "prediction_time", "hadm_id", "study_id"]]
        .rename(columns={"item": "img_id", "prediction_time": "img_charttime"})
        .merge(discharges, on="hadm_id", how="left", validate="many_to_one")
        .merge(views, left_on="img_id", right_on="dicom_id", how="left", validate="one_to_one")
        .merge(splits, on="dicom_id", how="left", validate="one_to_one")
        .merge(findings, on="study_id", how="left", validate="many_to_one")
    )
    rows = rows.assign(
        img_deltacharttime=(rows["img_charttime"] - rows["admittime"]) / pd.Timedelta(hours=1),
        img_length_of_stay=(rows["dischtime"] - rows["img_charttime"]) / pd.Timedelta(hours=1),
        death_status=rows["discharge_location"].eq("DIED").astype("int64"),
    )
    return rows[[*BEFORE, *AFTER]]


def export_haim(
    raw: Path,
    cohort: Cohort,
    params: CxrParams,
    out: Path,
    embeddings: Mapping[str, Embeddings],
    prepared: Mapping[str, Path],
) -> None:
    """`Dataset.export`: the cohort's embeddings as a file of HAIM's form, which `mimic_haim` reads.

    Raises ContractError in mode clean, as the file's columns mean what HAIM did, and for one-hot demographics, of which
    there may by chance be as many columns as HAIM has codes.
    """
    del prepared
    if params.mode != "haim":
        raise ContractError(
            "HAIM's file is of features made in HAIM's way, these are clean ones. Set `mimic: {mode: haim}`, run, and "
            "export again."
        )
    if params.haim_dummies and "demographics" in embeddings:
        raise ContractError(
            "HAIM's file holds demographics as six numbers, age and five codes; here they are one column per code, as "
            "MultiModN reads them. Set `mimic: {mode: haim, cohort: {haim_dummies: false}}` in params.yaml, run, and "
            "export again."
        )
    from mmn.data.haim.export import write_haim_csv

    write_haim_csv(out, haim_columns(raw, cohort), embeddings)
