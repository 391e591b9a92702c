"""HAIM's signals: which itemids they are read from, in which unit, and what is plausible.

Order is frozen: a signal's position is its position in the embedding. Labels and itemids: MIMIC-IV's d_items and
d_labitems (2.2); the lists of signals: Soenksen et al. 2022. Ranges are wide on purpose, wide enough for any living
patient: they are there to catch a wrong unit or a slip of the keyboard, not an illness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Signal:
    """One measured quantity.

    label: as in the dictionary. itemids: where it is read from; lab itemids are those of blood alone (`Glucose` is
    also the name of a urine test). unit: after conversion. low, high: plausible values in that unit, inclusive.
    factors: a unit as spelled in the table, in lower case -> what to multiply a value by. A value without a unit is
    taken to be in `unit`.
    """

    label: str
    itemids: tuple[int, ...]
    unit: str
    low: float
    high: float
    factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def known_units(self) -> dict[str, float]:
        return {self.unit.lower(): 1.0, **self.factors}


CHART_SIGNALS = (
    Signal("Heart Rate", (220045,), "bpm", 0, 350, {"beats/min": 1.0, "/min": 1.0}),
    Signal("Non Invasive Blood Pressure systolic", (220179,), "mmHg", 10, 375, {"kpa": 7.50062}),
    Signal("Non Invasive Blood Pressure diastolic", (220180,), "mmHg", 1, 375, {"kpa": 7.50062}),
    Signal("Non Invasive Blood Pressure mean", (220181,), "mmHg", 5, 375, {"kpa": 7.50062}),
    Signal("Respiratory Rate", (220210,), "insp/min", 0, 200, {"bpm": 1.0, "/min": 1.0, "breaths/min": 1.0}),
    Signal("O2 saturation pulseoxymetry", (220277,), "%", 10, 100),
    Signal("GCS - Verbal Response", (223900,), "points", 1, 5),
    Signal("GCS - Eye Opening", (220739,), "points", 1, 4),
    Signal("GCS - Motor Response", (223901,), "points", 1, 6),
)

_MOLAR = {"mmol/l": 1.0}  # of an ion with one charge, 1 mmol/L is 1 mEq/L
_CELLS = {"k/ul": 1.0, "10^9/l": 1.0, "10*9/l": 1.0, "#/ul": 1e-3, "/ul": 1e-3}

LAB_SIGNALS = (
    Signal("Glucose", (50809, 50931, 52569), "mg/dL", 1, 3000, {"mmol/l": 18.016}),
    Signal("Potassium", (50971, 52610), "mEq/L", 0.5, 20, _MOLAR),
    Signal("Sodium", (50983, 52623), "mEq/L", 70, 220, _MOLAR),
    Signal("Chloride", (50902, 52535), "mEq/L", 40, 180, _MOLAR),
    Signal("Creatinine", (50912, 52546), "mg/dL", 0, 60, {"umol/l": 1 / 88.42, "µmol/l": 1 / 88.42}),
    Signal("Urea Nitrogen", (51006, 52647), "mg/dL", 0, 400, {"mmol/l": 2.801}),
    Signal("Bicarbonate", (50882,), "mEq/L", 1, 80, _MOLAR),
    Signal("Anion Gap", (50868, 52500), "mEq/L", -25, 90, _MOLAR),
    Signal("Hemoglobin", (50811, 51222, 51640), "g/dL", 0.5, 30, {"g/l": 0.1, "mmol/l": 1.6114}),
    Signal("Hematocrit", (51221, 51638, 51639, 52028), "%", 2, 85),
    Signal("Magnesium", (50960,), "mg/dL", 0.1, 25, {"mmol/l": 2.4305, "meq/l": 1.21525}),
    Signal("Platelet Count", (51265, 51704), "K/uL", 0, 5000, _CELLS),
    Signal("Phosphate", (50970,), "mg/dL", 0.1, 40, {"mmol/l": 3.0974}),
    Signal("White Blood Cells", (51301, 51755, 51756), "K/uL", 0, 1500, _CELLS),
    Signal("Calcium, Total", (50893,), "mg/dL", 1, 30, {"mmol/l": 4.0078, "g/dl": 1000.0}),
    Signal("MCH", (51248,), "pg", 10, 70),
    Signal("Red Blood Cells", (51279, 51711), "m/uL", 0.2, 15, {"10^12/l": 1.0, "10*12/l": 1.0}),
    Signal("MCHC", (51249,), "g/dL", 15, 60, {"%": 1.0, "g/l": 0.1}),
    Signal("MCV", (51250, 51691), "fL", 40, 200),
    Signal("RDW", (51277,), "%", 5, 60),
    Signal("Neutrophils", (51256, 51697), "%", 0, 100),
    Signal("Vancomycin", (51009,), "ug/mL", 0, 300, {"mg/l": 1.0}),
)

_MINUTES = {"hour": 60.0, "hours": 60.0, "day": 1440.0, "days": 1440.0}
PROCEDURE_SIGNALS = tuple(
    Signal(label, (itemid,), "min", 0, 60 * 24 * 365, _MINUTES)
    for label, itemid in (
        ("Foley Catheter", 229351),
        ("PICC Line", 224264),
        ("Intubation", 224385),
        ("Peritoneal Dialysis", 225805),
        ("Bronchoscopy", 225400),
        ("EEG", 221223),
        ("Dialysis - CRRT", 225802),
        ("Dialysis Catheter", 224270),
        ("Chest Tube Removed", 227712),
        ("Hemodialysis", 225441),
    )
)
