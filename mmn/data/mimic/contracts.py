"""The promise of each raw table that is read: what one row is, its key, columns, types, units, ranges, what null means.

The readers, the generator and the tests use these classes; nobody writes a promise twice. A table may hold more columns
than named here; they are not read, so that 1.0, 2.x and 3.x all pass. Columns are found by name, never by position.
Source of types and nulls: MIT-LCP's `mimic-code` schemas for MIMIC-IV 1.0-3.1, and the MIMIC-CXR-JPG 2.0.0 notebooks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pandera.pandas as pa

from mmn.data.errors import ContractError

ALL_VERSIONS = "every MIMIC-IV version (1.0, 2.x, 3.x)"
ALL_CXR_VERSIONS = "every MIMIC-CXR-JPG version (2.0.0, 2.1.0)"
# To the very end: `$` would let a line end follow.
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}\Z"


def column(
    versions: str = ALL_VERSIONS, *, unit: str = "", also: str = "", optional: bool = False, **checks: Any
) -> Any:
    """A column. versions: those that have it, for the error message; also: its other name; unit: physical.

    optional: a table of one's own may lack it; it is read where it is there.
    """
    return pa.Field(metadata={"versions": versions, "unit": unit, "also": also, "optional": optional}, **checks)


class RawTable(pa.DataFrameModel):
    """A table of a raw tree. `Config.metadata`: `table`, its name in `layout.TABLES`, and `key`, which is unique."""


class Patients(RawTable):
    """One row per patient. hosp/patients (core/ in 1.0)."""

    subject_id: int = column(ge=1)
    gender: str = column(isin=["F", "M"], nullable=True)
    # Ages above 89 are stored as 91.
    anchor_age: float = column(unit="year", ge=0, le=120, nullable=True)
    # The (shifted) year in which the patient was of anchor_age.
    anchor_year: float = column(unit="year", optional=True, nullable=True)

    class Config:
        metadata = {"table": "patients", "key": ("subject_id",)}  # noqa: RUF012


class Admissions(RawTable):
    """One row per hospital admission. hosp/admissions (core/ in 1.0). Null dischtime: it contains no X-ray."""

    subject_id: int = column(ge=1)
    hadm_id: int = column(ge=1)
    admittime: pd.Timestamp = column()
    dischtime: pd.Timestamp = column(nullable=True)
    deathtime: pd.Timestamp = column(nullable=True)
    edregtime: pd.Timestamp = column(nullable=True)
    insurance: str = column(nullable=True)
    language: str = column(nullable=True)
    marital_status: str = column(nullable=True)
    race: str = column("2.0 and later (1.0 calls it `ethnicity`)", also="ethnicity", nullable=True)
    hospital_expire_flag: int = column(isin=[0, 1])

    class Config:
        metadata = {"table": "admissions", "key": ("hadm_id",)}  # noqa: RUF012


class IcuStays(RawTable):
    """One row per ICU stay. icu/icustays. Null intime or outtime: the stay is left out and counted."""

    subject_id: int = column(ge=1)
    hadm_id: int = column(ge=1)
    stay_id: int = column(ge=1)
    intime: pd.Timestamp = column(nullable=True)
    outtime: pd.Timestamp = column(nullable=True)

    class Config:
        metadata = {"table": "icustays", "key": ("stay_id",)}  # noqa: RUF012


class DItems(RawTable):
    """One row per item of the ICU tables. icu/d_items."""

    itemid: int = column(ge=1)
    label: str = column(nullable=True)
    linksto: str = column(nullable=True)

    class Config:
        metadata = {"table": "d_items", "key": ("itemid",)}  # noqa: RUF012


class DLabItems(RawTable):
    """One row per laboratory test. hosp/d_labitems."""

    itemid: int = column(ge=1)
    label: str = column(nullable=True)
    fluid: str = column(nullable=True)

    class Config:
        metadata = {"table": "d_labitems", "key": ("itemid",)}  # noqa: RUF012


class ChartEvents(RawTable):
    """One row per charted value. icu/chartevents. valuenum null: the value is no number. Units: `signals.py`."""

    subject_id: int = column()
    hadm_id: int = column()
    stay_id: int = column()
    charttime: pd.Timestamp = column(nullable=True)
    storetime: pd.Timestamp = column(nullable=True)
    itemid: int = column()
    valuenum: float = column(unit="valueuom", nullable=True)
    valueuom: str = column(nullable=True)

    class Config:
        metadata = {"table": "chartevents", "key": ()}  # noqa: RUF012


class LabEvents(RawTable):
    """One row per laboratory result. hosp/labevents. hadm_id null: drawn outside an admission, as in the ED."""

    # The key; a row that repeats one is left out and counted (`narrow.py`).
    labevent_id: pd.Int64Dtype = column(optional=True, nullable=True)
    subject_id: int = column()
    hadm_id: pd.Int64Dtype = column(nullable=True)
    itemid: int = column()
    charttime: pd.Timestamp = column(nullable=True)
    storetime: pd.Timestamp = column(nullable=True)
    valuenum: float = column(unit="valueuom", nullable=True)
    valueuom: str = column(nullable=True)

    class Config:
        metadata = {"table": "labevents", "key": ()}  # noqa: RUF012


class ProcedureEvents(RawTable):
    """One row per procedure. icu/procedureevents. value: how long it took, in valueuom; null or None: at one moment."""

    subject_id: int = column()
    hadm_id: int = column()
    stay_id: int = column()
    starttime: pd.Timestamp = column(nullable=True)
    storetime: pd.Timestamp = column(nullable=True)
    itemid: int = column()
    value: float = column(unit="valueuom", nullable=True)
    valueuom: str = column(nullable=True)

    class Config:
        metadata = {"table": "procedureevents", "key": ()}  # noqa: RUF012


class Radiology(RawTable):
    """One row per radiology report. MIMIC-IV-Note, note/radiology. hadm_id null: no admission was matched to it."""

    note_id: str = column("MIMIC-IV-Note 2.2")
    subject_id: int = column("MIMIC-IV-Note 2.2")
    hadm_id: pd.Int64Dtype = column("MIMIC-IV-Note 2.2", nullable=True)
    note_seq: int = column("MIMIC-IV-Note 2.2")
    charttime: pd.Timestamp = column("MIMIC-IV-Note 2.2", nullable=True)
    storetime: pd.Timestamp = column("MIMIC-IV-Note 2.2", nullable=True)
    text: str = column("MIMIC-IV-Note 2.2", nullable=True)

    class Config:
        metadata = {"table": "radiology", "key": ("note_id",)}  # noqa: RUF012


class StayNotes(RawTable):
    """One row per note and ICU stay: the form of HAIM's note tables, which are in no public release.

    Times carry a time zone in HAIM's own export; the zone is an artefact (MIMIC's clock has none) and is dropped.
    Ids may be written as floats there.
    """

    subject_id: float = column("HAIM's note tables (column contract: subject_id, hadm_id, stay_id, charttime, text)")
    hadm_id: float = column("HAIM's note tables", nullable=True)
    stay_id: float = column("HAIM's note tables", nullable=True)
    charttime: pd.Timestamp = column("HAIM's note tables", nullable=True)
    storetime: pd.Timestamp = column("HAIM's note tables", optional=True, nullable=True)
    text: str = column("HAIM's note tables", nullable=True)


class EchoNotes(StayNotes):
    """One row per echocardiography report and ICU stay. HAIM's note/echo_icustay."""

    class Config:
        metadata = {"table": "echo_icustay", "key": ()}  # noqa: RUF012


