"""Made-up patients, their admissions and ICU stays, and the hidden causes behind everything else.

Per admission: `heart` (size), `mediastinum` (width), `severity`, each about standard normal. Cardiomegaly and a widened
mediastinum are the first two above a threshold; death and a late discharge become likelier with the third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# About 70 % and 65 % positive, as in MultiModN's selection: normal quantiles of 30 % and 35 %.
CARDIOMEGALY_ABOVE, MEDIASTINUM_ABOVE = -0.524, -0.385

_RACES = {
    "WHITE": 0.55, "BLACK/AFRICAN AMERICAN": 0.14, "HISPANIC/LATINO - PUERTO RICAN": 0.06, "ASIAN - CHINESE": 0.05,
    "WHITE - RUSSIAN": 0.04, "BLACK/CAPE VERDEAN": 0.03, "OTHER": 0.05, "UNKNOWN": 0.05, "UNABLE TO OBTAIN": 0.03,
}  # fmt: skip
_MARITAL = {"MARRIED": 0.45, "SINGLE": 0.3, "WIDOWED": 0.12, "DIVORCED": 0.08, None: 0.05}
_INSURANCE = {"Medicare": 0.42, "Other": 0.5, "Medicaid": 0.08}
_UNITS = (
    "Medical Intensive Care Unit (MICU)",
    "Coronary Care Unit (CCU)",
    "Cardiac Vascular Intensive Care Unit (CVICU)",
)


@dataclass(frozen=True)
class People:
    """The tables as MIMIC has them, and `causes`: `hadm_id` -> `heart`, `mediastinum`, `severity`, `start_time`."""

    patients: pd.DataFrame
    admissions: pd.DataFrame
    stays: pd.DataFrame
    transfers: pd.DataFrame
    causes: pd.DataFrame


def hours(values: np.ndarray) -> np.ndarray:
    """Hours to timedelta64[s], whole minutes."""
    return (np.round(np.asarray(values) * 60).astype("int64") * 60).astype("timedelta64[s]")


def make_people(rng: np.random.Generator, num_patients: int) -> People:
    subject = np.sort(rng.choice(np.arange(10_000_001, 19_999_999), num_patients, replace=False))
    build = rng.normal(size=num_patients)
    age = np.clip(np.round(62 + 12 * (0.5 * build + 0.866 * rng.normal(size=num_patients))), 18, 91)
    year = rng.integers(2110, 2190, num_patients)
    patients = pd.DataFrame(
        {
            "subject_id": subject,
            "gender": rng.choice(["F", "M"], num_patients),
            "anchor_age": np.where(age > 89, 91, age).astype("int64"),
            "anchor_year": year,
            "anchor_year_group": rng.choice(["2008 - 2010", "2011 - 2013", "2014 - 2016"], num_patients),
        }
    )
    num = 1 + (rng.random(num_patients) < 0.22).astype(int)
    owner = np.repeat(np.arange(num_patients), num)
    later = np.concatenate([np.arange(n) for n in num])
    count = len(owner)

    heart = 0.8 * build[owner] + 0.6 * rng.normal(size=count)
    mediastinum = 0.7 * heart + 0.714 * rng.normal(size=count)
    severity = 0.25 * heart + 0.97 * rng.normal(size=count)
    days = rng.integers(0, 150, count) + 180 * later
    start = (year[owner] - 1970).astype("datetime64[Y]").astype("datetime64[D]") + days
    admit = start.astype("datetime64[s]") + hours(rng.uniform(0, 24, count))
    through_ed = rng.random(count) < 0.6
    registered = admit - hours(rng.uniform(2, 8, count))

    into_icu = admit + hours(rng.uniform(1, 12, count))
    dies = rng.random(count) < 1 / (1 + np.exp(2.4 - 1.8 * severity))
    to_death = np.where(rng.random(count) < 0.1, rng.uniform(4, 23, count), 24.1 + rng.exponential(30, count))
    to_home = 26 + np.exp(np.log(60) + 0.75 * severity + 0.35 * rng.normal(size=count))
    leaves = into_icu + hours(np.where(dies, to_death, to_home))
    short = rng.random(count) < 0.1
    icu_hours = np.where(short, rng.uniform(8, 23, count), 25 + (to_home - 26) * rng.uniform(0.2, 0.9, count))
    out_of_icu = np.where(dies, leaves, into_icu + hours(icu_hours))
    out_of_icu = np.minimum(out_of_icu, leaves)

    hadm = 20_000_001 + rng.permutation(9_000_000)[:count]
    never = np.datetime64("NaT", "s")
    admissions = pd.DataFrame(
        {
            "subject_id": subject[owner],
            "hadm_id": hadm,
            "admittime": admit,
            "dischtime": leaves,
            "deathtime": np.where(dies, leaves, never),
            "admission_type": np.where(through_ed, "EW EMER.", "URGENT"),
            "admit_provider_id": "P00AAA",
            "admission_location": np.where(through_ed, "EMERGENCY ROOM", "TRANSFER FROM HOSPITAL"),
            "discharge_location": np.where(
                dies, "DIED", rng.choice(["HOME", "SKILLED NURSING FACILITY", "REHAB"], count)
            ),
            "insurance": drawn(rng, _INSURANCE, count),
            "language": np.where(rng.random(num_patients) < 0.9, "ENGLISH", "?")[owner],
            "marital_status": drawn(rng, _MARITAL, num_patients)[owner],
            "race": drawn(rng, _RACES, num_patients)[owner],
            "edregtime": np.where(through_ed, registered, never),
            "edouttime": np.where(through_ed, admit, never),
            "hospital_expire_flag": dies.astype("int64"),
        }
    )
    with_icu = np.flatnonzero(rng.random(count) < 0.93)
    back = with_icu[~dies[with_icu] & (rng.random(len(with_icu)) < 0.06)]
    again = out_of_icu[back] + (leaves[back] - out_of_icu[back]) // 3
    rows = np.concatenate([with_icu, back])
    intime = np.concatenate([into_icu[with_icu], again])
    outtime = np.concatenate([out_of_icu[with_icu], again + (leaves[back] - again) // 2])
    stays = pd.DataFrame(
        {
            "subject_id": subject[owner[rows]],
            "hadm_id": hadm[rows],
            "stay_id": 30_000_001 + rng.permutation(9_000_000)[: len(rows)],
            "first_careunit": rng.choice(_UNITS, len(rows)),
            "last_careunit": rng.choice(_UNITS, len(rows)),
            "intime": intime,
            "outtime": outtime,
            "los": np.round((outtime - intime) / np.timedelta64(1, "D"), 6),
        }
    )
    causes = pd.DataFrame(
        {
            "subject_id": subject[owner],
            "hadm_id": hadm,
            "heart": heart,
            "mediastinum": mediastinum,
            "severity": severity,
            "start_time": np.where(through_ed, registered, admit),
            "admittime": admit,
            "dischtime": leaves,
            "dies": dies,
        }
    )
    ended = admissions.groupby("subject_id")["deathtime"].max().reindex(subject)
    patients["dod"] = ended.dt.strftime("%Y-%m-%d").to_numpy()
    return People(patients, admissions, stays, _transfers(admissions, stays), causes)


def _transfers(admissions: pd.DataFrame, stays: pd.DataFrame) -> pd.DataFrame:
    icu = stays[["subject_id", "hadm_id", "intime", "outtime"]].assign(
        eventtype="transfer", careunit=stays["first_careunit"]
    )
    home = admissions[["subject_id", "hadm_id"]].assign(
        eventtype="discharge", careunit="UNKNOWN", intime=admissions["dischtime"], outtime=pd.NaT
    )
    rows = pd.concat([icu, home.astype({"outtime": "datetime64[s]"})], ignore_index=True)
    rows.insert(2, "transfer_id", 40_000_001 + np.arange(len(rows)))
    return rows[["subject_id", "hadm_id", "transfer_id", "eventtype", "careunit", "intime", "outtime"]]


def drawn(rng: np.random.Generator, chances: dict, num: int) -> np.ndarray:
    """`num` words by their chances."""
    weights = np.array(list(chances.values()))
    return np.array(list(chances), dtype=object)[rng.choice(len(chances), num, p=weights / weights.sum())]
