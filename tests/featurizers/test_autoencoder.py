"""The autoencoder sees training rows alone, its members do not touch one another, and it beats the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings, check_embeddings
from mmn.data.errors import ContractError
from mmn.featurizers.autoencoder import AutoencoderParams, fit_autoencoder

SMALL = AutoencoderParams(code=4, epochs=6, batch_size=32)
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


def fit(embeddings: Embeddings, cohort: Cohort, params: AutoencoderParams = SMALL, seed: int = 0):
    return fit_autoencoder(embeddings, cohort, params, seed, lambda done, total: None)


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
    """Golden: two epochs of fold 0 with nn.Linear, F.mse_loss and torch.optim.Adam, from the same start."""
    from mmn.featurizers import autoencoder as room

    embeddings, cohort = world(), cohort_of(num_folds=3)
    one = replace(cohort, folds=cohort.folds[cohort.folds["fold"] == 0])
    params = replace(SMALL, epochs=2, batch_size=50)
    item_of_row = np.nonzero(embeddings.present)[0]
    fold = room._fold_rows(embeddings, one, item_of_row, 0)
    layers = room._layers(WIDTH, params)
    start, generator = room._initial(layers, 0, 0)
    modules, parts = [], torch.split(start, [(i + 1) * o for i, o in layers])
    for number, ((inputs, outputs), part) in enumerate(zip(layers, parts, strict=True), 1):
        linear = torch.nn.Linear(inputs, outputs)
        linear.weight.data = part[: inputs * outputs].view(inputs, outputs).T.clone()
        linear.bias.data = part[inputs * outputs :].clone()
        modules += [linear, torch.nn.Sigmoid() if number == len(layers) else torch.nn.ReLU()]
    network = torch.nn.Sequential(*modules)
    adam = torch.optim.Adam(network.parameters(), lr=params.learning_rate)
    for _ in range(params.epochs):
        order = fold.train[torch.randperm(len(fold.train), generator=generator)]
        for begin in range(0, len(order), params.batch_size):
            x = fold.rows[order[begin : begin + params.batch_size]]
            adam.zero_grad()
            torch.nn.functional.mse_loss(network(x), x).backward()
            adam.step()
    expected = network[:6](fold.rows).detach().numpy()
    made = fit(embeddings, one, params)
    assert made.card["fold cards"][0]["best epoch"] == 2
    np.testing.assert_allclose(made.embeddings.values[0][embeddings.present], expected, rtol=1e-4, atol=1e-5)


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
