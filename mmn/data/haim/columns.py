"""The columns of HAIM's embedding file, `cxr_ic_fusion_1103.csv`: names, widths and order.

One row is a chest X-ray, once for each ICU stay of its admission. Columns are found by name; the order matters only to
the file that we write ourselves. A number that is not there is blank or "nan". Source: HAIM's notebook `1_2-Generate
Embeddings` (Soenksen et al. 2022), 4,869 columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vector:
    """One modality: its columns are `prefix`_0 to `prefix`_(width - 1)."""

    prefix: str
    width: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}_{place}" for place in range(self.width))


STAY = "haim_id"
IMAGE = "img_id"
TIME = "img_charttime"
CODES = 5  # de_1 to de_5 are codes of a category; de_0 is the age in years

# In the file's order. Modality -> its vector.
VECTORS: dict[str, Vector] = {
    "demographics": Vector("de", 6),
    "xray": Vector("vd", 1024),
    "xray_findings": Vector("vp", 18),
    "xray_history": Vector("vmd", 1024),
    "xray_history_findings": Vector("vmp", 18),
    "chart_events": Vector("ts_ce", 99),
    "lab_events": Vector("ts_le", 242),
    "procedures": Vector("ts_pe", 110),
    "ecg_notes": Vector("n_ecg", 768),
    "notes": Vector("n_ech", 768),
    "radiology_notes": Vector("n_rad", 768),
}
NOTES = ("ecg_notes", "notes", "radiology_notes")
LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
TARGETS = {"cardiomegaly": "Cardiomegaly", "enlarged_cardiomediastinum": "Enlarged Cardiomediastinum"}
BEFORE = (STAY, IMAGE, TIME, "img_deltacharttime", "discharge_location", "img_length_of_stay", "death_status")
AFTER = ("split", *LABELS, "PerformedProcedureStepDescription", "ViewPosition")
# Without these no cohort can be made.
NEEDED = (STAY, IMAGE, TIME, *TARGETS.values())


def all_columns(modalities: Iterable[str] = tuple(VECTORS)) -> tuple[str, ...]:
    """The file's columns, in its order, with the vectors of these modalities."""
    wanted = set(modalities)
    vectors = (column for name, vector in VECTORS.items() if name in wanted for column in vector.columns)
    return (*BEFORE, *vectors, *AFTER)


def complete_modalities(header: Sequence[str]) -> tuple[str, ...]:
    """Those whose every column is there."""
    there = set(header)
    return tuple(name for name, vector in VECTORS.items() if there.issuperset(vector.columns))
