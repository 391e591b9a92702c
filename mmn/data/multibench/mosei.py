"""CMU-MOSEI: the sentiment of spoken sentences. File as MultiBench's mosei_senti_data.pkl with 35 visual features."""

from __future__ import annotations

import numpy as np

from mmn.data.dataset import Task
from mmn.data.multibench.affect import NUM_STEPS, spoken_sentences


def _positive(score: np.ndarray) -> np.ndarray:
    """As published, a neutral sentence (0) counts as positive."""
    return np.where(np.isfinite(score), score >= 0, np.nan).astype(np.float64)


MOSEI = spoken_sentences(
    name="mosei",
    title="CMU-MOSEI: sentiment of spoken sentences",
    file="mosei_senti_data.pkl",
    widths={"vision": 35, "audio": 74, "text": 300},
    features={"vision": "Facial", "audio": "COVAREP"},
    hint="Take mosei_senti_data.pkl of MultiBench with 35 visual, 74 audio and 300 text features; its other MOSEI file "
    "has 713 visual ones.",
    task=Task(
        name="sentiment",
        number=None,
        kind="binary",
        description="The sentiment is not negative (0 or above of -3 to 3)",
        read_step=NUM_STEPS - 1,
    ),
    label=_positive,
    citation="Zadeh et al., ACL 2018; Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, arXiv:2107.07502",
    licence="None is stated for the file; the CMU SDK gives features of videos that are others'. Not redistributable, "
    "the user supplies the file.",
)
