"""XGBoost on the embeddings: learns, reads absence as absence, and is stored without a pickle."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.modeling.inputs import Member
from mmn.modeling.scores import score
from mmn.modeling.train import train
from mmn.modeling.xgboost_fusion import HAIM_GRID, fit_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings
from mmn.modeling.xgboost_storage import read_xgboost, write_xgboost
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick

QUICK = XGBoostSettings(n_estimators=30, max_depth=3, early_stopping_rounds=5)


@pytest.fixture(scope="module")
def world():
    return make_world(num_items=150, widths={"a": 2, "b": 3})


@pytest.fixture(scope="module")
def trained(world):
    return fit_xgboost(*world, SICK, QUICK)


def without(embeddings: Embeddings, rows=slice(None), content=np.nan) -> Embeddings:
    """The same, absent for some items; content: what the absent rows hold."""
    present, values = embeddings.present.copy(), embeddings.values.copy()
    present[rows] = False
    values[:, ~present] = content
    return dataclasses.replace(embeddings, present=present, values=values)


def test_it_learns_a_planted_signal_and_beats_the_floors(world, trained):
    cohort, embeddings = world
    table = score(cohort, (SICK,), {("sick", "xgboost"): trained.predictions}, embeddings)
    row = table[(table["model"] == "xgboost") & table["primary"]].iloc[0]
    assert row["estimate"] > 0.75 and row["num_folds"] == 3
    assert row["fold_values"] == pytest.approx(trained.metrics["sick"]["auroc"], abs=1e-6)


def test_its_predictions_are_a_frame_as_every_models(world, trained):
    cohort, embeddings = world
    other = train(cohort, embeddings, (SICK,), "p_fusion", quick())
    pd.testing.assert_frame_equal(
        trained.predictions.drop(columns="prediction"), other.predictions.drop(columns="prediction")
    )
    assert list(trained.predictions) == list(other.predictions)
    assert trained.predictions["prediction"].between(0, 1).all()
    assert set(trained.history) <= set(other.history)


def test_a_regression_is_in_its_own_unit(world):
    trained = fit_xgboost(*world, LEVEL, QUICK)
    assert 15 < trained.predictions["prediction"].mean() < 25
    assert set(trained.metrics["level"]) == {"rmse", "mse_normalised", "mae"}
    assert np.mean(trained.metrics["level"]["rmse"]) < world[0].targets["level"].std()


def test_same_seed_same_bytes(world, trained, tmp_path):
    for name, one in (("a", trained), ("b", fit_xgboost(*world, SICK, QUICK))):
        write_xgboost(tmp_path / name, one, {"code": 1})
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert files == {
        "member-00.ubj",
        "member-01.ubj",
        "member-02.ubj",
        "card.json",
        "history.parquet",
        "predictions.parquet",
    }
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_stored_model_predicts_as_before(world, trained, tmp_path):
    write_xgboost(tmp_path / "m", trained, {"code": 1}, {"a": {"name": "numbers"}})
    found = read_xgboost(tmp_path / "m")
    pd.testing.assert_frame_equal(found.predict(world[1]), trained.predict(world[1]))
    for name in ("task", "modalities", "members", "settings", "counts", "chosen", "notes", "metrics", "num_steps"):
        assert getattr(found, name) == getattr(trained, name), name
    pd.testing.assert_frame_equal(found.predictions, trained.predictions, check_dtype=False)
    pd.testing.assert_frame_equal(found.history, trained.history, check_dtype=False)


def test_a_cut_or_foreign_folder_is_refused(trained, tmp_path):
    write_xgboost(tmp_path / "m", trained, {})
    trees = tmp_path / "m" / "member-01.ubj"
    trees.write_bytes(trees.read_bytes()[:200])
    with pytest.raises(ContractError, match=r"member-01\.ubj: missing, or not the trees"):
        read_xgboost(tmp_path / "m")
    (tmp_path / "m" / "history.parquet").unlink()
    with pytest.raises(ContractError, match=r"history\.parquet is missing"):
        read_xgboost(tmp_path / "m")


def test_what_an_absent_modality_holds_has_no_influence(world, trained):
    cohort, embeddings = world
    clean = {**embeddings, "a": without(embeddings["a"])}
    dirty = {**embeddings, "a": without(embeddings["a"], content=1e6)}
    pd.testing.assert_frame_equal(trained.predict(clean), trained.predict(dirty))
    again = fit_xgboost(cohort, {**embeddings, "b": without(embeddings["b"], slice(0, 60), 1e6)}, SICK, QUICK)
    same = fit_xgboost(cohort, {**embeddings, "b": without(embeddings["b"], slice(0, 60))}, SICK, QUICK)
    pd.testing.assert_frame_equal(again.predictions, same.predictions)


def test_it_predicts_for_any_presence_and_a_modality_not_given_is_absent(world, trained):
    _, embeddings = world
    only_b = trained.predict({"b": embeddings["b"]})
    pd.testing.assert_frame_equal(only_b, trained.predict({**embeddings, "a": without(embeddings["a"])}))
    assert only_b["prediction"].notna().all()
    nothing = trained.predict({name: without(e) for name, e in embeddings.items()})
    assert nothing.groupby("member")["prediction"].nunique().eq(1).all()


def test_items_are_predicted_one_by_one_as_all_together(world, trained):
    whole = trained.predict(world[1])
    one = trained.predict(world[1], rows=np.array([17]))
    assert one["prediction"].tolist() == whole[whole["item"] == "item00017"]["prediction"].tolist()


def test_the_trees_after_the_best_validation_loss_are_not_kept(world):
    trained = fit_xgboost(*world, NOISE, dataclasses.replace(QUICK, n_estimators=200))
    for k, chosen in enumerate(trained.chosen):
        scores = trained.history[trained.history["member"] == k]["validation_score"].to_numpy()
        assert chosen["num_trees"] == scores.argmax() + 1 == trained.boosters[k].num_boosted_rounds()
        assert len(scores) < 200
    free = fit_xgboost(*world, NOISE, dataclasses.replace(QUICK, early_stopping_rounds=0))
    assert {one["num_trees"] for one in free.chosen} == {30}


def test_the_test_part_has_no_say_in_training(world, trained):
    cohort, embeddings = world
    target = cohort.targets["sick"].copy()
    held_out = cohort.rows(0, "test")
    target[held_out] = 1 - target[held_out]
    other = fit_xgboost(dataclasses.replace(cohort, targets={"sick": target}), embeddings, SICK, QUICK)
    first = [frame[frame["fold"] == 0]["prediction"].tolist() for frame in (other.predictions, trained.predictions)]
    assert first[0] == first[1]


def test_classes_weigh_the_same_as_in_haim_unless_told_otherwise():
    cohort, embeddings = make_world(num_items=200, present_rate=1.0)
    rare = np.where(np.arange(200) % 10 == 0, cohort.targets["noise"], 0.0)
    cohort = dataclasses.replace(cohort, targets={"noise": rare})
    balanced, plain = (
        fit_xgboost(cohort, embeddings, NOISE, dataclasses.replace(QUICK, balanced=value)).predictions["prediction"]
        for value in (True, False)
    )
    assert balanced.mean() > 3 * plain.mean()


def test_the_grid_is_haims_and_each_member_takes_its_best_on_validation():
    assert HAIM_GRID["max_depth"] == (5, 6, 7, 8) and HAIM_GRID["learning_rate"] == (0.3, 0.1, 0.05)
    cohort, embeddings = make_world(num_items=60, widths={"a": 2}, num_folds=2)
    told = []
    settings = XGBoostSettings(grid=True, early_stopping_rounds=3)
    trained = fit_xgboost(cohort, embeddings, SICK, settings, progress=lambda *now: told.append(now))
    assert told[-1] == (24, 24) and len(told) == 24
    for k, chosen in enumerate(trained.chosen):
        best = trained.history[trained.history["member"] == k]["validation_score"].max()
        alone = XGBoostSettings(max_depth=5, learning_rate=0.3, early_stopping_rounds=3)
        other = fit_xgboost(cohort, embeddings, SICK, alone, [trained.members[k]])
        assert best >= other.history["validation_score"].max() and chosen["max_depth"] in HAIM_GRID["max_depth"]


def test_a_series_is_read_up_to_the_read_step_and_no_further():
    cohort, embeddings = make_world(num_items=80, num_steps=4, static=("c",))
    task = dataclasses.replace(SICK, read_step=1)
    trained = fit_xgboost(cohort, embeddings, task, QUICK)
    later = {name: e.values.copy() for name, e in embeddings.items()}
    for name, values in later.items():
        if name != "c":
            values[:, :, 2:] = 0
    changed = {name: dataclasses.replace(e, values=later[name]) for name, e in embeddings.items()}
    pd.testing.assert_frame_equal(trained.predict(changed), trained.predict(embeddings))
    assert set(trained.predictions["step"]) == {1}
    now = Task(name="level_now", number=None, kind="regression", description="", per_step=True, read_step=3)
    per_step = fit_xgboost(cohort, embeddings, now, QUICK).predictions
    assert set(per_step["step"]) == {3} and per_step["prediction"].mean() == pytest.approx(23, abs=1)


def test_each_member_reads_the_embeddings_that_were_fitted_for_its_fold(world):
    cohort, embeddings = world
    a = embeddings["a"]
    values = np.concatenate([a.values, a.values + 1000, a.values - 1000])
    per_fold = {**embeddings, "a": dataclasses.replace(a, values=values)}
    shifted = fit_xgboost(cohort, per_fold, SICK, QUICK).predictions
    plain = fit_xgboost(cohort, embeddings, SICK, QUICK).predictions
    assert np.corrcoef(shifted["prediction"], plain["prediction"])[0, 1] > 0.95


def test_a_member_that_loses_a_modality_neither_learns_nor_reads_it(world):
    cohort, embeddings = world
    lost = Member(fold=0, absent={"a": np.ones(len(cohort), dtype=bool)})
    trained = fit_xgboost(cohort, embeddings, SICK, QUICK, [lost])
    assert any("no training item has 'a'" in note for note in trained.notes)
    pd.testing.assert_frame_equal(trained.predict(embeddings), trained.predict({"b": embeddings["b"]}))


def test_one_class_and_missing_labels_are_said_and_no_label_is_refused(world):
    cohort, embeddings = world

    def with_target(y):
        return dataclasses.replace(cohort, targets={"sick": y})

    one_class = fit_xgboost(with_target(np.ones(len(cohort))), embeddings, SICK, QUICK)
    assert sum("training labels of 'sick' are the same" in note for note in one_class.notes) == 3
    assert (one_class.predictions["prediction"] > 0.99).all()
    assert one_class.metrics["sick"]["auroc"] == [None] * 3
    target = cohort.targets["sick"].copy()
    target[cohort.rows(1, "validation")] = np.nan
    partly = fit_xgboost(with_target(target), embeddings, SICK, QUICK)
    assert any("fold 1: no validation item" in note for note in partly.notes)
    assert partly.chosen[1]["num_trees"] == 30
    with pytest.raises(CohortError, match=r"fold 0: none of its \d+ training items has a label for 'sick'"):
        fit_xgboost(with_target(np.full(len(cohort), np.nan)), embeddings, SICK, QUICK)


def test_training_items_without_any_evidence_up_to_the_read_step_are_refused(world):
    cohort, embeddings = world
    nobody = {name: without(e, cohort.rows(1, "train")) for name, e in embeddings.items()}
    with pytest.raises(CohortError, match=r"fold 1: none of its \d+ training items has any of a, b\. Give a modality"):
        fit_xgboost(cohort, nobody, SICK, QUICK)
    cohort, series = make_world(num_items=60, num_steps=2)
    late = {name: without(e, (slice(None), 0)) for name, e in series.items()}
    with pytest.raises(CohortError, match="fold 0: none of its"):
        fit_xgboost(cohort, late, SICK, QUICK)
    assert fit_xgboost(cohort, late, dataclasses.replace(SICK, read_step=1), QUICK).notes == ()


def test_bad_input_is_refused(world, trained):
    cohort, embeddings = world
    with pytest.raises(ContractError, match="not trained with \\['x'\\]; its modalities are a, b"):
        trained.predict({"x": embeddings["a"]})
    with pytest.raises(ContractError, match="modality 'a': 1 steps of width 3"):
        trained.predict({"a": embeddings["b"]})
    with pytest.raises(ContractError, match="no modality"):
        trained.predict({})
    with pytest.raises(ContractError, match="no such target"):
        fit_xgboost(cohort, embeddings, dataclasses.replace(SICK, name="unknown"), QUICK)
    with pytest.raises(ParamsError, match="knows binary, regression"):
        fit_xgboost(cohort, embeddings, dataclasses.replace(SICK, kind="ranking"), QUICK)
    with pytest.raises(ValueError, match="learning_rate is 0"):
        XGBoostSettings(learning_rate=0)


def test_without_the_library_the_extra_is_named(world, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    with pytest.raises(ParamsError, match=r"mmn\[xgboost\]"):
        fit_xgboost(*world, SICK, QUICK)
