"""EDU's cohort: labels, targets, filters, folds; and the world it is tried on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.edu import EDU
from mmn.data.edu.cohort import READ_STEP, EduCohortParams, build_cohort, stays_active
from mmn.data.edu.contracts import TABLES, check_table, columns_of
from mmn.data.edu.filter import early_grades, fail_probability
from mmn.data.edu.generator import write_world
from mmn.data.edu.performance import Checks, moving_average, weekly_performance
from mmn.data.edu.prepared import prepare
from mmn.data.edu.reader import read_course
from mmn.data.errors import CohortError, ParamsError
from mmn.data.evidence import CLICK_STREAMS, CLICK_TYPES
from mmn.data.files import read_json, version_of

FILTERS = ("crossfit", "train_fold", "no_submission", "none")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 300, 5)
    return raw


@pytest.fixture(scope="module")
def cohorts(world):
    events = world.parent / "events.parquet"
    prepare(world, "events", events, {}, lambda done, total: None)
    return {name: build_cohort(world, EduCohortParams(filter=name), {"events": events}) for name in FILTERS}


def grades_of(world: Path) -> pd.DataFrame:
    return pd.read_csv(world / "grade" / "dsp-001.csv.gz", dtype={"user_id": str}).set_index("user_id")


def seen(raw: Path, cohort, streams=("video", "problem")) -> pd.DataFrame:
    """Every click of the cohort's students: `item`, `week`."""
    blocks = EDU.read_evidence(raw, "video", cohort, EduCohortParams()).blocks()
    codes = [CLICK_STREAMS.index(name) for name in streams]
    log = pd.concat([pd.DataFrame({"item": b.item, "week": b.week})[np.isin(b.stream, codes)] for b in blocks])
    return log.assign(item=cohort.items["item"].to_numpy()[log["item"]])


def checks_of(raw: Path, cohort):
    """The submissions of the cohort's students, read plainly from the csv file; and the course."""
    course = read_course(raw)
    log = pd.read_csv(raw / "problem_event" / "dsp-001.csv.gz", dtype={"user_id": str, "problem_id": str})
    log["item"] = pd.Index(cohort.items["item"]).get_indexer(log["user_id"])
    at = pd.to_datetime(log["timestamp"], unit="s")
    log["week"] = (at - course.start) // pd.Timedelta(weeks=1)
    log = log[(log["item"] >= 0) & (at >= course.first) & (at <= course.last) & (log["event_type"] == "Problem.Check")]
    log = log.drop_duplicates(["item", "problem_id", "timestamp"]).sort_values(["item", "timestamp"], kind="stable")
    rows = course.schedule[course.schedule["stream"] == "problem"].reset_index().set_index("content")["index"]
    content = log["problem_id"].map(rows).fillna(-1).astype(int)
    return Checks(
        item=log["item"].to_numpy(), content=content.to_numpy(), week=log["week"].to_numpy(),
        time=log["timestamp"].to_numpy(), grade=log["grade"].to_numpy(), submission=log["submission_number"].to_numpy(),
    ), course  # fmt: skip


def edited(world: Path, tmp_path: Path, name: str, change) -> Path:
    raw = Path(shutil.copytree(world, tmp_path / "raw"))
    path = raw / "metadata.csv" if name == "metadata" else raw / name / "dsp-001.csv.gz"
    change(pd.read_csv(path, dtype={"user_id": str, "id": str, "course_id": str})).to_csv(path, index=False)
    return raw


@pytest.mark.parametrize("name", FILTERS)
def test_every_cohort_keeps_its_promises_and_survives_the_disk(cohorts, tmp_path, name):
    cohort = cohorts[name]
    check_cohort(cohort, name)
    write_cohort(tmp_path / "cohort", cohort, {})
    again = read_cohort(tmp_path / "cohort")
    for task in cohort.targets:
        np.testing.assert_array_equal(again.targets[task], cohort.targets[task])
    assert cohort.num_folds == 5 and cohort.num_steps == 10
    assert set(cohort.targets) == {task.name for task in EDU.tasks}


