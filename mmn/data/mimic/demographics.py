"""One row of plain facts per item, known when the patient is admitted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.evidence import TableEvidence
from mmn.data.mimic import vocabularies as words
from mmn.data.mimic.contracts import Admissions, Patients
from mmn.data.mimic.reader import Tables

OLDEST = 89.0  # ages above are stored as 91
ABOVE = 91.0
NO_YEAR = "anchor_year not known: age is that of the anchor year"


def read_demographics(tables: Tables, items: pd.DataFrame) -> TableEvidence:
    """`age` is the age in the year of the admission; above 89 it is 91, as in the table. Null = not known."""
    facts = items[["subject_id", "hadm_id"]].merge(
        tables.frame(Patients), on="subject_id", how="left", validate="many_to_one"
    )
    columns = ["hadm_id", "admittime", "race", "marital_status", "language", "insurance"]
    admissions = tables.frame(Admissions)[columns]
    facts = facts.merge(admissions, on="hadm_id", how="left", validate="many_to_one")
    age, quarantined = _age_at_admission(facts)

    def coded(column: str, groups: tuple[str, ...], spellings: dict[str, str | None]) -> pd.Categorical:
        raw = facts[column].str.strip().str.upper()
        unknown = raw.notna() & ~raw.isin(list(spellings))
        if unknown.any():
            quarantined[f"{column}: a value that no version documents"] = int(unknown.sum())
        return pd.Categorical(raw.map(spellings), categories=list(groups))

    language = facts["language"].str.strip().str.upper()
    rows = pd.DataFrame(
        {
            "age": age,
            "gender": pd.Categorical(facts["gender"], categories=list(words.GENDERS)),
            "race": coded("race", words.RACE_GROUPS, words.RACES),
            "marital_status": coded("marital_status", words.MARITAL_STATUSES, _spelled(words.MARITAL_STATUSES)),
            # 3.x names the language, earlier versions write ENGLISH or `?`, which says no more than "not known".
            "language": pd.Categorical(
                language.where(language.ne("?") & language.ne("UNKNOWN")).map(
                    lambda name: "English" if name == "ENGLISH" else "Other", na_action="ignore"
                ),
                categories=list(words.LANGUAGES),
            ),
            "insurance": coded("insurance", words.INSURANCES, _spelled(words.INSURANCES)),
        }
    )
    return TableEvidence(rows=rows, quarantined=quarantined)


def _age_at_admission(facts: pd.DataFrame) -> tuple[pd.Series, dict[str, int]]:
    """(age, how many were taken from the anchor year for want of it). Who is above 89 then is so at any admission:
    how much above is not told."""
    age = facts["anchor_age"].astype("float64")
    year = facts["anchor_year"] if "anchor_year" in facts else pd.Series(np.nan, index=facts.index)
    unknown = int((year.isna() & age.notna()).sum())
    since = (facts["admittime"].dt.year - year).fillna(0)
    age = age.where(age > OLDEST, age + since)
    return age.mask(age > OLDEST, ABOVE), {NO_YEAR: unknown} if unknown else {}


def _spelled(groups: tuple[str, ...]) -> dict[str, str | None]:
    return {**{group.upper(): group for group in groups}, "UNKNOWN": None, "?": None}


# HAIM's de_1 to de_5, in order; de_0 is anchor_age.
_CODED = ("gender", "race", "marital_status", "language", "insurance")


def read_haim_demographics(tables: Tables, items: pd.DataFrame, *, dummies: bool) -> TableEvidence:
    """HAIM's `de_0` to `de_5`, all float: anchor_age, then codes.

    A code is the place of the raw string among the sorted distinct strings of all admissions, -1 where there is none;
    so it means another thing in another MIMIC-IV version. Every item has a row.

    dummies: as MultiModN trains on them: `de_1` to `de_5` become one column per code that occurs among these items,
    but for the smallest (which is "missing" where that occurs), in ascending order: `de_0`, `de_1_1`, `de_2_1`, ...
    """
    core = tables.frame(Admissions).merge(tables.frame(Patients), on="subject_id", how="left", validate="many_to_one")
    codes = {"de_0": core["anchor_age"].astype("float64")}
    for number, column in enumerate(_CODED, start=1):
        codes[f"de_{number}"] = pd.Series(pd.Categorical(core[column]).codes, dtype="float64")
    rows = pd.DataFrame(codes).set_axis(core["hadm_id"]).loc[items["hadm_id"]].reset_index(drop=True)
    if not dummies:
        return TableEvidence(rows=rows)
    columns = {"de_0": rows["de_0"]}
    for number in range(1, len(_CODED) + 1):
        code = rows[f"de_{number}"]
        columns |= {f"de_{number}_{value:g}": code.eq(value).astype("float64") for value in np.unique(code)[1:]}
    return TableEvidence(rows=pd.DataFrame(columns))
