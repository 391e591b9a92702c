"""The worlds of the open questions are what they are said to be, and the studies recover what was planted."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.growth import cost
from mmn.modeling.growth import QUICK, STEP_NOISE, make_world, state_sizes, unequal_lengths


def test_tasks_ask_for_different_directions_and_their_ceiling_ranks_the_targets():
    world = make_world(num_items=4000, num_modalities=4, num_tasks=4)
    ceilings = np.array(list(world.ceiling.values()))
    # Independent: a correlation of 4,000 pairs has a standard error of 0.016.
    assert np.abs(np.corrcoef(ceilings) - np.eye(4)).max() < 4 * 0.016
    for task, ranking in world.ceiling.items():
        # Of a signal of variance 1 under noise 0.5 it is 0.936 (of 2 million draws); here its standard error is 0.004.
        assert roc_auc_score(world.cohort.targets[task], ranking) == pytest.approx(0.936, abs=0.012)


def test_a_world_of_unequal_series_is_that_of_whole_ones_cut_and_a_longer_series_tells_more():
    whole, cut = (make_world(num_items=3000, num_modalities=2, num_steps=8, unequal=u) for u in (False, True))
    for name, e in cut.embeddings.items():
        assert np.array_equal(e.present.sum(axis=1), cut.lengths)
        assert np.array_equal(e.values[0][e.present], whole.embeddings[name].values[0][e.present])
    assert np.array_equal(whole.cohort.targets["task0"], cut.cohort.targets["task0"])
    y, ranking = cut.cohort.targets["task0"], cut.ceiling["task0"]
    short, long = cut.lengths <= 2, cut.lengths >= 7
    assert roc_auc_score(y[long], ranking[long]) > roc_auc_score(y[short], ranking[short]) + 0.05
    # The mean of n steps under noise s is worth n / (n + s^2) of the signal's variance.
    expected = (cut.lengths / (cut.lengths + STEP_NOISE**2))[long].mean()
    assert ranking[long].var() == pytest.approx(expected, rel=0.15)


def test_every_item_is_tested_once():
    world = make_world(num_items=50)
    tested = np.concatenate([world.cohort.rows(fold, "test") for fold in range(5)])
    assert sorted(tested) == list(range(50))
    assert not set(world.cohort.rows(0, "test")) & set(world.cohort.rows(0, "train"))


def test_a_state_of_one_number_does_not_hold_two_answers():
    quick = replace(QUICK, epochs=12, batch_size=32)
    table = state_sizes((2,), (2,), (1, 12), quick, num_items=300).set_index("state")
    assert table.loc[12, "auroc"] > table.loc[1, "auroc"] + 0.05
    assert (table["auroc"] <= table["ceiling"] + 0.02).all() and table["parameters"].is_monotonic_increasing


def test_unequal_series_are_scored_by_their_length_for_every_model_and_training():
    table = unequal_lengths(("multimodn",), num_steps=4, parts=2, settings=replace(QUICK, epochs=3), num_items=200)
    assert list(table["trained_on"]) == ["unequal", "unequal", "whole", "whole"]
    assert list(table["shortest"]) == [1, 3] * 2 and list(table["longest"]) == [2, 4] * 2
    assert table["auroc"].between(0.4, 1).all()


def test_the_benchmark_measures_every_model_at_every_number_of_modalities():
    table = cost([2, 3], num_items=60, rounds=1)
    assert len(table) == 6 and (table[["train_us", "read_us"]] > 0).all(axis=None)
    assert table.groupby("model")["parameters"].apply(lambda p: p.is_monotonic_increasing).all()
