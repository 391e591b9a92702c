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
import pandas as pd

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
    EcgNotes,
    EchoNotes,
    IcuStays,
    LabEvents,
    Patients,
    ProcedureEvents,
    Radiology,
    RadiologyStayNotes,
    RawTable,
)
from mmn.data.mimic.generated_csv import write_table
from mmn.data.mimic.generated_events import make_bedside, make_chart, make_dictionaries, make_labs, make_procedures
from mmn.data.mimic.generated_notes import make_notes, make_stay_notes
from mmn.data.mimic.generated_people import make_people
from mmn.data.mimic.generated_versions import DEFAULT_VERSION, VERSIONS, in_words_of, write_version
from mmn.data.mimic.generated_xrays import image_paths, make_reader_labels, make_xrays, write_images


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


def generate(raw: Path, size: str, seed: int, version: str = DEFAULT_VERSION) -> None:
    """Write a world at `raw`: a fresh folder, or an earlier generated one, which it replaces. Same seed, same bytes.

    version: of MIMIC-IV, whose folders, columns, packing and words it has (`generated_versions.VERSIONS`); the people
    and what happens to them are the same in all. Raises ParamsError for an unknown size or version, or a folder that
    holds anything else.
    """
    if size not in SIZES:
        raise ParamsError(f"size: {size!r} is unknown; known: {', '.join(SIZES)}.")
    if version not in VERSIONS:
        raise ParamsError(f"version: {version!r} is unknown; known: {', '.join(VERSIONS)}.")
    if raw.exists() and not (raw / TRUTH_FILE).is_file() and (raw.is_file() or any(raw.iterdir())):
        raise ParamsError(f"{raw}: not empty and not a generated world, so it is left alone. Name another folder.")
    with atomic_path(raw) as folder:
        _write(folder, SIZES[size], size, seed, version)


def _write(root: Path, size: Size, name: str, seed: int, version: str) -> None:
    # A new table draws from a new stream at the end, so that the others keep their bytes.
    streams = iter(np.random.default_rng(seed).spawn(10))
    people = make_people(next(streams), size.num_patients)
    xrays = make_xrays(next(streams), people, size.image_sides)
    chart, chart_faults = make_chart(next(streams), people, size.chart_every_hours)
    labs, lab_faults = make_labs(next(streams), people)
    procedures = make_procedures(next(streams), people)
    notes_rng, image_rng = next(streams).spawn(2)
    notes = make_notes(notes_rng, people, xrays.shown)
    stay_notes = make_stay_notes(next(streams), people, notes)
    bedside = make_bedside(next(streams), people)
    admissions = in_words_of(next(streams), people.admissions, version)
    d_items, d_labitems = make_dictionaries(bedside=version != DEFAULT_VERSION)

    orders = np.arange(1, len(procedures) + 1)
    tables: dict[str, tuple[pd.DataFrame, type[RawTable] | None]] = {
        "patients": (people.patients, Patients),
        "admissions": (admissions, Admissions),
        "transfers": (people.transfers, None),
        "labevents": (labs, LabEvents),
        "d_labitems": (d_labitems, DLabItems),
        "icustays": (people.stays, IcuStays),
        "chartevents": (chart, ChartEvents),
        "d_items": (d_items, DItems),
        "procedureevents": (procedures.assign(orderid=orders, linkorderid=orders), ProcedureEvents),
        **{table: (rows, None) for table, rows in bedside.items()},
    }
    for table, (frame, contract) in tables.items():
        write_version(root, table, frame, version, contract)
    packing = ".csv" if version == "1.0" else ".csv.gz"
    write_table(root / f"note/radiology{packing}", notes.radiology, Radiology)
    write_table(root / f"note/discharge{packing}", notes.discharge)
    # The echo table of 2.2's worlds is older than the others and keeps its form.
    echo = notes.echo if version == DEFAULT_VERSION else stay_notes.echo
    write_table(root / f"note/echo_icustay{packing}", echo, EchoNotes)
    write_table(root / f"note/ecg_icustay{packing}", stay_notes.ecg, EcgNotes)
    write_table(root / f"note/rad_icustay{packing}", stay_notes.radiology, RadiologyStayNotes)
    write_table(root / f"note/ds_icustay{packing}", stay_notes.discharge)
    for table, (frame, contract) in {
        "metadata": (xrays.metadata, CxrMetadata),
        "split": (xrays.split, CxrSplit),
        "chexpert": (xrays.chexpert, CxrChexpert),
        "negbio": (xrays.negbio, CxrNegbio),
    }.items():
        write_table(root / f"mimic-cxr-2.0.0-{table}{packing}", frame, contract)
    if version == "3.1":
        # What MIMIC-CXR-JPG 2.1.0 adds; its other files keep the names of 2.0.0.
        write_table(root / "mimic-cxr-2.1.0-test-set-labeled.csv", make_reader_labels(next(streams), xrays))
        (root / "IMAGE_FILENAMES").write_text("\n".join(image_paths(xrays.metadata)) + "\n")
    image_faults = write_images(image_rng, root, xrays)
    truth = _truth(name, seed, {**chart_faults, **lab_faults, **image_faults})
    write_json(root / TRUTH_FILE, {**truth, "version": version})


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
