"""What each MIMIC-IV version writes: folders, packing, columns and their order, and the words of the demographics.

Columns from MIT-LCP/mimic-code, `mimic-iv/buildmimic`: 2.0 from postgres/create.sql at 0cbbf133; 2.2 from
postgres/docker/src/01_create.sql at 1b0a7d41 and the open demo's own headers; 3.1 is 2.2's with longer languages; 1.0
from bigquery/schemas at 4f62c002 (core/admissions, hosp/d_labitems), with the columns of procedureevents and
inputevents that 2.0's changelog drops. MIMIC-CXR-JPG 2.1.0 keeps the names of 2.0.0 and adds two files (its page on
PhysioNet).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.mimic.generated_csv import write_table
from mmn.data.mimic.generated_people import drawn
from mmn.data.mimic.vocabularies import RACES

VERSIONS = ("1.0", "2.0", "2.2", "3.1")
DEFAULT_VERSION = "2.2"
# Name:first version - last version; a name alone is in all of them.
_COLUMNS = {
    "patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "admissions": "subject_id hadm_id admittime dischtime deathtime admission_type admit_provider_id:2.2- "
    "admission_location discharge_location insurance language marital_status ethnicity:-1.0 race:2.0- edregtime "
    "edouttime hospital_expire_flag",
    "transfers": "subject_id hadm_id transfer_id eventtype careunit intime outtime",
    "labevents": "labevent_id subject_id hadm_id specimen_id itemid order_provider_id:2.2- charttime storetime value "
    "valuenum valueuom ref_range_lower ref_range_upper flag priority comments",
    "d_labitems": "itemid label fluid category loinc_code:-1.0",
    "icustays": "subject_id hadm_id stay_id first_careunit last_careunit intime outtime los",
    "d_items": "itemid label abbreviation linksto category unitname param_type lownormalvalue highnormalvalue",
    "chartevents": "subject_id hadm_id stay_id caregiver_id:2.2- charttime storetime itemid value valuenum valueuom "
    "warning",
    "procedureevents": "subject_id hadm_id stay_id caregiver_id:2.2- starttime endtime storetime itemid value valueuom "
    "location locationcategory orderid linkorderid ordercategoryname secondaryordercategoryname:-1.0 "
    "ordercategorydescription patientweight totalamount:-1.0 totalamountuom:-1.0 isopenbag continueinnextdept "
    "cancelreason:-1.0 statusdescription comments_date:-1.0 originalamount:-2.0 originalrate:-2.0 ORIGINALAMOUNT:2.2- "
    "ORIGINALRATE:2.2-",
    "outputevents": "subject_id hadm_id stay_id caregiver_id:2.2- charttime storetime itemid value valueuom",
    "inputevents": "subject_id hadm_id stay_id caregiver_id:2.2- starttime endtime storetime itemid amount amountuom "
    "rate rateuom orderid linkorderid ordercategoryname secondaryordercategoryname ordercomponenttypedescription "
    "ordercategorydescription patientweight totalamount totalamountuom isopenbag continueinnextdept cancelreason:-1.0 "
    "statusdescription originalamount originalrate",
    "datetimeevents": "subject_id hadm_id stay_id caregiver_id:2.2- charttime storetime itemid value valueuom warning",
}
_CORE = ("patients", "admissions", "transfers")
_HOSP = (*_CORE, "labevents", "d_labitems")
_FILLED = {"caregiver_id": 10_001, "isopenbag": 0, "continueinnextdept": 0, "statusdescription": "FinishedRunning",
           "cancelreason": 0, "patientweight": 80}  # fmt: skip
_OLD_RACES = {
    "WHITE - RUSSIAN": "WHITE", "ASIAN - CHINESE": "ASIAN", "BLACK/CAPE VERDEAN": "BLACK/AFRICAN AMERICAN",
    "HISPANIC/LATINO - PUERTO RICAN": "HISPANIC/LATINO",
}  # fmt: skip
ETHNICITIES = (
    "AMERICAN INDIAN/ALASKA NATIVE", "ASIAN", "BLACK/AFRICAN AMERICAN", "HISPANIC/LATINO", "OTHER",
    "UNABLE TO OBTAIN", "UNKNOWN", "WHITE",
)  # fmt: skip
# 3.x writes the language's name, in a column of 25 letters instead of 10 (create.sql).
LANGUAGES_3 = {
    "English": 0.85, "Spanish": 0.04, "Portuguese": 0.02, "Chinese": 0.02, "Kabuverdianu": 0.02, "Russian": 0.02,
    "Modern Greek (1453-)": 0.01, "American Sign Language": 0.01, None: 0.01,
}  # fmt: skip
INSURANCES_3 = {"Medicare": 0.47, "Private": 0.28, "Medicaid": 0.18, "Other": 0.05, "No charge": 0.02}


def columns_of(table: str, version: str) -> list[str]:
    """The table's header in that version."""
    names = []
    for part in _COLUMNS[table].split():
        name, _, span = part.partition(":")
        first, _, last = span.partition("-")
        if (first or VERSIONS[0]) <= version <= (last or VERSIONS[-1]):
            names.append(name)
    return names


def file_of(table: str, version: str) -> str:
    """Where the table lies. 1.0 keeps patients and admissions in core/; HAIM reads it unpacked."""
    folder = "core" if table in _CORE and version == "1.0" else "hosp" if table in _HOSP else "icu"
    return f"{folder}/{table}.csv" + ("" if version == "1.0" else ".gz")


def write_version(root: Path, table: str, frame: pd.DataFrame, version: str, contract: type | None = None) -> None:
    """The table as the version writes it: its columns in its order; those that the world knows nothing of are empty."""
    if version == "1.0":
        frame = frame.rename(columns={"race": "ethnicity"})
    filled = {
        name: frame[name] if name in frame else pd.Series(_FILLED.get(name), index=frame.index, dtype="object")
        for name in columns_of(table, version)
    }
    write_table(root / file_of(table, version), pd.DataFrame(filled), contract)


def in_words_of(rng: np.random.Generator, admissions: pd.DataFrame, version: str) -> pd.DataFrame:
    """The admissions with the version's vocabulary, every word of which occurs. 2.2 keeps what it has."""
    if version == DEFAULT_VERSION:
        return admissions
    race = admissions["race"].replace(_OLD_RACES) if version == "1.0" else admissions["race"]
    words = ETHNICITIES if version == "1.0" else tuple(sorted(set(RACES) - {"HISPANIC/LATINO"}))
    subjects = rng.permutation(admissions["subject_id"].unique())[: len(words)]
    race = admissions["subject_id"].map(dict(zip(subjects.tolist(), words, strict=False))).fillna(race)
    admissions = admissions.assign(race=race)
    if version < "3.0":
        return admissions
    subjects = admissions["subject_id"].unique()
    language = pd.Series(drawn(rng, LANGUAGES_3, len(subjects)), index=subjects, dtype="object")
    language.iloc[: len(LANGUAGES_3)] = list(LANGUAGES_3)
    insurance = drawn(rng, INSURANCES_3, len(admissions))
    insurance[: len(INSURANCES_3)] = list(INSURANCES_3)
    return admissions.assign(language=admissions["subject_id"].map(language), insurance=insurance)
