"""EDU: the click log of one MOOC, one item per student, one step per week (Swamy et al. 2023, tasks 3-5).

The road: `layout` finds the course's files, `tables` reads them under `contracts`, `reader` says which rows count.
`students` goes through the log once for the `cohort` (with `filter` and `performance`); `prepared` sorts it by student
for `clicks`, which the features are made from. `arrays` reads and writes the published weekly features, `generator`
writes a world of the raw form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Modality, Task
from mmn.data.edu.inspection import inspect
from mmn.data.edu.layout import MAX_DEPTH, patterns, set_patterns
from mmn.data.edu.params import READ_STEP, EduCohortParams
from mmn.data.evidence import ClickEvidence


# What needs heavy libraries is imported when it is called: definitions and `mmn doctor` load without them.
def build_cohort(
    raw: Path, params: EduCohortParams, prepared: Mapping[str, Path] = MappingProxyType({})
) -> Cohort:  # fmt: skip
    from mmn.data.edu.cohort import build_cohort as build

    return build(raw, params, prepared)


def read_evidence(
    raw: Path,
    modality: str,
    cohort: Cohort,
    params: EduCohortParams,
    prepared: Mapping[str, Path] = MappingProxyType({}),
) -> ClickEvidence:
    """The same clicks for every modality: the featurizer takes what its own needs."""
    del modality
    from mmn.data.edu.clicks import read_arrays_as_clicks, read_clicks
    from mmn.data.edu.layout import reads_arrays

    if reads_arrays(raw, params.source):
        return read_arrays_as_clicks(raw, cohort, params.arrays)
    return read_clicks(raw, cohort, params, prepared)


def generate(raw: Path, size: str, seed: int) -> None:
    from mmn.data.edu.generator import generate as write

    write(raw, size, seed)


# Of a course of ten weeks; what lies beyond a shorter one's end is left out. After the last week nothing is to come,
# so only whether the student passes can be asked then.
_EARLY = {"40 %": 3, "60 %": READ_STEP}

_MAPPINGS = tuple("*/" * depth + "user_id_mapping-*.csv" for depth in range(MAX_DEPTH + 1))

EDU = Dataset(
    name="edu",
    title="EDU: students of a MOOC, week by week",
    raw="edu",
    sources={
        # Feature arrays are a source's files too, where there is no log.
        "video_events": (*patterns("video_event"), *set_patterns()),
        "problem_events": (*patterns("problem_event"), *set_patterns()),
        "course": (*patterns("schedule", "grade", "metadata", "forum_event"), *set_patterns(), *_MAPPINGS),
    },
    cohort_sources=("course",),
    cohort_prepared=("events",),
    modalities=(
        Modality(
            name="problem",
            description="What the student did with the week's quizzes and assignments.",
            sources=("problem_events", "course"),
            prepared=("events",),
            evidence="clicks",
            featurizer="weekly_clicks",
        ),
        Modality(
            name="video",
            description="How the student used the week's lecture videos.",
            sources=("video_events", "course"),
            prepared=("events",),
            evidence="clicks",
            featurizer="weekly_clicks",
        ),
    ),
    tasks=(
        Task(
            name="pass_course",
            number=3,
            kind="binary",
            description="Will the student pass the course? 1 = passed.",
            read_step=READ_STEP,
            early=_EARLY | {"100 %": 9},
            published={"multimodn": "0.93±0.04", "p_fusion": "0.92±0.03"},
        ),
        Task(
            name="stays_active",
            number=4,
            kind="binary",
            description="Will the student use a video or problem in any later week? 1 = stays.",
            per_step=True,
            read_step=READ_STEP,
            early=_EARLY,
            published={"multimodn": "0.83±0.02", "p_fusion": "0.87±0.05"},
        ),
        Task(
            name="next_week_performance",
            number=5,
            kind="regression",
            description="Moving average of the weekly performance, one week ahead.",
            per_step=True,
            read_step=READ_STEP,
            early=_EARLY,
            unit="share",
            published={"multimodn": "0.01±0.01", "p_fusion": "0.01±0.01"},
        ),
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=EduCohortParams(),
    modes=("clean", "compat"),
    prepared={"events": ("video_events", "problem_events", "course")},
    prepare="mmn.data.edu.prepared:prepare",
    export="mmn.featurizers.weekly_clicks.export:export",
    shared_settings=("session_features", "scaling", "seen_share"),
    training_defaults={
        "batch_size": 64,
        "dropout": 0.1,
        "hidden": 32,
        "state": 20,
        "epochs": 50,
        "scaler": "minmax",
        "select_by": "accuracy",
        "select_task": "next_week_performance",
        # Swamy et al. 2023, E.4; blocks, heads and the hidden layer are the defaults.
        "fusion_transformer": {"dropout": 0.25},
    },
    multitask={"multitask": ("pass_course", "stays_active", "next_week_performance")},
    autoencoded=True,
    missingness=("video", "pass_course"),
    generate=generate,
    citation=(
        "Swamy et al., MultiModN, NeurIPS 2023 (arXiv 2309.14118); features: Boroujeni et al. 2016, Chen & Cui 2020, "
        "Lallé & Conati 2020, Marras et al. 2021."
    ),
    licence="The logs are private to the course's university and hold personal data; use them under its agreement.",
)
