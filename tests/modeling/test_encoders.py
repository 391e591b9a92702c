"""The laws of MultiModN hold for every encoder: recurrent, convolutional, and a ResNet that is trained end to end."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.batch import Batch
from mmn.modeling.encoder_settings import EncoderSettings
from mmn.modeling.encoders import restricted
from mmn.modeling.fronts import GRU, LSTM, CNN1d, ResNet
from mmn.modeling.inputs import Member
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.storage import read_model, write_model
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, SICK, make_batch, make_world, part_of, quick, rngs, shapes_for

STEPS = 3
WIDTHS = {"a": 2, "b": 6, "c": 32}
SHAPES = shapes_for(WIDTHS, STEPS, ("c",))
TASKS = (
    Task(name="once", number=1, kind="binary", description="", read_step=1),
    Task(name="level", number=3, kind="regression", description="", per_step=True, read_step=2),
)
ENCODERS = {
    "gru": {"a": {"kind": "gru"}, "b": {"kind": "gru", "hidden": 3, "shape": [2, 3]}},
    "lstm": {"a": {"kind": "lstm", "hidden": 3}, "b": {"kind": "mlp"}},
    "cnn1d": {"a": {"kind": "cnn1d"}, "b": {"kind": "cnn1d", "shape": [1, 6], "kernel": 2, "layers": 1}},
    "resnet": {"c": {"kind": "resnet", "shape": [2, 4, 4], "hidden": 4}, "a": {"kind": "gru", "hidden": 2}},
}
PRESENCE = st.integers(1, 5).flatmap(lambda n: arrays(bool, (n, 7)))
ANY = st.sampled_from(list(ENCODERS))


def build(kind: str, num_members: int = 2, **changes) -> MultiModN:
    changes = {"encoders": ENCODERS[kind], **changes}
    return MultiModN(SHAPES, TASKS, STEPS, quick(**changes), rngs(num_members)).double()


def batch_of(present: np.ndarray) -> Batch:
    return make_batch(SHAPES, TASKS, STEPS, present, 2, unlabelled=0.2)


def predictions(model: MultiModN, batch: Batch, order=None) -> torch.Tensor:
    """(K, tasks, L + 1, B)."""
    return torch.stack(list(model.read_every_state(batch, order).values()), dim=1)


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@settings(max_examples=16, deadline=None)
@given(kind=ANY, present=PRESENCE, seed=st.integers(0, 99))
def test_a_batch_equals_its_items_one_by_one_in_any_order(kind, present, seed):
    model, batch = build(kind), batch_of(present)
    together = predictions(model, batch)
    for n in range(len(present)):
        close(together[..., n : n + 1], predictions(model, part_of(batch, [n])))
    turned = list(np.random.default_rng(seed).permutation(len(present)))
    close(together[..., turned], predictions(model, part_of(batch, turned)))
    close(model.losses(batch), model.losses(part_of(batch, turned)))


@settings(max_examples=16, deadline=None)
@given(kind=ANY, present=PRESENCE)
def test_what_an_absent_modality_holds_has_no_influence_and_no_gradient(kind, present):
    model, batch = build(kind), batch_of(present)
    x = {m: v.clone().requires_grad_() for m, v in batch.x.items()}
    model.losses(dataclasses.replace(batch, x=x)).sum().backward()
    for m, values in x.items():
        assert values.grad is None or not values.grad[~batch.present[m]].any()
    other = {m: torch.where(batch.present[m][..., None], v, -7.0) for m, v in batch.x.items()}
    assert torch.equal(predictions(model, batch), predictions(model, dataclasses.replace(batch, x=other)))


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_item_with_nothing_keeps_the_initial_state_and_its_prediction(kind):
    model, batch = build(kind), batch_of(np.zeros((3, 7), dtype=bool))
    for state in model.states(batch):
        assert torch.equal(state, model.initial_state_K1S.expand(-1, 3, -1))
    found = predictions(model, batch)
    assert torch.equal(found, found[:, :, :1].expand_as(found))


@settings(max_examples=16, deadline=None)
@given(kind=ANY, present=PRESENCE, order=st.permutations(["a", "b", "c"]))
def test_a_stream_of_updates_passes_through_the_batchs_states(kind, present, order):
    model, batch = build(kind), batch_of(present)
    state, whole = model.start(len(present)), model.states(batch, order=order)
    for number, (step, name) in enumerate(model.applications(order), start=1):
        x = torch.where(batch.present[name][:, :, step, None], batch.x[name][:, :, step], torch.nan)
        state = model.update(state, name, x, batch.present[name][:, :, step])
        close(state if isinstance(state, torch.Tensor) else state.state_KBS, whole[number])
    for task, said in model.predict(state).items():
        close(said, model.read_every_step(batch, order)[task][:, :, -1])


@pytest.mark.parametrize("kind", ["gru", "lstm", "cnn1d"])
def test_a_series_encoder_reads_the_steps_before_and_none_after(kind):
    model, batch = build(kind), batch_of(np.ones((4, 7), dtype=bool))
    before = model.read_every_step(batch)["level"]
    batch.x["a"][:, :, 1] += 3
    after = model.read_every_step(batch)["level"]
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    # The features of the last step, not the state alone, carry what the step before held.
    front, there = model.fronts["a"], batch.present["a"]
    changed = batch.x["a"].clone()
    changed[:, :, 0] -= 5
    assert (front(changed, there)[:, :, 2] - front(batch.x["a"], there)[:, :, 2]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["gru", "lstm", "cnn1d"])
def test_an_absent_step_is_as_if_it_did_not_exist(kind):
    front = build(kind).fronts["a"]
    x = torch.randn((2, 5, 4, 2), generator=torch.Generator().manual_seed(0)).double()
    present = torch.ones((2, 5, 4), dtype=torch.bool)
    present[:, :, 1] = False
    without = x[:, :, [0, 2, 3]]
    found = front(x, present)[:, :, [0, 2, 3]]
    close(found, front(without, torch.ones((2, 5, 3), dtype=torch.bool)))


@pytest.mark.parametrize(("ours", "torchs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_the_recurrent_encoders_are_torchs_own(ours, torchs):
    front = ours(EncoderSettings(kind="gru"), 3, 4, rngs(2)).double()
    x = torch.randn((2, 5, 6, 3), generator=torch.Generator().manual_seed(0)).double()
    made = front(x, torch.ones((2, 5, 6), dtype=torch.bool))
    for k in range(2):
        plain = torchs(3, 4, batch_first=True).double()
        plain.weight_ih_l0.data, plain.bias_ih_l0.data = front.input.weight[k].T, front.input.bias[k, 0]
        plain.weight_hh_l0.data, plain.bias_hh_l0.data = front.known.weight[k].T, front.known.bias[k, 0]
        close(made[k], plain(x[k])[0])


def test_the_convolutions_of_members_are_those_of_each_alone():
    x = torch.randn((3, 4, 1, 32), generator=torch.Generator().manual_seed(0)).double()
    present = torch.ones((3, 4, 1), dtype=torch.bool)
    for front_of, settings_of in (
        (ResNet, EncoderSettings(kind="resnet", shape=(2, 4, 4))),
        (CNN1d, EncoderSettings(kind="cnn1d", shape=(2, 16))),
    ):
        together = front_of(settings_of, 32, 4, rngs(3)).double()(x, present)
        for k in range(3):
            alone = front_of(settings_of, 32, 4, rngs(3)[k : k + 1]).double()
            close(together[k], alone(x[k : k + 1], present[k : k + 1])[0])


def test_a_1d_convolution_is_torchs_padded_before_the_beginning():
    front = CNN1d(EncoderSettings(kind="cnn1d", shape=(2, 5), kernel=3, layers=1), 10, 4, rngs(1)).double()
    x = torch.randn((1, 3, 1, 10), generator=torch.Generator().manual_seed(0)).double()
    plain = nn.functional.conv1d(
        nn.functional.pad(x.view(3, 2, 5), (2, 0)), front.layers[0].weight[0], front.layers[0].bias[0]
    )
    close(front(x, torch.ones((1, 3, 1), dtype=torch.bool))[0, :, 0], torch.relu(plain).mean(dim=2))


@pytest.fixture(scope="module")
def world():
    cohort, embeddings = make_world(num_items=61, num_steps=3, static=("c",), widths=WIDTHS, seed=4)
    return cohort, embeddings


@pytest.mark.parametrize("kind", ENCODERS)
def test_members_side_by_side_are_those_alone_and_a_stored_model_predicts_the_same(kind, world, tmp_path):
    cohort, embeddings = world
    tasks = (dataclasses.replace(SICK, read_step=2), dataclasses.replace(LEVEL, read_step=1))
    hidden = np.zeros(len(cohort), dtype=bool)
    hidden[::3] = True
    members = [Member(fold=0, seed=1), Member(fold=1, seed=2, absent={"a": hidden})]
    how = quick(encoders=ENCODERS[kind], dtype="float64", dropout=0.2, epochs=2)
    together = train(cohort, embeddings, tasks, "multimodn", how, members)
    for k, member in enumerate(members):
        alone = train(cohort, embeddings, tasks, "multimodn", how, [member])
        mine = together.predictions[together.predictions["member"] == k]
        np.testing.assert_allclose(mine["prediction"], alone.predictions["prediction"], atol=1e-8)
    write_model(tmp_path / "model", together, {"step": "test"})
    again = read_model(tmp_path / "model")
    assert again.settings == how and again.predict(embeddings).equals(together.predict(embeddings))
    # A stream from Python, from what featurizers give.
    rows, state = np.arange(5), together.start(5)
    for step in range(3):
        for name, e in embeddings.items():
            if step < e.num_steps:
                state = together.update(state, name, e.values[0, rows, step])
    last = together.predict(embeddings, rows)
    sick = last[last["task"] == "sick"]["prediction"].to_numpy().reshape(2, 5)
    np.testing.assert_allclose(together.read(state)["sick"], sick, atol=1e-9)


def test_a_choice_of_mlp_everywhere_is_the_default_byte_for_byte(world):
    cohort, embeddings = world
    task = (dataclasses.replace(SICK, read_step=2),)
    plain, chosen = (
        train(cohort, embeddings, task, "multimodn", quick(epochs=1, encoders=encoders), [Member(fold=0)])
        for encoders in ({}, {"a": {"kind": "mlp"}})
    )
    assert plain.predictions.equals(chosen.predictions)


def test_each_encoder_finds_what_the_order_of_steps_or_the_form_in_a_picture_tells():
    """Class 1: the two steps of a series ascend; a bar in a picture stands and does not lie."""
    rng = np.random.default_rng(0)
    cohort, _ = make_world(num_items=150, num_steps=2, num_folds=3)
    truth = cohort.targets["sick"]
    items = cohort.items["item"].to_numpy(dtype=object)

    def embedding(values):
        present = np.ones(values.shape[:2], dtype=bool)
        return Embeddings(items=items, values=values[None].astype(np.float32), present=present)

    steps = rng.standard_normal((150, 2, 1))
    steps = np.where((truth == 1)[:, None, None], np.sort(steps, axis=1), -np.sort(-steps, axis=1))
    picture = 0.3 * rng.standard_normal((150, 1, 1, 8, 8))
    for n, column in enumerate(rng.integers(0, 3, 150)):
        # A bar that stands, or one that lies: no single pixel tells.
        if truth[n]:
            picture[n, 0, 0, :, 2 * column] += 2
        else:
            picture[n, 0, 0, 2 * column, :] += 2
    for encoder, values in (
        ({"kind": "gru"}, steps),
        ({"kind": "cnn1d"}, steps),
        ({"kind": "resnet", "shape": [1, 8, 8]}, picture.reshape(150, 1, 64)),
    ):
        how = quick(encoders={"m": encoder}, epochs=15, learning_rate=1e-2, dropout=0.0, state=12)
        task = (dataclasses.replace(SICK, read_step=min(1, values.shape[1] - 1)),)
        trained = train(cohort, {"m": embedding(values)}, task, "multimodn", how)
        assert np.mean(trained.metrics["sick"]["auroc"]) > 0.85, encoder


def test_a_picture_is_scaled_by_channel_so_that_a_dark_corner_stays_dark():
    cohort, _ = make_world(num_items=60)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, 60, 1, 2, 4, 4)).astype(np.float32)
    values[:, :, :, :, 0, 0] *= 1e-6
    e = Embeddings(
        items=cohort.items["item"].to_numpy(dtype=object),
        values=values.reshape(1, 60, 1, 32),
        present=np.ones((60, 1), dtype=bool),
    )
    how = quick(epochs=1, encoders={"m": {"kind": "resnet", "shape": [2, 4, 4]}})
    scaling = train(cohort, {"m": e}, (SICK,), "multimodn", how, [Member(fold=0)]).scaling["m"]
    assert np.unique(scaling.scale).size == 2 and np.ptp(scaling.scale[0, :16]) == 0


@pytest.mark.parametrize(
    ("encoders", "says"),
    [
        ({"a": {"kind": "grru"}}, r"encoders\.a.*'grru'.*'gru'"),
        ({"a": {"kind": "gru", "hiden": 3}}, "'hiden'.*'hidden'"),
        ({"a": {"kind": "gru", "kernel": 3}}, "no setting 'kernel'"),
        ({"a": "gru"}, "no encoder"),
        ({"a": {"kind": "resnet"}}, "channels, height, width"),
        ({"a": {"kind": "resnet", "shape": [1, 2, 9]}}, "too small"),
        ({"a": {"kind": "cnn1d", "kernel": 0}}, "kernel is 0"),
        ({"a": {"kind": "mlp", "shape": [2, 3]}}, "no setting 'shape'"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_with_the_nearest_that_can(encoders, says):
    with pytest.raises(ValueError, match=says):
        quick(encoders=encoders)


@pytest.mark.parametrize(
    ("encoders", "says"),
    [
        ({"aa": {"kind": "gru"}}, "no modality 'aa'.*'a'"),
        ({"b": {"kind": "cnn1d", "shape": [2, 4]}}, r"encoders\.b: shape \[2, 4\] is 8 numbers.*width 6"),
        ({"c": {"kind": "lstm"}}, r"encoders\.c.*one step.*shape"),
    ],
)
def test_an_encoder_that_does_not_fit_its_modality_is_refused(encoders, says):
    with pytest.raises(ParamsError, match=says):
        MultiModN(SHAPES, TASKS, STEPS, quick(encoders=encoders), rngs(1))


def test_settings_that_serve_several_models_are_restricted_to_what_one_reads():
    both = quick(encoders={"a": {"kind": "gru"}, "elsewhere": {"kind": "resnet", "shape": (1, 4, 4)}})
    assert restricted(both, ["a", "b"]).encoders == {"a": {"kind": "gru"}}
    MultiModN(SHAPES, TASKS, STEPS, restricted(both, list(WIDTHS)), rngs(1))
