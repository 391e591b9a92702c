"""The autoencoder sees training rows alone, its members do not touch one another, and it beats the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import autoencoder as benchmark
from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.errors import ContractError, ParamsError
from mmn.data.scaling import fit_scaler
from mmn.featurizers.autoencoder import (
    AutoencoderParams,
    code_width,
    fit_autoencoder,
    fit_autoencoders,
    multimodn_parameters,
)
from mmn.featurizers.stacked_autoencoders import Rows, Stack
from mmn.modeling.inputs import Scaling, scale_

SMALL = AutoencoderParams(code=4, epochs=6, batch_size=32, least_updates=1)
NUM_ITEMS, NUM_STEPS, WIDTH = 60, 5, 7


def cohort_of(num_items: int = NUM_ITEMS, num_folds: int = 3, spare: int = 0) -> Cohort:
    """Fold f tests on the items f, f + F, ... ; the first `spare` items take no part in fold 0."""
    names = [f"item{i}" for i in range(num_items)]
    items = pd.DataFrame({"item": names, "subject": names, "prediction_time": pd.NaT})
    folds = pd.DataFrame(
        [
            (name, fold, "test" if i % num_folds == fold else "validation" if i % num_folds == (fold + 1) % num_folds
             and i % 2 else "train")
            for fold in range(num_folds)
            for i, name in enumerate(names)
            if not (fold == 0 and i < spare)
        ],
        columns=["item", "fold", "split"],
    )  # fmt: skip
    return Cohort(items=items, targets={}, folds=folds, num_steps=NUM_STEPS)


def world(num_items: int = NUM_ITEMS, num_steps: int = NUM_STEPS, width: int = WIDTH, seed: int = 0) -> Embeddings:
    """Rows that lie near a curved surface of two dimensions; some absent, some elements undefined."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(num_items, num_steps, 2))
    values = np.tanh(hidden @ rng.normal(size=(2, width))) * rng.uniform(1, 50, width)
    values += 0.01 * rng.normal(size=values.shape)
    values[rng.random(values.shape) < 0.02] = np.nan
    present = rng.random((num_items, num_steps)) < 0.9
    values[~present] = np.nan
    items = np.array([f"item{i}" for i in range(num_items)], dtype=object)
    return Embeddings(items=items, values=values[None].astype(np.float32), present=present)


def fit(embeddings: Embeddings, cohort: Cohort, params: AutoencoderParams = SMALL, seed: int = 0, read_steps=()):
    return fit_autoencoder(embeddings, cohort, params, seed, lambda done, total: None, read_steps)


def hashes(made) -> list[str]:
    return [card["sha256"] for card in made.card["fold cards"]]


def test_the_code_is_present_where_the_modality_is_and_there_is_one_per_fold():
    embeddings = world()
    made = fit(embeddings, cohort_of()).embeddings
    assert made.values.shape == (3, NUM_ITEMS, NUM_STEPS, 4)
    np.testing.assert_array_equal(made.present, embeddings.present)
    assert np.isnan(made.values[:, ~made.present]).all()
    assert (made.values[:, made.present] >= 0).all()
    check_embeddings(made, embeddings.items, "autoencoded")


def test_what_the_test_items_hold_changes_nothing_that_was_fitted():
    embeddings, cohort = world(), cohort_of()
    fold = 1
    test, train = cohort.rows(fold, "test"), cohort.rows(fold, "train")
    values = embeddings.values.copy()
    values[:, test] = 1_000 - 3 * values[:, test]
    first, second = fit(embeddings, cohort), fit(replace(embeddings, values=values), cohort)
    assert hashes(first)[fold] == hashes(second)[fold]
    np.testing.assert_array_equal(first.embeddings.values[fold, train], second.embeddings.values[fold, train])
    assert hashes(first)[0] != hashes(second)[0]
    assert not np.array_equal(first.embeddings.values[fold, test], second.embeddings.values[fold, test], equal_nan=True)


def test_validation_items_choose_the_epoch_but_not_the_scale():
    """One epoch leaves nothing to choose: then they change nothing at all."""
    embeddings, cohort = world(), cohort_of()
    values = embeddings.values.copy()
    values[:, cohort.rows(0, "validation")] *= 10
    once = replace(SMALL, epochs=1)
    changed = fit(replace(embeddings, values=values), cohort, once)
    assert hashes(fit(embeddings, cohort, once))[0] == hashes(changed)[0]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    embeddings, cohort = world(), cohort_of()
    torch.manual_seed(5)
    first = fit(embeddings, cohort)
    torch.manual_seed(6)
    again = fit(embeddings, cohort)
    assert first.embeddings.values.tobytes() == again.embeddings.values.tobytes()
    assert hashes(first) == hashes(again)
    assert not set(hashes(first)) & set(hashes(fit(embeddings, cohort, seed=1)))


