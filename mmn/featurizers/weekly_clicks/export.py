"""A course's weekly features in the published form, so that others' code can read what ours has made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.edu.arrays import write_arrays
from mmn.data.edu.clicks import read_clicks
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.reader import read_course
from mmn.data.evidence import ClickBlock, ClickEvidence
from mmn.featurizers.weekly_clicks import MODALITIES, WeeklyClicksParams, block_features, silent_features
from mmn.featurizers.weekly_clicks.features import FEATURES
from mmn.featurizers.weekly_clicks.log import divide

_PARAMS = WeeklyClicksParams(mode="compat", session_features="video", leaky=True)


def export_arrays(
    raw: Path, cohort: Cohort, params: EduCohortParams, folder: Path,
    prepared: Mapping[str, Path] = MappingProxyType({}), cumulative: bool = False,
) -> None:  # fmt: skip
    """Write all 45 features of the cohort's students below `folder`, as `mmn.data.edu.arrays` describes; NaN stays NaN,
    nothing is scaled. params: those that the cohort was made with. cumulative: the `lq_week` arrays too, which take a
    pass over the log for every week."""
    evidence = read_clicks(raw, cohort, params, prepared)
    name = str(cohort.items["course"].iloc[0])
    grades = read_course(raw, name, cohort.num_steps, params.mode).grades.set_index("user_id")["grade"]
    users = cohort.items["item"].to_numpy(dtype=object)
    weekly = published_features(evidence, len(cohort))
    write_arrays(
        folder, name, weekly, users, grades.reindex(users).to_numpy(dtype="float64"), cohort.targets["pass_course"],
        cumulative_features(evidence, weekly) if cumulative else None,
    )  # fmt: skip


def export(
    raw: Path, cohort: Cohort, params: EduCohortParams, out: Path, embeddings: Mapping, prepared: Mapping[str, Path]
) -> None:
    """`Dataset.export`: the published form has all 45 features in compat mode, whatever `embeddings` were made."""
    del embeddings
    export_arrays(raw, cohort, params, out, prepared, cumulative=True)


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


def cumulative_features(evidence: ClickEvidence, weekly: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All 45 with the clicks and the schedule of all weeks up to each: name -> (N, T) float64, NaN = undefined. The
    three shares of a week's videos are means and deviations of the weekly ones so far. weekly: `published_features`."""
    num_items, num_weeks = weekly["TotalClicks"].shape
    upto = [published_features(_as_one_week(evidence, week), num_items) for week in range(num_weeks)]
    values = {name: np.stack([each[name][:, 0] for each in upto], axis=1) for name in weekly}
    for kind in ("Watched", "Replayed", "Interrupted"):
        share = weekly[f"Avg{kind}WeeklyProp"]
        known = ~np.isnan(share)
        num = np.cumsum(known, axis=1)
        mean = divide(np.cumsum(np.nan_to_num(share), axis=1), num)
        square = divide(np.cumsum(np.nan_to_num(share) ** 2, axis=1), num)
        values[f"Avg{kind}WeeklyProp"] = mean
        values[f"Std{kind}WeeklyProp"] = np.sqrt(np.maximum(square - mean**2, 0.0))
    return values


def _as_one_week(evidence: ClickEvidence, week: int) -> ClickEvidence:
    """The weeks up to this one as week 0, what is scheduled later as week 1."""
    schedule = evidence.schedule.assign(week=(evidence.schedule["week"] > week).astype("int64"))

    def blocks() -> Iterator[ClickBlock]:
        for block in evidence.blocks():
            kept = block.week <= week
            arrays = {name: getattr(block, name)[kept] for name in ("item", "time", "stream", "event", "content")}
            facts = {name: values[kept] for name, values in block.facts.items()}
            yield ClickBlock(week=np.zeros(int(kept.sum()), dtype="int64"), facts=facts, **arrays)

    return ClickEvidence(blocks=blocks, schedule=schedule, num_weeks=2)
