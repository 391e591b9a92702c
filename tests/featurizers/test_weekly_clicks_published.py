"""What the published studies did with the weekly features: cumulative weeks, and their ways of scaling."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from benchmarks.edu_plain import frame_of, one_week
from mmn.data.edu import EDU
from mmn.data.edu.arrays import SET_COLUMNS, read_arrays
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.embeddings import check_embeddings
from mmn.data.errors import CohortError, StaleInputError
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams
from mmn.featurizers.weekly_clicks.export import cumulative_features, export_arrays, published_features

PARAMS = EduCohortParams(mode="compat", filter="none")
LQ = EduCohortParams(mode="compat", filter="none", arrays="lq_week")
PROPS = [f"{what}{kind}WeeklyProp" for what in ("Avg", "Std") for kind in ("Watched", "Replayed", "Interrupted")]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The raw folder, a cohort, its clicks, their weekly features; and a folder of arrays of both timeframes."""
    raw = tmp_path_factory.mktemp("edu") / "raw"
    write_world(raw, 40, 6)
    cohort = EDU.build_cohort(raw, PARAMS)
    evidence = EDU.read_evidence(raw, "video", cohort, PARAMS)
    export_arrays(raw, cohort, PARAMS, raw.parent / "arrays", cumulative=True)
    return cohort, evidence, published_features(evidence, len(cohort)), raw


