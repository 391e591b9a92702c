"""Made-up chart events, laboratory results and procedures, with units that are mixed as in real life."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.mimic.generated_people import People, hours
from mmn.data.mimic.signals import CHART_SIGNALS, LAB_SIGNALS, PROCEDURE_SIGNALS

# Signal -> mean, shift per unit of severity, shift per unit of heart size, spread between patients, spread within.
_CHART = {
    "Heart Rate": (86, 6, 3, 8, 7),
    "Non Invasive Blood Pressure systolic": (122, -7, 1, 10, 9),
    "Non Invasive Blood Pressure diastolic": (66, -3, 2, 6, 7),
    "Non Invasive Blood Pressure mean": (82, -4, 1.5, 7, 7),
    "Respiratory Rate": (19, 1.8, 0.8, 2, 3),
    "O2 saturation pulseoxymetry": (96.5, -1.2, -0.4, 1, 1.2),
    "GCS - Verbal Response": (4.2, -0.7, 0, 0.6, 0.4),
    "GCS - Eye Opening": (3.6, -0.5, 0, 0.4, 0.4),
    "GCS - Motor Response": (5.6, -0.5, 0, 0.4, 0.4),
}
_LABS = {
    "Glucose": (135, 14, 0, 30, 22), "Potassium": (4.2, 0.15, 0, 0.3, 0.3), "Sodium": (138, -0.6, 0, 3, 2),
    "Chloride": (102, 0.5, 0, 3, 2), "Creatinine": (1.4, 0.45, 0.1, 0.4, 0.12), "Urea Nitrogen": (27, 8, 2, 8, 3),
    "Bicarbonate": (24.5, -1.8, 0, 2.2, 1.5), "Anion Gap": (14.5, 1.6, 0, 2, 1.5),
    "Hemoglobin": (10.6, -0.5, 0, 1.2, 0.5), "Hematocrit": (32, -1.4, 0, 3.5, 1.5),
    "Magnesium": (2.05, 0.05, 0, 0.2, 0.15), "Platelet Count": (205, -22, 0, 55, 15),
    "Phosphate": (3.7, 0.35, 0, 0.7, 0.5), "White Blood Cells": (11.5, 2.2, 0, 3, 1.5),
    "Calcium, Total": (8.5, -0.15, 0, 0.4, 0.3), "MCH": (30, 0, 0, 1.8, 0.3),
    "Red Blood Cells": (3.5, -0.15, 0, 0.4, 0.15), "MCHC": (32.8, -0.2, 0, 1.1, 0.4), "MCV": (91, 0.3, 0, 5, 0.8),
    "RDW": (15.2, 0.7, 0.2, 1.3, 0.2), "Neutrophils": (75, 3, 0, 8, 4), "Vancomycin": (16, 1, 0, 5, 3),
}  # fmt: skip
_ORDERED = {"Neutrophils": 0.5, "Vancomycin": 0.15}
# Dictionary entries beside the signals' own: names that collide, and quantities that nobody reads.
_OTHER_LABS = {
    51478: ("Glucose", "Urine", "Hematology"), 51981: ("Glucose", "Urine", "Chemistry"),
    50833: ("Potassium", "Other Body Fluid", "Blood Gas"), 51480: ("Hematocrit", "Urine", "Hematology"),
    50813: ("Lactate", "Blood", "Blood Gas"),
}  # fmt: skip
_OTHER_ITEMS = {223761: ("Temperature Fahrenheit", "°F"), 223762: ("Temperature Celsius", "°C")}
_BEDSIDE = {
    "outputevents": (226559, "Foley", "mL"), "inputevents": (225158, "NaCl 0.9%", "mL"),
    "datetimeevents": (224288, "Arterial Line Insertion Date", "Date"),
}  # fmt: skip
# Procedure -> log-odds at mean severity, slope on severity, unit in the table, usual minutes (0: at one moment).
_PROCEDURES = {
    "Foley Catheter": (0.2, 0.5, "min", 2600), "PICC Line": (-1.6, 0.5, "day", 4300),
    "Intubation": (-1.2, 1.2, None, 0), "Peritoneal Dialysis": (-4.5, 0.3, "hour", 600),
    "Bronchoscopy": (-2.5, 0.6, None, 0), "EEG": (-2.8, 0.5, None, 0), "Dialysis - CRRT": (-3.0, 1.0, "day", 2000),
    "Dialysis Catheter": (-2.6, 0.9, "min", 4000), "Chest Tube Removed": (-2.4, -0.2, None, 0),
    "Hemodialysis": (-2.7, 0.6, "hour", 220),
}  # fmt: skip


def make_dictionaries(bedside: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """d_items and d_labitems. bedside: with the items of `make_bedside`, which 2.2's worlds went without at first."""
    items = [
        (itemid, signal.label, linksto, signal.unit)
        for signals, linksto in ((CHART_SIGNALS, "chartevents"), (PROCEDURE_SIGNALS, "procedureevents"))
        for signal in signals
        for itemid in signal.itemids
    ] + [(itemid, label, "chartevents", unit) for itemid, (label, unit) in _OTHER_ITEMS.items()]
    items += [(itemid, label, table, unit) for table, (itemid, label, unit) in _BEDSIDE.items()] if bedside else []
    d_items = pd.DataFrame(items, columns=["itemid", "label", "linksto", "unitname"])
    d_items.insert(2, "abbreviation", d_items["label"])
    d_items = d_items.assign(category="Generated", param_type="Numeric", lownormalvalue=np.nan, highnormalvalue=np.nan)
    order = [
        "itemid",
        "label",
        "abbreviation",
        "linksto",
        "category",
        "unitname",
        "param_type",
        "lownormalvalue",
        "highnormalvalue",
    ]
    labs = [(itemid, signal.label, "Blood", "Chemistry") for signal in LAB_SIGNALS for itemid in signal.itemids]
    labs += [(itemid, *facts) for itemid, facts in _OTHER_LABS.items()]
    d_labitems = pd.DataFrame(labs, columns=["itemid", "label", "fluid", "category"])
    return d_items[order].sort_values("itemid", ignore_index=True), d_labitems.sort_values("itemid", ignore_index=True)


