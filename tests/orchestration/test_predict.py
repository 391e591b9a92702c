"""`mmn predict`: the same numbers as training's own predictions, and a refusal of what the model was not trained on."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmn.data.embeddings import write_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.inputs import Member
from mmn.modeling.storage import read_any_model, read_model, write_model
from mmn.modeling.train import train
from mmn.modeling.xgboost_fusion import fit_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings
from mmn.modeling.xgboost_storage import write_xgboost
from mmn.orchestration.cli import app
from mmn.orchestration.predict import predict
from tests.modeling.worlds import GRADE, LEVEL, SICK, make_world, quick

IDENTITY = {"name": "table", "settings": {"mode": "clean"}, "weights": {"sha256": "abc"}}


def change_card(folder, change):
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


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


@pytest.mark.parametrize("architecture", ["multimodn", "fusion_transformer", "p_fusion"])
def test_of_a_multiclass_task_the_probability_of_each_class_is_written(made, architecture, tmp_path):
    _, _, files = made
    cohort, embeddings = make_world(num_items=60, present_rate=0.7)
    tasks = (GRADE,) if architecture == "p_fusion" else (GRADE, LEVEL)
    trained = train(cohort, embeddings, tasks, architecture, quick(epochs=1))
    write_model(tmp_path / "m", trained, {}, dict.fromkeys(embeddings, IDENTITY))
    predict(tmp_path / "m", files, tmp_path / "p.parquet")
    table = pd.read_parquet(tmp_path / "p.parquet")
    columns = [f"probability_{c}" for c in range(3)]
    assert list(table.columns)[7:] == ["prediction", *columns]
    last = table[table["task"] == "grade"].sort_values("number").groupby(["item", "member"]).last()
    expected = trained.predictions[trained.predictions["task"] == "grade"].set_index(["item", "member"])
    np.testing.assert_allclose(last.loc[expected.index, columns], expected[columns], atol=1e-5)
    assert (last["prediction"] == last[columns].to_numpy().argmax(axis=1)).all()
    assert table.loc[table["task"] == "level", columns].isna().all(axis=None)


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
    (tmp_path / "cut.parquet").write_bytes(files["a"].read_bytes()[:-40])
    with pytest.raises(ContractError, match="not a whole parquet file"):
        predict(folder / "multimodn", {"a": tmp_path / "cut.parquet"}, tmp_path / "p.parquet")
    with pytest.raises(ParamsError, match="no embedding table was given"):
        predict(folder / "multimodn", {}, tmp_path / "p.parquet")


def test_dimensions_in_another_order_than_in_training_are_refused_although_the_featurizer_is_the_same(tmp_path):
    cohort, embeddings = make_world(num_items=60)
    embeddings["a"] = dataclasses.replace(embeddings["a"], names=("age", "female", "insured"))
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1))
    write_model(tmp_path / "m", trained, {}, dict.fromkeys(embeddings, IDENTITY))
    turned = dataclasses.replace(embeddings["a"], names=("female", "age", "insured"))
    write_embeddings(tmp_path / "a.parquet", turned, {"identity": IDENTITY})
    with pytest.raises(ContractError, match="'a': 2 of its 3 dimensions are not those that the model was trained with"):
        predict(tmp_path / "m", {"a": tmp_path / "a.parquet"}, tmp_path / "p.parquet")


def test_a_model_whose_card_names_no_featurizer_predicts_and_says_that_nothing_was_compared(made, tmp_path):
    folder, _, files = made
    shutil.copytree(folder / "multimodn", tmp_path / "m")
    change_card(tmp_path / "m", lambda card: [modality.pop("featurizer") for modality in card["modalities"][:2]])
    assert predict(tmp_path / "m", files, tmp_path / "p.parquet")["not compared"].startswith("a, b: the model's card")
    assert "not compared" not in predict(folder / "multimodn", files, tmp_path / "p.parquet")


@pytest.mark.parametrize("architecture", ["p_fusion", "xgboost"])
def test_a_model_of_features_that_were_fitted_to_its_cohort_says_that_it_has_none_for_new_items(
    made, architecture, tmp_path
):
    folder, embeddings, _ = made
    shutil.copytree(folder / architecture, tmp_path / "m")
    fitted = {**IDENTITY, "fitted on": {"cohorts/x": "one"}}
    change_card(tmp_path / "m", lambda card: [modality.update(featurizer=fitted) for modality in card["modalities"]])
    write_embeddings(
        tmp_path / "a.parquet", embeddings["a"], {"identity": {**fitted, "fitted on": {"cohorts/x": "two"}}}
    )
    with pytest.raises(ContractError, match=r"predicts for the items of its own cohort alone\. For new items use one"):
        predict(tmp_path / "m", {"a": tmp_path / "a.parquet"}, tmp_path / "p.parquet")


def test_a_member_has_no_row_for_a_modality_that_its_fold_never_saw(made, tmp_path):
    _, _, files = made
    cohort, embeddings = make_world(num_items=60, present_rate=0.7)
    lost = np.zeros(60, dtype=bool)
    lost[cohort.rows(0, "train")] = True
    members = [Member(fold=0, absent={"a": lost}), Member(fold=0)]
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1), members)
    write_model(tmp_path / "m", trained, {}, dict.fromkeys(embeddings, IDENTITY))
    predict(tmp_path / "m", files, tmp_path / "p.parquet")
    table = pd.read_parquet(tmp_path / "p.parquet")
    read = table.groupby("member")["modality"].agg(set)
    assert read[0] == {"prior", "b", "c"} and read[1] == {"prior", "a", "b", "c"}
    for _, mine in table.groupby(["member", "item"]):
        assert sorted(mine["number"]) == list(range(len(mine)))


def test_a_member_has_no_row_for_a_task_that_it_did_not_learn(made, tmp_path):
    _, _, files = made
    cohort, embeddings = make_world(num_items=60, present_rate=0.7)
    members = [Member(fold=0, tasks=("sick",)), Member(fold=0)]
    trained = train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=1), members)
    write_model(tmp_path / "m", trained, {}, dict.fromkeys(embeddings, IDENTITY))
    predict(tmp_path / "m", files, tmp_path / "p.parquet")
    learnt = pd.read_parquet(tmp_path / "p.parquet").groupby("member")["task"].agg(set)
    assert learnt[0] == {"sick"} and learnt[1] == {"sick", "level"}


def test_predictions_that_depend_on_who_else_is_in_the_file_are_called_so(made, tmp_path):
    folder, embeddings, files = made
    cohort, _ = make_world(num_items=60, present_rate=0.7)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1, skip="batch"))
    write_model(tmp_path / "m", trained, {}, dict.fromkeys(embeddings, IDENTITY))
    assert (
        "depend on the 15 that stand with it" in predict(tmp_path / "m", files, tmp_path / "p.parquet")["skip: batch"]
    )
    assert "skip: batch" not in predict(folder / "multimodn", files, tmp_path / "p.parquet")


def test_modalities_are_met_in_the_order_asked_for(made, tmp_path):
    folder, embeddings, files = made
    given = {"a": files["a"], "c": files["c"]}
    predict(folder / "multimodn", given, tmp_path / "p.parquet", order=("c", "a"))
    table = pd.read_parquet(tmp_path / "p.parquet")
    trained = read_any_model(folder / "multimodn")
    both = np.flatnonzero(embeddings["a"].present[:, 0] & embeddings["c"].present[:, 0])
    state = trained.start(len(both))
    for name in ("c", "a"):
        state = trained.update(state, name, embeddings[name].values[0, both, 0])
        said = trained.read(state)["sick"]
        mine = table[(table["task"] == "sick") & (table["modality"] == name)].set_index(["member", "item"])[
            "prediction"
        ]
        for k in range(3):
            np.testing.assert_allclose(mine.loc[k].loc[embeddings["a"].items[both]], said[k], atol=1e-6)
    direct = trained.predict({name: embeddings[name] for name in given}, both, order=("c", "a"))
    mine = direct[direct["task"] == "sick"]["prediction"].to_numpy().reshape(3, -1)
    np.testing.assert_allclose(mine, said, atol=1e-6)
    usual = trained.predict({name: embeddings[name] for name in given}, both)
    assert np.abs(usual["prediction"] - direct["prediction"]).max() > 1e-3


@pytest.mark.parametrize(
    ("architecture", "order", "said"),
    [
        ("multimodn", ("a", "a", "b"), "order is a, a, b; name the modalities to be read, each once"),
        ("multimodn", ("a", "x"), "no modality 'x'; it knows a, b, c"),
        ("multimodn", ("a",), "--order a: name each modality that is given: a, b"),
        ("p_fusion", ("a", "b"), "P-Fusion has no state to update: it reads all modalities at once"),
        ("xgboost", ("a", "b"), "XGBoost reads all modalities at once"),
    ],
)
def test_an_order_that_a_model_cannot_read_in_is_refused(made, tmp_path, architecture, order, said):
    folder, _, files = made
    with pytest.raises(ParamsError) as error:
        predict(folder / architecture, {"a": files["a"], "b": files["b"]}, tmp_path / "p.parquet", order=order)
    assert said in str(error.value)


@pytest.mark.parametrize("architecture", ["multimodn", "xgboost"])
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("card.json", b'{"contract": ', "not whole"),
        ("card.json", b"[]", "no card of a model"),
        ("card.json", None, "no model's folder"),
        ("history.parquet", b"PAR1", "not a whole parquet file"),
        ("predictions.parquet", None, "predictions.parquet is missing"),
    ],
)
def test_a_model_folder_that_is_not_whole_is_refused_with_the_file(made, tmp_path, architecture, file, content, said):
    folder, _, files = made
    shutil.copytree(folder / architecture, tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    if content is not None:
        (tmp_path / "m" / file).write_bytes(content)
    with pytest.raises(ContractError) as error:
        predict(tmp_path / "m", files, tmp_path / "p.parquet")
    assert said in str(error.value) and file in str(error.value)


@pytest.mark.parametrize("architecture", ["multimodn", "xgboost"])
def test_a_card_of_newer_code_is_refused_with_the_setting_that_is_not_known(made, tmp_path, architecture):
    folder, _, files = made
    shutil.copytree(folder / architecture, tmp_path / "m")
    change_card(tmp_path / "m", lambda card: card["settings"].update(new_setting=1))
    with pytest.raises(ContractError, match=r"card\.json: this code cannot read it .*'new_setting'.*other code"):
        predict(tmp_path / "m", files, tmp_path / "p.parquet")
    change_card(tmp_path / "m", lambda card: (card["settings"].pop("new_setting"), card.pop("members")))
    with pytest.raises(ContractError, match=r"cannot read it \(KeyError: 'members'\)"):
        predict(tmp_path / "m", files, tmp_path / "p.parquet")


def test_nothing_that_is_read_is_written_over(made, tmp_path):
    folder, _, files = made
    shutil.copytree(folder / "multimodn", tmp_path / "m")
    before = files["a"].read_bytes()
    for out in (files["a"], folder / "x" / ".." / "a.parquet", tmp_path / "m" / "predictions.parquet"):
        with pytest.raises(ParamsError, match="would be written over what is read"):
            predict(tmp_path / "m", files, out)
    with pytest.raises(ParamsError, match="a folder is there"):
        predict(tmp_path / "m", files, tmp_path)
    assert files["a"].read_bytes() == before


def test_a_modality_given_twice_is_refused(made, tmp_path):
    folder, _, files = made
    twice = ["--input", f"a={files['a']}", "--input", f"a={files['b']}"]
    result = CliRunner().invoke(
        app, ["predict", str(folder / "multimodn"), *twice, "--out", str(tmp_path / "p.parquet")]
    )
    assert isinstance(result.exception, ParamsError) and "a is given twice" in str(result.exception)
    assert not (tmp_path / "p.parquet").exists()


def test_the_reader_of_networks_names_the_one_that_reads_every_kind(made):
    folder, _, _ = made
    with pytest.raises(ContractError, match=r"an XGBoost model.*read_xgboost.*read_any_model"):
        read_model(folder / "xgboost")
    assert type(read_any_model(folder / "xgboost")).__name__ == "TrainedXGBoost"
    assert read_any_model(folder / "p_fusion").architecture.name == "p_fusion"
