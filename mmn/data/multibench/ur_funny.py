"""UR-FUNNY: whether a spoken sentence is a punchline. File as MultiBench's humor.pkl."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.evidence import HourEvidence
from mmn.data.multibench import affect
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams

FILE = "humor.pkl"
WIDTHS = {"vision": 371, "audio": 81, "text": 300}
HINT = f"Take {FILE} of MultiBench, with 371 visual, 81 audio and 300 text features."


def inspect(raw: Path) -> Inspection:
    there = (raw / FILE).is_file()
    return Inspection(
        version="MultiBench",
        found={"features": FILE} if there else {},
        skipped={},
        problem=None if there else f"{raw} holds no {FILE}.",
    )


def _humorous(label: np.ndarray) -> np.ndarray:
    """1, and 0 or -1; anything else is no label."""
    return np.where(np.isin(label, (-1, 0, 1)), label == 1, np.nan).astype(np.float64)


def build_cohort(raw: Path, params: MultiBenchParams) -> Cohort:
    return affect.build_cohort(raw / FILE, params, widths=WIDTHS, hint=HINT, task="humor", label=_humorous)


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> HourEvidence:
    return affect.read_evidence(raw / FILE, modality, cohort, params, widths=WIDTHS, hint=HINT)


_DESCRIPTIONS = {
    "vision": "OpenFace features per word (371).",
    "audio": "COVAREP features per word (81).",
    "text": "GloVe vector of each word (300).",
}

UR_FUNNY = Dataset(
    name="ur_funny",
    title="UR-FUNNY: humour in spoken sentences",
    raw="ur_funny",
    sources={"features": (FILE,)},
    cohort_sources=("features",),
    modalities=tuple(
        Modality(name=name, description=text, sources=("features",), evidence="hours", featurizer="station_hours")
        for name, text in _DESCRIPTIONS.items()
    ),
    tasks=(
        Task(
            name="humor",
            number=None,
            kind="binary",
            description="The sentence is a punchline",
            read_step=affect.NUM_STEPS - 1,
        ),
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=MultiBenchParams(),
    modes=(CLEAN, PUBLISHED),
    training_defaults={"batch_size": 32},
    citation="Hasan et al., EMNLP 2019; Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, "
    "arXiv:2107.07502",
    licence="None is stated: not redistributable, the user supplies the file.",
)
