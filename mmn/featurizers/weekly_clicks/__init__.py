"""A student's clicks of a week to numbers: the 45 features of four published sets, by modality and without leaks.

`features` is their table; `log` the arrays they are made from; `sessions`, `video`, `problem` and `content` compute
them for all students and weeks of a block at once; `export` writes them in the published form. Each week's features
see that week's clicks and schedule, except the two anticipation features, which see the whole schedule. The three
performance features come from the data layer, where they make task 5's target; they are in an input only with
`leaky=True`, an ablation.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.edu.performance import Checks, weekly_performance
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError
from mmn.data.evidence import CLICK_FACTS, ClickBlock, ClickEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.weekly_clicks.features import columns
from mmn.featurizers.weekly_clicks.log import make_log, make_schedule
from mmn.featurizers.weekly_clicks.problem import problem_features
from mmn.featurizers.weekly_clicks.published_scaling import (
    WARNINGS,
    Scaling,
    range_of_everyone,
    standard_by_week,
    unit_norm,
)
from mmn.featurizers.weekly_clicks.sessions import session_features
from mmn.featurizers.weekly_clicks.video import published, video_features

MODALITIES = ("problem", "video")
_FILLS = {"meta_transfer": -1.0, "interpretcc": 0.0}
_NONE = np.empty(0, dtype="int64")
_SILENT = ClickBlock(  # a student without a click
    item=_NONE, week=_NONE, time=np.empty(0), stream=_NONE, event=_NONE, content=_NONE,
    facts={name: np.empty(0) for name in CLICK_FACTS},
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WeeklyClicksParams:
    """mode: "clean" leaves out the columns that are constant or double, mends SpeedChange, and divides frequencies by
    video clicks alone. "compat" is the published library: those columns are kept, frequencies are of all clicks, and a
    gap that counts as time ends at whatever click comes next.

    session_features: where the eleven features of all clicks go. "both_recomputed": into each modality, computed from
    its own clicks, so that a modality that is taken away takes its information along; in clean mode the gaps of
    TotalTimeVideo and TotalTimeProblem then end at the same stream's next click. "video" or "problem": into that one,
    from all clicks, forum included. None: "both_recomputed" in clean mode, "video" in compat mode (4 and 38 columns,
    the 42 inputs).
    silent_week: what a week without a click of the modality is. "observed": a fact about the student like any other,
        counts are 0 (the log is there, and it is silent); "absent": the modality is absent that week.
    scaling: "none" leaves the numbers as they are, in their units: models and autoencoders scale them by their
        training students. Compat mode also knows what the published studies did (see `published_scaling`); the models'
        own scaler then works on that. seen_share: of the course, for the two that divide by a norm of all weeks seen;
        later weeks are absent.
    leaky: put CompetencyStrength, CompetencyAlignment and StudentShape into problem (45 features): they make the target
        of next_week_performance, so this is an ablation, never a result.
    """

    mode: Literal["clean", "compat"] = "clean"
    session_features: Literal["both_recomputed", "video", "problem"] | None = None
    silent_week: Literal["observed", "absent"] = "observed"
    scaling: Scaling = "none"
    seen_share: float = 0.6
    leaky: bool = False

    def __post_init__(self) -> None:
        if self.scaling not in ("none", *WARNINGS):
            raise ValueError(f"scaling is {self.scaling!r}; known: none, {', '.join(WARNINGS)}.")
        if self.scaling != "none" and self.mode != "compat":
            raise ValueError(f'scaling {self.scaling!r} repeats a published study. Set edu.mode to "compat".')
        if not 0 < self.seen_share <= 1:
            raise ValueError(f"seen_share is {self.seen_share}; give a share of the course above 0 and up to 1.")

    @property
    def sessions(self) -> str:
        return self.session_features or ("both_recomputed" if self.mode == "clean" else "video")


def run(
    evidence: ClickEvidence, cohort: Cohort, modality: str, params: WeeklyClicksParams, progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:  # fmt: skip
    """present[n, t]: see `silent_week`. NaN in a present row: undefined, no such click to take it from."""
    del shards  # a pass takes minutes for a hundred thousand students
    if modality not in MODALITIES:
        raise ContractError(f"weekly_clicks: unknown modality '{modality}'; it makes {', '.join(MODALITIES)}.")
    if evidence.num_weeks != cohort.num_steps:
        raise ContractError(
            f"weekly_clicks: the log has {evidence.num_weeks} weeks, the cohort {cohort.num_steps} steps. "
            "Make the cohort again."
        )
    names = columns(modality, params.sessions, params.leaky, params.mode)
    values, clicked, quarantined = _values(evidence, len(cohort), modality, names, params, progress)
    present = clicked if params.silent_week == "absent" else np.ones_like(clicked)
    if params.scaling in _FILLS:
        # Each norm is of a whole feature set, so of the other modality's columns too.
        weeks = max(round(params.seen_share * cohort.num_steps), 1)
        other = next(each for each in MODALITIES if each != modality)
        beside = columns(other, params.sessions, params.leaky, params.mode)
        theirs = _values(evidence, len(cohort), other, beside, params, progress)[0]
        both = np.concatenate([values, theirs], axis=2)
        scaled = unit_norm(both, (*names, *beside), _FILLS[params.scaling], weeks)[None, :, :, : len(names)]
        present = present & (np.arange(cohort.num_steps) < weeks)
    elif params.scaling == "evaluating_explainers":
        scaled = range_of_everyone(values)[None]
    elif params.scaling == "flipped_classroom":
        scaled = np.stack([standard_by_week(values, cohort.rows(k, "train")) for k in range(cohort.num_folds)])
    else:
        scaled = values[None]
    scaled = scaled.astype(np.float32, copy=False)
    scaled[:, ~present] = np.nan
    progress(len(cohort), len(cohort))
    items = np.asarray(cohort.items["item"], dtype=object)
    warning = {"scaling": f"{params.scaling}: {WARNINGS[params.scaling]}"} if params.scaling != "none" else {}
    return Featurized(
        embeddings=Embeddings(items=items, values=scaled, present=present, names=names),
        card={
            "mode": params.mode,
            "session_features": params.sessions,
            "silent_week": params.silent_week,
            **warning,
            "share of silent weeks": round(float(1 - clicked.mean()), 4),
            "leaky": "yes: an ablation, never a result" if params.leaky else "no",
            "made from": "imported weekly features" if evidence.weekly else "clicks",
            "quarantined": quarantined,
        },
    )


def _values(
    evidence: ClickEvidence, num_items: int, modality: str, names: tuple[str, ...], params: WeeklyClicksParams,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:  # fmt: skip
    """(N, T, D) float32, (N, T) bool whether there was a click, and the rows left out by reason."""
    if evidence.weekly:
        return *_imported(evidence, modality, names, params), {}
    return _from_clicks(evidence, num_items, modality, names, params, progress)


def _from_clicks(
    evidence: ClickEvidence, num_items: int, modality: str, names: tuple[str, ...], params: WeeklyClicksParams,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:  # fmt: skip
    """(N, T, D) float32, (N, T) bool whether there was a click, and the rows left out by reason."""
    shape = (num_items, evidence.num_weeks)
    values, clicked = np.empty((*shape, len(names)), dtype=np.float32), np.zeros(shape, dtype=bool)
    silent = silent_features(evidence, modality, params)
    for place, name in enumerate(names):
        values[:, :, place] = silent[name]
    counts: Counter[str] = Counter()
    done = 0
    progress(0, num_items)
    for block in evidence.blocks():
        counts.update(block.quarantined)
        if not len(block.item):
            continue
        table, students = block_features(evidence, block, modality, params)
        for place, name in enumerate(names):
            values[students, :, place] = table[name].reshape(len(students), -1)
        clicked[students] = table["clicked"].reshape(len(students), -1)
        done += len(students)
        progress(done, num_items)
    return values, clicked, dict(counts)


def silent_features(evidence: ClickEvidence, modality: str, params: WeeklyClicksParams) -> dict[str, np.ndarray]:
    """Name -> (T,), of a student who never clicks."""
    return block_features(evidence, _SILENT, modality, params)[0]


def block_features(
    evidence: ClickEvidence, block: ClickBlock, modality: str, params: WeeklyClicksParams
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Name -> (n*T,) for the modality's features of `params`, and "clicked" (bool); and the students' places (n,)."""
    weeks = evidence.num_weeks
    everything, students = make_log(block, len(evidence.schedule), weeks)
    own = everything.take(everything.is_stream(modality))
    videos = make_schedule(evidence.schedule, "video", weeks)
    recomputed = params.sessions == "both_recomputed"
    gaps = own if recomputed and params.mode == "clean" else everything
    if modality == "video":
        table = video_features(own, gaps, videos)
        if params.mode == "compat":
            table = published(table, own, everything)
    else:
        table = problem_features(own, gaps, make_schedule(evidence.schedule, "problem", weeks))
        if params.leaky:
            place = np.zeros(int(students.max()) + 1, dtype="int64")
            place[students] = np.arange(len(students))
            checks = Checks.of_block(block).of_items(place)
            performance = weekly_performance(checks, evidence.schedule, len(students), weeks)
            table["CompetencyStrength"] = performance.strength.reshape(-1)
            table["CompetencyAlignment"] = performance.alignment.reshape(-1)
            table["StudentShape"] = performance.shape.reshape(-1)
    if recomputed or params.sessions == modality:
        table |= session_features(own if recomputed else everything, videos)
    return {**table, "clicked": own.count() > 0}, students


def _imported(
    evidence: ClickEvidence, modality: str, names: tuple[str, ...], params: WeeklyClicksParams
) -> tuple[np.ndarray, np.ndarray]:
    if params.mode != "compat" or params.sessions == "both_recomputed":
        raise ContractError(
            "weekly_clicks: imported feature arrays are as published and cannot be computed again by modality or in "
            'clean mode. Set edu.mode to "compat", and session_features to "video" or "problem".'
        )
    values = np.stack([evidence.weekly[name] for name in names], axis=-1).astype(np.float32)
    clicks = evidence.weekly["TotalClicksVideo" if modality == "video" else "TotalClicksProblem"]
    return values, np.nan_to_num(clicks) > 0


WEEKLY_CLICKS = Featurizer(name="weekly_clicks", evidence="clicks", defaults=WeeklyClicksParams(), run=run)
