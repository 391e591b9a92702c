"""Differences of models against independent oracles: statsmodels, DeLong's example, pair counts, a simulated truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.modeling.comparisons import compare
from mmn.modeling.differences import delong, delong_over_folds, equivalence, holm, p_of_difference, paired, t_interval
from mmn.modeling.metrics import auroc, once
from mmn.modeling.pooled import pool
from mmn.modeling.settings import ComparisonSettings
from mmn.modeling.subgroups import by_subgroup
from mmn.orchestration.settings import comparison_settings
from tests.modeling.worlds import make_world

# DeLong, DeLong and Clarke-Pearson (1988): albumin, total protein, K-G score and whether surgery helped, of the 43
# patients with all three.
OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
SICK = Task(name="sick", number=1, kind="binary", description="", published={"m1": "0.75±0.04", "m2": "0.71±0.02"})
NOISE = Task(name="noise", number=2, kind="binary", description="")
LEVEL = Task(name="level", number=5, kind="regression", description="", unit="°C")
FOLDS = st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=3, max_size=8)


@settings(max_examples=25)  # theirs takes a quarter of a second
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])


@settings(max_examples=60)
@given(first=FOLDS, margin=st.floats(0.01, 0.5))
def test_tost_and_the_t_test_are_statsmodels_and_scipys_where_nothing_is_corrected(first, margin):
    rng = np.random.default_rng(0)
    one = np.array(first)
    two = one - rng.normal(0.05, 0.1, len(one))
    assert equivalence(one - two, margin) == pytest.approx(ttost_paired(one, two, -margin, margin)[0], abs=1e-9)
    assert p_of_difference(one - two) == pytest.approx(stats.ttest_rel(one, two).pvalue, abs=1e-9)


@settings(max_examples=60)
@given(values=FOLDS, margin=st.floats(0.01, 0.5), ratio=st.floats(0, 0.5))
def test_two_models_are_equal_exactly_where_the_corrected_90_percent_interval_lies_within_the_margin(
    values, margin, ratio
):
    values = np.array(values) + np.linspace(0, 1e-4, len(values))
    interval = t_interval(values, ratio, 0.90)
    inside = -margin < interval.low and interval.high < margin
    if min(abs(interval.low + margin), abs(interval.high - margin)) > 1e-9:
        assert (equivalence(values, margin, ratio) < 0.05) == inside


def test_folds_that_share_training_items_give_a_wider_interval_by_nadeau_and_bengios_factor():
    first, second = [0.8, 0.82, 0.85, 0.79, 0.81], [0.78, 0.83, 0.80, 0.77, 0.80]
    plain, corrected = paired(first, second, 0.0), paired(first, second, 0.125)
    assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(math.sqrt(1 + 5 * 0.125))
    assert paired(first[:2], second[:2], 0.1) is None


def test_delongs_own_example_gives_the_published_numbers():
    """As in the documentation of SAS's PROC LOGISTIC (example "Comparing Receiver Operating Characteristic Curves")."""
    albumin, protein, score, helped = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4).T
    first, second = delong(helped, albumin, 10 - score), delong(helped, protein, 10 - score)
    assert (first.first, second.first, first.second) == pytest.approx((0.7366, 0.6478, 0.7258), abs=5e-5)
    assert (first.difference, first.error, first.p) == pytest.approx((0.0108, 0.0953, 0.9102), abs=5e-5)
    assert (second.difference, second.error, second.p) == pytest.approx((-0.0780, 0.1046, 0.4561), abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(
    sample=st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=6, max_size=30).filter(
        lambda s: 1 < sum(y for y, _, _ in s) < len(s) - 1
    )
)
def test_delong_and_auroc_are_counts_of_pairs_with_ties(sample):
    y, *scores = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    kernels = []
    for score in scores:
        positive, negative = score[y == 1][:, None], score[y == 0][None]
        kernels.append((positive > negative) + 0.5 * (positive == negative))
        assert auroc(y, score, once(len(y)))[0] == pytest.approx(kernels[-1].mean())
    difference = kernels[0] - kernels[1]
    by_positive, by_negative = difference.mean(axis=1), difference.mean(axis=0)
    variance = by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    ours = delong(y, *scores)
    assert ours.difference == pytest.approx(difference.mean())
    assert ours.error == pytest.approx(math.sqrt(variance))
    twice = delong_over_folds([(y, *scores), (y, *scores)])
    assert twice.error == pytest.approx(ours.error / math.sqrt(2))


