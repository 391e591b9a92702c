"""The laws of MultiModN, and its equality with the published implementation run one item at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling import multimodn
from mmn.modeling.batch import Batch
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.reference import read_reference
from tests.modeling.worlds import LEVEL, SICK, make_batch, part_of, quick, rngs, shapes_for

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "multimodn_official_small.npz"
WIDTHS = {"a": 2, "b": 3, "c": 1}
STEPS = 3
STATIC = ("c",)
TASKS = (
    Task(name="once", number=1, kind="binary", description="", read_step=1),
    Task(name="each", number=2, kind="binary", description="", per_step=True, read_step=2),
    Task(name="level", number=3, kind="regression", description="", per_step=True, read_step=2),
)
SHAPES = shapes_for(WIDTHS, STEPS, STATIC)
PRESENCE = st.integers(1, 6).flatmap(lambda n: arrays(bool, (n, 7)))


def build(num_members: int = 2, **changes) -> MultiModN:
    return MultiModN(SHAPES, TASKS, STEPS, quick(**changes), rngs(num_members)).double()


def predictions(model: MultiModN, batch: Batch) -> torch.Tensor:
    """(K, tasks, L + 1, B)."""
    return torch.stack(list(model.read_every_state(batch).values()), dim=1)


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"the reference values are not there: {GOLDEN}")
    return np.load(GOLDEN, allow_pickle=False)


@pytest.fixture(scope="module")
def official(golden):
    """Our model with the published weights, and the items as one batch."""
    reference = read_reference(GOLDEN)
    return reference.model(), reference.batch()


def test_a_batch_gives_the_published_codes_probabilities_one_item_at_a_time(golden, official):
    model, batch = official
    states = model.states(batch)
    for t, decoder in enumerate(model.decoders.values()):
        ours = torch.stack([torch.sigmoid(decoder(state))[0] for state in states], dim=1).detach().numpy()
        theirs = golden["probabilities"][:, :, t]
        there = ~np.isnan(theirs)
        assert there[:, 0].all()
        np.testing.assert_allclose(ours[there], theirs[there], atol=1e-6)
    np.testing.assert_allclose(states[-1][0].detach().numpy(), golden["final_state"], atol=1e-6)


def test_the_published_loss_and_its_gradients_are_the_published_codes(golden, official):
    model, batch = official
    per_item = [float(model.losses(part_of(batch, [n])).detach()) for n in range(len(golden["y"]))]
    np.testing.assert_allclose(per_item, golden["loss_per_sample"], atol=1e-6)
    loss = model.losses(batch).sum()
    assert float(loss.detach()) == pytest.approx(float(golden["mean_loss"]), abs=1e-6)
    model.zero_grad()
    loss.backward()
    np.testing.assert_allclose(model.initial_state_K1S.grad.flatten().numpy(), golden["grad.init_state"], atol=1e-6)
    ours = sorted(
        [
            *(
                float(torch.cat([e.input.weight.grad, e.state_weight.grad], dim=1).norm())
                for e in model.encoders.values()
            ),
            *(
                float(p.grad.norm())
                for name, p in model.named_parameters()
                if not name.endswith(("input.weight", "state_weight"))
            ),
        ]
    )
    theirs = sorted(float(golden[name]) for name in golden.files if name.startswith("gradnorm."))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(present=PRESENCE)
def test_a_batch_equals_its_items_one_by_one_for_any_presence(present):
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, present, 2, unlabelled=0.2)
    together = predictions(model, batch)
    for n in range(len(present)):
        torch.testing.assert_close(
            together[..., n : n + 1], predictions(model, part_of(batch, [n])), atol=1e-12, rtol=0
        )


@settings(max_examples=15, deadline=None)
@given(present=PRESENCE, seed=st.integers(0, 99))
def test_the_order_of_items_changes_nothing(present, seed):
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, present, 2, unlabelled=0.2)
    order = list(np.random.default_rng(seed).permutation(len(present)))
    shuffled = part_of(batch, order)
    torch.testing.assert_close(predictions(model, batch)[..., order], predictions(model, shuffled), atol=1e-12, rtol=0)
    torch.testing.assert_close(model.losses(batch), model.losses(shuffled), atol=1e-12, rtol=0)


@settings(max_examples=15, deadline=None)
@given(present=PRESENCE)
def test_what_an_absent_modality_holds_has_no_influence_and_no_gradient(present):
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, present, 2)
    x = {m: v.clone().requires_grad_() for m, v in batch.x.items()}
    model.losses(Batch(x=x, present=batch.present, targets=batch.targets, real=batch.real)).sum().backward()
    for m, values in x.items():
        gradient = values.grad if values.grad is not None else torch.zeros_like(values)
        assert not gradient[~batch.present[m]].any()
    other = {m: torch.where(batch.present[m][..., None], v, -7.0) for m, v in batch.x.items()}
    changed = Batch(x=other, present=batch.present, targets=batch.targets, real=batch.real)
    assert torch.equal(predictions(model, batch), predictions(model, changed))


def test_an_item_with_nothing_keeps_the_initial_state_and_its_prediction():
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, np.zeros((3, 7), dtype=bool), 2)
    for state in model.states(batch):
        assert torch.equal(state, model.initial_state_K1S.expand(-1, 3, -1))
    found = predictions(model, batch)
    assert torch.equal(found, found[:, :, :1].expand_as(found))


@settings(max_examples=15, deadline=None)
@given(present=PRESENCE)
def test_a_stream_of_updates_ends_where_the_batch_does(present):
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, present, 2)
    state = model.start(len(present))
    whole = model.states(batch)
    for number, (step, name) in enumerate(model.applications(), start=1):
        x = torch.where(batch.present[name][:, :, step, None], batch.x[name][:, :, step], torch.nan)
        state = model.update(state, name, x, batch.present[name][:, :, step])
        torch.testing.assert_close(state, whole[number], atol=1e-12, rtol=0)
    read = model.predict(state)
    every = model.read_every_step(batch)
    for task in TASKS:
        torch.testing.assert_close(read[task.name], every[task.name][:, :, -1], atol=1e-12, rtol=0)
        torch.testing.assert_close(
            model.read(batch)[task.name], every[task.name][:, :, task.read_step], atol=1e-12, rtol=0
        )


def test_a_modality_left_out_of_the_order_is_as_good_as_absent():
    everything = np.ones((4, 7), dtype=bool)
    without_b = everything.copy()
    without_b[:, 3:6] = False
    model = build()
    full, partial = (make_batch(SHAPES, TASKS, STEPS, p, 2) for p in (everything, without_b))
    left_out = model.states(full, order=["a", "c"])[-1]
    torch.testing.assert_close(left_out, model.states(partial)[-1], atol=1e-12, rtol=0)
    assert not torch.allclose(left_out, model.states(full, order=["c", "a"])[-1])


def test_the_loss_is_the_mean_over_the_terms_that_exist_and_a_step_answers_to_its_own_target():
    """Worked term by term, item by item, in plain Python."""
    present = np.random.default_rng(1).random((5, 7)) < 0.6
    model, batch = build(1), make_batch(SHAPES, TASKS, STEPS, present, 1, unlabelled=0.3)
    terms = []
    for n in range(5):
        item = part_of(batch, [n])
        states = model.states(item)
        exists = [(0, 0)] + [
            (number, step)
            for number, (step, name) in enumerate(model.applications(), start=1)
            if bool(item.present[name][0, 0, step])
        ]
        for number, step in exists:
            for task in TASKS:
                y = item.targets[task.name][0, 0, step if task.per_step else 0]
                if torch.isnan(y):
                    continue
                raw = model.decoders[task.name](states[number])[0, 0]
                if task.kind == "binary":
                    terms.append(torch.nn.functional.cross_entropy(raw[None], y.long()[None]))
                else:
                    terms.append((torch.sigmoid(raw[0]) - y) ** 2)
    assert float(model.losses(batch).detach()) == pytest.approx(float(torch.stack(terms).mean().detach()), abs=1e-12)


def test_decoding_in_parts_gives_the_same_gradients(monkeypatch):
    present = np.random.default_rng(2).random((9, 7)) < 0.7
    batch = make_batch(SHAPES, TASKS, STEPS, present, 2, unlabelled=0.2)
    gradients, losses = [], []
    for rows in (1_000_000, 22):
        monkeypatch.setattr(multimodn, "DECODED_ROWS", rows)
        model = build()
        losses.append(model.accumulate_gradients(batch))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-12, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    present=PRESENCE,
    order=st.sampled_from([None, ["c", "a", "b"], ["b", "a"]]),
    dropout=st.booleans(),
    changes=st.sampled_from(
        [
            {},
            {"loss": "published", "normalise": "published"},
            {"state_change_penalty": 3.0, "task_weights": {"once": 2.0}},
        ]
    ),
)
def test_the_gradients_that_are_written_out_are_autograds(present, order, dropout, changes):
    """Tasks of two kinds, series and a static modality, missing labels, filling rows, a modality that is left out."""
    batch = make_batch(SHAPES, TASKS, STEPS, present, 2, unlabelled=0.2)
    batch.real[1, len(present) // 2 :] = False
    model, plain = build(**changes), build(**changes)
    keep = 1.25 * (torch.rand(2, len(present), model.dropout_width, generator=torch.Generator().manual_seed(0)) < 0.8)
    keep = keep.double() if dropout else None
    losses = model.accumulate_gradients(batch, keep, order)
    expected = plain.losses(batch, keep, order)
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), atol=1e-12, rtol=0)
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        zero = torch.zeros_like(mine)
        ours, autograds = (zero if p.grad is None else p.grad for p in (mine, theirs))
        torch.testing.assert_close(ours, autograds, atol=1e-12, rtol=0, msg=name)
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.accumulate_gradients(batch, keep, order)
    for p, once in zip(model.parameters(), before, strict=True):
        assert once is None or torch.allclose(p.grad, 2 * once, atol=1e-12), "gradients are added to those there are"


def test_rows_that_fill_up_a_short_batch_add_no_loss():
    present = np.ones((6, 7), dtype=bool)
    model, batch = build(), make_batch(SHAPES, TASKS, STEPS, present, 2)
    real = torch.ones((2, 6), dtype=torch.bool)
    real[:, 4:] = False
    filled = Batch(x=batch.x, present=batch.present, targets=batch.targets, real=real)
    torch.testing.assert_close(model.losses(filled), model.losses(part_of(batch, slice(0, 4))), atol=1e-12, rtol=0)
    nobody = Batch(x=batch.x, present=batch.present, targets=batch.targets, real=torch.zeros_like(real))
    assert not model.accumulate_gradients(nobody).any()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_a_static_modality_among_series_is_encoded_once():
    assert list(build().applications()) == [
        (0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (2, "a"), (2, "b"),
    ]  # fmt: skip


def test_a_wrong_width_and_an_unknown_modality_are_refused_by_name():
    model = build()
    with pytest.raises(ContractError, match=r"'b'.*width 2.*trained with 3"):
        model.update(model.start(2), "b", torch.zeros(2, 2, 2).double())
    with pytest.raises(ParamsError, match="'d'"):
        model.update(model.start(2), "d", torch.zeros(2, 2, 2).double())
    batch = make_batch(
        shapes_for({"a": 3, "b": 3, "c": 1}, STEPS, STATIC), TASKS, STEPS, np.ones((2, 7), dtype=bool), 2
    )
    with pytest.raises(ContractError, match="'a'"):
        model.states(batch)


@pytest.mark.parametrize(
    ("widths", "kinds", "state", "expected"),
    [
        # specs/multimodn.md, section 1: Weather2k with five tasks and with one; MIMIC multi- and single-task.
        ({"g": 3, "air": 10, "wind": 4, "rain": 5, "land": 1}, ["regression"] * 5, 20, 21_501),
        ({"g": 3, "air": 10, "wind": 4, "rain": 5, "land": 1}, ["regression"], 20, 14_457),
        ({"d": 16, "n": 768, "x": 1024, "v": 99}, ["binary"] * 2, 50, 83_934),
        ({"d": 16, "n": 768, "x": 1024, "v": 99}, ["binary"], 50, 81_180),
    ],
)
def test_the_parameter_counts_are_the_papers(widths, kinds, state, expected):
    tasks = tuple(Task(name=f"t{n}", number=n, kind=kind, description="") for n, kind in enumerate(kinds))
    model = MultiModN(shapes_for(widths, 1), tasks, 1, quick(hidden=32, state=state), rngs(1))
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_tasks_weight_multiplies_its_terms_alone():
    shapes = shapes_for({"a": 3, "b": 2}, 1)
    present = np.random.default_rng(0).random((7, 2)) < 0.7
    batch = make_batch(shapes, (SICK, LEVEL), 1, present, num_members=2)
    losses = {}
    for name, task_weights in (
        ("both", {}),
        ("sick", {"level": 0.0}),
        ("level", {"sick": 0.0}),
        ("mixed", {"level": 3.0}),
    ):
        model = MultiModN(shapes, (SICK, LEVEL), 1, quick(task_weights=task_weights), rngs(2)).double()
        losses[name] = model.losses(batch)
    torch.testing.assert_close(losses["both"], losses["sick"] + losses["level"])
    torch.testing.assert_close(losses["mixed"], losses["sick"] + 3.0 * losses["level"])


@pytest.mark.parametrize("rows", [4, 10_000])
def test_the_penalty_is_on_how_far_present_modalities_move_the_state(monkeypatch, rows):
    """rows: decoded at a time, so that both ways of gathering gradients are taken."""
    monkeypatch.setattr("mmn.modeling.multimodn.DECODED_ROWS", rows)
    shapes = shapes_for({"a": 3, "b": 2}, 2)
    present = np.random.default_rng(1).random((5, 4)) < 0.6
    batch = make_batch(shapes, (SICK,), 2, present)
    model = MultiModN(shapes, (SICK,), 2, quick(state_change_penalty=2.0), rngs(1)).double()
    plain = MultiModN(shapes, (SICK,), 2, quick(), rngs(1)).double()
    states = torch.stack(model.states(batch))[:, 0]  # (L + 1, B, S)
    there = np.stack([present[:, 0], present[:, 2], present[:, 1], present[:, 3]])  # a, b at step 0, then at step 1
    moved = (states[1:] - states[:-1]).pow(2).mean(dim=-1)[torch.from_numpy(there)].mean()
    torch.testing.assert_close(model.losses(batch), plain.losses(batch) + 0.01 * 2.0 * moved)
    returned = model.accumulate_gradients(batch)
    torch.testing.assert_close(returned, model.losses(batch).detach())
    gathered = [p.grad.clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    model.losses(batch).sum().backward()
    for mine, p in zip(gathered, model.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)