def make_chart(rng: np.random.Generator, people: People, every_hours: float) -> tuple[pd.DataFrame, dict[str, int]]:
    stays = people.stays[rng.random(len(people.stays)) >= 0.08].merge(people.causes, on=["subject_id", "hadm_id"])
    steps = _steps(rng, stays["intime"], stays["outtime"], every_hours, most_hours=96)
    rows = stays.iloc[steps["row"]].reset_index(drop=True)
    parts = []
    for signal in CHART_SIGNALS:
        values = _values(rng, _CHART[signal.label], stays, steps["row"].to_numpy())
        whole = np.clip(np.round(values), max(signal.low, 1), 100 if signal.unit == "%" else signal.high)
        parts.append(
            _chart_rows(rows, steps["time"], signal.itemids[0], whole, "" if signal.unit == "points" else signal.unit)
        )
    fahrenheit = np.round(98.6 + 0.6 * rng.normal(size=len(rows)), 1)
    parts.append(_chart_rows(rows, steps["time"], 223761, fahrenheit, "°F"))
    mislabelled = rng.random(len(rows)) < 0.02
    parts.append(_chart_rows(rows[mislabelled], steps["time"][mislabelled], 223762, fahrenheit[mislabelled], "°C"))
    chart = pd.concat(parts, ignore_index=True).sort_values(["stay_id", "charttime", "itemid"], ignore_index=True)

    value = chart["valuenum"].to_numpy(copy=True)
    slips = chart["itemid"].eq(220045).to_numpy() & (rng.random(len(chart)) < 0.004)
    value[slips] *= 100
    fractions = chart["itemid"].eq(220277).to_numpy() & (rng.random(len(chart)) < 0.006)
    value[fractions] /= 100
    chart["valuenum"] = value
    chart.insert(7, "value", [f"{number:g}" for number in value.tolist()])
    chart.insert(3, "caregiver_id", 10_001)
    chart["warning"] = 0
    return chart, {
        "heart rate a hundred times too large": int(slips.sum()),
        "oxygen saturation written as a fraction, labelled %": int(fractions.sum()),
        "temperature in Fahrenheit, labelled Celsius": int(mislabelled.sum()),
    }


