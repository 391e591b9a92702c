"""MIMIC-III as MultiBench has it: five facts of an admission and 24 hours of twelve signals. File im.pk.

The file is not public: it needs PhysioNet's credentials and its makers' leave.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import ContractError
from mmn.data.evidence import HourEvidence, VectorEvidence
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.numbers import check_shape, finite, labels, numbered, series, vectors
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams
from mmn.data.multibench.pickles import read_pickle

FILE = "im.pk"
NUM_HOURS, NUM_SIGNALS, NUM_FACTS, NUM_GROUPS = 24, 12, 5, 20
# The published shuffle of all admissions.
SEED = 10
MORTALITY = ("after a year or never", "1 day", "2 days", "3 days", "1 week", "1 year")
ICD9 = {"icd9_group_1": 1, "icd9_group_7": 7}
HINT = f"Take {FILE} as MultiBench's loader reads it: 24 hours x 12 signals, 5 facts, 20 groups of ICD-9 codes."


def inspect(raw: Path) -> Inspection:
    there = (raw / FILE).is_file()
    return Inspection(
        version="MultiBench",
        found={"admissions": FILE} if there else {},
        skipped={},
        problem=None if there else f"{raw} holds no {FILE}.",
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    found: Any = read_pickle(path)
    if not isinstance(found, dict):
        raise ContractError(f"{path}: holds {type(found).__name__}, expected names and arrays. {HINT}")
    shapes = {
        "ep_tdata": (None, NUM_HOURS, NUM_SIGNALS),
        "adm_features_all": (None, NUM_FACTS),
        "adm_labels_all": (None, None),
        "y_icd9": (None, NUM_GROUPS),
    }
    for name, shape in shapes.items():
        if not isinstance(found.get(name), np.ndarray):
            raise ContractError(f"{path}: has no array '{name}'. {HINT}")
        check_shape(found[name], shape, f"{path}: {name}", HINT)
    sizes = {name: len(found[name]) for name in shapes}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ContractError(f"{path}: the arrays are of different lengths: {told}. {HINT}")
    if found["adm_labels_all"].shape[1] < len(MORTALITY):
        raise ContractError(
            f"{path}: adm_labels_all has {found['adm_labels_all'].shape[1]} columns, expected {len(MORTALITY)}. {HINT}"
        )
    return {name: found[name] for name in shapes}


def build_cohort(raw: Path, params: MultiBenchParams) -> Cohort:
    """Every admission; a tenth is validation, the next tenth test, in the published order."""
    arrays = read_arrays(raw / FILE)
    num = len(arrays["y_icd9"])
    order = list(range(num))
    random.Random(SEED).shuffle(order)
    split = np.empty(num, dtype=object)
    split[order[: num // 10]] = "validation"
    split[order[num // 10 : num // 5]] = "test"
    split[order[num // 5 :]] = "train"
    rows = np.arange(num)
    items = [f"admission-{row:05d}" for row in rows]
    groups = arrays["y_icd9"]
    notes = ["The file does not name the patients: one with several admissions may be on two sides of the split."]
    if params.mode == PUBLISHED:
        notes.append("As published: scaled by mean and deviation of all rows, test included; what is not known is 0.")
    return published_cohort(
        pd.DataFrame(
            {
                "item": items,
                "subject": items,
                "row": rows,
                "split": split,
                "mortality": _mortality(arrays["adm_labels_all"]),
                **{task: labels(groups[:, group], 2) for task, group in ICD9.items()},
            }
        ),
        params,
        tasks=("mortality", *ICD9),
        num_steps=NUM_HOURS,
        notes=notes,
    )


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> VectorEvidence | HourEvidence:
    array = read_arrays(raw / FILE)["adm_features_all" if modality == "facts" else "ep_tdata"]
    rows = cohort.items["row"].to_numpy()
    if rows.max() >= len(array):
        raise ContractError(f"{raw / FILE}: shorter than when the cohort was made. Make the cohort again.")
    if params.mode == PUBLISHED:
        known = np.where(np.isfinite(array), array, 0).astype(np.float64)
        over = tuple(range(known.ndim - 1))
        deviation = known.std(axis=over)
        array = (known - known.mean(axis=over)) / np.where(deviation > 0, deviation, 1)
    if modality == "facts":
        return vectors(array[rows], numbered("fact", NUM_FACTS))
    values, left_out = finite(array[rows])
    return series(values, numbered("signal", NUM_SIGNALS), left_out)


def _mortality(table: np.ndarray) -> np.ndarray:
    """(N,) the first of columns 1 to 5 that is set, 0 where none is; a row with an unknown is no label."""
    columns = table[:, 1 : len(MORTALITY)].astype(np.float64)
    set_ = columns > 0
    first = np.where(set_.any(axis=1), set_.argmax(axis=1) + 1, 0).astype(np.float64)
    return np.where(np.isnan(columns).any(axis=1), np.nan, first)


MIMIC_III = Dataset(
    name="mimic_iii",
    title="MIMIC-III: 24 hours of intensive care, MultiBench's file",
    raw="mimic_iii",
    sources={"admissions": (FILE,)},
    cohort_sources=("admissions",),
    modalities=(
        Modality(
            name="facts",
            description="Five facts of the admission.",
            sources=("admissions",),
            evidence="vectors",
            featurizer="given",
        ),
        Modality(
            name="series",
            description="Twelve signals at each of the first 24 hours.",
            sources=("admissions",),
            evidence="hours",
            featurizer="station_hours",
        ),
    ),
    tasks=(
        Task(
            name="icd9_group_7",
            number=None,
            kind="binary",
            description="A diagnosis of the ICD-9 group 7 of the file (HighMMT's task)",
            read_step=NUM_HOURS - 1,
        ),
        Task(
            name="icd9_group_1",
            number=None,
            kind="binary",
            description="A diagnosis of the ICD-9 group 1 of the file",
            read_step=NUM_HOURS - 1,
        ),
        Task(
            name="mortality",
            number=None,
            kind="multiclass",
            description="How soon the patient died",
            read_step=NUM_HOURS - 1,
            classes=MORTALITY,
        ),
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=MultiBenchParams(),
    modes=(CLEAN, PUBLISHED),
    training_defaults={
        "batch_size": 20,
        "highmmt": {"tokens": {"series": {"shape": [1, NUM_SIGNALS], "bands": 6}}},
    },
    citation="Johnson et al., MIMIC-III, Sci Data 3, 160035 (2016); Purushotham et al., J Biomed Inform 83 (2018); "
    "Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, arXiv:2107.07502",
    licence="PhysioNet Credentialed Health Data License and Data Use Agreement. Whatever is made from it (models, "
    "predictions) is under the same agreement.",
)
