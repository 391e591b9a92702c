"""What is looked at inside a model, on worlds whose answer is known: IMC, CP, Shapley values."""

import dataclasses
from itertools import permutations

import numpy as np
import pytest

from mmn.data.dataset import Task
from mmn.data.errors import ParamsError
from mmn.modeling.interpret import (
    cumulative_predictions,
    individual_contributions,
    item_contributions,
    item_predictions,
    shown_items,
)
from mmn.modeling.settings import InterpretabilitySettings
from mmn.modeling.shapley import agreement, contributions, shapley_table, spearman, stability
from mmn.modeling.train import train
from tests.modeling.toys import with_formula
from tests.modeling.worlds import SICK, make_world, quick

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


# Shapley values.


def test_shapley_values_are_those_of_the_definition_over_all_orders_of_the_modalities(series):
    cohort, embeddings, trained = series
    found = contributions(trained, cohort, embeddings)
    rows = cohort.rows(1, "test")

    def predicted(names):
        """Of data from which all other modalities were removed."""
        given = {n: embeddings[n] for n in names} or {
            "a": dataclasses.replace(embeddings["a"], present=np.zeros_like(embeddings["a"].present))
        }
        frame = trained.predict(given, rows)
        return frame[(frame["task"] == "sick") & (frame["member"] == 1)]["prediction"].to_numpy()

    expected = np.zeros((len(rows), 3))
    for order in permutations("abc"):
        for place, name in enumerate(order):
            expected[:, "abc".index(name)] += (predicted(order[: place + 1]) - predicted(order[:place])) / 6
    np.testing.assert_allclose(found.shapley["sick"][1][:, 0], expected, atol=2e-6)
    whole = predicted(("a", "b", "c")) - predicted(())
    np.testing.assert_allclose(found.shapley["sick"][1].sum(axis=(1, 2)), whole, atol=2e-6)


@pytest.fixture(scope="module")
def formula():
    """A model that says 0.1 + 0.3 a - 0.2 b + 0.05 a b and reads nothing of c: its values follow from the formula."""
    cohort, embeddings = make_world(num_items=240, widths={"a": 1, "b": 1, "c": 1}, present_rate=0.8)
    trained = with_formula(cohort, embeddings, {"a": 0.3, "b": -0.2, "c": 0.0}, product=0.05)
    return cohort, embeddings, trained


def test_shapley_values_share_a_product_equally_and_are_zero_for_what_is_not_read(formula):
    cohort, embeddings, trained = formula
    found = contributions(trained, cohort, embeddings)
    for k, member in enumerate(trained.members):
        rows = cohort.rows(member.fold, "test")
        z = {
            name: np.where(
                e.present[rows, 0],
                (e.values[0, rows, 0, 0] - trained.scaling[name].shift[k, 0]) / trained.scaling[name].scale[k, 0],
                0.0,
            )
            for name, e in embeddings.items()
        }
        half = 0.05 * z["a"] * z["b"] / 2
        expected = np.stack([0.3 * z["a"] + half, -0.2 * z["b"] + half, np.zeros(len(rows))], axis=1)
        np.testing.assert_allclose(found.shapley["sick"][k][:, 0], expected, atol=1e-6)
        np.testing.assert_allclose(found.alone["sick"][k][:, 0], 0.3 * z["a"], atol=1e-6)


def test_without_products_shapley_values_and_contributions_agree_fully_and_in_every_fold():
    cohort, embeddings = make_world(num_items=180, widths={"a": 1, "b": 1, "c": 1}, num_folds=3)
    found = contributions(with_formula(cohort, embeddings, {"a": 0.3, "b": -0.2, "c": 0.05}), cohort, embeddings)
    alike = agreement(found)
    assert alike["over_items"].to_numpy() == pytest.approx(1.0) and (alike["over_modalities"] > 0.999).all()
    assert alike["same_first"].all()
    steady = stability(found).set_index("measure")
    assert steady.loc["imc", "rank_correlation"] == pytest.approx(1.0) and steady.loc["imc", "num_pairs"] == 3
    assert list(steady["strongest"]) == ["a", "a"] and (steady["same_first"] == 1).all()


def test_with_many_modalities_orders_are_sampled_and_the_stated_error_covers_the_formula():
    names = [f"m{n:02d}" for n in range(12)]
    cohort, embeddings = make_world(num_items=60, widths={"a": 1, **dict.fromkeys(names[1:], 1)}, present_rate=1.0)
    trained = with_formula(cohort, embeddings, dict.fromkeys(embeddings, 0.1), product=0.3)  # of a and m01
    table = shapley_table(contributions(trained, cohort, embeddings, sampled_orders=40))
    assert not table["exact"].any() and len(table) == 12 * 3
    rows, k = cohort.rows(0, "test"), 0
    z = {
        name: (embeddings[name].values[0, rows, 0, 0] - trained.scaling[name].shift[k, 0])
        / trained.scaling[name].scale[k, 0]
        for name in ("a", "m01", "m02")
    }
    mine = table[table["fold"] == 0].set_index("modality")
    expected = {name: (0.1 * z[name] + (0.15 * z["a"] * z["m01"] if name != "m02" else 0)).mean() for name in z}
    for name, value in expected.items():
        # A pair of orders, one the reverse of the other, shares a product of two equally: no error is left.
        assert abs(mine.loc[name, "shapley"] - value) <= 4 * mine.loc[name, "error"] + 1e-6


