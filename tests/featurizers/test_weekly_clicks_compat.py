"""The published library's behaviour: all 45 features against answers worked by hand, degenerate columns and all."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import edu_clicks
from benchmarks.edu_plain import frame_of, one_week
from mmn.data.edu import EDU
from mmn.data.edu.arrays import SET_COLUMNS
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.errors import ContractError
from mmn.featurizers.weekly_clicks.export import published_features
from mmn.featurizers.weekly_clicks.features import FEATURES
from tests.data.edu_toy import TOY, cell, cohort_of, featurize, run

NAN = math.nan
LEAKY = ("CompetencyStrength", "CompetencyAlignment", "StudentShape")
COUNTS = (9, 5, 1, 1, 3)  # clicks at 10, 11, 12, 20 and 9 o'clock: 19 in all, forum included
ENTROPY = -sum(n / 19 * math.log(n / 19) for n in COUNTS)
COS15 = math.cos(math.radians(15))

# Ann's week 0 is in `tests.data.edu_toy`; what follows is of all 19 clicks (13 video, 5 problem, 1 forum).
WEEK_0 = {
    "RegPeakTimeDayHour": (math.log(24) - ENTROPY) * 9,
    # Hours since Monday 10:00:00 with a click: 0, 1, 2, 58 (Wednesday 20:00), 119 (Saturday 09:00); at 15 degrees each
    # they point to 0, 15, 30, 150 and 345 degrees. Cosines: 1 + cos 15 + cos 30 - cos 30 + cos 15; sines: 1/2 + 1/2.
    "RegPeriodicityM1": math.hypot(1 + 2 * COS15, 1),
    "DelayLecture": -(482_400 + 482_040) / 2,  # as in clean mode
    "TotalClicks": 19,
    # Broken by gaps over 600 s: 10:00-10:06 (9 clicks), 11:00-11:10 (2), 11:30-11:40 (3), 12:00 (1), Wednesday (1),
    # Saturday 09:00-09:03 (3). Those of three clicks or more last 360, 600 and 180 s.
    "NumberOfSessions": 3,
    "TotalTimeSessions": 1140,
    "AvgTimeSessions": 380,
    # From 10:06 to 11:30 are 5,040 s; from Monday 11:40 to Saturday 09:00 4 d 21 h 20 min = 422,400 s.
    "StdTimeBetweenSessions": (422_400 - 5_040) / 2,
    "StdTimeSessions": math.sqrt((20**2 + 220**2 + 200**2) / 3),
    "TotalClicksWeekday": 16,
    "TotalClicksWeekend": 3,
    "RatioClicksWeekendDay": 16 / 3,
    "TotalClicksVideo": 13,
    "TotalClicksProblem": 5,
    # The gap may end at any click: R's check at 11:40 with C's Load at 12:00 (1,200 s) ...
    "TotalTimeProblem": 600 + 1200 + 300 + 300 + 1200,
    # ... and B's Load at 10:06 with P's check at 11:00 (3,240 s). From C's to the forum are more than an hour.
    "TotalTimeVideo": 360 + 3240 + 180,
    "TotalClicksVideoLoad": 4,
    "AvgWatchedWeeklyProp": 1,
    "StdWatchedWeeklyProp": 0,
    "AvgReplayedWeeklyProp": 1 / 2,
    "StdReplayedWeeklyProp": 0,
    "AvgInterruptedWeeklyProp": 1 / 2,
    "StdInterruptedWeeklyProp": 0,
    "TotalClicksVideoConati": 13,
    "FrequencyEventVideo": 13 / 240,
    "FrequencyEventLoad": 4 / 19,
    "FrequencyEventPlay": 3 / 19,
    "FrequencyEventPause": 2 / 19,
    "FrequencyEventStop": 1 / 19,
    "FrequencyEventSeekBackward": 1 / 19,
    "FrequencyEventSeekForward": 1 / 19,
    "FrequencyEventSpeedChange": 0,  # one was made; its name never matches
    "AvgSeekLength": 60,
    "StdSeekLength": 20,
    "AvgPauseDuration": 30,
    "StdPauseDuration": 0,
    "AvgTimeSpeedingUp": 58.75,
    "StdTimeSpeedingUp": math.sqrt(6087.5 / 8),
    "CompetencyStrength": (1 / 3 + 1) / 2,
    "CompetencyAlignment": 1,
    "CompetencyAnticipation": 1,
    "ContentAlignment": 1,
    "ContentAnticipation": 1 / 2,
    "StudentSpeed": 1800,
    "StudentShape": 1 / 2,
}
# Week 1 has a video and a problem scheduled (and no later problem to anticipate), and no click at all: the last column
# of the specification's table.
ZERO_WHEN_SILENT = {
    "TotalClicks", "NumberOfSessions", "TotalTimeSessions", "AvgTimeSessions", "StdTimeSessions", "TotalClicksWeekday",
    "TotalClicksWeekend", "TotalClicksVideo", "TotalClicksProblem", "TotalTimeProblem", "TotalTimeVideo",
    "TotalClicksVideoLoad", "AvgWatchedWeeklyProp", "StdWatchedWeeklyProp", "AvgReplayedWeeklyProp",
    "StdReplayedWeeklyProp", "TotalClicksVideoConati", "FrequencyEventLoad", "FrequencyEventPlay",
    "FrequencyEventPause", "FrequencyEventStop", "FrequencyEventSeekBackward", "FrequencyEventSeekForward",
    "FrequencyEventSpeedChange", "AvgPauseDuration", "StdPauseDuration", "AvgTimeSpeedingUp", "StdTimeSpeedingUp",
    "CompetencyAlignment", "ContentAlignment", "ContentAnticipation",
}  # fmt: skip


def both(week: int, **params) -> dict[str, float]:
    found: dict[str, float] = {}
    for modality in ("problem", "video"):
        found |= cell(run(TOY, cohort_of("ann"), modality, mode="compat", **params), week=week)
    return found


def test_each_of_the_45_equals_the_answer_worked_by_hand():
    found = both(0, leaky=True)
    assert set(found) == set(WEEK_0) == {feature.name for feature in FEATURES}
    for name, value in WEEK_0.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_a_silent_week_is_zero_or_undefined_as_the_table_says():
    found = both(1, leaky=True)
    assert {name for name, value in found.items() if value == 0} == ZERO_WHEN_SILENT
    assert all(math.isnan(value) for name, value in found.items() if name not in ZERO_WHEN_SILENT)


def test_what_is_anticipated_of_nothing_is_undefined_in_the_last_week():
    found = both(2)
    assert math.isnan(found["ContentAnticipation"]) and math.isnan(found["CompetencyAnticipation"])


@pytest.mark.parametrize(
    ("where", "problem", "video"), [(None, 4, 38), ("video", 4, 38), ("problem", 15, 27), ("both_recomputed", 15, 38)]
)
def test_the_inputs_are_42_without_those_that_make_the_target(where, problem, video):
    names = {
        modality: run(TOY, cohort_of("ann"), modality, mode="compat", session_features=where).names
        for modality in ("problem", "video")
    }
    assert (len(names["problem"]), len(names["video"])) == (problem, video)
    inputs = {*names["problem"], *names["video"]}
    assert len(inputs) == 42 and not inputs & set(LEAKY)


def test_45_is_the_leaky_ablation_and_says_so():
    made = featurize(TOY, cohort_of("ann"), "problem", mode="compat", leaky=True)
    assert set(made.embeddings.names) >= set(LEAKY) and "ablation" in made.card["leaky"]
    assert len(both(0, leaky=True)) == 45 and len(both(0)) == 42


def test_the_published_sets_hold_our_features_in_our_order():
    by_source = {"B": "boroujeni_et_al", "C": "chen_cui", "L": "lalle_conati", "M": "marras_et_al"}
    for source, name in by_source.items():
        assert SET_COLUMNS[name] == tuple(feature.name for feature in FEATURES if feature.source == source)
    # The three that leave the input are the positions 0, 1 and 6 of the last set.
    assert tuple(SET_COLUMNS["marras_et_al"][place] for place in (0, 1, 6)) == LEAKY


def test_a_course_that_logs_loads_alone_has_the_25_columns_of_the_published_model(tmp_path):
    """Of 42: regularity 3, Chen & Cui 13, Marras 4, and 5 of Lallé & Conati. The others are constant or undefined."""
    write_world(tmp_path / "raw", 150, 2, load_only=True)
    params = EduCohortParams(mode="compat", filter="none")
    cohort = EDU.build_cohort(tmp_path / "raw", params)
    evidence = EDU.read_evidence(tmp_path / "raw", "video", cohort, params)
    alive = set()
    for name, values in published_features(evidence, len(cohort)).items():
        known = values[~np.isnan(values)]
        if len(np.unique(known)) > 1:
            alive.add(name)
    alive -= set(LEAKY)
    assert len(alive) == 25
    assert alive >= set(SET_COLUMNS["boroujeni_et_al"]) | set(SET_COLUMNS["chen_cui"])
    assert alive & set(SET_COLUMNS["lalle_conati"]) == {
        "TotalClicksVideoLoad", "AvgWatchedWeeklyProp", "AvgReplayedWeeklyProp", "TotalClicksVideoConati",
        "FrequencyEventLoad",
    }  # fmt: skip


def test_imported_arrays_are_read_as_published_or_not_at_all():
    toy = TOY.evidence(["ann"])
    weekly = published_features(toy, 1)
    imported = type(toy)(blocks=lambda: iter(()), schedule=toy.schedule, num_weeks=3, weekly=weekly)
    for modality in ("problem", "video"):
        made = featurize(imported, cohort_of("ann"), modality, mode="compat")
        assert made.card["made from"] == "imported weekly features"
        np.testing.assert_array_equal(
            made.embeddings.values, run(TOY, cohort_of("ann"), modality, mode="compat").values
        )
        with pytest.raises(ContractError, match=r'Set edu\.mode to "compat"'):
            featurize(imported, cohort_of("ann"), modality)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 25, 6)
    params = EduCohortParams(mode="compat", filter="none")
    cohort = EDU.build_cohort(raw, params)
    return EDU.read_evidence(raw, "video", cohort, params), cohort


def test_all_45_equal_a_plain_loop_over_students_and_weeks_written_apart(generated):
    """`benchmarks.edu_plain` shares no code with the featurizer: every student, every week, every feature. What a week
    without a click is, it is for every student: it is worked out once."""
    evidence, cohort = generated
    ours = published_features(evidence, len(cohort))
    log, schedule = frame_of(evidence), evidence.schedule
    num = 0
    for week in range(evidence.num_weeks):
        planned, later = schedule[schedule["week"] == week], schedule[schedule["week"] > week]
        clicks = dict(list(log[log["week"] == week].groupby("item")))
        silent = one_week(log[:0], planned, later)
        for student in range(len(cohort)):
            features = one_week(clicks[student], planned, later) if student in clicks else silent
            assert set(features) == set(ours)
            for name, value in features.items():
                mine = ours[name][student, week]
                assert mine == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (name, week)
            num += 1
    assert num == len(cohort) * evidence.num_weeks


def test_the_documentation_defines_every_feature_once():
    text = (Path(__file__).parents[2] / "docs" / "edu.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1].strip(" *") for line in text.splitlines() if re.match(r"\| \**\w+\** \| [BCLM] \|", line)
    ]
    assert rows == [feature.name for feature in FEATURES]


def test_the_benchmark_runs_at_toy_size(tmp_path, monkeypatch):
    monkeypatch.setattr(edu_clicks, "LOOPED_STUDENTS", 2)
    monkeypatch.setattr(edu_clicks, "REPEATS", 1)
    write_world(tmp_path / "raw", 40, 0, plain=True)
    notes = {step: edu_clicks.measure(step, tmp_path)["note"] for step in edu_clicks.STEPS}
    assert "students x 10 weeks" in notes["cohort"] and notes["loop"].endswith("x")
    assert notes["video"].startswith("38 features") and notes["problem"].startswith("7 features")
