"""UR-FUNNY: whether a spoken sentence is a punchline. File as MultiBench's humor.pkl."""

from __future__ import annotations

import numpy as np

from mmn.data.dataset import Task
from mmn.data.multibench.affect import NUM_STEPS, spoken_sentences


def _humorous(label: np.ndarray) -> np.ndarray:
    """1, and 0 or -1; anything else is no label."""
    return np.where(np.isin(label, (-1, 0, 1)), label == 1, np.nan).astype(np.float64)


UR_FUNNY = spoken_sentences(
    name="ur_funny",
    title="UR-FUNNY: humour in spoken sentences",
    file="humor.pkl",
    widths={"vision": 371, "audio": 81, "text": 300},
    features={"vision": "OpenFace", "audio": "COVAREP"},
    hint="Take humor.pkl of MultiBench, with 371 visual, 81 audio and 300 text features.",
    task=Task(
        name="humor",
        number=None,
        kind="binary",
        description="The sentence is a punchline",
        read_step=NUM_STEPS - 1,
    ),
    label=_humorous,
    citation="Hasan et al., EMNLP 2019; Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021, "
    "arXiv:2107.07502",
    licence="None is stated: not redistributable, the user supplies the file.",
)
