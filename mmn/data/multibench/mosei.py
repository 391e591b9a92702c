"""CMU-MOSEI: the sentiment of spoken sentences. File as MultiBench's mosei_senti_data.pkl with 35 visual features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.evidence import HourEvidence
from mmn.data.multibench import affect
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams

FILE = "mosei_senti_data.pkl"
WIDTHS = {"vision": 35, "audio": 74, "text": 300}
HINT = (
    f"Take {FILE} of MultiBench with 35 visual, 74 audio and 300 text features; its other MOSEI file has 713 visual "
    "ones."
)


def inspect(raw: Path) -> Inspection:
    there = (raw / FILE).is_file()
    return Inspection(
        version="MultiBench",
        found={"features": FILE} if there else {},
        skipped={},
        problem=None if there else f"{raw} holds no {FILE}.",
    )


def _positive(score: np.ndarray) -> np.ndarray:
    """As published, a neutral sentence (0) counts as positive."""
    return np.where(np.isfinite(score), score >= 0, np.nan).astype(np.float64)


def build_cohort(raw: Path, params: MultiBenchParams) -> Cohort:
    return affect.build_cohort(raw / FILE, params, widths=WIDTHS, hint=HINT, task="sentiment", label=_positive)


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> HourEvidence:
    return affect.read_evidence(raw / FILE, modality, cohort, params, widths=WIDTHS, hint=HINT)


_DESCRIPTIONS = {
    "vision": "Facial features per word (35).",
    "audio": "COVAREP features per word (74).",
    "text": "GloVe vector of each word (300).",
}

MOSEI = Dataset(
    name="mosei",
    title="CMU-MOSEI: sentiment of spoken sentences",
    raw="mosei",
    sources={"features": (FILE,)},
    cohort_sources=("features",),
    modalities=tuple(
        Modality(name=name, description=text, sources=("features",), evidence="hours", featurizer="station_hours")
        for name, text in _DESCRIPTIONS.items()
    ),
    tasks=(
        Task(
            name="sentiment",
            number=None,
            kind="binary",
            description="The sentiment is not negative (0 or above of -3 to 3)",
            read_step=affect.NUM_STEPS - 1,
        ),
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=MultiBenchParams(),
    modes=(CLEAN, PUBLISHED),
    training_defaults={"batch_size": 32},
    citation="Zadeh et al., ACL 2018; Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, arXiv:2107.07502",
    licence="None is stated for the file; the CMU SDK gives features of videos that are others'. Not redistributable, "
    "the user supplies the file.",
)
