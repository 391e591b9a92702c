"""The weekly features against answers worked by hand on a toy log, and the laws that they must keep."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.data.cohort import Cohort
from mmn.data.edu import EDU
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import prepare
from mmn.data.errors import ContractError
from mmn.data.evidence import CLICK_STREAMS, ClickBlock, ClickEvidence
from mmn.featurizers import load_featurizer
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams
from mmn.featurizers.weekly_clicks.features import FEATURES
from tests.data.edu_toy import (
    MONDAY,
    SCHEDULE,
    TOY,
    cell,
    click,
    cohort_of,
    evidence_of,
    featurize,
    performance_of,
    run,
)

LEAKY = {"CompetencyStrength", "CompetencyAlignment", "StudentShape"}
NAN = math.nan


def entropy(*counts):
    return -sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts)


VIDEO_WEEK_0 = {
    # 13 clicks: 9 in hour 10, 1 in hour 12, 3 in hour 9.
    "RegPeakTimeDayHour": (math.log(24) - entropy(9, 1, 3)) * 9,
    # Active hours since Monday 10:00: 0, 2 and (4 days 23 h =) 119, at 0, 30 and 1785 = 345 degrees.
    "RegPeriodicityM1": math.hypot(
        1 + math.cos(math.radians(30)) + math.cos(math.radians(345)),
        math.sin(math.radians(30)) + math.sin(math.radians(345)),
    ),
    # A: Monday 10:00:00 to Sunday 00:00 = 5 d 14 h = 482,400 s early; B, 6 minutes later, 482,040 s early.
    "DelayLecture": -(482_400 + 482_040) / 2,
    "TotalClicks": 13,
    # A break is over 600 s (the longer of A and B). Monday 10:00-10:06 with 9 clicks (360 s); C alone is no session;
    # Saturday 09:00-09:03 with 3 clicks (180 s).
    "NumberOfSessions": 2,
    "TotalTimeSessions": 360 + 180,
    "AvgTimeSessions": 270,
    "StdTimeBetweenSessions": 0,  # one gap only
    "StdTimeSessions": 90,
    "TotalClicksWeekday": 10,
    "TotalClicksWeekend": 3,
    "RatioClicksWeekendDay": 10 / 3,
    "TotalClicksVideo": 13,
    # Gaps of 1 s to 1 h: 10, 60, 60, 30, 60, 20, 60, 60 on Monday (B to C is 6,840 s), 60, 120 on Saturday.
    "TotalTimeVideo": 360 + 180,
    "TotalClicksVideoLoad": 4,
    "AvgWatchedWeeklyProp": 1,
    "AvgReplayedWeeklyProp": 1 / 2,  # A on two days, B on one
    # The Stop on A with 210 s left, before B. The other halts are followed by A itself, or by nothing; B was a first
    # click, C is not of this week.
    "AvgInterruptedWeeklyProp": 1 / 2,
    # After Play, on the same video: 60, 60, and 120 on Saturday.
    "FrequencyEventVideo": 13 / 240,
    "FrequencyEventLoad": 4 / 13,
    "FrequencyEventPlay": 3 / 13,
    "FrequencyEventPause": 2 / 13,
    "FrequencyEventStop": 1 / 13,
    "FrequencyEventSeekBackward": 1 / 13,
    "FrequencyEventSeekForward": 1 / 13,
    "FrequencyEventSpeedChange": 1 / 13,
    "AvgSeekLength": (40 + 80) / 2,
    "StdSeekLength": 20,
    "AvgPauseDuration": 30,  # Saturday's pause has no next click
    "StdPauseDuration": 0,
    # At 1.5 from 10:01:10 on: 60, 30, 60, 20, 60, 60 (then 6,840 s and five days do not count), 60, 120: mean 58.75;
    # squares of the differences 5 * 1.5625 + 826.5625 + 1501.5625 + 3751.5625 = 6087.5.
    "AvgTimeSpeedingUp": 58.75,
    "StdTimeSpeedingUp": math.sqrt(6087.5 / 8),
    "ContentAlignment": 1,
    "ContentAnticipation": 1 / 2,  # C, of C and D
}
PROBLEM_WEEK_0 = {
    "RegPeakTimeDayHour": math.log(24) * 5,  # all in hour 11: entropy 0
    "RegPeriodicityM1": 1,
    "TotalClicks": 5,
    # Breaks over 600 s: the gap of 1,200 s. P, P is too short a session; P, Q, R lasts 600 s.
    "NumberOfSessions": 1,
    "TotalTimeSessions": 600,
    "AvgTimeSessions": 600,
    "StdTimeBetweenSessions": NAN,
    "StdTimeSessions": 0,
    "TotalClicksWeekday": 5,
    "TotalClicksWeekend": 0,
    "RatioClicksWeekendDay": NAN,
    "TotalClicksProblem": 5,
    "TotalTimeProblem": 600 + 1200 + 300 + 300,
    "CompetencyAnticipation": 1,  # R, the only later one
    "StudentSpeed": 600 + 1200,  # P; the others have one check each
}


@pytest.mark.parametrize(("modality", "expected"), [("video", VIDEO_WEEK_0), ("problem", PROBLEM_WEEK_0)])
def test_every_feature_equals_the_answer_worked_by_hand(modality, expected):
    found = cell(run(TOY, cohort_of("ann"), modality))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), name


def test_what_a_single_click_leaves_undefined_is_nan_and_what_it_counts_is_not():
    found = cell(run(TOY, cohort_of("ann"), "video"), week=2)
    assert {name for name, value in found.items() if math.isnan(value)} == {
        "StdTimeBetweenSessions", "RatioClicksWeekendDay", "AvgInterruptedWeeklyProp", "FrequencyEventVideo",
        "AvgSeekLength", "StdSeekLength", "ContentAnticipation",
    }  # fmt: skip
    assert found["NumberOfSessions"] == 0 and found["TotalTimeVideo"] == 0 and found["TotalClicks"] == 1


def test_a_week_without_a_click_of_the_modality_is_absent_when_asked():
    assert run(TOY, cohort_of("ann"), "video", silent_week="absent").present.tolist() == [[True, False, True]]
    assert run(TOY, cohort_of("ann"), "problem", silent_week="absent").present.tolist() == [[True, False, False]]
    both = run(TOY, cohort_of("nobody", "ann"), "video", silent_week="absent")
    assert not both.present[0].any() and np.isnan(both.values[0, 0]).all()


def test_a_silent_week_is_an_observation_its_counts_are_zero_and_its_times_undefined():
    silent = run(TOY, cohort_of("ann"), "video")
    assert silent.present.all()
    found = cell(silent, week=1)
    assert found["TotalClicks"] == 0 and found["TotalTimeVideo"] == 0
    assert math.isnan(found["DelayLecture"])


def test_the_session_features_of_all_clicks_go_to_video_when_asked():
    video = cell(run(TOY, cohort_of("ann"), "video", session_features="video"))
    problem = cell(run(TOY, cohort_of("ann"), "problem", session_features="video"))
    assert video["TotalClicks"] == 13 + 5 + 1 and video["TotalClicksVideo"] == 13
    # B's Load at 10:06 ends with P's check at 11:00 (3,240 s); R's check at 11:40 with C's Load at 12:00 (1,200 s).
    assert video["TotalTimeVideo"] == 540 + 3240
    assert problem["TotalTimeProblem"] == 2400 + 1200
    assert "TotalClicks" not in problem


def test_performance_equals_the_answer_worked_by_hand():
    performance = performance_of(TOY, "ann")
    # P: best 10/10 at the third submission; Q: 4/4 at the first. R is not of week 0, and in its own was not checked.
    np.testing.assert_allclose(performance.strength, [[(1 / 3 + 1) / 2, NAN, NAN]])
    np.testing.assert_allclose(performance.alignment, [[2 / 2, 0, NAN]])
    np.testing.assert_allclose(performance.shape, [[1 / 2, NAN, NAN]])  # Q's first check was full, P's was not
    np.testing.assert_allclose(performance.mean(), [[(2 / 3 + 1 + 1 / 2) / 3, 0, 0]])


def test_a_check_without_a_grade_is_no_failed_check():
    clicks = [
        click("ann", "02-18 11:00:00", "Problem.Check", "P", submission_number=1),
        click("ann", "02-18 11:10:00", "Problem.Check", "P", grade=10, submission_number=1),
    ]
    performance = performance_of(evidence_of(clicks), "ann")
    assert performance.strength[0, 0] == 1 and performance.shape[0, 0] == 1 and performance.alignment[0, 0] == 1 / 2


def test_sessions_apart_by_different_times_have_a_deviation():
    # Three sessions of 20 s; the gaps between them are 3,600 and 7,200 s: mean 5,400, deviation 1,800.
    starts = ["10:00", "11:00", "13:00"]
    clicks = [
        click("ann", f"02-19 {start}:{second}", "Video.Load", "A") for start in starts for second in ("00", "10", "20")
    ]
    found = cell(run(evidence_of(clicks), cohort_of("ann"), "video"))
    assert found["NumberOfSessions"] == 3 and found["StdTimeSessions"] == 0
    assert found["StdTimeBetweenSessions"] == pytest.approx((7180 - 3580) / 2)


def test_a_week_without_a_scheduled_video_is_one_session():
    clicks = [click("ann", f"02-19 {hour}:00:00", "Video.Load", "C") for hour in ("08", "12", "20")]
    schedule = SCHEDULE[SCHEDULE["week"] > 0]
    found = cell(run(evidence_of(clicks, schedule), cohort_of("ann"), "video"))
    assert found["NumberOfSessions"] == 1 and found["TotalTimeSessions"] == 12 * 3600
    assert all(math.isnan(found[name]) for name in ("AvgWatchedWeeklyProp", "ContentAlignment", "DelayLecture"))


@pytest.mark.parametrize(
    ("second", "seconds_later", "position", "counted"),
    [
        ("Video.Pause", 3_601, 100, 1),  # (a) a halt, then over an hour of nothing
        ("Video.Pause", 3_599, 100, 0),
        ("Video.Pause", 3_601, 541, 0),  # under a minute of A's 600 s was left
        ("Video.Seek", 3_601, 100, 0),  # no halt
    ],
)
def test_an_interruption_is_a_halt_and_a_long_absence(second, seconds_later, position, counted):
    start = pd.Timestamp("2013-02-19 10:00:00")
    later = start + pd.Timedelta(seconds=60 + seconds_later)
    clicks = [
        click("ann", "02-19 10:00:00", "Video.Load", "A", current_time=0),
        click("ann", "02-19 10:01:00", second, "A", current_time=position),
        click("ann", later.strftime("%m-%d %H:%M:%S"), "Video.Play", "A", current_time=position),
    ]
    assert cell(run(evidence_of(clicks), cohort_of("ann"), "video"))["AvgInterruptedWeeklyProp"] == counted / 2


@pytest.mark.parametrize(("leaves_after", "counted"), [("10:09:00", 1), ("10:11:00", 0)])
def test_leaving_for_another_video_before_the_rest_could_play_is_an_interruption(leaves_after, counted):
    clicks = [
        click("ann", "02-19 10:00:00", "Video.Load", "A", current_time=0),
        click("ann", "02-19 10:01:00", "Video.Play", "A", current_time=60),  # 540 s left: until 10:10:00
        click("ann", f"02-19 {leaves_after}", "Video.Load", "B", current_time=0),
    ]
    assert cell(run(evidence_of(clicks), cohort_of("ann"), "video"))["AvgInterruptedWeeklyProp"] == counted / 2


def test_speed_is_forgotten_when_the_week_ends():
    clicks = [
        click("ann", "02-24 23:59:00", "Video.SpeedChange", "A", new_speed=2.0),
        click("ann", "02-25 00:01:00", "Video.Load", "C"),
        click("ann", "02-25 00:02:00", "Video.Play", "C"),
    ]
    embeddings = run(evidence_of(clicks), cohort_of("ann"), "video")
    assert cell(embeddings, week=0)["AvgTimeSpeedingUp"] == cell(embeddings, week=1)["AvgTimeSpeedingUp"] == 0


def test_there_are_45_features_and_the_counts_by_stream_are_those_of_the_sets():
    assert len(FEATURES) == len({feature.name for feature in FEATURES}) == 45
    count = pd.Series([feature.stream for feature in FEATURES]).value_counts()
    assert dict(count) == {"video": 27, "session": 11, "problem": 7}
    assert dict(pd.Series([feature.source for feature in FEATURES]).value_counts()) == {
        "L": 22,
        "C": 13,
        "M": 7,
        "B": 3,
    }
    assert {feature.name for feature in FEATURES if feature.leaky} == LEAKY


@pytest.mark.parametrize("where", ["both_recomputed", "video"])
def test_no_feature_that_makes_the_target_is_in_an_input(where):
    names = {
        modality: run(TOY, cohort_of("ann"), modality, session_features=where).names
        for modality in ("problem", "video")
    }
    assert not LEAKY & {name for modality in names.values() for name in modality}
    assert len(names["problem"]) == (15 if where == "both_recomputed" else 4)
    assert len(names["video"]) == 34  # 38 less three deviations of one week and the double of TotalClicksVideo


def test_the_leaky_ablation_is_marked_and_holds_the_three():
    made = featurize(TOY, cohort_of("ann"), "problem", leaky=True)
    assert made.card["leaky"] == "yes: an ablation, never a result"
    assert cell(made.embeddings)["CompetencyStrength"] == pytest.approx(2 / 3)
    assert set(made.embeddings.names) >= LEAKY


def test_bad_calls_say_what_is_wrong():
    with pytest.raises(ContractError, match="unknown modality 'forum'; it makes problem, video"):
        run(TOY, cohort_of("ann"), "forum")
    with pytest.raises(ContractError, match="the log has 3 weeks, the cohort 4 steps"):
        run(TOY, cohort_of("ann", num_weeks=4), "video")


def test_progress_reaches_its_end():
    seen = []
    evidence = TOY.evidence(["ann"])
    WEEKLY_CLICKS.run(evidence, cohort_of("ann"), "video", WeeklyClicksParams(), lambda *at: seen.append(at))
    assert seen[-1] == (1, 1)


def test_the_table_of_contents_finds_it():
    assert load_featurizer("weekly_clicks") is WEEKLY_CLICKS


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 80, 11)
    prepared = {"events": raw.parent / "events.parquet"}
    prepare(raw, "events", prepared["events"], {}, lambda done, total: None)
    return raw, EduCohortParams(filter="none"), prepared


@pytest.fixture(scope="module")
def generated(world):
    raw, params, prepared = world
    cohort = EDU.build_cohort(raw, params)
    return EDU.read_evidence(raw, "video", cohort, params, prepared), cohort


def without(evidence: ClickEvidence, mask) -> ClickEvidence:
    """mask: block -> the clicks to take away."""

    def blocks():
        for block in evidence.blocks():
            kept = ~mask(block)
            arrays = {
                name: getattr(block, name)[kept] for name in ("item", "week", "time", "stream", "event", "content")
            }
            yield ClickBlock(**arrays, facts={name: values[kept] for name, values in block.facts.items()})

    return dataclasses.replace(evidence, blocks=blocks)


@pytest.mark.parametrize(("modality", "other"), [("video", "problem"), ("problem", "video")])
def test_a_modality_holds_nothing_of_the_other(generated, modality, other):
    evidence, cohort = generated
    alone = run(without(evidence, lambda block: block.stream == CLICK_STREAMS.index(other)), cohort, modality)
    np.testing.assert_array_equal(alone.values, run(evidence, cohort, modality).values)


@pytest.mark.parametrize("where", ["both_recomputed", "video"])
@pytest.mark.parametrize("modality", ["video", "problem"])
def test_a_week_knows_no_later_week(generated, modality, where):
    evidence, cohort = generated
    earlier = without(evidence, lambda block: block.week > 5)
    cut = run(earlier, cohort, modality, session_features=where, silent_week="absent")
    whole = run(evidence, cohort, modality, session_features=where, silent_week="absent")
    np.testing.assert_array_equal(cut.values[:, :, :6], whole.values[:, :, :6])
    assert not cut.present[:, 6:].any()


@pytest.mark.parametrize("modality", ["video", "problem"])
def test_a_student_is_the_same_in_any_company(world, generated, modality):
    evidence, cohort = generated
    some = cohort.items.iloc[[7, 3, 20]].reset_index(drop=True)
    few = Cohort(items=some, targets={}, folds=cohort.folds, num_steps=cohort.num_steps)
    raw, params, prepared = world
    alone = EDU.read_evidence(raw, modality, few, params, prepared)
    found, whole = run(alone, few, modality).values, run(evidence, cohort, modality).values[:, [7, 3, 20]]
    # Sums by cell are over the same clicks in the same order: equal to the last bit.
    np.testing.assert_array_equal(found, whole)


def test_no_input_of_a_generated_course_is_constant(generated):
    evidence, cohort = generated
    for modality in ("video", "problem"):
        embeddings = run(evidence, cohort, modality)
        shown = embeddings.values[0][embeddings.present]
        constant = [
            name
            for name, column in zip(embeddings.names, shown.T, strict=True)
            if len(np.unique(column[~np.isnan(column)])) < 2
        ]
        assert not constant


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1_814_399), st.integers(0, 5)), min_size=1, max_size=60))
def test_totals_add_up_for_any_log(rows):
    """Clicks of weekdays and weekends, and the shares of event types, each make the whole; nothing is infinite."""
    names = ("Load", "Play", "Pause", "Stop", "Seek", "SpeedChange")
    clicks = []
    for who, at, kind in rows:
        time = (MONDAY + pd.Timedelta(seconds=at)).strftime("%m-%d %H:%M:%S")
        facts = {4: {"old_time": 10.0, "new_time": at % 30 + 0.5}, 5: {"new_speed": 1.5}}.get(kind, {})
        clicks.append(click(f"s{who}", time, f"Video.{names[kind]}", "ABCD"[at % 4], **facts))
    embeddings = run(evidence_of(clicks), cohort_of(*(f"s{who}" for who in range(21))), "video", silent_week="absent")
    table = pd.DataFrame(embeddings.values[0][embeddings.present], columns=list(embeddings.names))
    assert table["TotalClicks"].sum() == len(rows)
    np.testing.assert_allclose(table["TotalClicksWeekday"] + table["TotalClicksWeekend"], table["TotalClicks"])
    shares = ["Load", "Play", "Pause", "Stop", "SeekBackward", "SeekForward", "SpeedChange"]
    np.testing.assert_allclose(table[[f"FrequencyEvent{name}" for name in shares]].sum(axis=1), 1, rtol=1e-5)
    assert not np.isinf(table.to_numpy()).any()
