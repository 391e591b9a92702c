"""AV-MNIST: written digits and spectrograms of spoken ones, ten classes. Files as MultiBench's avmnist.tar.gz has them.

Pictures were compressed by their principal components, fitted on train and test apart, and the rows of the
spectrograms may not all belong to their labels: both happened before the files were made and cannot be mended here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import ContractError
from mmn.data.evidence import VectorEvidence
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.npy import open_array
from mmn.data.multibench.numbers import check_shape, labels, pixels, vectors
from mmn.data.multibench.params import CLEAN, MultiBenchParams

SIDES = {"image": 28, "audio": 112}
DIGITS = tuple("0123456789")
FILES = {
    "images": ("image/train_data.npy", "image/test_data.npy"),
    "audio": ("audio/train_data.npy", "audio/test_data.npy"),
    "labels": ("train_labels.npy", "test_labels.npy"),
}
# Where `build_avmnist` made the folder: what of.
BUILT = "BUILT.json"
# The last 5,000 of the 60,000 training rows are validation.
TRAIN_SHARE = 11 / 12


def inspect(raw: Path) -> Inspection:
    missing = [name for names in FILES.values() for name in names if not (raw / name).is_file()]
    return Inspection(
        version="made from MNIST and FSDD" if (raw / BUILT).is_file() else "MultiBench",
        found={source: ", ".join(names) for source, names in FILES.items() if not set(names) & set(missing)},
        skipped={},
        problem=f"{raw} lacks {', '.join(missing)}: the unpacked avmnist folder of MultiBench is expected."
        if missing
        else None,
    )


def build_cohort(raw: Path, params: MultiBenchParams) -> Cohort:
    frames = []
    for side, name in zip(("train", "test"), FILES["labels"], strict=True):
        written = open_array(raw / name)
        check_shape(written, (None,), str(raw / name))
        rows = np.arange(len(written))
        split = np.where(rows < round(TRAIN_SHARE * len(rows)), "train", "validation") if side == "train" else side
        frames.append(
            pd.DataFrame(
                {
                    "item": [f"{side}-{row:05d}" for row in rows],
                    "row": rows,
                    "side": side,
                    "split": split,
                    "digit": labels(written, len(DIGITS)),
                }
            )
        )
    rows = pd.concat(frames, ignore_index=True)
    rows.insert(1, "subject", rows["item"])
    unread = rows["digit"].isna()
    note = "The files do not say who wrote or spoke a digit: a person may be on two sides of the split."
    if (raw / BUILT).is_file():
        note = "No recording is on two sides of the split; speakers are on all, and who wrote a digit is not known."
    return published_cohort(
        rows[~unread],
        params,
        tasks=("digit",),
        excluded={"the label is no digit": int(unread.sum())} if unread.any() else {},
        notes=(note,),
    )


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> VectorEvidence:
    """Pictures laid out row by row, divided by 255. Raises ContractError where they are not as many as the labels."""
    side = SIDES[modality]
    values = np.empty((len(cohort), side * side), dtype=np.float32)
    for part, name in zip(("train", "test"), FILES["images" if modality == "image" else "audio"], strict=True):
        array, label = open_array(raw / name), open_array(raw / f"{part}_labels.npy")
        check_shape(array, (len(label), side * side) if array.ndim == 2 else (len(label), side, side), str(raw / name))
        mine = (cohort.items["side"] == part).to_numpy()
        wanted = cohort.items.loc[mine, "row"].to_numpy()
        if len(wanted) and wanted.max() >= len(array):
            raise ContractError(f"{raw / name}: fewer rows than when the cohort was made. Make the cohort again.")
        values[mine] = np.asarray(array[wanted], dtype=np.float32).reshape(len(wanted), -1)
    values /= 255.0
    return vectors(values, pixels(side, side), {"layout": f"1 x {side} x {side}: channels, rows, columns"})


AVMNIST = Dataset(
    name="avmnist",
    title="AV-MNIST: written and spoken digits",
    raw="avmnist",
    sources=FILES,
    cohort_sources=("labels",),
    modalities=(
        Modality(
            name="image",
            description="The written digit, 28 x 28 grey values.",
            sources=("images", "labels"),
            evidence="vectors",
            featurizer="given",
        ),
        Modality(
            name="audio",
            description="The spectrogram of the spoken digit, 112 x 112.",
            sources=("audio", "labels"),
            evidence="vectors",
            featurizer="given",
        ),
    ),
    tasks=(Task(name="digit", number=None, kind="multiclass", description="Which digit it is", classes=DIGITS),),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=MultiBenchParams(),
    modes=(CLEAN,),
    training_defaults={
        "batch_size": 40,
        "highmmt": {
            "tokens": {
                "image": {"shape": [1, 28, 28], "patch": [4, 4]},
                "audio": {"shape": [1, 112, 112], "patch": [16, 16]},
            }
        },
    },
    citation="Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, arXiv:2107.07502; made from MNIST and "
    "the Free Spoken Digit Dataset.",
    licence="Free Spoken Digit Dataset: CC BY-SA 4.0; ESC-50 noise, if mixed in: CC BY-NC 3.0. The archive itself "
    "states none: not redistributable, the user supplies the files.",
)