class EcgNotes(StayNotes):
    """One row per electrocardiography report and ICU stay. HAIM's note/ecg_icustay."""

    class Config:
        metadata = {"table": "ecg_icustay", "key": ()}  # noqa: RUF012


class RadiologyStayNotes(StayNotes):
    """One row per radiology report and ICU stay. HAIM's note/rad_icustay; the public form is `Radiology`."""

    class Config:
        metadata = {"table": "rad_icustay", "key": ()}  # noqa: RUF012


class CxrMetadata(RawTable):
    """One row per image. mimic-cxr-2.*-metadata. StudyTime: HHMMSS.fff without leading zeros, null if unknown."""

    dicom_id: str = column(ALL_CXR_VERSIONS, str_matches=SAFE_NAME)
    subject_id: int = column(ALL_CXR_VERSIONS, ge=10_000_000, le=99_999_999)
    study_id: int = column(ALL_CXR_VERSIONS, ge=1, le=99_999_999)
    StudyDate: float = column(ALL_CXR_VERSIONS, unit="YYYYMMDD", nullable=True)
    StudyTime: float = column(ALL_CXR_VERSIONS, unit="HHMMSS.fff", nullable=True)

    class Config:
        metadata = {"table": "cxr_metadata", "key": ("dicom_id",)}  # noqa: RUF012


class CxrSplit(RawTable):
    """One row per image. mimic-cxr-2.*-split. Read only to check whose image it is; the published split is not used."""

    dicom_id: str = column(ALL_CXR_VERSIONS)
    subject_id: int = column(ALL_CXR_VERSIONS)
    study_id: int = column(ALL_CXR_VERSIONS)

    class Config:
        metadata = {"table": "cxr_split", "key": ("dicom_id",)}  # noqa: RUF012


