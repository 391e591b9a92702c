"""A course's weekly features in the published form, so that others' code can read what ours has made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.edu.arrays import write_arrays
from mmn.data.edu.clicks import read_clicks
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.reader import read_course
from mmn.data.evidence import ClickEvidence
from mmn.featurizers.weekly_clicks import MODALITIES, WeeklyClicksParams, block_features, silent_features
from mmn.featurizers.weekly_clicks.features import FEATURES

_PARAMS = WeeklyClicksParams(mode="compat", session_features="video", leaky=True)


def export_arrays(
    raw: Path, cohort: Cohort, params: EduCohortParams, folder: Path,
    prepared: Mapping[str, Path] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Write all 45 features of the cohort's students below `folder`, as `mmn.data.edu.arrays` describes; NaN stays NaN,
    nothing is scaled. params: those that the cohort was made with."""
    evidence = read_clicks(raw, cohort, params, prepared)
    name = str(cohort.items["course"].iloc[0])
    grades = read_course(raw, name, cohort.num_steps, params.mode).grades.set_index("user_id")["grade"]
    users = cohort.items["item"].to_numpy(dtype=object)
    write_arrays(
        folder, name, published_features(evidence, len(cohort)), users,
        grades.reindex(users).to_numpy(dtype="float64"), cohort.targets["pass_course"],
    )  # fmt: skip


def export(
    raw: Path, cohort: Cohort, params: EduCohortParams, out: Path, embeddings: Mapping, prepared: Mapping[str, Path]
) -> None:
    """`Dataset.export`: the published form has all 45 features in compat mode, whatever `embeddings` were made."""
    del embeddings
    export_arrays(raw, cohort, params, out, prepared)


def published_features(evidence: ClickEvidence, num_items: int) -> dict[str, np.ndarray]:
    """All 45 in compat mode: name -> (N, T) float64, NaN = undefined."""
    names = {feature.name for feature in FEATURES}
    values: dict[str, np.ndarray] = {}
    for modality in MODALITIES:
        silent = silent_features(evidence, modality, _PARAMS)
        mine = sorted(names & set(silent))
        values |= {name: np.tile(silent[name], (num_items, 1)) for name in mine}
        for block in evidence.blocks():
            if len(block.item):
                table, students = block_features(evidence, block, modality, _PARAMS)
                for name in mine:
                    values[name][students] = table[name].reshape(len(students), -1)
    return values