def test_a_member_of_the_stack_equals_the_member_trained_alone():
    """Fold 0 is smaller, so that its member rests in the last steps of each epoch."""
    embeddings, cohort = world(), cohort_of(spare=30)
    together = fit(embeddings, cohort, replace(SMALL, batch_size=16))
    alone_folds = cohort.folds[cohort.folds["fold"] == 0]
    alone = fit(embeddings, replace(cohort, folds=alone_folds), replace(SMALL, batch_size=16))
    present = embeddings.present
    np.testing.assert_allclose(
        together.embeddings.values[0][present], alone.embeddings.values[0][present], rtol=1e-4, atol=1e-5
    )


def test_training_equals_torchs_own_layers_loss_and_adam():
    """Golden: two epochs of fold 0 with nn.Linear and torch.optim.Adam, from the same start; the loss over what is
    known alone."""
    from mmn.featurizers import autoencoder as room
    from mmn.featurizers.stacked_autoencoders import Stack

    embeddings, cohort = world(), cohort_of(num_folds=3)
    one = replace(cohort, folds=cohort.folds[cohort.folds["fold"] == 0])
    params = replace(SMALL, epochs=2, batch_size=50)
    rows = room._rows("modality", embeddings, one, params)
    stack = Stack([rows], params.hidden, 0)
    modules = []
    for number, (weight, bias) in enumerate(stack.own_parameters(stack.flat_KP[0], 0), 1):
        linear = torch.nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.clone()
        modules += [linear, torch.nn.Sigmoid() if number == 6 else torch.nn.ReLU()]
    network = torch.nn.Sequential(*modules)
    raw = torch.from_numpy(embeddings.values[0][embeddings.present])
    train = torch.from_numpy(rows.train[0])
    low, high = (torch.from_numpy(f(raw[train].numpy(), axis=0)) for f in (np.nanmin, np.nanmax))
    x = ((raw - low) / (high - low)).clamp(0, 1)
    known = ~torch.isnan(x)
    x = torch.where(known, x, torch.nanmean(x[train], dim=0))
    adam = torch.optim.Adam(network.parameters(), lr=params.learning_rate)
    generator = stack.generators[0]
    for _ in range(params.epochs):
        order = train[torch.randperm(len(train), generator=generator)]
        for batch in order.split(params.batch_size):
            adam.zero_grad()
            ((network(x[batch]) - x[batch])[known[batch]] ** 2).mean().backward()
            adam.step()
    made = fit(embeddings, one, params)
    assert made.card["fold cards"][0]["best epoch"] == 2
    expected = network[:6](x).detach().numpy()
    np.testing.assert_allclose(made.embeddings.values[0][embeddings.present], expected, rtol=1e-4, atol=1e-5)


def test_modalities_of_other_widths_train_side_by_side_as_they_would_alone():
    worlds = {"wide": world(width=11), "narrow": world(width=2, seed=1), "same": world(seed=2)}
    together = fit_autoencoders(worlds, cohort_of(), SMALL, 0, lambda done, total: None)
    for name, embeddings in worlds.items():
        alone = fit(embeddings, cohort_of())
        present = embeddings.present
        np.testing.assert_allclose(
            together[name].embeddings.values[:, present], alone.embeddings.values[:, present], rtol=1e-3, atol=1e-4
        )
        assert together[name].card["architecture"] == alone.card["architecture"] == f"{embeddings.width}-32-32-4"
        assert together[name].card["encoder parameters"] == alone.card["encoder parameters"]


def test_a_window_is_one_code_of_all_its_steps():
    embeddings, cohort = world(), cohort_of()
    made = fit(embeddings, cohort, replace(SMALL, unit="window"), read_steps=(NUM_STEPS - 1,))
    assert made.card["architecture"] == f"{NUM_STEPS * WIDTH}-32-32-4"
    assert made.embeddings.values.shape == (3, NUM_ITEMS, 1, 4)
    np.testing.assert_array_equal(made.embeddings.present[:, 0], embeddings.present.any(axis=1))
    check_embeddings(made.embeddings, embeddings.items, "autoencoded")
    # Another last step gives another code.
    values = embeddings.values.copy()
    values[:, 0, NUM_STEPS - 1] += 5
    params = replace(SMALL, unit="window", epochs=1)
    other = replace(embeddings, values=values)
    first, second = (fit(e, cohort, params, read_steps=(NUM_STEPS - 1,)) for e in (embeddings, other))
    assert not np.array_equal(first.embeddings.values[:, 0], second.embeddings.values[:, 0])