def test_one_means_passed(world, cohorts):
    cohort = cohorts["none"]
    grades = grades_of(world).loc[cohort.items["item"]]
    np.testing.assert_array_equal(cohort.targets["pass_course"] == 1, grades["pass-fail"] == "Passed")
    passed = cohort.targets["pass_course"] == 1
    assert grades["grade"][passed].min() > grades["grade"][~passed].max()


def test_without_the_column_the_threshold_of_the_metadata_decides(world, cohorts, tmp_path):
    raw = edited(world, tmp_path, "grade", lambda frame: frame.drop(columns="pass-fail"))
    cohort = build_cohort(raw, EduCohortParams(filter="none"))
    np.testing.assert_array_equal(cohort.targets["pass_course"], cohorts["none"].targets["pass_course"])


def test_a_verdict_that_is_not_there_is_missing_and_not_a_failure(world, cohorts, tmp_path):
    someone = cohorts["none"].items["item"][3]
    raw = edited(
        world, tmp_path, "grade", lambda f: f.assign(**{"pass-fail": f["pass-fail"].where(f["user_id"] != someone)})
    )
    for name in FILTERS:
        cohort = build_cohort(raw, EduCohortParams(filter=name))
        check_cohort(cohort, "edu")
        label = cohort.targets["pass_course"][cohort.items["item"] == someone]
        assert np.isnan(label).all()
    assert any("1 students have no pass label" in note for note in cohort.notes)


def test_prediction_time_is_the_end_of_the_week_that_is_read(cohorts):
    assert (cohorts["none"].items["prediction_time"] == pd.Timestamp("2013-04-01")).all()
    assert all(task.read_step == READ_STEP == 5 for task in EDU.tasks)


def test_stays_active_counts_the_events_of_later_weeks(world, cohorts):
    cohort = cohorts["none"]
    last = seen(world, cohort).groupby("item")["week"].max()[cohort.items["item"]].to_numpy()
    target = cohort.targets["stays_active"]
    np.testing.assert_array_equal(target[:, :-1] == 1, last[:, None] > np.arange(9))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_who_has_left_never_stays_again(active):
    target = stays_active(active)
    assert np.isnan(target[:, -1]).all()
    known = target[:, :-1]
    assert np.isin(known, [0, 1]).all()
    assert (np.diff(known, axis=1) <= 0).all()
    for week in range(known.shape[1]):
        np.testing.assert_array_equal(known[:, week] == 1, active[:, week + 1 :].any(axis=1))


@given(arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1)), st.integers(1, 12))
def test_the_moving_average_is_the_mean_of_the_last_weeks_that_there_are(weekly, window):
    average = moving_average(weekly, window)
    for week in range(weekly.shape[1]):
        expected = weekly[:, max(0, week - window + 1) : week + 1].mean(axis=1)
        np.testing.assert_allclose(average[:, week], expected, atol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 10])
def test_next_week_performance_is_the_average_one_week_ahead(world, window):
    cohort = build_cohort(world, EduCohortParams(filter="none", moving_average_weeks=window))
    checks, course = checks_of(world, cohort)
    average = moving_average(weekly_performance(checks, course.schedule, len(cohort), 10).mean(), window)
    target = cohort.targets["next_week_performance"]
    np.testing.assert_allclose(target[:, :-1], average[:, 1:])
    assert np.isnan(target[:, -1]).all()
    assert np.nanmin(target) >= 0 and np.nanmax(target) <= 1


def test_the_last_week_has_no_target_to_come(cohorts):
    for cohort in cohorts.values():
        for task in EDU.tasks:
            if task.per_step:
                assert np.isnan(cohort.targets[task.name][:, -1]).all()
                assert not np.isnan(cohort.targets[task.name][:, :-1]).any()


def test_baselines_are_the_rules_read_at_the_read_step(world, cohorts):
    cohort = cohorts["none"]
    rules = cohort.baselines.set_index("task")
    assert set(rules["fold"]) == {-1} and list(rules["baseline"].unique()) == ["active_this_week", "persistence"]
    target = cohort.targets["next_week_performance"]
    # The average of week t is what the target at t - 1 was.
    np.testing.assert_allclose(rules.loc["next_week_performance", "prediction"], target[:, READ_STEP - 1])
    events = seen(world, cohort)
    now = events[events["week"] == READ_STEP]["item"]
    np.testing.assert_array_equal(rules.loc["stays_active", "prediction"] == 1, cohort.items["item"].isin(set(now)))