def test_a_useless_modality_is_worth_next_to_nothing_and_the_planted_one_the_most():
    cohort, embeddings = make_world(num_items=450, present_rate=1.0, widths={"a": 3, "b": 2})
    settings = quick(epochs=12, learning_rate=5e-3, batch_size=32)
    trained = train(cohort, embeddings, (SICK,), "multimodn", settings)
    table = shapley_table(contributions(trained, cohort, embeddings))
    worth = table.groupby("modality")[["shapley", "abs_shapley"]].mean()
    # What says nothing can shift the mean prediction by the error with which the prevalence is known, 3 of them here.
    assert abs(worth.loc["b", "shapley"]) < 3 * 0.5 / np.sqrt(trained.counts[0]["train"])
    assert worth["abs_shapley"].idxmax() == "a"


def test_ranks_are_correlated_as_spearman_says_and_of_constants_not_at_all():
    from scipy.stats import spearmanr

    one, other = np.random.default_rng(0).integers(0, 6, (2, 40)).astype(float)
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert np.isnan(spearman(one, np.ones(40)))


# Single items.


def test_single_items_are_shown_of_generated_data_and_of_real_data_only_if_asked_for(series):
    cohort, embeddings, _ = series
    none, why = shown_items(cohort, embeddings, InterpretabilitySettings(), generated=False)
    assert len(none) == 0 and "real" in why and "interpretability.items" in why
    chosen, _ = shown_items(cohort, embeddings, InterpretabilitySettings(), generated=True)
    assert len(chosen) == 4
    assert len(shown_items(cohort, embeddings, InterpretabilitySettings(num_items=2), generated=False)[0]) == 2
    name = cohort.items["item"].iloc[int(cohort.rows(0, "test")[3])]
    named, why = shown_items(cohort, embeddings, InterpretabilitySettings(items=(name,)), generated=False)
    assert list(cohort.items["item"].iloc[named]) == [name] and "named" in why
    with pytest.raises(ParamsError, match="nobody is not among"):
        shown_items(cohort, embeddings, InterpretabilitySettings(items=("nobody",)), generated=True)


def test_an_items_contributions_make_up_those_of_all_and_are_null_where_it_lacks_the_modality(series):
    cohort, embeddings, trained = series
    everyone = np.arange(len(cohort))
    table = item_contributions(trained, cohort, embeddings, everyone)
    assert not table.duplicated(["task", "fold", "item", "modality"]).any()
    mean = table.groupby(["task", "modality", "fold"])["imc"].mean()
    whole = individual_contributions(trained, cohort, embeddings).set_index(["task", "modality", "fold"])["imc"]
    np.testing.assert_allclose(mean.loc[whole.index], whole)
    position = dict(zip(cohort.items["item"], everyone, strict=True))
    of_c = table[(table["modality"] == "c") & (table["task"] == "sick")]
    there = embeddings["c"].present[of_c["item"].map(position).to_numpy(), 0]
    assert np.array_equal(of_c["imc"].notna().to_numpy(), there) and not there.all()


def test_an_items_predictions_add_up_and_stay_where_a_step_is_missing(series):
    cohort, embeddings, trained = series
    shown, _ = shown_items(cohort, embeddings, InterpretabilitySettings(num_items=6), generated=False)
    table = item_predictions(trained, cohort, embeddings, shown)
    assert set(table["item"]) == set(cohort.items["item"].iloc[shown])
    position = dict(zip(cohort.items["item"], range(len(cohort)), strict=True))
    for (_, item, _), rows in table.groupby(["task", "item", "fold"]):
        assert list(rows["modality"]) == ["prior", "a", "b", "c", "a", "b", "a", "b"]
        assert rows["prediction"].iloc[0] + rows["change"].sum() == pytest.approx(rows["prediction"].iloc[-1])
        there = [
            embeddings[m].present[position[item], s]
            for m, s in zip(rows["modality"][1:], rows["step"][1:], strict=True)
        ]
        assert list(rows["change"][1:].notna()) == there


def test_sampled_orders_must_be_even_and_counts_not_negative():
    for wrong in ({"sampled_orders": 5}, {"num_items": -1}, {"items": (17,)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InterpretabilitySettings(**wrong)
