"""A student's clicks of a week to numbers: the 45 features of four published sets, by modality and without leaks.

`features` is their table; `log` the arrays they are made from; `sessions`, `video`, `problem` and `content` compute
them for all students and weeks at once. Each week's features see that week's clicks and schedule, except the two
anticipation features, which see the whole schedule. The three performance features come from the data layer, where
they make task 5's target; they are in an input only with `leaky=True`, an ablation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.edu.performance import weekly_performance
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import ClickEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.weekly_clicks.features import columns
from mmn.featurizers.weekly_clicks.log import make_log, make_schedule
from mmn.featurizers.weekly_clicks.problem import problem_features
from mmn.featurizers.weekly_clicks.sessions import session_features
from mmn.featurizers.weekly_clicks.video import video_features

MODALITIES = ("problem", "video")


@dataclass(frozen=True, kw_only=True)
class WeeklyClicksParams:
    """mode: "clean" leaves out the columns that are constant or double, mends SpeedChange, and divides frequencies by
    video clicks alone.

    session_features: where the eleven features of all clicks go. "both_recomputed": into each modality, computed from
    its own clicks, so that a modality that is taken away takes its information along; the gaps of TotalTimeVideo and
    TotalTimeProblem then end at the same stream's next click. "video": into video, from all clicks, forum included.
    silent_week: what a week without a click of the modality is. "observed": a fact about the student like any other,
        counts are 0 (the log is there, and it is silent); "absent": the modality is absent that week.
    leaky: put CompetencyStrength, CompetencyAlignment and StudentShape into problem: an ablation, never a result.
    """

    mode: Literal["clean"] = "clean"
    session_features: Literal["both_recomputed", "video"] = "both_recomputed"
    silent_week: Literal["observed", "absent"] = "observed"
    leaky: bool = False


def run(
    evidence: ClickEvidence, cohort: Cohort, modality: str, params: WeeklyClicksParams, progress: Progress
) -> Featurized:
    """present[n, t]: see `silent_week`. NaN in a present row: undefined, no such click to take it from."""
    if modality not in MODALITIES:
        raise ContractError(f"weekly_clicks: unknown modality '{modality}'; it makes {', '.join(MODALITIES)}.")
    if evidence.num_weeks != cohort.num_steps:
        raise ContractError(
            f"weekly_clicks: the log has {evidence.num_weeks} weeks, the cohort {cohort.num_steps} steps. "
            "Make the cohort again."
        )
    items = cohort.items["item"].to_numpy()
    progress(0, len(items))
    names = columns(modality, params.session_features, params.leaky)
    table = weekly_features(evidence, items, modality, params)
    values = np.stack([table[name] for name in names], axis=-1).reshape(len(items), evidence.num_weeks, len(names))
    clicked = table["clicked"].reshape(len(items), evidence.num_weeks)
    present = clicked if params.silent_week == "absent" else np.ones_like(clicked)
    progress(len(items), len(items))
    return Featurized(
        embeddings=embeddings_from_rows(items, values, present, names),
        card={
            "mode": params.mode,
            "session_features": params.session_features,
            "silent_week": params.silent_week,
            "share of silent weeks": round(float(1 - clicked.mean()), 4),
            "leaky": params.leaky,
            "quarantined": dict(evidence.quarantined),
        },
    )


def weekly_features(
    evidence: ClickEvidence, items: np.ndarray, modality: str, params: WeeklyClicksParams
) -> dict[str, np.ndarray]:
    """Name -> (N*T,) for the modality's features of `params`, and "clicked" (bool)."""
    everything = make_log(evidence, items)
    own = everything.take(everything.stream == modality)
    recomputed = params.session_features == "both_recomputed"
    gaps = own if recomputed else everything
    videos = make_schedule(evidence, "video")
    if modality == "video":
        table = video_features(own, gaps, videos)
    else:
        table = problem_features(own, gaps, make_schedule(evidence, "problem"))
        if params.leaky:
            performance = weekly_performance(evidence, items)
            table["CompetencyStrength"] = performance.strength.reshape(-1)
            table["CompetencyAlignment"] = performance.alignment.reshape(-1)
            table["StudentShape"] = performance.shape.reshape(-1)
    if recomputed or modality == "video":
        table |= session_features(gaps, videos)
    return {**table, "clicked": own.count() > 0}


WEEKLY_CLICKS = Featurizer(name="weekly_clicks", evidence="clicks", defaults=WeeklyClicksParams(), run=run)