def test_the_rules_speak_after_every_week_and_survive_the_disk(world, cohorts, tmp_path):
    cohort = cohorts["none"]
    write_cohort(tmp_path / "cohort", cohort, {})
    rules = read_cohort(tmp_path / "cohort").step_baselines
    assert {task: list(names) for task, names in rules.items()} == {
        "stays_active": ["active_this_week"], "next_week_performance": ["persistence"]
    }  # fmt: skip
    events = seen(world, cohort)
    for week in (0, 9):
        now = cohort.items["item"].isin(set(events[events["week"] == week]["item"]))
        np.testing.assert_array_equal(rules["stays_active"]["active_this_week"][:, week] == 1, now)
    average = rules["next_week_performance"]["persistence"]
    np.testing.assert_array_equal(average[:, 1:], cohort.targets["next_week_performance"][:, :-1])


def test_filters_count_whom_they_remove_and_remove_mostly_those_who_fail(cohorts):
    everyone = cohorts["none"]
    failed = dict(zip(everyone.items["item"], everyone.targets["pass_course"] == 0, strict=True))
    for name in ("crossfit", "train_fold", "no_submission"):
        cohort = cohorts[name]
        removed = set(everyone.items["item"]) - set(cohort.items["item"])
        assert cohort.excluded[f"two-week filter ({name})"] == len(removed) > 0
        assert len(cohort) + sum(cohort.excluded.values()) == len(everyone) + sum(everyone.excluded.values())
        assert np.mean([failed[item] for item in removed]) > 0.95
    assert any("Selection bias" in note for note in cohorts["crossfit"].notes)
    assert not any("filter" in reason for reason in everyone.excluded)


def test_the_filter_removes_at_its_threshold(world, cohorts):
    everyone = cohorts["none"]
    names = everyone.items["item"].to_numpy()
    checks, course = checks_of(world, everyone)
    grades = early_grades(checks, course.schedule, len(everyone))
    probability = fail_probability(grades, everyone.targets["pass_course"], 0)
    np.testing.assert_array_equal(cohorts["crossfit"].items["item"], names[probability < 0.99])


def test_the_train_fold_filter_knows_no_label_of_a_held_out_student(world, cohorts):
    """Exchanging the labels of one fold's test students leaves who is kept in that fold's test as it was."""
    from mmn.data.edu.filter import fail_probability_by_fold

    everyone = cohorts["none"]
    checks, course = checks_of(world, everyone)
    grades = early_grades(checks, course.schedule, len(everyone))
    passed = everyone.targets["pass_course"]
    train, test = everyone.rows(0, "train"), everyone.rows(0, "test")
    other = passed.copy()
    other[test] = 1 - other[test]
    np.testing.assert_array_equal(
        fail_probability_by_fold(grades, passed, train, 0), fail_probability_by_fold(grades, other, train, 0)
    )