def test_cumulative_weeks_equal_a_plain_loop_over_all_clicks_so_far(course):
    _, evidence, weekly, _ = course
    ours = cumulative_features(evidence, weekly)
    log, schedule = frame_of(evidence), evidence.schedule
    for week in (0, 4, 9):
        planned, later = schedule[schedule["week"] <= week], schedule[schedule["week"] > week]
        for item in (0, 7):
            clicks = log[(log["item"] == item) & (log["week"] <= week)]
            for name, value in one_week(clicks, planned, later).items():
                if name not in PROPS:
                    assert ours[name][item, week] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_the_first_cumulative_week_is_the_first_week_and_shares_are_means_and_deviations_of_the_weekly_ones(course):
    _, evidence, weekly, _ = course
    ours = cumulative_features(evidence, weekly)
    for name, values in weekly.items():
        np.testing.assert_allclose(ours[name][:, 0], values[:, 0], err_msg=name, atol=1e-9)
    share = weekly["AvgWatchedWeeklyProp"]
    np.testing.assert_allclose(ours["AvgWatchedWeeklyProp"][:, 5], share[:, :6].mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(ours["StdWatchedWeeklyProp"][:, 5], share[:, :6].std(axis=1), atol=1e-9)
    np.testing.assert_array_equal(ours["TotalClicks"], np.cumsum(weekly["TotalClicks"], axis=1))


def test_cumulative_arrays_are_written_read_and_reach_the_features_while_targets_stay_of_single_weeks(course):
    cohort, evidence, weekly, raw = course
    folder = raw.parent / "arrays"
    read = read_arrays(folder, timeframe="lq_week")
    for name, values in cumulative_features(evidence, weekly).items():
        np.testing.assert_array_equal(read.values[name], values)
    again = EDU.build_cohort(folder, LQ)
    for task, target in cohort.targets.items():
        np.testing.assert_allclose(again.targets[task], target, atol=1e-12)
    given = EDU.read_evidence(folder, "video", again, LQ)
    made = WEEKLY_CLICKS.run(given, again, "video", WeeklyClicksParams(mode="compat"), lambda done, total: None)
    clicks = made.embeddings.values[0, :, :, made.embeddings.names.index("TotalClicks")]
    np.testing.assert_array_equal(clicks, np.cumsum(weekly["TotalClicks"], axis=1))
    with pytest.raises(CohortError, match="the log is read, whose features are of single weeks"):
        EDU.build_cohort(raw, LQ)


def test_cumulative_arrays_of_fewer_weeks_are_refused(course):
    cohort, _, _, raw = course
    from dataclasses import replace

    with pytest.raises(StaleInputError, match="the lq_week arrays have 10 weeks, the cohort 11"):
        EDU.read_evidence(raw.parent / "arrays", "video", replace(cohort, num_steps=11), LQ)


def scaled(course, scaling: str, **settings):
    """Our values (F, N, T, D) of both modalities, as the columns of `SET_COLUMNS` by set; and what is present."""
    cohort, evidence, _, _ = course
    params = WeeklyClicksParams(mode="compat", leaky=True, scaling=scaling, **settings)
    parts, present = {}, []
    for modality in ("problem", "video"):
        made = WEEKLY_CLICKS.run(evidence, cohort, modality, params, lambda done, total: None)
        check_embeddings(made.embeddings, cohort.items["item"].to_numpy(), modality)
        assert made.card["scaling"].startswith(scaling)
        parts |= {name: made.embeddings.values[..., k] for k, name in enumerate(made.embeddings.names)}
        present.append(made.embeddings.present)
    np.testing.assert_array_equal(*present)
    return {each: np.stack([parts[name] for name in names], axis=-1) for each, names in SET_COLUMNS.items()}, present[0]


@pytest.mark.parametrize(("scaling", "fill"), [("meta_transfer", -1.0), ("interpretcc", 0.0)])
def test_a_set_is_divided_by_its_length_over_the_weeks_seen_and_later_weeks_are_absent(course, scaling, fill):
    found, present = scaled(course, scaling, seen_share=0.4)
    assert present[:, :4].all() and not present[:, 4:].any()
    for each, names in SET_COLUMNS.items():
        seen = np.nan_to_num(np.stack([course[2][name] for name in names], axis=-1)[:, :4], nan=fill)
        expected = normalize(seen.reshape(len(seen), -1)).reshape(seen.shape)
        np.testing.assert_allclose(found[each][0, :, :4], expected, rtol=1e-5, atol=1e-7)


def test_the_ranges_of_evaluating_explainers_are_of_all_students_and_the_card_says_that_it_leaks(course):
    found, _ = scaled(course, "evaluating_explainers")
    values = course[2]["DelayLecture"]
    filled = np.where(np.isnan(values), np.nanmin(values), values)
    low, top = filled.min(axis=0), 1.001 * np.where(filled.max(axis=0) == 0, 1, filled.max(axis=0))
    ours = found["boroujeni_et_al"][0, :, :, 2]
    np.testing.assert_allclose(ours, (filled - low) / (top - low), rtol=1e-5, atol=1e-6)
    made = WEEKLY_CLICKS.run(
        course[1], course[0], "video", WeeklyClicksParams(mode="compat", scaling="evaluating_explainers"),
        lambda done, total: None,
    )  # fmt: skip
    assert "a leak, never a result" in made.card["scaling"]


def test_flipped_classroom_scales_each_week_on_the_training_students_of_each_fold(course):
    cohort = course[0]
    found, _ = scaled(course, "flipped_classroom")
    values = np.stack([np.nan_to_num(course[2][name], nan=-1.0) for name in SET_COLUMNS["chen_cui"]], axis=-1)
    assert found["chen_cui"].shape[0] == cohort.num_folds
    for fold in (0, 3):
        for week in (0, 9):
            scaler = StandardScaler().fit(values[cohort.rows(fold, "train"), week])
            expected = scaler.transform(values[:, week])
            np.testing.assert_allclose(found["chen_cui"][fold, :, week], expected, rtol=1e-4, atol=1e-5)


def test_published_scaling_is_compat_modes_alone():
    with pytest.raises(ValueError, match=r"Set edu\.mode to \"compat\""):
        WeeklyClicksParams(scaling="interpretcc")
    with pytest.raises(ValueError, match="known: none, meta_transfer"):
        WeeklyClicksParams(mode="compat", scaling="l2")
    with pytest.raises(ValueError, match="give a share of the course"):
        WeeklyClicksParams(mode="compat", seen_share=0.0)