class CxrChexpert(RawTable):
    """One row per study. mimic-cxr-2.*-chexpert. 1 present, 0 absent, -1 uncertain, null not mentioned."""

    subject_id: int = column(ALL_CXR_VERSIONS)
    study_id: int = column(ALL_CXR_VERSIONS)
    cardiomegaly: float = column(ALL_CXR_VERSIONS, also="Cardiomegaly", isin=[-1, 0, 1], nullable=True)
    enlarged_cardiomediastinum: float = column(
        ALL_CXR_VERSIONS, also="Enlarged Cardiomediastinum", isin=[-1, 0, 1], nullable=True
    )

    class Config:
        metadata = {"table": "cxr_chexpert", "key": ("study_id",)}  # noqa: RUF012


class CxrNegbio(CxrChexpert):
    """As CxrChexpert, labelled by NegBio. mimic-cxr-2.*-negbio."""

    class Config:
        metadata = {"table": "cxr_negbio", "key": ("study_id",)}  # noqa: RUF012


CONTRACTS: tuple[type[RawTable], ...] = (
    Patients, Admissions, IcuStays, DItems, DLabItems, ChartEvents, LabEvents, ProcedureEvents, Radiology, EchoNotes,
    EcgNotes, RadiologyStayNotes, CxrMetadata, CxrSplit, CxrChexpert, CxrNegbio,
)  # fmt: skip

_SQL_TYPES = (("datetime64", "TIMESTAMP"), ("int", "BIGINT"), ("float", "DOUBLE"), ("str", "VARCHAR"))


def table_name(contract: type[RawTable]) -> str:
    return contract.Config.metadata["table"]  # type: ignore[index]


def table_key(contract: type[RawTable]) -> tuple[str, ...]:
    return contract.Config.metadata["key"]  # type: ignore[index]


def columns_in(contract: type[RawTable], header: list[str], file: str) -> Iterator[tuple[str, str, str]]:
    """Of each promised column: its name here, its name in this file, its SQL type; optional ones where they are there.

    Raises ContractError for a column that the file does not have, naming the versions that do, or has twice.
    """
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ContractError(
            f"{file}: the header names {', '.join(map(repr, twice))} more than once, so no column can be told by its "
            "name. Download the original file again."
        )
    for name, promised in contract.to_schema().columns.items():
        facts = promised.metadata or {}
        in_file = next((known for known in (name, facts["also"]) if known and known in header), None)
        if in_file is None and _is_optional(promised):
            continue
        if in_file is None:
            shown = f"'{name}'" + (f" (or '{facts['also']}')" if facts["also"] else "")
            raise ContractError(
                f"{file}: column {shown} is missing; {facts['versions']} has it. Columns found: {', '.join(header)}. "
                "Check that the file is the original one and of the version that you mean, then run again."
            )
        kind = str(promised.dtype).lower()
        yield name, in_file, next(sql for prefix, sql in _SQL_TYPES if kind.startswith(prefix))


def check_table(frame: pd.DataFrame, contract: type[RawTable], where: str) -> pd.DataFrame:
    """The promises of the contract, on rows in memory. Raises ContractError with counts and keys, never a value."""
    key = list(table_key(contract))
    frame = frame.reset_index(drop=True)
    if key and (repeated := frame.duplicated(key)).any():
        first = _shown(frame, key, int(repeated.idxmax()))
        raise ContractError(
            f"{where}: {int(repeated.sum())} of {len(frame)} rows repeat a key, the first at {first}. "
            f"One row per {', '.join(key)} is promised; remove the copies (or download the file again)."
        )
    schema = contract.to_schema()
    absent = [name for name, promised in schema.columns.items() if _is_optional(promised) and name not in frame]
    try:
        return schema.remove_columns(absent).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
    case = cases.iloc[0]
    same = cases[(cases["column"] == case["column"]) & (cases["check"] == case["check"])]
    at = ""
    if key and pd.notna(case["index"]):
        at = f", the first at {_shown(frame, key, int(case['index']))}"
    raise ContractError(
        f"{where}.{case['column']}: {len(same)} of {len(frame)} rows break the promise '{case['check']}'{at}. "
        f"If the source has changed, widen the promise in {contract.__name__} and cite why; else mend the file."
    )


def _is_optional(promised: pa.Column) -> bool:
    return bool((promised.metadata or {}).get("optional"))


def _shown(frame: pd.DataFrame, key: list[str], row: int) -> str:
    """The key of a row, or its number where the key is no plain name: it may be anything, and would go to logs."""
    values = {name: str(frame.loc[row, name]) for name in key}
    if not all(re.fullmatch(SAFE_NAME, value) for value in values.values()):
        return f"row {row + 1}"
    return ", ".join(f"{name} {value}" for name, value in values.items())