def frames(cohort, task, scores):
    """(task set, model) -> what training would write, from score per item."""
    test = cohort.folds[cohort.folds["split"] == "test"]
    position = pd.Series(np.arange(len(cohort)), index=cohort.items["item"].to_numpy())
    return {
        key: test.assign(task=task, step=0, prediction=values[position[test["item"]].to_numpy()])
        for key, values in scores.items()
    }


def merged(*parts):
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: pd.concat([part[key] for part in parts if key in part]) for key in keys}


@pytest.fixture(scope="module")
def world():
    cohort, embeddings = make_world(num_items=1500, num_folds=5)
    return cohort, embeddings


def noisy(target, spread, seed):
    return target + np.random.default_rng(seed).normal(0, spread, len(target))


def test_a_better_model_is_called_better_and_one_that_copies_it_equal(world):
    cohort, _ = world
    sick, level = cohort.targets["sick"], cohort.targets["level"]
    good, bad = noisy(sick, 0.7, 0), noisy(sick, 3.0, 1)
    near, far = noisy(level, 0.5, 2), noisy(level, 3.0, 3)
    predictions = merged(
        frames(cohort, "sick", {("sick", "m1"): good, ("sick", "m2"): bad, ("both", "m1"): good + 1e-4 * bad}),
        frames(cohort, "level", {("level", "m1"): near, ("level", "m2"): far, ("both", "m1"): near + 1e-4 * far}),
    )
    table = compare(cohort, (SICK, LEVEL), predictions)
    primary = table[table["primary"]].set_index(["task", "question"])
    assert set(primary.index) == {(t, q) for t in ("sick", "level") for q in ("architecture", "task set")}
    assert (primary.xs("architecture", level="question")["verdict"] == "first better").all()
    assert (primary.xs("task set", level="question")["verdict"] == "equivalent").all()
    row = primary.loc["sick", "architecture"]
    assert row["low"] <= row["difference"] <= row["high"]
    assert 0 < row["boot_low"] < row["difference"] < row["boot_high"]
    assert row["difference"] == pytest.approx(row["first_estimate"] - row["second_estimate"])
    assert row["delong_p"] < 1e-6
    # In the unit of the target: a margin of 2 % of a range of about 10.
    assert primary.loc["level", "architecture"]["difference"] < 0
    assert primary.loc["level", "architecture"]["margin"] == pytest.approx(0.2, rel=0.3)
    assert np.isnan(primary.loc["level", "architecture"]["delong_p"])


def test_the_papers_numbers_stand_in_the_papers_metric_beside_single_task_models_alone(world):
    cohort, _ = world
    sick = cohort.targets["sick"]
    predictions = frames(
        cohort, "sick", {(s, m): noisy(sick, 1, seed) for seed, (s, m) in enumerate(
            [("sick", "m1"), ("sick", "m2"), ("both", "m1"), ("both", "m2")])}
    )  # fmt: skip
    table = compare(cohort, (SICK,), predictions)
    told = table[table["published_first"] != ""]
    assert len(told) == 1
    row = told.iloc[0]
    assert (row["metric"], row["first_task_set"], row["published_first"]) == ("bac", "sick", "0.75±0.04")
    assert row["published_difference"] == pytest.approx(0.04)


def test_p_values_are_adjusted_over_the_tasks_of_a_pair(world):
    cohort, _ = world
    seeds = iter(range(4))
    predictions = merged(
        *(
            frames(cohort, task, {(task, m): noisy(cohort.targets[task], 2, next(seeds)) for m in ("m1", "m2")})
            for task in ("sick", "noise")
        )
    )
    table = compare(cohort, (SICK, NOISE), predictions)
    mine = table[table["metric"] == "auroc"]
    assert len(mine) == 2
    assert mine["p_holm"].to_numpy() == pytest.approx(holm(mine["p"].to_numpy()))
    assert mine["tost_p_holm"].to_numpy() == pytest.approx(holm(mine["tost_p"].to_numpy()))