def make_labs(rng: np.random.Generator, people: People) -> tuple[pd.DataFrame, dict[str, int]]:
    causes = people.causes[rng.random(len(people.causes)) >= 0.06].reset_index(drop=True)
    steps = _steps(rng, causes["start_time"], causes["dischtime"], 12.0, most_hours=120)
    rows = causes.iloc[steps["row"]].reset_index(drop=True)
    parts = []
    for signal in LAB_SIGNALS:
        ordered = rng.random(len(rows)) < _ORDERED.get(signal.label, 0.92)
        values = _values(rng, _LABS[signal.label], causes, steps["row"].to_numpy())[ordered]
        floor = max(signal.low, _LABS[signal.label][0] * 0.1)
        values = np.round(np.clip(values, floor, signal.high), 2)
        itemids = np.where(rng.random(len(values)) < 0.92, signal.itemids[0], signal.itemids[-1])
        parts.append(_lab_rows(rows[ordered], steps["time"][ordered], itemids, values, signal.unit))
    urine = rng.random(len(rows)) < 0.1
    parts.append(
        _lab_rows(rows[urine], steps["time"][urine], np.full(urine.sum(), 51478), np.full(urine.sum(), 1000.0), "mg/dL")
    )
    labs = pd.concat(parts, ignore_index=True).sort_values(["subject_id", "charttime", "itemid"], ignore_index=True)

    faults: dict[str, int] = {}
    value, unit = labs["valuenum"].to_numpy(copy=True), labs["valueuom"].to_numpy(dtype=object, copy=True)
    ids_of = {signal.label: signal.itemids for signal in LAB_SIGNALS}
    for label, other, factor, share in (
        ("Glucose", "mmol/L", 1 / 18.016, 0.02),
        ("Creatinine", "umol/L", 88.42, 0.01),
        ("Hemoglobin", "g/L", 10.0, 0.01),
    ):
        changed = labs["itemid"].isin(ids_of[label]).to_numpy() & (rng.random(len(labs)) < share)
        value[changed] = np.round(value[changed] * factor, 2)
        unit[changed] = other
        faults[f"{label.lower()} in {other}"] = int(changed.sum())
    strange = labs["itemid"].eq(50971).to_numpy() & (rng.random(len(labs)) < 0.003)
    unit[strange] = "furlongs"
    faults["potassium in an unknown unit"] = int(strange.sum())
    labs["valuenum"], labs["valueuom"] = value, unit
    labs.insert(0, "labevent_id", np.arange(1, len(labs) + 1))
    labs.insert(3, "specimen_id", labs.groupby(["subject_id", "charttime"]).ngroup() + 1)
    labs.insert(5, "order_provider_id", None)
    labs.insert(8, "value", [f"{number:g}" for number in value.tolist()])
    blank = dict.fromkeys(("ref_range_lower", "ref_range_upper", "flag", "priority", "comments"))
    return labs.assign(**blank), faults


def make_procedures(rng: np.random.Generator, people: People) -> pd.DataFrame:
    stays = people.stays.merge(people.causes[["hadm_id", "severity"]], on="hadm_id")
    span = (stays["outtime"] - stays["intime"]).to_numpy() / np.timedelta64(1, "h")
    parts = []
    for signal in PROCEDURE_SIGNALS:
        base, slope, unit, minutes = _PROCEDURES[signal.label]
        done = rng.random(len(stays)) < 1 / (1 + np.exp(-base - slope * stays["severity"].to_numpy()))
        start = stays["intime"].to_numpy()[done] + hours(rng.beta(1, 3, done.sum()) * span[done])
        took = np.round(minutes * rng.gamma(2, 0.5, done.sum())) + 1 if minutes else np.zeros(done.sum())
        parts.append(
            stays.loc[done, ["subject_id", "hadm_id", "stay_id"]].assign(
                caregiver_id=10_001,
                starttime=start,
                endtime=start + hours(took / 60),
                storetime=start + hours(took / 60),
                itemid=signal.itemids[0],
                value=np.round(took / {"min": 1, "hour": 60, "day": 1440}.get(unit or "", 1), 6) if minutes else 1.0,
                valueuom=pd.array([unit] * int(done.sum()), dtype="str"),
            )
        )
    return pd.concat(parts, ignore_index=True).sort_values(["stay_id", "starttime", "itemid"], ignore_index=True)


