"""Inference with a part of the modalities and in other orders: the same model, read differently."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mmn.data.errors import ParamsError
from mmn.modeling.differences import t_interval
from mmn.modeling.order import order_scores, order_sensitivity, orders_of, ratio_of_test_items
from mmn.modeling.settings import SubsetsSettings
from mmn.modeling.subsets import NOTHING, all_subsets, subset_scores
from mmn.modeling.train import train
from tests.modeling.toys import adding_up
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

WIDTHS = {"a": 3, "b": 5, "c": 4}


@pytest.fixture(scope="module")
def world():
    return make_world(num_items=300, widths=WIDTHS, present_rate=0.9)


@pytest.fixture(scope="module")
def models(world):
    cohort, embeddings = world
    settings = quick(epochs=8, learning_rate=5e-3)
    return {
        ("both", "multimodn"): train(cohort, embeddings, (SICK, LEVEL), "multimodn", settings),
        ("sick", "p_fusion"): train(cohort, embeddings, (SICK,), "p_fusion", settings),
        ("sick", "fusion_transformer"): train(cohort, embeddings, (SICK,), "fusion_transformer", quick(epochs=1)),
    }


@pytest.fixture(scope="module")
def scores(world, models):
    cohort, embeddings = world
    return subset_scores(cohort, models, lambda trained: embeddings)


def test_there_is_a_score_for_every_subset_task_and_model(scores):
    assert len(scores) == 8 * (2 + 1 + 1)
    assert not scores.duplicated(["task", "task_set", "model", "subset"]).any()
    assert scores.groupby("model")["all"].sum().to_dict() == {"fusion_transformer": 1, "multimodn": 2, "p_fusion": 1}
    assert set(scores[scores["task"] == "level"]["unit"]) == {"°C"}


@pytest.mark.parametrize("subset", ["a", "b + c", "a + b + c"])
@pytest.mark.parametrize("model", ["multimodn", "p_fusion", "fusion_transformer"])
def test_a_subset_scores_as_the_same_model_on_data_without_the_others(world, models, scores, model, subset):
    cohort, embeddings = world
    trained = next(value for (_, name), value in models.items() if name == model)
    found = scores[(scores["task"] == "sick") & (scores["model"] == model) & (scores["subset"] == subset)].iloc[0]
    for member in range(3):
        rows = cohort.rows(member, "test")
        frame = trained.predict({name: embeddings[name] for name in subset.split(" + ")}, rows)
        mine = frame[(frame["member"] == member) & (frame["task"] == "sick")]
        expected = roc_auc_score(cohort.targets["sick"][rows], mine["prediction"])
        # A float32's last digit may part or join two items of nearly equal score.
        assert found["fold_values"][member] == pytest.approx(expected, abs=2 / len(rows) ** 2 + 1e-9)


def test_without_any_input_every_item_is_predicted_alike(scores):
    nothing = scores[(scores["subset"] == NOTHING) & (scores["task"] == "sick")]
    assert len(nothing) == 3 and (nothing["num_modalities"] == 0).all()
    assert all(value == 0.5 for values in nothing["fold_values"] for value in values)


def test_the_planted_modality_alone_scores_as_all_do_and_the_others_are_chance(scores):
    at = scores[scores["task"] == "sick"].set_index(["model", "subset"])["estimate"]
    # 300 test items, half of them sick: the standard error of an AUROC of chance.
    error = np.sqrt(301 / (12 * 150 * 150))
    for model in ("multimodn", "p_fusion"):
        assert abs(at[model, "b + c"] - 0.5) < 3 * error
        assert at[model, "a"] > 0.5 + 6 * error and abs(at[model, "a"] - at[model, "a + b + c"]) < 3 * error


def test_an_interval_is_that_of_students_t_over_the_folds(scores):
    row = scores[scores["subset"] == "a"].iloc[0]
    interval = t_interval(row["fold_values"])
    assert interval is not None
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((interval.mean, interval.low, interval.high))


def test_trees_are_scored_with_subsets_too(world):
    from mmn.modeling.xgboost_fusion import fit_xgboost
    from mmn.modeling.xgboost_settings import XGBoostSettings

    cohort, embeddings = world
    trained = fit_xgboost(cohort, embeddings, SICK, XGBoostSettings(n_estimators=5, max_depth=2))
    table = subset_scores(cohort, {("sick", "xgboost"): trained}, lambda _: embeddings)
    at = table.set_index("subset")
    assert len(table) == 8 and at.loc["a", "estimate"] > 0.75
    frame = trained.predictions
    for fold in range(3):
        mine = frame[frame["fold"] == fold].set_index("item")["prediction"]
        rows = cohort.rows(fold, "test")
        expected = roc_auc_score(cohort.targets["sick"][rows], mine.loc[cohort.items["item"].iloc[rows]])
        assert at.loc["a + b + c", "fold_values"][fold] == pytest.approx(expected)


def test_with_more_than_ten_modalities_only_the_smallest_and_largest_subsets_are_scored():
    assert len(all_subsets([f"m{n}" for n in range(10)])) == 1024
    few = all_subsets([f"m{n}" for n in range(11)])
    assert sorted({len(subset) for subset in few}) == [0, 1, 10, 11] and len(few) == 24


# Orders.


def test_orders_begin_with_that_of_training_and_are_all_of_them_where_they_are_few():
    assert orders_of("abc")[0] == ("a", "b", "c") and len(set(orders_of("abc"))) == 6
    many = orders_of("abcdef", most=24)
    assert many[0] == tuple("abcdef") and len(set(many)) == 24
    assert all(sorted(order) == list("abcdef") for order in many) and many == orders_of("abcdef", most=24)


def test_a_model_that_adds_up_what_it_is_told_does_not_mind_the_order(world):
    cohort, embeddings = world
    settings = quick(epochs=1, hidden=6, state=6, scaler="minmax")
    trained = adding_up(train(cohort, embeddings, (SICK,), "multimodn", settings))
    table = order_scores(trained, cohort, embeddings)
    assert len(table) == 6 and table["moved"].max() < 1e-6
    whole = trained.predict(embeddings)["prediction"]
    assert whole.std() > 1e-4  # it does say different things of different items
    found = order_sensitivity(table, 3, ratio_of_test_items(cohort)).iloc[0]
    assert found["all_orders"] and found["moved"] < 1e-6 and abs(found["difference"]) < 2e-3


def test_a_model_that_forgets_all_but_the_last_modality_depends_on_which_that_is(world, models):
    cohort, embeddings = world
    trained = models["both", "multimodn"]
    kept = {name: value.clone() for name, value in trained.model.state_dict().items()}
    with torch.no_grad():
        for encoder in trained.model.encoders.values():
            encoder.state_weight.zero_()
    everyone = {
        name: dataclasses.replace(e, present=np.ones_like(e.present), values=np.nan_to_num(e.values, nan=50.0))
        for name, e in embeddings.items()
    }
    table = order_scores(trained, cohort, everyone)
    alone = subset_scores(cohort, {("both", "multimodn"): trained}, lambda _: everyone).set_index(["task", "subset"])
    trained.model.load_state_dict(kept)
    for row in table.itertuples():
        assert row.estimate == pytest.approx(alone.loc[(row.task, row.order[-1]), "estimate"], abs=1e-3)
    sick = table[table["task"] == "sick"].set_index("order")["estimate"]
    assert sick["c > b > a"] - sick["a > b > c"] > 0.2


def test_sensitivity_is_the_other_orders_against_that_of_training_with_a_corrected_interval(world, models):
    cohort, embeddings = world
    table = order_scores(models["both", "multimodn"], cohort, embeddings)
    ratio = ratio_of_test_items(cohort)
    found = order_sensitivity(table, 3, ratio).set_index("task")
    mine = np.array(table[table["task"] == "level"]["fold_values"].tolist())
    expected = t_interval(mine[1:].mean(axis=0) - mine[0], ratio)
    row = found.loc["level"]
    assert expected is not None and ratio == pytest.approx(
        len(cohort.rows(0, "test")) / len(cohort.rows(0, "train")), rel=0.1
    )
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((expected.mean, expected.low, expected.high))
    assert row["difference"] == pytest.approx(row["other"] - row["in_order"])
    assert row["lowest"] <= row["in_order"] <= row["highest"] and row["spread"] > 0


def test_training_in_random_orders_makes_a_model_mind_the_order_less(world):
    cohort, _ = world
    _, embeddings = make_world(num_items=300, widths=WIDTHS, present_rate=1.0)
    moved = {}
    for shuffled in (False, True):
        settings = quick(epochs=12, learning_rate=5e-3, shuffle_order=shuffled)
        trained = train(cohort, embeddings, (SICK,), "multimodn", settings)
        moved[shuffled] = order_scores(trained, cohort, embeddings)["moved"].mean()
    assert moved[True] < 0.7 * moved[False]


def test_a_model_without_states_has_no_order(world, models):
    cohort, embeddings = world
    with pytest.raises(ParamsError, match="P-Fusion"):
        order_scores(models["sick", "p_fusion"], cohort, embeddings)
    with pytest.raises(ValueError, match="num_orders"):
        SubsetsSettings(num_orders=1)