def test_a_difference_is_never_one_of_items(world):
    """The second model lacks half the items, on which the first one is wrong."""
    cohort, _ = world
    sick = cohort.targets["sick"]
    half = np.arange(len(sick)) % 2 == 0
    first = np.where(half, sick, 1 - sick)
    predictions = frames(cohort, "sick", {("sick", "m1"): first, ("sick", "m2"): np.where(half, sick, np.nan)})
    row = compare(cohort, (SICK,), predictions).iloc[0]
    assert (row["first_estimate"], row["difference"]) == (1.0, 0.0)
    assert row["num_items"] < 0.6 * (cohort.folds["split"] == "test").sum()


def test_nothing_to_compare_gives_no_rows(world):
    cohort, _ = world
    assert compare(cohort, (SICK,), frames(cohort, "sick", {("sick", "m1"): cohort.targets["sick"]})).empty


def test_margins_are_set_one_by_one_and_an_unknown_metric_is_refused():
    settings_ = ComparisonSettings(margin={"auroc": 0.02})
    assert (settings_.margin["auroc"], settings_.margin["bac"]) == (0.02, 0.05)
    with pytest.raises(ValueError, match="margin names f1"):
        ComparisonSettings(margin={"f1": 0.1})
    with pytest.raises(ParamsError, match="level"):
        comparison_settings({"edu": {"comparison": {"level": 1.5}}}, _named("edu"))


def _named(name):
    from mmn.data import load_dataset

    return load_dataset(name)


def simulated(num_worlds, seed=0):
    """How often the 95 % intervals over subjects hold the truth: (of one AUROC, of a paired difference of two).

    300 test subjects with 2 items each that share most of their luck; two scores of known AUROC, partly the same noise.
    """
    rng = np.random.default_rng(seed)
    cohort, _ = make_world(num_items=600, num_folds=2, widths={"a": 1})
    # Every item is a test item of one of two folds, by subject.
    fold = (np.arange(600) // 2) % 2
    folds = pd.concat(
        [
            pd.DataFrame({"item": cohort.items["item"], "fold": f, "split": np.where(fold == f, "test", "train")})
            for f in (0, 1)
        ]
    )
    strong, weak = 1.2, 0.8
    truth = [stats.norm.cdf(shift / math.sqrt(2)) for shift in (strong, weak)]
    held = np.zeros(2)
    for _ in range(num_worlds):
        y = np.repeat(rng.random(300) < 0.4, 2).astype(float)
        luck = math.sqrt(0.6) * np.repeat(rng.normal(size=300), 2) + math.sqrt(0.4) * rng.normal(size=600)
        other = math.sqrt(0.5) * luck + math.sqrt(0.5) * rng.normal(size=600)
        here = dataclasses.replace(cohort, targets={"sick": y}, folds=folds)
        predictions = frames(here, "sick", {("sick", "m1"): strong * y + luck, ("sick", "m2"): weak * y + other})
        row = compare(here, (SICK,), predictions).iloc[0]
        held[1] += row["boot_low"] <= truth[0] - truth[1] <= row["boot_high"]
        pooled = pool(here, SICK, "sick", "m1", predictions["sick", "m1"])
        alone = by_subgroup(here, pooled, pd.DataFrame(index=range(600))).iloc[0]
        held[0] += alone["estimate_low"] <= truth[0] <= alone["estimate_high"]
    return held / num_worlds


def test_the_intervals_over_subjects_hold_the_truth_about_as_often_as_they_say():
    """By chance alone an interval that holds it in 94 % of worlds stays above 94 % less 4 standard errors."""
    worlds = 20
    coverage = simulated(worlds)
    assert (coverage >= 0.94 - 4 * math.sqrt(0.94 * 0.06 / worlds)).all()