def test_folds_share_no_student_and_are_stratified_by_passing(cohorts):
    cohort = cohorts["none"]
    tests = [set(cohort.rows(fold, "test")) for fold in range(5)]
    assert sum(map(len, tests)) == len(set.union(*tests))
    share = cohort.targets["pass_course"].mean()
    for fold in range(5):
        sides = [set(cohort.rows(fold, split)) for split in ("train", "validation", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == len(cohort)
        assert abs(cohort.targets["pass_course"][cohort.rows(fold, "train")].mean() - share) < 0.02
        assert abs(cohort.targets["pass_course"][cohort.rows(fold, "test")].mean() - share) < 0.05


def test_the_same_seed_gives_the_same_cohort(world, cohorts):
    again = build_cohort(world, EduCohortParams())
    pd.testing.assert_frame_equal(again.folds, cohorts["crossfit"].folds)
    pd.testing.assert_frame_equal(again.items, cohorts["crossfit"].items)
    other = build_cohort(world, EduCohortParams(filter="none", seed=1))
    assert not other.folds.equals(cohorts["none"].folds)


def test_a_course_where_nobody_passes_is_refused_by_the_filter(world, tmp_path):
    raw = edited(world, tmp_path, "grade", lambda frame: frame.assign(**{"pass-fail": "Failed"}))
    with pytest.raises(CohortError, match=r'0 of \d+ passed.*filter to "none"'):
        build_cohort(raw, EduCohortParams())


def test_a_course_too_short_to_read_is_refused(world):
    with pytest.raises(CohortError, match="6 weeks; results are read after week 6"):
        build_cohort(world, EduCohortParams(num_weeks=6))
    assert any("75%" in note for note in build_cohort(world, EduCohortParams(num_weeks=8)).notes)


@pytest.mark.parametrize(
    "wrong", [{"moving_average_weeks": 0}, {"filter_threshold": 1.0}, {"num_weeks": 0}], ids=lambda w: next(iter(w))
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(EduCohortParams(), **wrong)


def test_a_load_only_course_goes_the_same_road(tmp_path):
    write_world(tmp_path / "raw", 120, 1, load_only=True)
    cohort = build_cohort(tmp_path / "raw", EduCohortParams(filter="no_submission"))
    check_cohort(cohort, "load only")
    for block in EDU.read_evidence(tmp_path / "raw", "video", cohort, EduCohortParams()).blocks():
        video = block.stream == CLICK_STREAMS.index("video")
        assert set(block.event[video]) == {CLICK_TYPES.index("Video.Load")}
        assert np.isnan(block.facts["current_time"]).all()


def test_evidence_holds_the_cohorts_students_and_no_others(world, cohorts):
    cohort = cohorts["crossfit"]
    evidence = EDU.read_evidence(world, "problem", cohort, EduCohortParams())
    blocks = list(evidence.blocks())
    assert set(np.concatenate([block.item for block in blocks])) == set(range(len(cohort)))
    assert set(np.concatenate([block.stream for block in blocks])) == {0, 1, 2}
    assert list(evidence.schedule.columns) == ["content", "stream", "week", "date", "duration", "grade_max"]


def test_the_same_size_and_seed_give_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        EDU.generate(tmp_path / name, "tiny", seed)
    assert version_of(tmp_path / "a") == version_of(tmp_path / "b") != version_of(tmp_path / "c")


def test_the_world_tells_the_truth_of_itself(world):
    truth = read_json(world / "GENERATED.json")
    assert truth["generated"] is True and truth["num_students"] == 300
    with pytest.raises(ParamsError, match="unknown size 'huge'; known: tiny, demo, dsp, medium"):
        EDU.generate(world / "x", "huge", 0)


def test_the_world_keeps_the_contracts_of_the_reader(world):
    for name, contract in TABLES.items():
        path = world / "metadata.csv" if name == "metadata" else world / name / "dsp-001.csv.gz"
        texts = {column: "str" for column, (is_text, _) in columns_of(contract).items() if is_text}
        frame = pd.read_csv(path, dtype=texts)
        numbers = {column: "float64" for column in columns_of(contract) if column in frame and column not in texts}
        check_table(frame.astype(numbers), contract, name)


def test_the_world_looks_like_the_course_it_stands_for(tmp_path):
    """27 % pass after the filter, a third to a half is filtered, clicks are heavy-tailed, activity decays."""
    EDU.generate(tmp_path, "demo", 7)
    cohort = build_cohort(tmp_path, EduCohortParams())
    assert 0.22 < cohort.targets["pass_course"].mean() < 0.33
    assert 0.3 < cohort.excluded["two-week filter (crossfit)"] / 700 < 0.5
    stays = cohort.targets["stays_active"].mean(axis=0)
    assert stays[0] > 0.9 and stays[-2] < 0.7
    clicks = seen(tmp_path, build_cohort(tmp_path, EduCohortParams(filter="none"))).groupby("item").size()
    assert clicks.quantile(0.99) > 5 * clicks.median()


def test_what_is_planted_decides_who_passes(world, cohorts):
    truth = pd.read_csv(world / "truth" / "dsp-001.csv.gz", dtype={"user_id": str}).set_index("user_id")
    truth = truth.loc[cohorts["none"].items["item"]]
    passed = cohorts["none"].targets["pass_course"] == 1
    for trait in ("engagement", "ability"):
        assert truth[trait][passed].mean() > truth[trait][~passed].mean() + 0.5
    assert truth["auditor"][passed].mean() < 0.05
