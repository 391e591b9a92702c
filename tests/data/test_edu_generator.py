"""The generated course reproduces what is known of the true one, and what is planted in it can be found.

Of the true course: 5,611 of 8,679 students stay after the two-week filter and 1,513 (27 %) of these pass; its player
logs nothing but Video.Load; lectures are seen about six days before their scheduled date.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import check_cohort
from mmn.data.edu import EDU
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import prepare
from mmn.data.files import read_json, version_of
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams

STAY, PASS = 5_611 / 8_679, 1_513 / 5_611
DAY = 86_400


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> tuple[Path, Path]:
    """The size of the true course."""
    raw = tmp_path_factory.mktemp("edu") / "raw"
    EDU.generate(raw, "dsp", 0)
    prepare(raw, "events", raw.parent / "events.parquet", {}, quiet)
    return raw, raw.parent / "events.parquet"


@pytest.fixture(scope="module")
def everyone(course):
    return EDU.build_cohort(course[0], EduCohortParams(filter="none"), {"events": course[1]})


@pytest.fixture(scope="module")
def filtered(course):
    return EDU.build_cohort(course[0], EduCohortParams(), {"events": course[1]})


@pytest.fixture(scope="module")
def features(course, filtered):
    """Column -> (N, T), both modalities, as published."""
    found = {}
    params = WeeklyClicksParams(mode="compat", leaky=True)
    for modality in ("problem", "video"):
        evidence = EDU.read_evidence(course[0], modality, filtered, EduCohortParams(), {"events": course[1]})
        made = WEEKLY_CLICKS.run(evidence, filtered, modality, params, quiet).embeddings
        found |= {name: made.values[0, :, :, place] for place, name in enumerate(made.names)}
    return found


def within(found: float, expected: float, num: int, more: float = 0.0) -> bool:
    """Four standard errors of a share among `num`, and what else it may differ by."""
    return abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / num) + more


def test_the_course_has_the_true_size_and_keeps_its_promises(everyone, filtered):
    check_cohort(everyone, "everyone")
    check_cohort(filtered, "filtered")
    # Of 8,870 who enrol, so many never click as the hazard has it: the true course had 8,679 who did.
    assert abs(len(everyone) - 8_679) < 0.01 * 8_679 + 4 * np.sqrt(8_870 * 0.03 * 0.97)


def test_27_percent_of_those_who_stay_pass_and_a_third_is_filtered(everyone, filtered):
    passed = filtered.targets["pass_course"]
    assert within(passed.mean(), PASS, len(filtered))
    assert within(len(filtered) / len(everyone), STAY, len(everyone), more=0.02)  # the filter is a fit of its own
    removed = everyone.items["item"].isin(filtered.items["item"]).to_numpy()
    assert everyone.targets["pass_course"][~removed].mean() < 0.02  # p(fail) was 0.99 or more


def test_the_player_logs_loads_alone_so_25_of_the_42_columns_say_something(features):
    leaky = {"CompetencyStrength", "CompetencyAlignment", "StudentShape"}
    alive = {n for n, values in features.items() if len(np.unique(values[~np.isnan(values)])) > 1} - leaky
    assert len(features) == 45 and len(alive) == 25


def test_lectures_are_seen_about_six_days_before_their_date(features):
    first_week = features["DelayLecture"][:, 0]
    assert -6.5 * DAY < np.nanmean(first_week) < -4.5 * DAY
    assert (features["DelayLecture"][~np.isnan(features["DelayLecture"])] < 0).mean() > 0.95


def test_activity_decays_and_clicks_are_heavy_tailed(features, filtered):
    active = (features["TotalClicks"] > 0).mean(axis=0)
    error = 4 * np.sqrt(0.25 / len(filtered))
    assert (np.diff(active[:9]) < error).all() and active[9] < active[0] - 0.2
    stays = filtered.targets["stays_active"][:, :-1].mean(axis=0)
    assert (np.diff(stays) <= 0).all() and stays[0] > 0.9 and stays[-1] < 0.8


def test_with_the_full_player_clicks_are_heavy_tailed(tmp_path):
    write_world(tmp_path, 600, 1)
    users = pd.read_csv(tmp_path / "video_event" / "dsp-001.csv.gz")["user_id"]
    clicks = users.value_counts()
    assert clicks.quantile(0.99) > 5 * clicks.median()
    assert clicks.mean() > 1.3 * clicks.median()


def test_the_planted_traits_are_in_the_features_and_in_the_labels(course, filtered, features):
    truth = pd.read_csv(course[0] / "truth" / "dsp-001.csv.gz", dtype={"user_id": str}).set_index("user_id")
    truth = truth.loc[filtered.items["item"]]
    # Two independent samples of this size correlate by less than 4 / sqrt(n).
    noise = 4 / np.sqrt(len(filtered))
    seen = np.nan_to_num(features["TotalClicks"][:, :6]).sum(axis=1)
    shape = np.nanmean(np.where(np.isnan(features["CompetencyAlignment"]), 0, features["CompetencyAlignment"]), axis=1)
    passed = filtered.targets["pass_course"]
    for found, trait, least in (
        (seen, "engagement", 0.4), (shape, "ability", 0.2), (passed, "engagement", 0.3), (passed, "ability", 0.2),
    ):  # fmt: skip
        assert np.corrcoef(found, truth[trait])[0, 1] > least + noise
    permuted = np.random.default_rng(0).permutation(truth["engagement"].to_numpy())
    assert abs(np.corrcoef(seen, permuted)[0, 1]) < noise


def test_early_clicks_foretell_passing_and_shuffled_labels_cannot_be_foretold(filtered, features):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    names = ("TotalClicksVideo", "TotalClicksProblem", "ContentAlignment", "NumberOfSessions")
    x = np.concatenate([np.nan_to_num(features[name][:, :6]) for name in names], axis=1)
    train, test = filtered.rows(0, "train"), filtered.rows(0, "test")
    x = StandardScaler().fit(x[train]).transform(x)
    passed = filtered.targets["pass_course"]
    shuffled = np.random.default_rng(1).permutation(passed)
    auc = {}
    for name, label in (("true", passed), ("shuffled", shuffled)):
        score = LogisticRegression(max_iter=300).fit(x[train], label[train]).decision_function(x[test])
        auc[name] = roc_auc_score(label[test], score)
    positives = passed[test].sum()
    # The standard error of an AUROC under chance: sqrt((m + n + 1) / (12 m n)).
    error = np.sqrt((len(test) + 1) / (12 * positives * (len(test) - positives)))
    assert auc["true"] > 0.8 and abs(auc["shuffled"] - 0.5) < 4 * error


def test_students_in_several_chunks_are_one_course(tmp_path, monkeypatch):
    monkeypatch.setattr("mmn.data.edu.generator.CHUNK", 50)
    for name in ("a", "b"):
        write_world(tmp_path / name, 130, 1)
    assert version_of(tmp_path / "a") == version_of(tmp_path / "b")
    cohort = EDU.build_cohort(tmp_path / "a", EduCohortParams(filter="none"))
    grades = pd.read_csv(tmp_path / "a" / "grade" / "dsp-001.csv.gz")
    assert len(cohort) + sum(cohort.excluded.values()) == len(grades) == 130 + 2 * (50 // 50) + 30 // 50
    truth = read_json(tmp_path / "a" / "GENERATED.json")["num_events"]
    assert truth["video"] == len(pd.read_csv(tmp_path / "a" / "video_event" / "dsp-001.csv.gz"))


def test_a_plain_world_holds_the_same_rows_as_a_packed_one(tmp_path):
    write_world(tmp_path / "packed", 40, 1)
    write_world(tmp_path / "plain", 40, 1, plain=True)
    for table in ("video_event", "problem_event", "grade"):
        packed, plain = (
            pd.read_csv(tmp_path / kind / table / f"dsp-001.csv{end}")
            for kind, end in (("packed", ".gz"), ("plain", ""))
        )
        pd.testing.assert_frame_equal(packed, plain)
