"""Calibration, decisions and subgroups against scikit-learn and statsmodels; what is planted is found, what is small is
not told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint

from mmn.data.cohort import check_cohort, read_cohort, write_cohort
from mmn.data.errors import ContractError
from mmn.data.mimic.subgroups import read_subgroups
from mmn.modeling import metrics as m
from mmn.modeling.calibration import (
    NONE,
    PLATT,
    bin_of,
    calibration_tables,
    clustered_error,
    ece_if_calibrated,
    expected_calibration_error,
    isotonic,
    log_odds,
    logistic_fit,
    platt,
    recalibrate,
    wilson,
)
from mmn.modeling.decision_curves import decision_curve, net_benefit
from mmn.modeling.floors import alone_name, floor_predictions
from mmn.modeling.pooled import (
    ALL,
    OTHERS,
    PATTERN,
    SMALLEST,
    attributes,
    group_sizes,
    pool,
    pool_patterns,
    validation_predictions,
    withheld,
)
from mmn.modeling.scores import score
from mmn.modeling.subgroups import auroc_within_folds, by_subgroup
from mmn.modeling.train import train
from mmn.modeling.trust import TABLES, look_at_trust
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

NUM = 2000


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def frame_of(cohort, task, values, split="test"):
    test = cohort.folds[cohort.folds["split"] == split]
    position = pd.Series(np.arange(len(cohort)), index=cohort.items["item"].to_numpy())
    return test.assign(task=task, step=0, prediction=values[position[test["item"]].to_numpy()])


@pytest.fixture(scope="module")
def world():
    """A cohort whose labels are drawn from known probabilities, with the log odds behind them."""
    rng = np.random.default_rng(3)
    cohort, embeddings = make_world(num_items=NUM, num_folds=5)
    truth = rng.normal(0, 1.2, NUM)
    y = (rng.random(NUM) < sigmoid(truth)).astype(float)
    return dataclasses.replace(cohort, targets={**cohort.targets, "sick": y}), embeddings, truth


def pooled_of(cohort, p, task=SICK):
    found = pool(cohort, task, task.name, "multimodn", frame_of(cohort, task.name, p))
    assert found is not None
    return found


def test_bins_and_the_calibration_error_are_scikit_learns():
    rng = np.random.default_rng(0)
    p = np.round(rng.random(500), 2)
    y = (rng.random(500) < p).astype(float)
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
    bins = bin_of(p)
    sizes = np.bincount(bins)
    assert np.bincount(bins, p) / sizes == pytest.approx(predicted)
    wanted = (np.abs(observed - predicted) * sizes).sum() / 500
    assert expected_calibration_error(y, p) == pytest.approx(wanted)


def test_the_logistic_fit_is_scikit_learns_and_its_errors_are_statsmodels_clustered_ones():
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = (rng.random(200) < sigmoid(0.4 + 0.8 * x)).astype(float)
    subject = np.arange(200) // 3
    found = logistic_fit(x, y)
    fitted = LogisticRegression(C=1e12, tol=1e-10).fit(x[:, None], y)
    assert found == pytest.approx([fitted.intercept_[0], fitted.coef_[0, 0]], abs=1e-4)
    model = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial())
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": subject, "use_correction": False})
    assert clustered_error(x, y, found, subject) == pytest.approx(robust.bse, rel=1e-5)
    alone = sm.GLM(y, np.ones((200, 1)), family=sm.families.Binomial(), offset=x).fit()
    assert logistic_fit(x, y, x) == pytest.approx(alone.params, abs=1e-8)
    assert np.isnan(logistic_fit(x, (x > 0).astype(float))).all()  # separated: no finite answer


@given(positive=st.integers(0, 50), more=st.integers(1, 50))
def test_the_interval_of_a_share_is_statsmodels_wilson(positive, more):
    num = positive + more
    assert wilson(positive / num, num) == pytest.approx(
        proportion_confint(positive, num, method="wilson"), abs=1e-9
    )  # fmt: skip


def test_platt_brings_an_overconfident_model_back_and_keeps_its_order(world):
    cohort, _, truth = world
    loud = sigmoid(1.0 + 2.5 * truth)
    pooled = recalibrate(pooled_of(cohort, loud), cohort, frame_of(cohort, "sick", loud, "validation"))
    table, _ = calibration_tables(cohort, pooled, np.full(NUM, "all alike"))
    told = table.set_index("recalibration")
    assert told.loc[NONE, "slope_high"] < 0.6  # 1 / 2.5 was planted
    assert told.loc[NONE, "intercept_high"] < 0
    assert told.loc[PLATT, "slope_low"] < 1 < told.loc[PLATT, "slope_high"]
    assert told.loc[PLATT, "brier_change_high"] < 0
    assert told.loc[PLATT, "ece"] < 0.4 * told.loc[NONE, "ece"]
    for fold in range(5):
        here = pooled.fold == fold
        assert (np.argsort(pooled.after[PLATT][here]) == np.argsort(pooled.p[here])).all()


def test_probabilities_that_are_right_have_the_calibration_error_of_chance(world):
    cohort, _, truth = world
    pooled = pooled_of(cohort, sigmoid(truth))
    table, reliability = calibration_tables(cohort, pooled, np.full(NUM, "all alike"))
    row = table.iloc[0]
    assert row["slope_low"] < 1 < row["slope_high"]
    assert row["intercept_low"] < 0 < row["intercept_high"]
    assert row["ece"] < 2 * row["ece_if_calibrated"]
    held = (reliability["low"] <= reliability["mean_prediction"]) & (
        reliability["mean_prediction"] <= reliability["high"]
    )
    assert held.mean() >= 0.7  # of 10 intervals of 95 %, fewer than 7 holding has a chance of 1e-4
    assert ece_if_calibrated(sigmoid(truth[:50])) > ece_if_calibrated(sigmoid(truth))


def test_recalibration_learns_from_validation_labels_alone(world):
    cohort, _, truth = world
    p = sigmoid(2 * truth)
    validation = frame_of(cohort, "sick", p, "validation")
    before = recalibrate(pooled_of(cohort, p), cohort, validation).after
    y = cohort.targets["sick"].copy()
    of_fold = cohort.rows(0, "test")
    y[of_fold] = 1 - y[of_fold]
    changed = dataclasses.replace(cohort, targets={"sick": y})
    after = recalibrate(pooled_of(changed, p), changed, validation).after
    own = pooled_of(cohort, p).fold == 0
    assert all(np.array_equal(before[way][own], after[way][own]) for way in before)


def test_a_fold_with_one_class_in_validation_is_not_recalibrated(world):
    cohort, _, truth = world
    y = cohort.targets["sick"].copy()
    y[cohort.rows(2, "validation")] = 1.0
    changed = dataclasses.replace(cohort, targets={"sick": y})
    p = sigmoid(truth)
    pooled = recalibrate(pooled_of(changed, p), changed, frame_of(changed, "sick", p, "validation"))
    assert np.isnan(pooled.after[PLATT][pooled.fold == 2]).all()
    assert not np.isnan(pooled.after[PLATT][pooled.fold != 2]).any()


def test_isotonic_and_platt_are_monotone_and_stay_within_0_and_1():
    rng = np.random.default_rng(5)
    p = rng.random(60)
    y = (rng.random(60) < p).astype(float)
    grid = np.linspace(0, 1, 101)
    for fit in (platt, isotonic):
        assert (np.diff(fit(y, p, grid)) >= 0).all()
        assert fit(y, p, grid).min() >= 0
        assert fit(y, p, grid).max() <= 1
    separated = platt(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.8, 0.9]), grid)
    assert np.isfinite(separated).all()
    assert log_odds(np.array([0.0, 1.0])) == pytest.approx([-13.8, 13.8], abs=0.1)


def test_calibration_is_told_apart_by_what_is_present(world):
    cohort, _, truth = world
    present = np.arange(NUM) % 3 == 0
    p = np.where(present, sigmoid(truth), sigmoid(truth + 2))
    table, _ = calibration_tables(cohort, pooled_of(cohort, p), np.where(present, "a + b", "a"))
    told = table.set_index("group")
    assert told.loc["a + b", "intercept_low"] < 0 < told.loc["a + b", "intercept_high"]
    assert told.loc["a", "intercept"] == pytest.approx(-2, abs=0.5)
    assert told.loc["a", "ece"] > 3 * told.loc["a + b", "ece"]


def test_net_benefit_is_cases_found_less_weighed_false_alarms():
    """Worked by hand at a threshold of 0.2: 2 found, 1 false alarm at odds 1/4, of 5 items: (2 - 0.25) / 5."""
    y, p = np.array([1, 1, 1, 0, 0.0]), np.array([0.9, 0.3, 0.1, 0.25, 0.05])
    assert net_benefit(y, p, np.ones((1, 5)), np.array([0.2]))[0, 0] == pytest.approx(0.35)


def test_a_model_that_knows_is_worth_more_than_treating_all_or_none_and_one_that_does_not_is_not(world):
    cohort, _, truth = world
    knows = decision_curve(cohort, pooled_of(cohort, sigmoid(truth))).set_index("threshold")
    assert knows.loc[0.5, "gain_low"] > 0
    assert knows.loc[0.5, "low"] < knows.loc[0.5, "net_benefit"] < knows.loc[0.5, "high"]
    guesses = np.random.default_rng(0).random(NUM)
    assert decision_curve(cohort, pooled_of(cohort, guesses)).set_index("threshold").loc[0.5, "gain"] < 0.02


SIZES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=7
).map(lambda rows: pd.DataFrame([(a + b, a, b) for a, b in rows], columns=["items", "positive", "negative"],
                                index=[f"g{n}" for n in range(len(rows))]))  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(sizes=SIZES)
def test_what_is_hidden_cannot_be_had_as_the_whole_less_what_is_shown(sizes):
    hidden = withheld(sizes)
    shown = sizes.drop(index=sorted(hidden))
    assert not ((shown > 0) & (shown < SMALLEST)).any(axis=None)
    if hidden and not shown.empty:
        rest = sizes.sum() - shown.sum()
        assert len(hidden) > 1
        assert not ((rest > 0) & (rest < SMALLEST)).any()


def test_a_small_group_is_withheld_and_so_is_the_one_that_would_give_it_away(world):
    cohort, _, truth = world
    pooled = pooled_of(cohort, sigmoid(truth))
    group = np.full(NUM, "large", dtype=object)
    group[pooled.rows[:300]] = "middle"
    group[pooled.rows[:6]] = "tiny"
    table = by_subgroup(cohort, pooled, pd.DataFrame({"kind": group}))
    told = table[table["metric"] == "auroc"].set_index("group")
    assert told["withheld"].to_dict() == {ALL: False, "large": False, "middle": True, "tiny": True}
    assert told.loc[["middle", "tiny"], ["estimate", "items_at_least", "difference"]].isna().all(axis=None)
    assert (table["items_at_least"].dropna() % 10 == 0).all()


def test_no_bin_gives_a_small_count_away_and_few_positives_give_no_curve(world):
    cohort, _, _ = world
    rng = np.random.default_rng(9)
    for num_positive in (4, 25, 60):
        test = np.unique(np.concatenate([cohort.rows(fold, "test") for fold in range(5)]))
        y = np.zeros(NUM)
        y[rng.choice(test, num_positive, replace=False)] = 1
        rare = dataclasses.replace(cohort, targets={"sick": y})
        p = np.clip(0.02 + 0.1 * y + 0.05 * rng.random(NUM), 0, 1)
        table, reliability = calibration_tables(rare, pooled_of(rare, p), np.full(NUM, "all alike"))
        curve = decision_curve(rare, pooled_of(rare, p))
        if num_positive < SMALLEST:
            assert reliability.empty
            assert table["withheld"].all()
            assert curve["withheld"].all()
            assert curve["treat_all"].isna().all()
            continue
        # Rebuild the counts from what is told, as a reader would who knew the exact sizes of the bins.
        positives = reliability["observed"] * reliability["items_at_least"]
        assert ((positives.round() == 0) | (positives > SMALLEST - 1)).all()
        assert not curve["withheld"].all()


def test_rare_presence_patterns_are_looked_at_together(world):
    cohort, _, truth = world
    pooled = pooled_of(cohort, sigmoid(truth))
    pattern = np.full(len(pooled.p), "a + b", dtype=object)
    pattern[:500], pattern[500:529], pattern[529:537], pattern[537:539] = "a", "b", "c", "nothing"
    joined = pool_patterns(pooled, pattern)
    assert set(joined) == {"a + b", "a", OTHERS}
    assert not withheld(group_sizes(pooled, joined))
    pattern[500:537] = "a"  # 2 items alone are few: they are not shown, so the next pattern goes with them
    assert not withheld(group_sizes(pooled, pool_patterns(pooled, pattern)))


def test_a_group_on_which_the_model_fails_is_found_and_one_that_is_alike_is_not(world):
    cohort, _, truth = world
    rng = np.random.default_rng(2)
    failed, alike = rng.random(NUM) < 0.3, rng.random(NUM) < 0.5
    p = np.where(failed, rng.random(NUM), sigmoid(truth))
    groups = pd.DataFrame({"ward": np.where(failed, "north", "south"), "day": np.where(alike, "odd", "even")})
    told = by_subgroup(cohort, pooled_of(cohort, p), groups).set_index(["attribute", "group", "metric"])
    north = told.loc[("ward", "north", "auroc")]
    assert north["difference_high"] < 0
    assert north["estimate_low"] < 0.5 < north["estimate_high"]
    assert north["difference"] == pytest.approx(north["estimate"] - north["rest"])
    assert told.loc[("ward", "south", "auroc")]["difference"] == pytest.approx(-north["difference"])
    assert (
        told.loc[("day", "odd", "auroc")]["difference_low"] < 0 < told.loc[("day", "odd", "auroc")]["difference_high"]
    )


def test_errors_of_a_regression_are_told_by_group_with_their_direction(world):
    cohort, _, _ = world
    level = cohort.targets["level"]
    off = np.arange(NUM) % 2 == 0
    p = level + np.where(off, 2.0, 0.0) + np.random.default_rng(0).normal(0, 0.5, NUM)
    told = by_subgroup(cohort, pooled_of(cohort, p, LEVEL), pd.DataFrame({"site": np.where(off, "off", "on")}))
    told = told.set_index(["group", "metric"])
    assert told.loc[("off", "bias"), "estimate"] == pytest.approx(2, abs=0.1)
    assert told.loc[("on", "bias"), "estimate_low"] < 0 < told.loc[("on", "bias"), "estimate_high"]
    assert told.loc[("off", "rmse"), "difference_low"] > 1
    assert told.loc[(ALL, "rmse"), "unit"] == "°C"


def test_ranks_are_compared_within_folds_alone():
    y, p = np.array([1, 0, 1, 0.0]), np.array([0.9, 0.8, 0.2, 0.1])
    fold = np.array([0, 0, 1, 1])
    assert m.auroc(y, p, m.once(4))[0] == 0.75
    assert auroc_within_folds(y, p, fold, m.once(4))[0] == 1.0


def test_a_modality_alone_is_a_floor_where_it_tells_the_label_and_only_where_it_may_be_read():
    cohort, embeddings = make_world(num_items=300, present_rate=0.9)
    floors = floor_predictions(cohort, SICK, embeddings, alone=("a", "b"))
    y = cohort.targets["sick"][cohort.rows(0, "test")]
    assert m.auroc(y, floors[alone_name("a")][0], m.once(len(y)))[0] > 0.9
    assert abs(m.auroc(y, floors[alone_name("b")][0], m.once(len(y)))[0] - 0.5) < 4 / np.sqrt(12 * len(y) / 4)
    assert alone_name("c") not in floors
    level = floor_predictions(cohort, LEVEL, embeddings, alone=("a",))[alone_name("a")][0]
    assert np.corrcoef(level, cohort.targets["level"][cohort.rows(0, "test")])[0, 1] > 0.5
    table = score(cohort, (SICK,), {}, embeddings, alone={"sick": ("a",)})
    assert set(table["best_floor"][table["metric"] == "auroc"]) == {
        table.loc[(table["model"] == alone_name("a")) & (table["metric"] == "auroc"), "estimate"].item()
    }


@pytest.fixture(scope="module")
def looked():
    cohort, embeddings = make_world(num_items=600, num_folds=3, present_rate=0.7)
    sexes = pd.DataFrame({"item": cohort.items["item"], "sex": np.where(np.arange(600) % 3, "female", None)})
    cohort = dataclasses.replace(cohort, subgroups=sexes)
    trained = train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=8, learning_rate=5e-3))
    validation = validation_predictions(trained, cohort, embeddings)
    key = ("both", "multimodn")
    read = {key: tuple(embeddings)}
    tables = look_at_trust(
        cohort, (SICK, LEVEL), {key: trained.predictions}, {key: validation}, embeddings, read
    )  # fmt: skip
    return cohort, validation, tables


def test_validation_items_are_predicted_by_the_members_that_did_not_train_on_them(looked):
    cohort, validation, _ = looked
    of_task = validation[validation["task"] == "sick"]
    for fold in range(3):
        items = set(of_task.loc[of_task["fold"] == fold, "item"])
        assert items == set(cohort.items["item"].to_numpy()[cohort.rows(fold, "validation")])


def test_every_table_of_trust_is_made_and_regressions_have_groups_alone(looked):
    _, _, tables = looked
    assert set(tables) == set(TABLES)
    assert set(tables["subgroups"]["task"]) == {"sick", "level"}
    assert set(tables["calibration"]["task"]) == {"sick"}
    assert {"sex", "has a", "has b", "has c", PATTERN, ALL} == set(tables["subgroups"]["attribute"])
    assert {"female", "not known"} == set(tables["subgroups"].loc[tables["subgroups"]["attribute"] == "sex", "group"])
    here = tables["subgroups"].set_index(["task", "attribute", "group", "metric"])
    assert here.loc[("sick", "has a", "yes", "auroc"), "difference_low"] > 0  # modality a carries the label


def test_presence_is_what_was_there_up_to_the_step_that_is_read():
    cohort, embeddings = make_world(num_items=60, num_steps=4, widths={"a": 2, "b": 2}, present_rate=0.5)
    first = attributes(cohort, embeddings, 0)
    assert (first["has a"] == np.where(embeddings["a"].present[:, 0], "yes", "no")).all()
    last = attributes(cohort, embeddings, 3)
    both = embeddings["a"].present.any(axis=1) & embeddings["b"].present.any(axis=1)
    assert ((last[PATTERN] == "a + b") == both).all()


def test_subgroups_lie_beside_the_cohort_and_must_be_its_items(tmp_path):
    cohort, _ = make_world(num_items=60)
    assert read_cohort_again(cohort, tmp_path / "without").subgroups is None
    groups = pd.DataFrame({"item": cohort.items["item"], "sex": ["female", None, "male"] * 20})
    back = read_cohort_again(dataclasses.replace(cohort, subgroups=groups), tmp_path / "with").subgroups
    assert back["sex"].isna().tolist() == groups["sex"].isna().tolist()
    assert back["sex"].dropna().tolist() == groups["sex"].dropna().tolist()
    with pytest.raises(ContractError, match="in their order"):
        check_cohort(dataclasses.replace(cohort, subgroups=groups[::-1]), "toy")
    with pytest.raises(ContractError, match="sex: holds other than text"):
        check_cohort(dataclasses.replace(cohort, subgroups=groups.assign(sex=1)), "toy")


def read_cohort_again(cohort, folder):
    check_cohort(cohort, "toy")
    write_cohort(folder, cohort, {})
    assert (folder / "subgroups.parquet").exists() == (cohort.subgroups is not None)
    return read_cohort(folder)


def test_mimics_subgroups_are_as_of_the_admission_and_unknown_is_null():
    class Tables:
        def frame(self, contract):
            if contract.__name__ == "Patients":
                return pd.DataFrame(
                    {
                        "subject_id": [1, 2],
                        "gender": ["F", None],
                        "anchor_age": [44.0, 91.0],
                        "anchor_year": [2110, 2110],
                    }
                )
            return pd.DataFrame(
                {
                    "subject_id": [1, 1, 2], "hadm_id": [10, 11, 20],
                    "admittime": pd.to_datetime(["2110-05-01", "2111-05-01", "2112-01-01"]),
                    "race": None, "marital_status": None, "language": ["ENGLISH", "Spanish", "?"],
                    "insurance": ["Medicare", "Other", None],
                }
            )  # fmt: skip

    items = pd.DataFrame({"item": ["x", "y", "z"], "subject_id": [1, 1, 2], "hadm_id": [10, 11, 20]})
    found = read_subgroups(Tables(), items).set_index("item")
    assert found.loc["x"].tolist() == ["female", "under 45", "English", "Medicare"]
    assert found.loc["y"].tolist() == ["female", "45 to 64", "Other", "Other"]
    assert found.loc["z", "age"] == "80 and over"
    assert found.loc["z", ["sex", "language", "insurance"]].isna().all()
