"""Numbers that are none: a training that diverges, evidence that is undefined, and evidence that is infinite."""

import dataclasses

import numpy as np
import pytest
import torch

from mmn.data.embeddings import Embeddings
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.inputs import Member
from mmn.modeling.packed import Packed
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

STEPS_PER_EPOCH = 3


@pytest.fixture(scope="module")
def world():
    return make_world(num_items=60)


def poisoned(monkeypatch, member: int, epoch: int, value: float = float("nan")):
    """One weight of a member is no number any more in (0-based) `epoch`."""
    plain, steps = Packed.step, 0

    def step(self, active):
        nonlocal steps
        plain(self, active)
        if steps == epoch * STEPS_PER_EPOCH:
            self.values[0][member, 0] = value
        steps += 1

    monkeypatch.setattr(Packed, "step", step)


def weights(trained, member: int) -> torch.Tensor:
    return torch.cat([p[member].detach().flatten() for p in trained.model.parameters()])


@pytest.mark.parametrize("task", [SICK, LEVEL])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_member_that_diverges_keeps_its_best_epoch_and_the_others_go_on(world, task, value, monkeypatch):
    cohort, embeddings = world
    short = train(cohort, embeddings, (task,), "multimodn", quick(epochs=2))
    plain = train(cohort, embeddings, (task,), "multimodn", quick(epochs=5))
    poisoned(monkeypatch, member=1, epoch=2, value=value)
    trained = train(cohort, embeddings, (task,), "multimodn", quick(epochs=5))
    assert torch.equal(weights(trained, 1), weights(short, 1))
    assert torch.equal(weights(trained, 0), weights(plain, 0)) and torch.equal(weights(trained, 2), weights(plain, 2))
    assert np.isfinite(trained.predictions["prediction"]).all()
    mine = trained.history[trained.history["member"] == 1]
    assert mine["epoch"].max() == 2 and np.isnan(mine["validation_score"].iloc[-1])
    assert not np.isfinite(mine["train_loss"].iloc[-1])
    (note,) = [note for note in trained.notes if "diverged" in note]
    assert "member 1 (fold 1, seed 0)" in note and "epoch 3" in note and "learning_rate" in note


def test_without_a_validation_label_the_last_sound_epoch_stands(world, monkeypatch):
    cohort, embeddings = world
    target = cohort.targets["sick"].copy()
    target[cohort.rows(0, "validation")] = np.nan
    cohort = dataclasses.replace(cohort, targets={"sick": target})
    short = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=2), [Member(fold=0)])
    poisoned(monkeypatch, member=0, epoch=2)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=5), [Member(fold=0)])
    assert torch.equal(weights(trained, 0), weights(short, 0))


def test_a_member_that_never_had_a_sound_epoch_is_an_error_that_names_it_and_what_to_do(world, monkeypatch):
    cohort, embeddings = world
    poisoned(monkeypatch, member=2, epoch=0)
    members = [Member(fold=0), Member(fold=1), Member(fold=2, seed=7, label="late")]
    with pytest.raises(ParamsError, match=r"member 2 \(fold 2, seed 7, late\).*epoch 1 of 3.*smaller learning_rate"):
        train(cohort, embeddings, (SICK,), "multimodn", quick(), members)


def test_a_learning_rate_without_bound_is_refused_with_its_value(world):
    cohort, embeddings = world
    with pytest.raises(ParamsError, match=r"learning_rate \(it is 1e\+30\)"):
        train(cohort, embeddings, (LEVEL,), "multimodn", quick(learning_rate=1e30, clip_norm=0.0))


def test_a_training_that_diverged_is_taken_up_again_with_the_same_end(world, monkeypatch, tmp_path):
    cohort, embeddings = world
    poisoned(monkeypatch, member=1, epoch=1)
    whole = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=4))

    class Killed(BaseException):
        pass

    def kill(epoch, epochs):
        if epoch == 4:
            raise Killed

    monkeypatch.undo()
    poisoned(monkeypatch, member=1, epoch=1)
    with pytest.raises(Killed):
        train(
            cohort, embeddings, (SICK,), "multimodn", quick(epochs=4), progress=kill,
            checkpoint=Checkpoint(tmp_path / "kept", every_seconds=0.0),
        )  # fmt: skip
    monkeypatch.undo()
    kept = Checkpoint(tmp_path / "kept", every_seconds=0.0)
    again = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=4), checkpoint=kept)
    assert again.notes == whole.notes and any("diverged" in note for note in again.notes)
    assert again.history.equals(whole.history) and again.predictions.equals(whole.predictions)


