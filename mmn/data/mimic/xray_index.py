"""Which chest X-rays there are: whose, of which study, when, where the file lies, and what the study's labels say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmn.data.errors import ContractError, RawFileError
from mmn.data.mimic.contracts import ALL_CXR_VERSIONS, CxrChexpert, CxrMetadata, CxrNegbio, CxrSplit, column
from mmn.data.mimic.layout import Layout
from mmn.data.mimic.reader import Tables

TARGETS = ("cardiomegaly", "enlarged_cardiomediastinum")
STUDY = ["subject_id", "study_id"]
SIZE = ["height", "width"]
LABEL_TABLES = ("cxr_chexpert", "cxr_negbio")


class SizedXrays(CxrMetadata):
    """As CxrMetadata, with the size of the picture, by which a wrong file is known. mimic-cxr-2.*-metadata."""

    height: float = column(ALL_CXR_VERSIONS, also="Rows", unit="pixel", ge=1, nullable=True)
    width: float = column(ALL_CXR_VERSIONS, also="Columns", unit="pixel", ge=1, nullable=True)

    class Config:
        metadata = {"table": "cxr_metadata", "key": ("dicom_id",)}  # noqa: RUF012


def require_xrays(layout: Layout) -> None:
    """Raises RawFileError where MIMIC-CXR-JPG's metadata is not there."""
    if "cxr_metadata" not in layout.files:
        raise RawFileError(
            f"{layout.raw}: no MIMIC-CXR-JPG here (mimic-cxr-2.0.0-metadata.csv.gz). Use the icu_stay cohort, data set "
            "mimic_icu."
        )


def read_xray_index(tables: Tables) -> pd.DataFrame:
    """One row per image of the metadata, in file order.

    `dicom_id`, `subject_id`, `study_id`; `height`, `width` (pixels, by the metadata); `time` (the minute; NaT if
    unreadable); `image_path` (relative to the raw folder); `haim_order` (its place in the split file, the order of
    HAIM's image table; null if it is not there); `mislinked`: the split gives it to another study or patient.
    Without a split file, which clean mode does not need, `haim_order` is the place in the metadata. Raises
    ContractError where metadata and split disagree as a rule.
    """
    images = tables.frame(SizedXrays)
    index = images[["dicom_id", *STUDY, *SIZE]].assign(
        time=image_minutes(images["StudyDate"], images["StudyTime"]),
        image_path=image_paths(images, tables.layout.image_root or Path()),
    )
    if "cxr_split" not in tables.layout.files:
        return index.assign(haim_order=pd.RangeIndex(len(index)), mislinked=False).astype({"haim_order": "Int64"})
    split = tables.frame(CxrSplit).set_index("dicom_id")
    split = split.assign(haim_order=pd.array(range(len(split)), dtype="Int64")).reindex(index["dicom_id"])
    listed = split["haim_order"].notna().to_numpy()
    same = (split[STUDY].to_numpy() == index[STUDY].to_numpy()).all(axis=1)
    mislinked = listed & ~same
    if mislinked.sum() > max(10, 0.01 * listed.sum()):
        raise ContractError(
            f"MIMIC-CXR-JPG: metadata and split disagree about {int(mislinked.sum())} of {int(listed.sum())} images. "
            "The two files are of different versions; take both from one."
        )
    return index.assign(haim_order=split["haim_order"].array, mislinked=mislinked)


def subject_xrays(tables: Tables, items: pd.DataFrame) -> pd.DataFrame:
    """Every image of the cohort's patients, in any admission or none: the index's rows without the mislinked."""
    index = read_xray_index(tables)
    wanted = index["subject_id"].isin(items["subject_id"]) & ~index["mislinked"]
    columns = ["subject_id", "dicom_id", "image_path", "time", "haim_order", *SIZE]
    return index.loc[wanted, columns].reset_index(drop=True)


def image_minutes(date: pd.Series, time: pd.Series) -> pd.Series:
    """StudyDate (YYYYMMDD) and StudyTime (HHMMSS.fff, no leading zeros), rounded down to the minute; NaT if
    unreadable."""
    clock = time.where(time.between(0, 235_959.999)).floordiv(1)
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    clock_ok = minutes.lt(60) & seconds.lt(60)
    days = pd.to_datetime(date.astype("Int64").astype("str"), format="%Y%m%d", errors="coerce").astype("datetime64[us]")
    return days + pd.to_timedelta((hours * 60 + minutes).where(clock_ok), unit="min").astype("timedelta64[us]")


def image_paths(images: pd.DataFrame, root: Path) -> pd.Series:
    """Where MIMIC-CXR-JPG keeps each image, relative to the raw folder."""
    subject, study, image = (images[name].astype(str) for name in ("subject_id", "study_id", "dicom_id"))
    prefix = f"{root.as_posix()}/" if root != Path() else ""
    return prefix + "files/p" + subject.str[:2] + "/p" + subject + "/s" + study + "/" + image + ".jpg"


def read_labels(tables: Tables, whose: str) -> pd.DataFrame:
    """`subject_id`, `study_id` and the two targets in {0, 1}; -1 (uncertain) and blank (not mentioned) are null.

    Raises RawFileError where a label file is not there, naming the other one where that would do.
    """
    for table in {"agreement": LABEL_TABLES}.get(whose, (f"cxr_{whose}",)):
        if table not in tables.layout.files:
            raise RawFileError(_no_labels(tables.layout, whose, table))
    contracts = {"chexpert": (CxrChexpert,), "negbio": (CxrNegbio,), "agreement": (CxrChexpert, CxrNegbio)}[whose]
    sides = []
    for contract in contracts:
        labels = tables.frame(contract).set_index(STUDY)[list(TARGETS)]
        sides.append(labels.where(labels.isin([0, 1])))
    if whose == "agreement":
        first, second = sides[0].align(sides[1], join="inner", axis=0)
        return first.where(first.eq(second)).reset_index()
    return sides[0].reset_index()


def _no_labels(layout: Layout, whose: str, table: str) -> str:
    def file(name: str) -> str:
        return f"mimic-cxr-2.0.0-{name.removeprefix('cxr_')}.csv.gz"

    others = [other.removeprefix("cxr_") for other in LABEL_TABLES if other != table and other in layout.files]
    instead = "".join(
        f", or set `mimic: {{cohort: {{labels: {other}}}}}`, whose file is here"
        + (" (mode clean alone)" if other != "chexpert" else "")
        for other in others
    )
    return (
        f"{layout.raw}: no {file(table)} (of MIMIC-CXR-JPG), from which `mimic.cohort.labels: {whose}` takes its "
        f"labels. Add the file{instead}."
    )