def make_bedside(rng: np.random.Generator, people: People) -> dict[str, pd.DataFrame]:
    """outputevents, inputevents, datetimeevents: a few rows for most stays. Only their ids are ever read (by HAIM)."""
    tables = {}
    for table, (itemid, _, unit) in _BEDSIDE.items():
        stays = people.stays[rng.random(len(people.stays)) < 0.8]
        stays = stays.loc[stays.index.repeat(rng.integers(1, 4, len(stays)))].reset_index(drop=True)
        span = (stays["outtime"] - stays["intime"]).to_numpy() / np.timedelta64(1, "h")
        time = stays["intime"].to_numpy() + hours(rng.random(len(stays)) * span)
        amount = rng.integers(1, 20, len(stays)) * 50
        rows = stays[["subject_id", "hadm_id", "stay_id"]].assign(itemid=itemid, storetime=time)
        if table == "inputevents":
            rows = rows.assign(starttime=time, endtime=time + hours(np.ones(len(rows))), amount=amount, amountuom=unit)
        else:
            dated = table == "datetimeevents"
            rows = rows.assign(charttime=time, value=stays["intime"] if dated else amount, valueuom=unit)
        # In the order of entry, not of ids: HAIM sorts.
        tables[table] = rows.sort_values(["storetime", "stay_id"], ignore_index=True)
    return tables


def _steps(rng: np.random.Generator, start: pd.Series, end: pd.Series, every: float, most_hours: float) -> pd.DataFrame:
    """`row` (of start and end) and `time`: regular moments, jittered by a quarter of the step, whole minutes."""
    span = np.minimum((end - start).to_numpy() / np.timedelta64(1, "h"), most_hours)
    num = np.maximum((span / every).astype(int), 1)
    row = np.repeat(np.arange(len(num)), num)
    step = np.arange(len(row)) - np.repeat(np.cumsum(num) - num, num)
    after = (step + rng.uniform(0, 0.25, len(row))) * every
    return pd.DataFrame({"row": row, "time": start.to_numpy()[row] + hours(after)})


def _values(rng: np.random.Generator, shape: tuple[float, ...], causes: pd.DataFrame, row: np.ndarray) -> np.ndarray:
    mean, by_severity, by_heart, between, within = shape
    own = mean + by_severity * causes["severity"].to_numpy() + by_heart * causes["heart"].to_numpy()
    own = own + between * rng.normal(size=len(causes))
    return own[row] + within * rng.normal(size=len(row))


def _chart_rows(rows: pd.DataFrame, time: pd.Series, itemid: int, values: np.ndarray, unit: str) -> pd.DataFrame:
    stored = time.to_numpy() + np.timedelta64(7, "m")
    return rows[["subject_id", "hadm_id", "stay_id"]].assign(
        charttime=time.to_numpy(), storetime=stored, itemid=itemid, valuenum=values, valueuom=unit or None
    )


def _lab_rows(rows: pd.DataFrame, time: pd.Series, itemid: np.ndarray, values: np.ndarray, unit: str) -> pd.DataFrame:
    """Drawn before the admission (in the emergency department): hadm_id is null."""
    inside = time.to_numpy() >= rows["admittime"].to_numpy()
    stored = time.to_numpy() + np.timedelta64(75, "m")
    return pd.DataFrame(
        {
            "subject_id": rows["subject_id"].to_numpy(),
            "hadm_id": rows["hadm_id"].astype("Int64").where(inside).array,
            "itemid": itemid,
            "charttime": time.to_numpy(),
            "storetime": stored,
            "valuenum": values,
            "valueuom": unit,
        }
    )