def test_the_mean_unit_is_the_mean_of_an_items_codes():
    embeddings, cohort = world(), cohort_of()
    mean = fit(embeddings, cohort, replace(SMALL, unit="mean"), read_steps=(NUM_STEPS - 1,)).embeddings
    steps = fit(embeddings, cohort).embeddings
    assert mean.values.shape == (3, NUM_ITEMS, 1, 4)
    np.testing.assert_allclose(
        mean.values[:, mean.present[:, 0], 0], np.nanmean(steps.values, axis=2)[:, mean.present[:, 0]], rtol=1e-5
    )


@pytest.mark.parametrize(("read_steps", "message"), [((2, 4), "read after step 2"), ((), "steps were not given")])
def test_a_code_of_all_steps_is_refused_where_a_task_is_read_before_the_last(read_steps, message):
    with pytest.raises(ParamsError, match=message):
        fit(world(), cohort_of(), replace(SMALL, unit="window"), read_steps=read_steps)


@pytest.mark.parametrize("width", [1, 3, 10, 45])
def test_equal_parameters_give_a_code_of_39_for_any_modality(width):
    params = AutoencoderParams(align="parameters")
    assert code_width(params, width, 24) == 39 and code_width(AutoencoderParams(), width, 24) == 20
    assert multimodn_parameters(params, width) == 32 * width + 2_388
    own = 32 * width + 33 * 39 + 1_088
    assert abs(own - multimodn_parameters(params, width)) < 33, "one more or less would be further away"


def test_a_window_too_wide_for_equal_parameters_is_refused_with_both_numbers():
    params = AutoencoderParams(align="parameters", unit="window")
    # One variable: 24 inputs, 32 * 24 + 1,088 + 33 z = 2,420, so z = 17.
    assert code_width(params, 1, 24) == 17
    with pytest.raises(ParamsError, match=r"72 inputs alone need 3,392, MultiModN's encoder has 2,484"):
        code_width(params, 3, 24)


def test_the_card_says_whether_the_reconstruction_keeps_its_bound():
    noise = world(200)
    rng = np.random.default_rng(3)
    noise = replace(noise, values=rng.uniform(size=(1, 200, NUM_STEPS, 40)).astype(np.float32))
    short = AutoencoderParams(code=1, epochs=2, least_updates=1)
    bad = fit(noise, cohort_of(200), short).card
    assert bad["within_bound"] is False and bad["bound"] == 0.5 and "3 of 3 folds explain less" in bad["warning"]
    assert len(bad["reconstruction"]["validation"]) == 3 and max(bad["reconstruction"]["validation"]) < 0.1
    assert fit(noise, cohort_of(200), replace(short, least_explained=-1.0)).card["within_bound"] is True
    good = fit(world(200), cohort_of(200), AutoencoderParams(epochs=30, batch_size=32)).card
    assert good["within_bound"] is True and min(good["reconstruction"]["validation"]) > 0.5


def test_a_modality_that_never_varies_cannot_be_judged():
    embeddings = world()
    constant = replace(embeddings, values=np.where(np.isnan(embeddings.values), np.nan, 3).astype(np.float32))
    card = fit(constant, cohort_of()).card
    assert card["within_bound"] is None and card["reconstruction"]["validation"] == [None, None, None]
    assert "3 folds are not judged" in card["note"]


def test_a_handful_of_distinct_rows_is_no_sample_to_judge_by():
    """Stations stand where they stand: 60 items at 5 positions are 5 validation rows at most."""
    rng = np.random.default_rng(4)
    embeddings = world()
    spots = rng.uniform(size=(5, WIDTH))[np.arange(NUM_ITEMS) % 5]
    values = np.where(embeddings.present[..., None], spots[:, None], np.nan)[None].astype(np.float32)
    card = fit(replace(embeddings, values=values), cohort_of()).card
    assert card["within_bound"] is None and card["reconstruction"]["validation"] == [None, None, None]
    assert all(value is not None for value in card["reconstruction"]["train"])


