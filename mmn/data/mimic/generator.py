"""A made-up MIMIC tree in the real on-disk format, with a truth that is known: for the demo, tests and measurements.

Nobody in it ever lived. Each admission has hidden causes (`generated_people.py`): how large the heart, how wide the
mediastinum, how severe the illness. Every modality shows them through noise, so that none is enough and all together do
well: with plain features and logistic regression AUROC is about 0.88, 0.83, 0.85 and 0.90 for the four tasks (demo,
seed 0). Faults that real files have are planted and counted in `GENERATED.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmn.data.errors import ParamsError
from mmn.data.files import atomic_path, write_json
from mmn.data.manifest import TRUTH_FILE
from mmn.data.mimic.contracts import (
    Admissions,
    ChartEvents,
    CxrChexpert,
    CxrMetadata,
    CxrNegbio,
    CxrSplit,
    DItems,
    DLabItems,
    EchoNotes,
    IcuStays,
    LabEvents,
    Patients,
    ProcedureEvents,
    Radiology,
)
from mmn.data.mimic.generated_csv import write_table
from mmn.data.mimic.generated_events import make_chart, make_dictionaries, make_labs, make_procedures
from mmn.data.mimic.generated_notes import make_notes
from mmn.data.mimic.generated_people import make_people
from mmn.data.mimic.generated_xrays import make_xrays, write_images


@dataclass(frozen=True)
class Size:
    """num_patients; hours between two rows of vital signs; image sides from and to, in pixels."""

    num_patients: int
    chart_every_hours: float
    image_sides: tuple[int, int]


SIZES = {
    "tiny": Size(60, 4.0, (64, 96)),
    "demo": Size(420, 2.0, (128, 256)),
    "medium": Size(4_000, 1.0, (128, 256)),
}


def generate(raw: Path, size: str, seed: int) -> None:
    """Write a world at `raw`: a fresh folder, or an earlier generated one, which it replaces. Same seed, same bytes.

    Raises ParamsError for an unknown size or a folder that holds anything else.
    """
    if size not in SIZES:
        raise ParamsError(f"size: {size!r} is unknown; known: {', '.join(SIZES)}.")
    if raw.exists() and not (raw / TRUTH_FILE).is_file() and (raw.is_file() or any(raw.iterdir())):
        raise ParamsError(f"{raw}: not empty and not a generated world, so it is left alone. Name another folder.")
    with atomic_path(raw) as folder:
        _write(folder, SIZES[size], size, seed)


def _write(root: Path, size: Size, name: str, seed: int) -> None:
    streams = iter(np.random.default_rng(seed).spawn(6))
    people = make_people(next(streams), size.num_patients)
    xrays = make_xrays(next(streams), people, size.image_sides)
    chart, chart_faults = make_chart(next(streams), people, size.chart_every_hours)
    labs, lab_faults = make_labs(next(streams), people)
    procedures = make_procedures(next(streams), people)
    notes_rng, image_rng = next(streams).spawn(2)
    notes = make_notes(notes_rng, people, xrays.shown)
    d_items, d_labitems = make_dictionaries()

    write_table(root / "hosp/patients.csv.gz", people.patients, Patients)
    write_table(root / "hosp/admissions.csv.gz", people.admissions, Admissions)
    write_table(root / "hosp/transfers.csv.gz", people.transfers)
    write_table(root / "hosp/labevents.csv.gz", labs, LabEvents)
    write_table(root / "hosp/d_labitems.csv.gz", d_labitems, DLabItems)
    write_table(root / "icu/icustays.csv.gz", people.stays, IcuStays)
    write_table(root / "icu/chartevents.csv.gz", chart, ChartEvents)
    write_table(root / "icu/d_items.csv.gz", d_items, DItems)
    write_table(root / "icu/procedureevents.csv.gz", procedures, ProcedureEvents)
    write_table(root / "note/radiology.csv.gz", notes.radiology, Radiology)
    write_table(root / "note/discharge.csv.gz", notes.discharge)
    write_table(root / "note/echo_icustay.csv.gz", notes.echo, EchoNotes)
    write_table(root / "mimic-cxr-2.0.0-metadata.csv.gz", xrays.metadata, CxrMetadata)
    write_table(root / "mimic-cxr-2.0.0-split.csv.gz", xrays.split, CxrSplit)
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", xrays.chexpert, CxrChexpert)
    write_table(root / "mimic-cxr-2.0.0-negbio.csv.gz", xrays.negbio, CxrNegbio)
    image_faults = write_images(image_rng, root, xrays)
    write_json(root / TRUTH_FILE, _truth(name, seed, {**chart_faults, **lab_faults, **image_faults}))


def _truth(size: str, seed: int, faults: dict[str, int]) -> dict[str, Any]:
    return {
        "generated": True,
        "note": "Made-up data in MIMIC's formats. Nobody in it ever lived; no result on it says anything of medicine.",
        "planted_faults": faults,
        "seed": seed,
        "signal": {
            "cardiomegaly": "latent heart size > its 30 % quantile: width of the heart in the image, echo report, "
            "pulse, "
            "breathing, diastolic pressure, age",
            "enlarged_cardiomediastinum": "latent mediastinum > its 35 % quantile, correlated with the heart: width in "
            "the image, echo report",
            "mortality_48h": "severity: all chart events, most laboratory values, intubation, radiology reports",
            "discharge_48h": "the reverse of severity",
            "missing": "echo reports of about 25 % of admissions, vital signs of 8 %, laboratory of 6 %: at random",
        },
        "size": size,
    }
