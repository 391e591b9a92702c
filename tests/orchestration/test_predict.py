"""`mmn predict`: the same numbers as training's own predictions, and a refusal of what the model was not trained on."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mmn.data.embeddings import write_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.storage import write_model
from mmn.modeling.train import train
from mmn.modeling.xgboost_fusion import fit_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings
from mmn.modeling.xgboost_storage import write_xgboost
from mmn.orchestration.predict import predict
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

IDENTITY = {"name": "table", "settings": {"mode": "clean"}, "weights": {"sha256": "abc"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    cohort, embeddings = make_world(num_items=60, present_rate=0.7)
    for architecture, tasks in (("multimodn", (SICK, LEVEL)), ("p_fusion", (LEVEL,))):
        trained = train(cohort, embeddings, tasks, architecture, quick())
        write_model(folder / architecture, trained, {"step": "test"}, dict.fromkeys(embeddings, IDENTITY))
    trees = fit_xgboost(cohort, embeddings, SICK, XGBoostSettings(n_estimators=5))
    write_xgboost(folder / "xgboost", trees, {"step": "test"}, dict.fromkeys(embeddings, IDENTITY))
    for name, e in embeddings.items():
        write_embeddings(folder / f"{name}.parquet", e, {"identity": IDENTITY})
    return folder, embeddings, {name: folder / f"{name}.parquet" for name in embeddings}


@pytest.mark.parametrize("architecture", ["multimodn", "p_fusion", "xgboost"])
def test_the_last_prediction_of_each_item_is_the_one_of_training(made, architecture, tmp_path):
    folder, _, files = made
    counts = predict(folder / architecture, files, tmp_path / "p.parquet")
    assert counts["items"] == 60 and counts["modalities absent"] == 0
    table = pd.read_parquet(tmp_path / "p.parquet")
    trained = pd.read_parquet(folder / architecture / "predictions.parquet")
    keys = ["item", "member", "task"]
    last = table.sort_values("number").groupby(keys)["prediction"].last()
    expected = trained.set_index(keys)["prediction"]
    np.testing.assert_allclose(last.loc[expected.index], expected, atol=1e-5)


def test_there_is_a_row_per_piece_of_evidence_and_one_for_the_prior(made, tmp_path):
    folder, embeddings, files = made
    predict(folder / "multimodn", {"a": files["a"], "c": files["c"]}, tmp_path / "p.parquet")
    table = pd.read_parquet(tmp_path / "p.parquet")
    one = table[(table["member"] == 0) & (table["task"] == "sick")]
    for place, item in enumerate(embeddings["a"].items):
        mine = one[one["item"] == item].sort_values("number")
        there = [name for name in ("a", "c") if embeddings[name].present[place, 0]]
        assert list(mine["modality"]) == ["prior", *there]
        assert list(mine["number"]) == list(range(len(there) + 1))


def test_an_item_that_one_table_lacks_is_predicted_from_the_others(made, tmp_path):
    folder, embeddings, files = made
    e = embeddings["b"]
    short = dataclasses.replace(e, items=e.items[10:], values=e.values[:, 10:], present=e.present[10:])
    write_embeddings(tmp_path / "b.parquet", short, {"identity": IDENTITY})
    counts = predict(folder / "multimodn", {"b": tmp_path / "b.parquet", "a": files["a"]}, tmp_path / "p.parquet")
    assert counts["items"] == 60
    table = pd.read_parquet(tmp_path / "p.parquet")
    lacking = table[table["item"].isin(e.items[:10])]
    assert "b" not in set(lacking["modality"]) and "a" in set(lacking["modality"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": {"sha256": "other"}}, "weights: {sha256: other}, trained on {sha256: abc}"),
        ({"settings": {"mode": "haim"}}, "settings: {mode: haim}, trained on {mode: clean}"),
        ({"name": "text"}, "name: text, trained on table"),
    ],
)
def test_embeddings_of_another_featurizer_are_refused_and_it_says_what_differs(made, tmp_path, change, said):
    folder, embeddings, files = made
    write_embeddings(tmp_path / "a.parquet", embeddings["a"], {"identity": {**IDENTITY, **change}})
    with pytest.raises(ContractError) as error:
        predict(folder / "multimodn", {**files, "a": tmp_path / "a.parquet"}, tmp_path / "p.parquet")
    assert said in str(error.value) and "'a'" in str(error.value)
    assert not (tmp_path / "p.parquet").exists()


def test_a_table_that_does_not_say_who_made_it_and_unknown_modalities_are_refused(made, tmp_path):
    folder, embeddings, files = made
    write_embeddings(tmp_path / "a.parquet", embeddings["a"], {})
    with pytest.raises(ContractError, match="does not say which featurizer made it"):
        predict(folder / "multimodn", {"a": tmp_path / "a.parquet"}, tmp_path / "p.parquet")
    with pytest.raises(ParamsError, match="not trained with 'x'; its modalities are a, b, c"):
        predict(folder / "multimodn", {"x": files["a"]}, tmp_path / "p.parquet")
    with pytest.raises(ParamsError, match="no such file"):
        predict(folder / "multimodn", {"a": tmp_path / "none.parquet"}, tmp_path / "p.parquet")
    with pytest.raises(ParamsError, match="no embedding table was given"):
        predict(folder / "multimodn", {}, tmp_path / "p.parquet")
