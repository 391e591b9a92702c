"""What a trained model is given to read: embeddings of the same items, made as those of training; else it says so."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from mmn.data.errors import ContractError
from mmn.modeling.storage import read_model, write_model
from mmn.modeling.train import train
from mmn.modeling.xgboost_fusion import fit_xgboost
from mmn.modeling.xgboost_settings import XGBoostSettings
from mmn.modeling.xgboost_storage import read_xgboost, write_xgboost
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

NAMES = ("age", "female", "insured")


@pytest.fixture(scope="module")
def world():
    cohort, embeddings = make_world(num_items=60)
    b = embeddings["b"]
    embeddings["a"] = dataclasses.replace(embeddings["a"], names=NAMES)
    embeddings["b"] = dataclasses.replace(b, values=np.concatenate([b.values, b.values + 1, b.values - 1]))
    return cohort, embeddings


@pytest.fixture(scope="module", params=["multimodn", "xgboost"])
def trained(world, request):
    if request.param == "xgboost":
        return fit_xgboost(*world, LEVEL, XGBoostSettings(n_estimators=5))
    return train(*world, (LEVEL,), "multimodn", quick())


def of_items(e, rows):
    return dataclasses.replace(e, items=e.items[rows], values=e.values[:, rows], present=e.present[rows])


def test_predictions_follow_their_item_when_all_modalities_are_in_another_order(world, trained):
    turned = np.random.default_rng(0).permutation(60)
    whole = trained.predict(world[1]).set_index(["member", "item"])["prediction"]
    found = trained.predict({name: of_items(e, turned) for name, e in world[1].items()})
    found = found.set_index(["member", "item"])["prediction"]
    np.testing.assert_allclose(found.loc[whole.index], whole, rtol=1e-6)


def test_a_modality_whose_items_are_others_or_in_another_order_is_refused(world, trained):
    _, embeddings = world
    for rows in (np.random.default_rng(0).permutation(60), np.arange(50)):
        with pytest.raises(ContractError, match=r"'c': the items are not those of 'a', or not in the same order"):
            trained.predict({**embeddings, "c": of_items(embeddings["c"], rows)})
    short = dataclasses.replace(of_items(embeddings["c"], np.arange(50)), items=embeddings["c"].items)
    with pytest.raises(ContractError, match="'c': values of 50 items for 60 names"):
        trained.predict({**embeddings, "c": short})


def test_no_item_is_refused_by_name(world, trained):
    with pytest.raises(ContractError, match="'a': it has no item"):
        trained.predict({name: of_items(e, np.arange(0)) for name, e in world[1].items()})


@pytest.mark.parametrize("versions", [1, 2, 4])
def test_as_many_fitted_versions_as_in_training_are_read_and_no_other_number(world, trained, versions):
    _, embeddings = world
    many = np.repeat(embeddings["b"].values[:1], versions, axis=0)
    with pytest.raises(ContractError, match=rf"'b': {versions} fitted versions, the model was trained with 3"):
        trained.predict({**embeddings, "b": dataclasses.replace(embeddings["b"], values=many)})
    with pytest.raises(ContractError, match="'c': 3 fitted versions, the model was trained with 1"):
        values = np.repeat(embeddings["c"].values, 3, axis=0)
        trained.predict({**embeddings, "c": dataclasses.replace(embeddings["c"], values=values)})


@pytest.mark.parametrize(("content", "said"), [(np.nan, "called present but hold nothing"), (np.inf, "infinite value")])
def test_a_present_row_that_holds_nothing_or_an_infinite_value_is_refused(world, trained, content, said):
    c = world[1]["c"]
    values = c.values.copy()
    values[:, np.flatnonzero(c.present[:, 0])[0]] = content
    with pytest.raises(ContractError, match=f"'c': 1 .*{said}"):
        trained.predict({**world[1], "c": dataclasses.replace(c, values=values)})


def test_dimensions_in_another_order_than_in_training_are_refused_after_the_disk_too(world, trained, tmp_path):
    _, embeddings = world
    write, read = (write_model, read_model) if hasattr(trained, "model") else (write_xgboost, read_xgboost)
    write(tmp_path / "m", trained, {})
    swapped = {**embeddings, "a": dataclasses.replace(embeddings["a"], names=("female", "age", "insured"))}
    for one in (trained, read(tmp_path / "m")):
        with pytest.raises(ContractError, match=r"'a': 2 of its 3 dimensions are not those .* the first is 'female'"):
            one.predict(swapped)
        unnamed = one.predict({**embeddings, "a": dataclasses.replace(embeddings["a"], names=())})
        pd.testing.assert_frame_equal(unnamed, one.predict(embeddings))


def test_a_card_of_before_which_says_neither_versions_nor_names_is_still_read(world, trained, tmp_path):
    write, read = (write_model, read_model) if hasattr(trained, "model") else (write_xgboost, read_xgboost)
    write(tmp_path / "m", trained, {})
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    for modality in card["modalities"]:
        del modality["num_versions"], modality["names"]
    (tmp_path / "m" / "card.json").write_text(json.dumps(card))
    old = read(tmp_path / "m")
    pd.testing.assert_frame_equal(old.predict(world[1]), trained.predict(world[1]))
    two = dataclasses.replace(world[1]["b"], values=world[1]["b"].values[:2])
    with pytest.raises(ContractError, match="'b': 2 fitted versions, the model was trained with one for each fold"):
        old.predict({**world[1], "b": two})


# One piece of evidence at a time


@pytest.fixture(scope="module")
def stream():
    return train(*make_world(num_items=60), (SICK, LEVEL), "multimodn", quick())


def test_the_evidence_of_one_item_may_be_a_plain_row(stream):
    x = np.array([51.0, 49.0, np.nan])
    one, other = (stream.read(stream.update(stream.start(), "a", given)) for given in (x, x[None]))
    assert np.array_equal(one["sick"], other["sick"])
    assert not np.array_equal(one["sick"], stream.read(stream.start())["sick"])


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (5.0, r"evidence of shape \(\), expected 1 items of width 3"),
        (np.ones(4), r"evidence of shape \(4,\), expected 1 items of width 3"),
        (np.ones((2, 3)), r"evidence of shape \(2, 3\), expected 1 items"),
        (np.ones((1, 3, 1, 3)), r"evidence of shape \(1, 3, 1, 3\)"),
        (np.ones((2, 1, 3)), "evidence of 2 members, the model has 3"),
        ([["a", "b", "c"]], "no array of numbers"),
        ([[1.0, 2.0], [3.0]], "no array of numbers"),
        (None, r"evidence of shape \(\)"),
    ],
)
def test_evidence_of_another_shape_or_kind_is_refused(stream, evidence, said):
    with pytest.raises(ContractError, match=said):
        stream.update(stream.start(), "a", evidence)


def test_a_row_for_a_stream_of_several_items_and_a_stream_of_none_are_refused(stream):
    with pytest.raises(ContractError, match=r"evidence of shape \(3,\), expected 2 items"):
        stream.update(stream.start(2), "a", np.ones(3))
    with pytest.raises(ContractError, match="a stream of 0 items"):
        stream.start(0)


def test_the_state_of_another_model_is_refused_wherever_it_is_passed(stream):
    other = train(*make_world(num_items=60, num_folds=2), (SICK,), "multimodn", quick(state=9, epochs=1)).start()
    for use in (lambda state: stream.update(state, "a", np.ones(3)), stream.read):
        with pytest.raises(ContractError, match=r"the state is not of this model: \(2, 1, 9\), expected 3 members"):
            use(other)
        with pytest.raises(ContractError, match="not of this model: ndarray"):
            use(np.zeros((3, 1, 6)))
