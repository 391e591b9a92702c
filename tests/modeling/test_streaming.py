"""Evidence that arrives piece by piece gives the predictions of the batch that had it from the start."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

NOW = Task(name="sick_now", number=4, kind="binary", description="", per_step=True, read_step=2)
LATE = dataclasses.replace(LEVEL, read_step=2)


@pytest.fixture(scope="module")
def fitted():
    cohort, embeddings = make_world(num_items=60, num_steps=3, present_rate=0.6, seed=5)
    return train(cohort, embeddings, (NOW, LATE), "multimodn", quick(scaler="minmax")), embeddings


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 50), steps=st.integers(1, 3))
def test_a_prefix_of_the_stream_is_the_batch_cut_there(fitted, first, steps):
    trained, embeddings = fitted
    rows = np.arange(first, first + 6)
    state = trained.start(len(rows))
    for step in range(steps):
        for name, e in embeddings.items():
            state = trained.update(state, name, e.values[0, rows, step])
    cut = {}
    for name, e in embeddings.items():
        present = e.present.copy()
        present[:, steps:] = False
        cut[name] = dataclasses.replace(e, present=present)
    batch = trained.predict(cut, rows)
    said = trained.read(state)
    for task in ("sick_now", "level"):
        last = batch[(batch["task"] == task) & (batch["step"] == batch[batch["task"] == task]["step"].max())]
        expected = np.stack([part["prediction"].to_numpy() for _, part in last.groupby("member")])
        np.testing.assert_allclose(said[task], expected, atol=1e-5)


def test_without_any_evidence_every_item_has_the_prior(fitted):
    trained, _ = fitted
    nothing = trained.update(trained.start(4), "a", np.full((4, 3), np.nan))
    said = trained.read(nothing)
    assert np.array_equal(said["sick_now"], trained.read(trained.start(4))["sick_now"])
    assert np.ptp(said["level"], axis=1).max() == 0


def test_wrong_evidence_and_a_model_without_a_state_are_refused(fitted):
    trained, _ = fitted
    with pytest.raises(ParamsError, match="no modality 'x'; it knows a, b, c"):
        trained.update(trained.start(), "x", np.zeros((1, 3)))
    with pytest.raises(ContractError, match=r"shape \(1, 4\), expected 1 items of width 3"):
        trained.update(trained.start(), "a", np.zeros((1, 4)))
    cohort, embeddings = make_world(num_items=60)
    with pytest.raises(ParamsError, match="P-Fusion has no state"):
        train(cohort, embeddings, (SICK,), "p_fusion", quick(epochs=1)).start()