def test_what_is_unknown_holds_the_training_mean_and_is_not_reconstructed():
    embeddings, cohort = world(), cohort_of()
    values = embeddings.values.copy()
    item = int(cohort.rows(0, "test")[0])
    values[0, item, :, 0] = np.nan
    train = values[0, cohort.rows(0, "train")][embeddings.present[cohort.rows(0, "train")]]
    # The mean of what is scaled to [0, 1] by the same range is the scaled mean.
    filled = values.copy()
    filled[0, item, :, 0] = np.nanmean(train[:, 0])
    first, second = (fit(replace(embeddings, values=v), cohort) for v in (values, filled))
    present = embeddings.present[item]
    np.testing.assert_allclose(
        first.embeddings.values[0, item][present], second.embeddings.values[0, item][present], rtol=1e-4, atol=1e-5
    )


def test_an_undefined_element_is_one_number_to_the_scaler_the_autoencoder_and_the_models():
    rng = np.random.default_rng(3)
    table = rng.uniform(1, 9, (40, 3)).astype(np.float32) ** 2
    table[rng.random(table.shape) < 0.3] = np.nan
    scaler = fit_scaler(table[:20], "minmax")
    rows = Rows(tables=table[None], train=[np.arange(20)], validation=[np.arange(20, 30)], scalers=[scaler], code=2)
    x_1BD, known_1BD = Stack([rows], hidden=4, seed=0).gather([0], torch.arange(40)[None], torch.ones(1, 40) > 0)
    said = scaler(table)
    np.testing.assert_allclose(x_1BD[0], said, atol=1e-6)
    assert np.array_equal(known_1BD[0], ~np.isnan(table))
    scaling = Scaling(
        shift=scaler.shift[None], scale=scaler.scale[None], mean=scaler.mean[None], trained=np.array([True]), clip=True
    )
    to_models = scale_(torch.from_numpy(table.copy()), *scaling.tensors("cpu", torch.float32), clip=True)
    np.testing.assert_allclose(to_models, said, atol=1e-6)
    span = np.nanmax(table[:20], axis=0) - np.nanmin(table[:20], axis=0)
    mean = (np.nanmean(table[:20], axis=0) - np.nanmin(table[:20], axis=0)) / span
    np.testing.assert_allclose(said[30:][np.isnan(table[30:])], np.broadcast_to(mean, (10, 3))[np.isnan(table[30:])],
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [({"unit": "hour"}, "unit is 'hour'"), ({"align": "z"}, "align is 'z'"), ({"least_explained": 1.0}, "below 1"),
     ({"code": 0}, "code is 0"), ({"learning_rate": 0.0}, "learning_rate is 0.0")],
)  # fmt: skip
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderParams(**change)


def test_a_learning_rate_that_explodes_is_refused():
    with pytest.raises(ParamsError, match=r"never a number. Set a smaller learning_rate"):
        fit(world(), cohort_of(), replace(SMALL, learning_rate=float("inf")))


def test_it_explains_most_of_what_the_mean_leaves():
    made = fit(world(200), cohort_of(200), AutoencoderParams(epochs=30, batch_size=32))
    assert made.card["explained, validation"] > 0.8
    assert "warning" not in made.card
    assert made.card["encoder parameters"] == 32 * WIDTH + 33 * 20 + 1_088


def test_training_stops_once_validation_no_longer_improves():
    calls = []
    params = replace(SMALL, epochs=200, learning_rate=0.05, patience=2)
    made = fit_autoencoder(world(), cohort_of(), params, 0, lambda done, total: calls.append(done))
    assert len(calls) < 200
    assert all(card["best epoch"] < 200 for card in made.card["fold cards"])


def test_input_that_was_itself_fitted_per_fold_is_read_fold_by_fold():
    embeddings = world()
    per_fold = replace(embeddings, values=np.concatenate([embeddings.values, embeddings.values * 2, embeddings.values]))
    first, second = fit(embeddings, cohort_of()), fit(per_fold, cohort_of())
    assert hashes(first)[0] == hashes(second)[0]
    assert hashes(first)[1] != hashes(second)[1]


def test_a_fold_without_a_training_row_is_refused_with_the_way_out():
    embeddings, cohort = world(), cohort_of()
    present = embeddings.present.copy()
    present[cohort.rows(2, "train")] = False
    with pytest.raises(ContractError, match=r"fold 2.*Leave the modality out"):
        fit(replace(embeddings, present=present), cohort)


@pytest.mark.parametrize("unit", ["step", "window"])
def test_the_benchmark_fits_the_same_members_in_three_ways(unit):
    worlds, cohort = benchmark.make_world(40, 3, [2, 4], 2)
    took = benchmark.compare(worlds, cohort, replace(SMALL, epochs=1, unit=unit), repeats=1)
    assert list(took) == ["one by one (torch)", "a stack per modality", "all side by side"]
    assert all(wall > 0 for wall, _ in took.values())
