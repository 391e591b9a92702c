"""Metrics equal scikit-learn's, intervals what their words say, floors only what training rows teach."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, roc_auc_score

from mmn.data.errors import ContractError
from mmn.modeling import metrics as m
from mmn.modeling.floors import PRESENCE, SHUFFLED, floor_predictions
from mmn.modeling.scores import estimate_with_interval, score
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick

SAMPLE = st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3)), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(sample=SAMPLE)
def test_the_metrics_are_scikit_learns_with_ties_and_weights(sample):
    y, p, w = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    p /= 8
    weights = np.stack([np.ones_like(w), w])
    ours = {metric.name: metric.compute(y, p, weights) for metric in m.BINARY}
    for draw in range(2):
        y_drawn, p_drawn = np.repeat(y, weights[draw].astype(int)), np.repeat(p, weights[draw].astype(int))
        if len(set(y_drawn)) < 2:
            assert np.isnan(ours["auroc"][draw])
            assert np.isnan(ours["bac"][draw])
            continue
        assert ours["auroc"][draw] == pytest.approx(roc_auc_score(y_drawn, p_drawn), abs=1e-12)
        assert ours["auprc"][draw] == pytest.approx(average_precision_score(y_drawn, p_drawn), abs=1e-12)
        assert ours["brier"][draw] == pytest.approx(brier_score_loss(y_drawn, p_drawn), abs=1e-12)
        assert ours["bac"][draw] == pytest.approx(balanced_accuracy_score(y_drawn, p_drawn >= 0.5), abs=1e-12)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    """Worked by hand: of 2 x 3 pairs 4 are right, 1 is a tie, 1 is wrong: 4.5 / 6."""
    y, p = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.4, 0.4, 0.6, 0.1])
    assert m.auroc(y, p, m.once(5))[0] == pytest.approx(4.5 / 6)


def test_the_interval_over_folds_is_students_and_leaves_undefined_folds_out():
    values = np.array([0.7, 0.8, np.nan, 0.75, 0.65])
    mean, low, high, num = estimate_with_interval(values)
    known = values[~np.isnan(values)]
    wanted = stats.t.interval(0.95, 3, loc=known.mean(), scale=known.std(ddof=1) / 2)
    assert (mean, low, high, num) == (pytest.approx(0.725), pytest.approx(wanted[0]), pytest.approx(wanted[1]), 4)
    assert np.isnan(estimate_with_interval(np.array([0.7]))[1])
    assert np.isnan(estimate_with_interval(np.array([np.nan]))[0])


@pytest.fixture(scope="module")
def scored():
    cohort, embeddings = make_world(num_items=300, present_rate=0.9, unlabelled=0.05)
    rule = pd.DataFrame(
        {
            "item": cohort.items["item"],
            "task": "level",
            "baseline": "always 20",
            "fold": -1,
            "prediction": 20.0,
        }
    )
    cohort = dataclasses.replace(cohort, baselines=rule)
    settings = quick(epochs=15, learning_rate=5e-3)
    predictions = {
        ("sick", "multimodn"): train(cohort, embeddings, (SICK,), "multimodn", settings).predictions,
        ("both", "multimodn"): train(cohort, embeddings, (SICK, LEVEL), "multimodn", settings).predictions,
        ("level", "p_fusion"): train(cohort, embeddings, (LEVEL,), "p_fusion", settings).predictions,
    }
    return cohort, embeddings, predictions, score(cohort, (SICK, NOISE, LEVEL), predictions, embeddings)


def test_every_task_and_metric_has_its_models_and_its_floors(scored):
    _, _, _, table = scored
    assert set(table[table["task"] == "sick"]["metric"]) == {"auroc", "bac", "auprc", "brier"}
    assert set(table[table["task"] == "level"]["metric"]) == {"rmse", "mse_normalised", "mae"}
    primary = table[table["primary"]].groupby("task")["metric"].unique().map(list).to_dict()
    assert primary == {"sick": ["auroc"], "noise": ["auroc"], "level": ["rmse"]}
    of_level = table[(table["task"] == "level") & (table["metric"] == "rmse")]
    assert set(of_level["model"]) == {"training mean", PRESENCE, SHUFFLED, "always 20", "multimodn", "p_fusion"}
    assert set(of_level["unit"]) == {"°C"}
    assert not table.duplicated(["task", "metric", "model", "task_set"]).any()


def test_a_model_that_learnt_beats_its_floor_and_the_intervals_hold_the_estimate(scored):
    _, _, _, table = scored
    row = table[(table["task"] == "sick") & (table["task_set"] == "sick") & (table["kind"] == "model")].iloc[0]
    assert row["metric"] == "auroc"
    assert row["beats_floor"]
    assert row["best_floor"] < 0.65 < row["estimate"]
    assert row["boot_low"] < row["estimate"] < row["boot_high"]
    assert row["low"] < row["estimate"] < row["high"]
    assert np.mean(row["fold_values"]) == pytest.approx(row["estimate"])
    assert table[table["kind"] == "floor"]["beats_floor"].isna().all()


def test_normalised_error_is_the_physical_one_over_the_square_of_the_training_range(scored):
    cohort, _, _, table = scored
    rows = table[(table["task"] == "level") & (table["model"] == "p_fusion")].set_index("metric")
    for fold in range(3):
        train_targets = cohort.targets["level"][cohort.rows(fold, "train")]
        width = np.nanmax(train_targets) - np.nanmin(train_targets)
        rmse = rows.loc["rmse", "fold_values"][fold]
        assert rows.loc["mse_normalised", "fold_values"][fold] == pytest.approx((rmse / width) ** 2)


def test_scores_are_repeatable_and_survive_parquet(scored, tmp_path):
    cohort, embeddings, predictions, table = scored
    again = score(cohort, (SICK, NOISE, LEVEL), predictions, embeddings)
    pd.testing.assert_frame_equal(table, again)
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    back = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(back["fold_values"].iloc[0]) == pytest.approx(table["fold_values"].iloc[0], nan_ok=True)


def test_the_interval_over_subjects_is_wider_when_subjects_repeat():
    """The same number of items, once all of different subjects, once ten copies of each."""
    cohort, embeddings = make_world(num_items=400, present_rate=1.0)
    rng = np.random.default_rng(0)
    noisy = cohort.targets["sick"] + rng.standard_normal(400)
    widths = []
    for copies in (1, 10):
        which = np.arange(400) // copies
        alike = dataclasses.replace(
            cohort,
            items=cohort.items.assign(subject=[f"s{n}" for n in which]),
            targets={"sick": cohort.targets["sick"][which]},
        )
        frame = alike.folds[alike.folds["split"] == "test"].assign(task="sick", step=0)
        position = pd.Series(np.arange(400), index=alike.items["item"])
        frame["prediction"] = noisy[which][position[frame["item"]]]
        table = score(alike, (SICK,), {("sick", "multimodn"): frame}, embeddings)
        row = table[(table["kind"] == "model") & table["primary"]].iloc[0]
        widths.append(row["boot_high"] - row["boot_low"])
    assert widths[1] > 1.3 * widths[0]


def test_floors_see_training_rows_only():
    cohort, embeddings = make_world(num_items=80)
    before = floor_predictions(cohort, SICK, embeddings)
    target = cohort.targets["sick"].copy()
    test = cohort.rows(0, "test")
    target[test] = 1 - target[test]
    after = floor_predictions(dataclasses.replace(cohort, targets={"sick": target}), SICK, embeddings)
    assert all(np.array_equal(before[name][0], after[name][0]) for name in before)


def test_shuffled_labels_score_as_chance_does_even_on_few_items():
    cohort, embeddings = make_world(num_items=60)
    table = score(cohort, (SICK,), {}, embeddings)
    row = table[(table["model"] == SHUFFLED) & (table["metric"] == "auroc")].iloc[0]
    assert row["estimate"] == pytest.approx(0.5, abs=0.12)
    assert row["boot_low"] < 0.5 < row["boot_high"]


def test_presence_alone_scores_where_absence_tells_the_label():
    cohort, embeddings = make_world(num_items=200)
    present = (cohort.targets["sick"] == 1)[:, None]
    embeddings["b"] = dataclasses.replace(embeddings["b"], present=present)
    floors = floor_predictions(cohort, SICK, embeddings)
    y = cohort.targets["sick"][cohort.rows(0, "test")]
    assert m.auroc(y, floors[PRESENCE][0], m.once(len(y)))[0] == 1.0


def test_a_fold_of_one_class_is_left_out_and_counted(scored):
    cohort, embeddings, predictions, _ = scored
    target = cohort.targets["sick"].copy()
    target[cohort.rows(2, "test")] = 1.0
    changed = dataclasses.replace(cohort, targets={**cohort.targets, "sick": target})
    table = score(changed, (SICK,), {("sick", "multimodn"): predictions["sick", "multimodn"]}, embeddings)
    row = table[(table["kind"] == "model") & (table["metric"] == "auroc")].iloc[0]
    assert row["num_folds"] == 2
    assert np.isnan(row["fold_values"][2])
    assert np.isfinite(row["estimate"])


def test_predictions_that_do_not_fit_the_cohort_are_refused(scored):
    cohort, embeddings, predictions, _ = scored
    frame = predictions["sick", "multimodn"]
    with pytest.raises(ContractError, match="more than once"):
        score(cohort, (SICK,), {("sick", "multimodn"): pd.concat([frame, frame])}, embeddings)
    with pytest.raises(ContractError, match="not in the cohort"):
        score(cohort, (SICK,), {("sick", "multimodn"): frame.assign(item="nobody" + frame["item"])}, embeddings)
