"""One row of plain facts per item, known when the patient is admitted."""

from __future__ import annotations

import pandas as pd

from mmn.data.evidence import TableEvidence
from mmn.data.mimic import vocabularies as words
from mmn.data.mimic.contracts import Admissions, Patients
from mmn.data.mimic.reader import Tables


def read_demographics(tables: Tables, items: pd.DataFrame) -> TableEvidence:
    """`age` is anchor_age, as in HAIM: the age in the patient's anchor year, not at admission. Null = not known."""
    facts = items[["subject_id", "hadm_id"]].merge(
        tables.frame(Patients), on="subject_id", how="left", validate="many_to_one"
    )
    admissions = tables.frame(Admissions)[["hadm_id", "race", "marital_status", "language", "insurance"]]
    facts = facts.merge(admissions, on="hadm_id", how="left", validate="many_to_one")
    undocumented: dict[str, int] = {}

    def coded(column: str, groups: tuple[str, ...], spellings: dict[str, str | None]) -> pd.Categorical:
        raw = facts[column].str.strip().str.upper()
        unknown = raw.notna() & ~raw.isin(list(spellings))
        if unknown.any():
            undocumented[f"{column}: a value that no version documents"] = int(unknown.sum())
        return pd.Categorical(raw.map(spellings), categories=list(groups))

    language = facts["language"].str.strip().str.upper()
    rows = pd.DataFrame(
        {
            "age": facts["anchor_age"].astype("float64"),
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
    return TableEvidence(rows=rows, quarantined=undocumented)


def _spelled(groups: tuple[str, ...]) -> dict[str, str | None]:
    return {**{group.upper(): group for group in groups}, "UNKNOWN": None, "?": None}
