"""What holds of every architecture once it is trained, whatever of its items' evidence is there."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmn.data.embeddings import Embeddings
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.search import sweep
from mmn.modeling.train import train
from tests.modeling.worlds import GRADE, SICK, make_world, quick

ENCODERS = {"a": {"kind": "gru", "hidden": 3}, "b": {"kind": "cnn1d", "hidden": 3}}
ARCHITECTURES = {
    "multimodn": {},
    "multimodn with encoders": {"encoders": ENCODERS},
    "p_fusion": {},
    "p_fusion with bits": {"mask_bits": True},
    "fusion_transformer": {},
}
NUM_ITEMS, STEPS = 6, 2


@pytest.fixture(scope="module", params=ARCHITECTURES)
def fitted(request):
    cohort, embeddings = make_world(num_items=60, num_steps=STEPS, static=("c",), seed=5)
    tasks = (dataclasses.replace(GRADE, read_step=1),)
    how = quick(epochs=1, dtype="float64", scaler="minmax", **ARCHITECTURES[request.param])
    return train(cohort, embeddings, tasks, request.param.split(" ")[0], how), embeddings


def said(trained, embeddings) -> np.ndarray:
    """(members, items, classes)."""
    frame = trained.predict(embeddings)
    columns = [name for name in frame if name.startswith("probability")]
    return frame[columns].to_numpy().reshape(len(trained.members), -1, len(columns))


def cut(embeddings, present, order=None, absent_holds=np.nan):
    """The first items, with this presence, in this order."""
    found, first = {}, 0
    for name, e in embeddings.items():
        mine = present[:, first : (first := first + e.num_steps)]
        values = np.nan_to_num(e.values[:, :NUM_ITEMS], nan=50.0)
        values = np.where(mine[None, ..., None], values, np.float32(absent_holds))
        order = np.arange(NUM_ITEMS) if order is None else order
        found[name] = Embeddings(items=e.items[order], values=values[:, order], present=mine[order])
    return found


@settings(max_examples=5, deadline=None)
@given(present=arrays(bool, (NUM_ITEMS, 2 * STEPS + 1)), order=st.permutations(range(NUM_ITEMS)))
def test_an_items_prediction_is_its_own_and_what_it_lacks_has_no_say(fitted, present, order):
    trained, embeddings = fitted
    whole = said(trained, cut(embeddings, present))
    np.testing.assert_allclose(said(trained, cut(embeddings, present, np.array(order))), whole[:, order], atol=1e-12)
    assert np.array_equal(said(trained, cut(embeddings, present, absent_holds=1e6)), whole)
    alone = [said(trained, cut(embeddings, present, np.array([n]))) for n in range(NUM_ITEMS)]
    np.testing.assert_allclose(np.concatenate(alone, axis=1), whole, atol=1e-12)


def test_items_without_any_evidence_have_one_prediction_which_of_multimodn_is_the_priors(fitted):
    trained, embeddings = fitted
    nothing = said(trained, cut(embeddings, np.zeros((NUM_ITEMS, 2 * STEPS + 1), dtype=bool)))
    np.testing.assert_allclose(nothing, nothing[:, :1].repeat(NUM_ITEMS, axis=1), atol=1e-15)
    if trained.architecture.name == "multimodn":
        np.testing.assert_allclose(nothing[:, :1], trained.read(trained.start(1))["grade"], atol=1e-12)


def test_a_training_with_encoders_that_was_killed_ends_with_the_same_bytes(tmp_path):
    cohort, embeddings = make_world(num_items=60, num_steps=STEPS)
    task, how = (dataclasses.replace(SICK, read_step=1),), quick(epochs=3, encoders=ENCODERS, dropout=0.2)
    whole = train(cohort, embeddings, task, "multimodn", how)

    class Killed(BaseException):
        pass

    def kill(epoch, epochs):
        if epoch == 2:
            raise Killed

    kept = Checkpoint(tmp_path / "kept", every_seconds=0.0)
    with pytest.raises(Killed):
        train(cohort, embeddings, task, "multimodn", how, progress=kill, checkpoint=kept)
    again = train(
        cohort, embeddings, task, "multimodn", how, checkpoint=Checkpoint(tmp_path / "kept", every_seconds=0.0)
    )
    assert again.predictions.equals(whole.predictions) and again.history.equals(whole.history)


def test_a_search_counts_a_setting_that_diverges_from_the_first_epoch_on_and_goes_on():
    cohort, embeddings = make_world(num_items=60)
    how = quick(epochs=2, clip_norm=0.0)
    wild = dataclasses.replace(how, learning_rate=1e30)
    table = sweep(cohort, embeddings, (SICK,), "multimodn", how, plan={"wild": wild})
    assert table.groupby("roles")["diverged"].all().to_dict() == {"default": False, "wild": True}
