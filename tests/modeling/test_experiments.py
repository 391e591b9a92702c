"""Interpretability and the missingness experiment on worlds whose answer is known."""

import dataclasses

import numpy as np
import pytest

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.modeling.interpret import cumulative_predictions, individual_contributions
from mmn.modeling.missingness import _choose, missingness_experiment
from mmn.modeling.settings import MissingnessSettings
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick

LEVEL_NOW = Task(name="level_now", number=6, kind="regression", description="", per_step=True, read_step=2)


@pytest.fixture(scope="module")
def series():
    cohort, embeddings = make_world(num_items=240, num_steps=3, static=("c",), present_rate=0.9)
    sick = dataclasses.replace(SICK, read_step=2)
    settings = quick(epochs=20, learning_rate=5e-3, dropout=0.0)
    return cohort, embeddings, train(cohort, embeddings, (sick, LEVEL_NOW), "multimodn", settings)


def test_the_modality_that_carries_the_signal_contributes_most(series):
    cohort, embeddings, trained = series
    table = individual_contributions(trained, cohort, embeddings)
    assert len(table) == 2 * 3 * 3
    sizes = table[table["task"] == "sick"].groupby("modality")["abs_imc"].mean()
    assert sizes.idxmax() == "a"
    assert (table["abs_imc"] >= table["imc"].abs() - 1e-12).all()


def test_a_contribution_is_the_prediction_of_that_modality_alone_minus_the_priors(series):
    cohort, embeddings, trained = series
    table = individual_contributions(trained, cohort, embeddings)
    rows = cohort.rows(1, "test")
    alone = trained.predict({"b": embeddings["b"]}, rows)
    nothing = dataclasses.replace(embeddings["b"], present=np.zeros_like(embeddings["b"].present))
    prior = trained.predict({"b": nothing}, rows)
    mine = [(f["task"] == "sick") & (f["member"] == 1) for f in (alone, prior)]
    there = embeddings["b"].present[rows].any(axis=1)
    moved = alone[mine[0]]["prediction"].to_numpy()[there] - prior[mine[1]]["prediction"].to_numpy()[there]
    found = table[(table["task"] == "sick") & (table["modality"] == "b") & (table["fold"] == 1)].iloc[0]
    assert found["imc"] == pytest.approx(moved.mean(), abs=1e-6)
    assert found["abs_imc"] == pytest.approx(np.abs(moved).mean(), abs=1e-6)


def test_cumulative_predictions_start_at_the_prior_and_add_up(series):
    cohort, embeddings, trained = series
    table = cumulative_predictions(trained, cohort, embeddings)
    assert set(table[table["task"] == "sick"]["group"]) == {"class 0", "class 1"}
    assert set(table[table["task"] == "level_now"]["group"]) == {"lowest third", "middle third", "top third"}
    for _, rows in table.groupby(["task", "group"], sort=False):
        assert list(rows["modality"]) == ["prior", "a", "b", "c", "a", "b", "a", "b"]
        assert list(rows["step"]) == [0, 0, 0, 0, 1, 1, 2, 2]
        assert rows["change"].iloc[0] == 0
        total = rows["prediction"].iloc[0] + rows["change"].sum()
        assert total == pytest.approx(rows["prediction"].iloc[-1])
    ends = table.groupby(["task", "group"])["prediction"].last()
    assert ends["sick", "class 1"] > ends["sick", "class 0"]


def test_groups_of_fewer_than_ten_items_are_not_shown():
    cohort, embeddings = make_world(num_items=40)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1))
    assert individual_contributions(trained, cohort, embeddings)["imc"].isna().all()
    assert (cumulative_predictions(trained, cohort, embeddings)["num_items"] >= 10).all()
    few = cohort.targets["sick"].copy()
    few[np.flatnonzero(few == 1)[3:]] = 0
    changed = dataclasses.replace(cohort, targets={**cohort.targets, "sick": few})
    assert "class 1" not in set(cumulative_predictions(trained, changed, embeddings)["group"])


def test_p_fusion_has_no_states_to_look_into():
    cohort, embeddings = make_world(num_items=40)
    trained = train(cohort, embeddings, (SICK,), "p_fusion", quick(epochs=1))
    with pytest.raises(ParamsError, match="P-Fusion"):
        individual_contributions(trained, cohort, embeddings)


@pytest.fixture(scope="module")
def removal():
    """The signal is in `a`; `b` is noise that goes missing in the sick only: a model that reads absence must pay."""
    cohort, embeddings = make_world(num_items=360, present_rate=1.0, widths={"a": 2, "b": 2})
    values = embeddings["b"].values + 8
    embeddings["b"] = dataclasses.replace(embeddings["b"], values=values)
    seen = []
    table = missingness_experiment(
        cohort,
        embeddings,
        SICK,
        "b",
        quick(batch_size=16, learning_rate=5e-3, dropout=0.0),
        MissingnessSettings(rates=(0.0, 0.8), epochs=25),
        progress=lambda done, total: seen.append((done, total)),
    )
    return table, seen


def test_the_experiment_has_every_model_mechanism_rate_and_test(removal):
    table, seen = removal
    assert list(table.columns) == ["model", "skip", "mechanism", "rate", "test", "fold", "auroc"]
    assert len(table) == 4 * 2 * 2 * 2 * 3
    assert not table.duplicated(["model", "skip", "mechanism", "rate", "test", "fold"]).any()
    at_zero = table[table["rate"] == 0].pivot_table(index=["model", "skip", "test", "fold"], columns="mechanism")
    assert np.array_equal(at_zero["auroc", "mnar"], at_zero["auroc", "mcar"])
    assert seen[-1] == (100, 100)


def test_presence_bits_learn_from_absence_and_skipping_per_item_is_hurt_less(removal):
    table, _ = removal
    at = (
        table[(table["mechanism"] == "mnar") & (table["rate"] == 0.8)]
        .groupby(["model", "skip", "test"])["auroc"]
        .mean()
    )
    fallen = {key: at[(*key, "complete")] - at[(*key, "flipped")] for key in {key[:2] for key in at.index}}
    assert fallen["p_fusion", "mask bits"] > 0.15
    assert fallen["multimodn", "item"] < fallen["p_fusion", "mask bits"]


def test_a_higher_rate_removes_the_same_items_and_more():
    group = np.arange(5, 105)
    few, more = (_choose(200, [group], rate, [0, 1]) for rate in (0.1, 0.5))
    assert (few.sum(), more.sum()) == (10, 50)
    assert (more | ~few).all()
    assert not more[:5].any()


def test_the_experiment_refuses_what_it_cannot_answer():
    cohort, embeddings = make_world(num_items=60)
    with pytest.raises(ParamsError, match="'level' is a regression"):
        missingness_experiment(cohort, embeddings, LEVEL, "a", quick(), MissingnessSettings())
    with pytest.raises(ParamsError, match="'x'"):
        missingness_experiment(cohort, embeddings, NOISE, "x", quick(), MissingnessSettings())
    with pytest.raises(ValueError, match="rates"):
        MissingnessSettings(rates=(1.5,))