def with_undefined(embeddings, cohort):
    """Modality `a` 1 to 9 in dimension 1, undefined for every other item."""
    values = embeddings["a"].values.copy()
    values[..., 1] = np.random.default_rng(1).uniform(1, 9, values.shape[:3]) ** 2
    values[:, ::2, :, 1] = np.nan
    values[:, ~embeddings["a"].present] = np.nan
    return {**embeddings, "a": dataclasses.replace(embeddings["a"], values=values)}


@pytest.mark.parametrize("architecture", ["multimodn", "p_fusion"])
@pytest.mark.parametrize("kept_scaled", [True, False])
def test_an_undefined_element_is_the_training_mean_with_minmax_too(world, architecture, kept_scaled, monkeypatch):
    cohort, embeddings = world
    if not kept_scaled:
        monkeypatch.setattr("mmn.modeling.inputs.SCALED_BYTES", 0)
    embeddings = with_undefined(embeddings, cohort)
    trained = train(cohort, embeddings, (SICK,), architecture, quick(scaler="minmax", epochs=1), [Member(fold=0)])
    here = cohort.rows(0, "train")
    known = embeddings["a"].values[0, here, 0, 1]
    known = known[~np.isnan(known)]
    mean = ((known - known.min()) / (known.max() - known.min())).mean()
    batch = trained.inputs(embeddings).gather(np.arange(60)[None], np.ones((1, 60), dtype=bool), with_targets=False)
    x, present = batch.x["a"][0, :, 0, 1].numpy(), embeddings["a"].present[:, 0]
    assert 0.1 < mean < 0.9
    np.testing.assert_allclose(x[::2][present[::2]], mean, atol=1e-6)
    np.testing.assert_allclose(x[~present], 0.0 if architecture == "multimodn" else mean, atol=1e-6)


def test_a_stream_scales_undefined_elements_as_the_batch_does(world):
    cohort, embeddings = world
    embeddings = with_undefined(embeddings, cohort)
    for scaler in ("minmax", "standard"):
        trained = train(cohort, embeddings, (SICK,), "multimodn", quick(scaler=scaler, dtype="float64"))
        state = trained.start(8)
        for name, e in embeddings.items():
            state = trained.update(state, name, e.values[0, :8, 0])
        batch = trained.predict(embeddings, np.arange(8))["prediction"].to_numpy().reshape(3, 8)
        np.testing.assert_allclose(trained.read(state)["sick"], batch, atol=1e-12)


def test_infinite_evidence_is_refused_in_training_in_prediction_and_in_a_stream(world):
    cohort, embeddings = world
    values = embeddings["b"].values.copy()
    values[0, np.flatnonzero(embeddings["b"].present[:, 0])[0], 0, 0] = np.inf
    bad = {**embeddings, "b": dataclasses.replace(embeddings["b"], values=values)}
    with pytest.raises(ContractError, match=r"'b'.*1 present rows hold an infinite"):
        train(cohort, bad, (SICK,), "multimodn", quick(epochs=1))
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1))
    with pytest.raises(ContractError, match=r"'b'.*infinite"):
        trained.predict(bad)
    with pytest.raises(ContractError, match=r"'b'.*infinite"):
        trained.update(trained.start(1), "b", np.full((1, 5), np.inf))


def test_a_present_row_of_nothing_but_nan_is_refused_and_an_all_absent_training_set_is_refused(world):
    cohort, embeddings = world
    empty = Embeddings(
        items=embeddings["a"].items, values=np.full((1, 60, 1, 3), np.nan, np.float32), present=np.ones((60, 1), bool)
    )
    with pytest.raises(ContractError, match="60 rows are called present but hold nothing"):
        train(cohort, {"a": empty}, (SICK,), "multimodn", quick(epochs=1))
    absent = {name: dataclasses.replace(e, present=np.zeros_like(e.present)) for name, e in embeddings.items()}
    with pytest.raises(CohortError, match=r"fold 0: none of its .* training items has any of a, b, c"):
        train(cohort, absent, (SICK,), "multimodn", quick(epochs=1))
