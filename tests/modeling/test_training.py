"""Training: side by side equals alone, the same seed the same bytes, and bad input is refused or said."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import models
from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.files import version_of
from mmn.modeling import MODELS, SINGLE_TASK
from mmn.modeling.inputs import Inputs, Member
from mmn.modeling.p_fusion import PFusion
from mmn.modeling.packed import Dropout, Packed
from mmn.modeling.storage import read_model, write_model
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_batch, make_world, quick, rngs, shapes_for

SICK_NOW = Task(name="sick_now", number=4, kind="binary", description="", per_step=True, read_step=2)
LEVEL_NOW = Task(name="level_now", number=6, kind="regression", description="", per_step=True, read_step=2)
SEVERAL = {name: (SICK,) if name in SINGLE_TASK else (SICK, NOISE, LEVEL) for name in MODELS}


def weights(trained, member: int) -> torch.Tensor:
    return torch.cat([p[member].detach().flatten() for p in trained.model.parameters()])


def test_a_task_of_weight_0_picks_no_epoch_and_is_learnt_where_it_is_alone():
    cohort, embeddings = make_world(num_items=60, seed=2)
    weights = {"level": 0.0}
    both = train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=4, task_weights=weights))
    chosen = train(
        cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=4, task_weights=weights, select_task="sick")
    )
    pd.testing.assert_frame_equal(both.history, chosen.history)
    alone, plain = (
        train(cohort, embeddings, (LEVEL,), "multimodn", quick(epochs=2, task_weights=w)) for w in (weights, {})
    )
    pd.testing.assert_frame_equal(alone.predictions, plain.predictions)
    with pytest.raises(ParamsError, match=r"every task .* has weight 0"):
        train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(task_weights={"sick": 0.0, "level": 0.0}))


@pytest.mark.parametrize("architecture", ["p_fusion", "fusion_transformer"])
def test_labels_and_evidence_after_the_read_step_alone_are_refused_by_models_that_read_once(architecture):
    cohort, embeddings = make_world(num_items=40, num_steps=3)
    early = dataclasses.replace(SICK_NOW, read_step=0)
    late = np.repeat(cohort.targets["sick"][:, None], 3, axis=1)
    late[:, 0] = np.nan
    unread = dataclasses.replace(cohort, targets={"sick_now": late})
    with pytest.raises(CohortError, match="label for 'sick_now' at step 0"):
        train(unread, embeddings, (early,), architecture, quick())
    assert np.isfinite(train(unread, embeddings, (early,), "multimodn", quick()).history["train_loss"]).all()
    for e in embeddings.values():
        e.present[:, 0] = False
    with pytest.raises(CohortError, match="up to step 0, the last at which a task is read"):
        train(cohort, embeddings, (dataclasses.replace(SICK, read_step=0),), architecture, quick())


def test_an_infinite_target_is_refused_with_its_number():
    cohort, embeddings = make_world(num_items=40)
    cohort.targets["level"][:2] = np.inf
    with pytest.raises(ContractError, match="'level': 2 of its targets are infinite"):
        train(cohort, embeddings, (LEVEL,), "p_fusion", quick())


@pytest.mark.parametrize("architecture", [name for name in MODELS if name not in SINGLE_TASK])
def test_members_of_several_task_sets_are_those_trained_alone_and_say_nothing_of_others_tasks(architecture, tmp_path):
    cohort, embeddings = make_world(num_items=80, unlabelled=0.15)
    members = [Member(fold=0, tasks=("sick",)), Member(fold=1, tasks=("level", "noise")), Member(fold=0)]
    settings = quick(dtype="float64", epochs=3)
    together = train(cohort, embeddings, SEVERAL[architecture], architecture, settings, members)
    initial = train(cohort, embeddings, SEVERAL[architecture], architecture, quick(dtype="float64", epochs=1),
                    [Member(fold=0, tasks=("noise",))])  # fmt: skip
    for k, member in enumerate(members):
        alone = train(cohort, embeddings, SEVERAL[architecture], architecture, settings, [member])
        torch.testing.assert_close(weights(together, k), weights(alone, 0), atol=1e-8, rtol=0)
        mine = together.predictions[together.predictions["member"] == k]
        assert set(mine["task"]) == set(member.tasks or ("sick", "noise", "level"))
        np.testing.assert_allclose(mine["prediction"], alone.predictions["prediction"], atol=1e-8)
    assert together.metrics["sick"]["auroc"][1] is None and together.metrics["sick"]["auroc"][2] is not None
    heads = {name: p[0] for name, p in together.model.named_parameters() if "level" in name}
    untouched = dict(initial.model.named_parameters())
    assert heads and all(torch.equal(p, untouched[name][0]) for name, p in heads.items())
    write_model(tmp_path / "model", together, {"step": "test"})
    again = read_model(tmp_path / "model")
    assert [member.tasks for member in again.members] == [member.tasks for member in members]
    assert len(again.predict(embeddings)) == len(cohort) * 6
    with pytest.raises(ParamsError, match="is to learn sik, which is not trained here"):
        train(cohort, embeddings, SEVERAL[architecture], architecture, settings, [Member(fold=0, tasks=("sik",))])


def test_members_that_meet_modalities_in_random_orders_are_those_trained_alone():
    cohort, embeddings = make_world(num_items=90)
    in_first = (cohort.folds["fold"] == 0) & (cohort.folds["split"] == "train")
    cohort = dataclasses.replace(cohort, folds=cohort.folds.drop(cohort.folds[in_first].index[:20]))
    members = [Member(fold=0, seed=1), Member(fold=1, seed=2), Member(fold=1, seed=1)]
    settings = quick(dtype="float64", epochs=4, shuffle_order=True, batch_size=8)
    together = train(cohort, embeddings, (SICK,), "multimodn", settings, members)
    for k, member in enumerate(members):
        alone = train(cohort, embeddings, (SICK,), "multimodn", settings, [member]).history
        mine = together.history[together.history["member"] == k].reset_index(drop=True)
        for column in ("train_loss", "validation_score"):
            np.testing.assert_allclose(mine[column], alone[column], atol=1e-8)
    ordered = train(
        cohort, embeddings, (SICK,), "multimodn", dataclasses.replace(settings, shuffle_order=False), members
    )
    assert not np.allclose(ordered.history["train_loss"], together.history["train_loss"])


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("skip", ["item", "batch"])
def test_members_trained_side_by_side_are_those_trained_alone(architecture, skip):
    """Folds of different size, different absence, missing labels, dropout and clipping on."""
    cohort, embeddings = make_world(num_items=101, unlabelled=0.15)
    hidden = np.zeros(len(cohort), dtype=bool)
    hidden[::3] = True
    # Fewer training items, hence fewer steps per epoch, in one fold.
    in_first = (cohort.folds["fold"] == 0) & (cohort.folds["split"] == "train")
    cohort = dataclasses.replace(cohort, folds=cohort.folds.drop(cohort.folds[in_first].index[:20]))
    members = [
        Member(fold=0, seed=1),
        Member(fold=1, seed=2),
        Member(fold=1, seed=2, absent={"b": hidden}),
        Member(fold=2, seed=1, absent={"a": hidden}),
    ]
    settings = quick(dtype="float64", dropout=0.2, skip=skip, epochs=4)
    together = train(cohort, embeddings, SEVERAL[architecture], architecture, settings, members)
    assert len({counts["train"] for counts in together.counts}) > 1
    for k, member in enumerate(members):
        alone = train(cohort, embeddings, SEVERAL[architecture], architecture, settings, [member])
        torch.testing.assert_close(weights(together, k), weights(alone, 0), atol=1e-8, rtol=0)
        mine = together.predictions[together.predictions["member"] == k].reset_index(drop=True)
        assert mine["item"].equals(alone.predictions["item"])
        np.testing.assert_allclose(mine["prediction"], alone.predictions["prediction"], atol=1e-8)


def test_members_of_different_patience_stop_alone_and_stand_still():
    cohort, embeddings = make_world(num_items=80)
    settings = quick(epochs=30, patience=2, dtype="float64")
    together = train(cohort, embeddings, (NOISE,), "multimodn", settings)
    epochs = together.history.groupby("member")["epoch"].max()
    assert (epochs < 29).any()
    assert epochs.nunique() > 1
    for k in range(3):
        alone = train(cohort, embeddings, (NOISE,), "multimodn", settings, [Member(fold=k)])
        assert alone.history["epoch"].max() == epochs[k]
        torch.testing.assert_close(weights(together, k), weights(alone, 0), atol=1e-8, rtol=0)


@pytest.mark.parametrize("architecture", MODELS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(architecture, tmp_path):
    cohort, embeddings = make_world(num_items=60)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        trained = train(cohort, embeddings, (SICK,), architecture, quick(seed=seed))
        write_model(tmp_path / name, trained, {"step": "test"})
    assert version_of(tmp_path / "one") == version_of(tmp_path / "two") != version_of(tmp_path / "three")


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("scaler", ["standard", "minmax"])
def test_a_model_that_was_stored_and_read_predicts_the_same(architecture, scaler, tmp_path):
    cohort, embeddings = make_world(num_items=60, num_steps=3, static=("c",))
    tasks = (LEVEL_NOW,) if architecture == "p_fusion" else (LEVEL_NOW, SICK_NOW, SICK)
    trained = train(cohort, embeddings, tasks, architecture, quick(scaler=scaler))
    write_model(tmp_path / "model", trained, {"step": "test"}, {"a": "table"})
    again = read_model(tmp_path / "model")
    assert again.predict(embeddings).equals(trained.predict(embeddings))
    assert again.predictions.equals(trained.predictions)
    assert again.tasks == trained.tasks
    assert again.settings == trained.settings
    assert not list(tmp_path.rglob("*.p*kl*"))


def test_a_model_folder_that_was_cut_short_is_refused(tmp_path):
    cohort, embeddings = make_world(num_items=60)
    write_model(tmp_path / "m", train(cohort, embeddings, (SICK,), "p_fusion", quick(epochs=1)), {})
    weights_file = tmp_path / "m" / "model.safetensors"
    whole = weights_file.read_bytes()
    weights_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ContractError, match="safetensors"):
        read_model(tmp_path / "m")
    weights_file.unlink()
    with pytest.raises(ContractError, match="missing"):
        read_model(tmp_path / "m")


@pytest.mark.parametrize("architecture", MODELS)
def test_a_planted_signal_is_found_and_noise_is_not(architecture):
    cohort, embeddings = make_world(num_items=400, present_rate=0.9)
    found = {}
    for task in (SICK, NOISE):
        trained = train(cohort, embeddings, (task,), architecture, quick(epochs=40, learning_rate=3e-3))
        found[task.name] = np.mean(trained.metrics[task.name]["auroc"])
    assert found["sick"] > 0.75
    assert 0.35 < found["noise"] < 0.65


def test_the_cards_metrics_are_scikit_learns_on_the_predictions():
    cohort, embeddings = make_world(num_items=90)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick())
    position = {item: n for n, item in enumerate(cohort.items["item"])}
    for fold, rows in trained.predictions.groupby("fold"):
        y = cohort.targets["sick"][[position[item] for item in rows["item"]]]
        assert trained.metrics["sick"]["auroc"][fold] == pytest.approx(roc_auc_score(y, rows["prediction"]), abs=1e-6)


@pytest.mark.parametrize("architecture", MODELS)
def test_only_training_rows_teach_and_test_rows_change_nothing_that_was_learnt(architecture):
    cohort, embeddings = make_world(num_items=60)
    test = cohort.rows(0, "test")
    changed = {}
    for name, e in embeddings.items():
        values = e.values.copy()
        values[:, test] += 100
        changed[name] = dataclasses.replace(e, values=values)
    members = [Member(fold=0)]
    one = train(cohort, embeddings, (LEVEL,), architecture, quick(), members)
    two = train(cohort, changed, (LEVEL,), architecture, quick(), members)
    assert torch.equal(weights(one, 0), weights(two, 0))
    assert all(np.array_equal(one.scaling[m].shift, two.scaling[m].shift) for m in embeddings)
    assert not np.allclose(one.predictions["prediction"], two.predictions["prediction"])


@pytest.mark.parametrize("architecture", MODELS)
def test_embeddings_fitted_per_fold_are_read_by_their_own_fold(architecture):
    cohort, embeddings = make_world(num_items=60)
    one = train(cohort, embeddings, (SICK,), architecture, quick())
    fitted = dict(embeddings)
    fitted["a"] = dataclasses.replace(embeddings["a"], values=np.concatenate([embeddings["a"].values * 0 + 7] * 3))
    fitted["a"].values[1] = embeddings["a"].values[0]
    two = train(cohort, fitted, (SICK,), architecture, quick())
    same = [torch.equal(weights(one, k), weights(two, k)) for k in range(3)]
    assert same == [False, True, False]


def test_a_multimodn_of_series_is_read_at_every_step_where_the_task_has_one_target_each():
    cohort, embeddings = make_world(num_items=60, num_steps=3)
    tasks = (dataclasses.replace(SICK, read_step=1), SICK_NOW, LEVEL_NOW)
    frame = train(cohort, embeddings, tasks, "multimodn", quick()).predictions
    steps = {task: sorted(set(rows["step"])) for task, rows in frame.groupby("task")}
    assert steps == {"sick": [1], "sick_now": [0, 1, 2], "level_now": [0, 1, 2]}
    assert not frame.duplicated(["item", "member", "task", "step"]).any()
    levels = frame[frame["task"] == "level_now"]["prediction"]
    assert levels.between(10, 35).all(), "a regression is predicted in its unit"


def test_p_fusion_sees_nothing_after_the_step_at_which_it_is_read():
    cohort, embeddings = make_world(num_items=60, num_steps=3, static=("c",))
    early = dataclasses.replace(SICK, read_step=1)
    trained = train(cohort, embeddings, (early,), "p_fusion", quick())
    later = {}
    for name, e in embeddings.items():
        values = e.values.copy()
        values[:, :, 2:] = -3
        later[name] = dataclasses.replace(e, values=values)
    assert trained.predict(later).equals(trained.predict(embeddings))


def test_p_fusion_reads_the_training_mean_where_a_modality_is_absent():
    cohort, embeddings = make_world(num_items=60, present_rate=1.0)
    trained = train(cohort, embeddings, (SICK,), "p_fusion", quick(scaler="minmax"), [Member(fold=0)])
    mean = embeddings["b"].values[0, cohort.rows(0, "train"), 0].mean(axis=0)
    filled = dict(embeddings)
    filled["b"] = dataclasses.replace(embeddings["b"], values=np.broadcast_to(mean, (1, 60, 1, 5)).copy())
    absent = {name: e for name, e in embeddings.items() if name != "b"}
    np.testing.assert_allclose(trained.predict(absent)["prediction"], trained.predict(filled)["prediction"], atol=1e-6)


def test_presence_bits_are_read_only_when_asked_for():
    shapes = shapes_for({"a": 3, "b": 5}, 1)
    batch = make_batch(shapes, (SICK,), 1, np.ones((2, 2), dtype=bool))
    sizes = [
        PFusion(shapes, (SICK,), 1, quick(mask_bits=bits), rngs(1)).double().network.layers[0].weight.shape[1]
        for bits in (False, True)
    ]
    assert sizes == [8, 10]
    assert PFusion(shapes, (SICK,), 1, quick(mask_bits=True), rngs(1)).double()(batch).shape == (1, 2, 2)


def test_skipping_per_batch_lets_one_absent_item_cost_its_batch_the_modality():
    cohort, embeddings = make_world(num_items=60, present_rate=1.0)
    present = embeddings["b"].present.copy()
    present[3] = False
    embeddings["b"] = dataclasses.replace(embeddings["b"], present=present)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(skip="batch"), [Member(fold=0)])
    rows = np.arange(16)[None]
    batch = trained.inputs(embeddings).gather(rows, np.ones((1, 16), dtype=bool), with_targets=False)
    assert not batch.present["b"].any()
    assert batch.present["a"].all()
    other = trained.inputs(embeddings).gather(rows + 16, np.ones((1, 16), dtype=bool), with_targets=False)
    assert other.present["b"].all()


def test_undefined_elements_and_absent_rows_become_zero_after_scaling():
    cohort, embeddings = make_world(num_items=60)
    values = embeddings["a"].values.copy()
    values[:, ::2, :, 1] = np.nan
    embeddings["a"] = dataclasses.replace(embeddings["a"], values=values)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick())
    assert np.isfinite(trained.predictions["prediction"]).all()
    inputs: Inputs = trained.inputs(embeddings)
    x = inputs.gather(np.tile(np.arange(60), (3, 1)), np.ones((3, 60), dtype=bool), with_targets=False).x["a"]
    assert not x[:, ::2, :, 1].any()
    assert not x[:, ~embeddings["a"].present[:, 0]].any()


def test_a_modality_that_no_training_item_has_is_never_used_and_that_is_said():
    cohort, embeddings = make_world(num_items=60, present_rate=1.0)
    present = embeddings["b"].present.copy()
    present[cohort.rows(0, "train")] = False
    embeddings["b"] = dataclasses.replace(embeddings["b"], present=present)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(), [Member(fold=0)])
    assert any("'b'" in note for note in trained.notes)
    without = {name: e for name, e in embeddings.items() if name != "b"}
    assert trained.predict(without).equals(trained.predict(embeddings))


def test_a_fold_of_one_class_is_trained_and_said_and_one_without_labels_is_refused():
    cohort, embeddings = make_world(num_items=60)
    one_class = cohort.targets["sick"].copy()
    one_class[cohort.rows(1, "train")] = 1.0
    trained = train(with_target(cohort, one_class), embeddings, (SICK,), "multimodn", quick())
    assert any("fold 1" in note and "same" in note for note in trained.notes)
    none = cohort.targets["sick"].copy()
    none[cohort.rows(2, "train")] = np.nan
    with pytest.raises(CohortError, match=r"fold 2.*'sick'"):
        train(with_target(cohort, none), embeddings, (SICK,), "multimodn", quick())


def test_without_a_validation_label_the_last_epoch_stands():
    cohort, embeddings = make_world(num_items=60)
    target = cohort.targets["sick"].copy()
    target[cohort.rows(0, "validation")] = np.nan
    member = [Member(fold=0)]
    short = train(with_target(cohort, target), embeddings, (SICK,), "multimodn", quick(epochs=1), member)
    longer = train(with_target(cohort, target), embeddings, (SICK,), "multimodn", quick(epochs=3), member)
    assert longer.history["validation_score"].isna().all()
    assert not torch.equal(weights(short, 0), weights(longer, 0))
    assert any("no validation item" in note for note in longer.notes)


def test_wrong_inputs_are_refused_by_name():
    cohort, embeddings = make_world(num_items=60)
    with pytest.raises(ParamsError, match=r"'transformer'.*multimodn"):
        train(cohort, embeddings, (SICK,), "transformer", quick())
    with pytest.raises(ParamsError, match="one task, not 2"):
        train(cohort, embeddings, (SICK, NOISE), "p_fusion", quick())
    with pytest.raises(ContractError, match="'unheard'"):
        train(cohort, embeddings, (dataclasses.replace(SICK, name="unheard"),), "multimodn", quick())
    with pytest.raises(ContractError, match="read after step 4"):
        train(cohort, embeddings, (dataclasses.replace(SICK, read_step=4),), "multimodn", quick())
    with pytest.raises(ContractError, match=r"'sick'.*0, 1 or missing"):
        train(with_target(cohort, cohort.targets["level"]), embeddings, (SICK,), "multimodn", quick())
    with pytest.raises(ContractError, match="at least one"):
        train(cohort, {}, (SICK,), "multimodn", quick())
    with pytest.raises(ContractError, match=r"'items'.*another name"):
        train(cohort, {"items": embeddings["a"]}, (SICK,), "multimodn", quick())
    with pytest.raises(ValueError, match="dropout"):
        quick(dropout=1.0)
    trained = train(cohort, embeddings, (SICK,), "multimodn", quick(epochs=1))
    wide = dataclasses.replace(embeddings["a"], values=np.zeros((1, 60, 1, 9), dtype=np.float32))
    with pytest.raises(ContractError, match=r"'a'.*width 9.*width 3"):
        trained.predict({"a": wide})
    with pytest.raises(ContractError, match="'z'"):
        trained.predict({"z": embeddings["a"]})


def test_items_in_another_order_than_the_cohorts_are_refused():
    cohort, embeddings = make_world(num_items=60)
    turned = {
        name: Embeddings(items=e.items[::-1], values=e.values, present=e.present) for name, e in embeddings.items()
    }
    with pytest.raises(ContractError, match="order"):
        train(cohort, turned, (SICK,), "multimodn", quick())


def test_the_select_task_alone_picks_the_epoch_of_a_multitask_model():
    cohort, embeddings = make_world(num_items=60)
    settings = quick(epochs=6, select_task="level")
    history = train(cohort, embeddings, (SICK, LEVEL), "multimodn", settings).history
    assert (history["validation_score"] <= 0).all(), "minus a mean squared error"
    both = train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=6)).history
    assert (both["validation_score"] > 0).all()


def test_training_leaves_the_number_of_threads_as_it_was_and_reports_every_epoch():
    cohort, embeddings = make_world(num_items=60)
    seen = []
    torch.set_num_threads(2)
    try:
        train(cohort, embeddings, (SICK,), "p_fusion", quick(epochs=2), progress=lambda *done: seen.append(done))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [(1, 2), (2, 2)]


def test_a_random_order_of_modalities_trains_and_is_repeatable():
    cohort, embeddings = make_world(num_items=60)
    one, two, fixed = (
        train(cohort, embeddings, (SICK,), "multimodn", quick(shuffle_order=s)) for s in (True, True, False)
    )
    assert torch.equal(weights(one, 0), weights(two, 0))
    assert not torch.equal(weights(one, 0), weights(fixed, 0))


@pytest.mark.parametrize("mask_bits", [False, True])
def test_p_fusions_gradients_are_autograds(mask_bits):
    shapes = shapes_for({"a": 3, "b": 5}, 2)
    present = np.random.default_rng(0).random((9, 4)) < 0.7
    for task in (SICK, LEVEL):
        batch = make_batch(shapes, (task,), 2, present, 2, unlabelled=0.2)
        model, plain = (PFusion(shapes, (task,), 2, quick(mask_bits=mask_bits), rngs(2)).double() for _ in range(2))
        keep = torch.full((2, 9, model.dropout_width), 1.25).double()
        expected = plain.losses(batch, keep)
        expected.sum().backward()
        torch.testing.assert_close(model.accumulate_gradients(batch, keep), expected.detach(), atol=1e-12, rtol=0)
        for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-12, rtol=0)


def test_a_packed_member_moves_as_torchs_adam_moves_it_alone(monkeypatch):
    """Blocks of their own for some parameters, one for the others; a member that stands still for a step; clipping."""
    monkeypatch.setattr("mmn.modeling.packed.LARGE", 40)
    shapes = shapes_for({"a": 3, "b": 5}, 1)
    together = PFusion(shapes, (SICK,), 1, quick(), rngs(3)).double()
    packed = Packed(together, learning_rate=1e-2, clip_norm=0.5)
    assert len(packed.values) > 1 and packed.small
    active = [[True, True, True], [True, False, True], [True, True, True]]
    rng = np.random.default_rng(0)
    gradients = [[rng.standard_normal(p.shape) for p in together.parameters()] for _ in active]
    for step, on in zip(gradients, active, strict=True):
        for p, gradient in zip(together.parameters(), step, strict=True):
            p.grad = torch.from_numpy(gradient.copy())
        packed.step(on)
    start = PFusion(shapes, (SICK,), 1, quick(), rngs(3)).double()
    for k in range(3):
        alone = [torch.nn.Parameter(p[k].detach().clone()) for p in start.parameters()]
        adam = torch.optim.Adam(alone, lr=1e-2)
        for step, on in zip(gradients, active, strict=True):
            if on[k]:
                for p, gradient in zip(alone, step, strict=True):
                    p.grad = torch.from_numpy(gradient[k].copy())
                torch.nn.utils.clip_grad_norm_(alone, 0.5)
                adam.step()
        for p, theirs in zip(together.parameters(), alone, strict=True):
            torch.testing.assert_close(p[k].detach(), theirs.detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ["multimodn", "p_fusion"])
def test_inputs_too_large_to_be_kept_scaled_train_the_same_bytes(architecture, monkeypatch):
    cohort, embeddings = make_world(num_items=60)
    settings = quick(scaler="minmax")
    kept = train(cohort, embeddings, (SICK,), architecture, settings)
    monkeypatch.setattr("mmn.modeling.inputs.SCALED_BYTES", 0)
    anew = train(cohort, embeddings, (SICK,), architecture, settings)
    assert all(torch.equal(weights(kept, k), weights(anew, k)) for k in range(3))
    assert kept.predictions.equals(anew.predictions)


def test_dropout_masks_have_the_wanted_rate_and_mean_and_belong_to_their_member():
    def masks(members, num_real):
        generators = [Member(fold=k).rng("dropout") for k in members]
        return Dropout(generators, 5000, 0.2, torch.float32, torch.device("cpu")).draw(num_real, 8)

    keep = masks([0, 1], [8, 3])
    assert keep.shape == (2, 8, 5000)
    assert set(np.unique(keep[0])) == {np.float32(0), np.float32(1.25)}
    assert float((keep[0] == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(masks([1], [3])[0, :3], keep[1, :3])


def test_p_fusions_parameter_count_is_the_papers():
    shapes = shapes_for({"d": 16, "n": 768, "x": 1024, "v": 99}, 1)
    model = PFusion(shapes, (SICK,), 1, quick(hidden=32), rngs(1))
    assert sum(p.numel() for p in model.parameters()) == 62_178


def with_target(cohort: Cohort, target: np.ndarray) -> Cohort:
    return dataclasses.replace(cohort, targets={**cohort.targets, "sick": target})


def test_the_benchmark_measures_every_way_and_counts_the_published_shapes_operations(monkeypatch):
    toy = models.Shape(60, 2, (3, 2), 2, 8, 6, 0.1, "multimodn", "")
    fused = dataclasses.replace(toy, num_steps=1, num_tasks=1, architecture="p_fusion", dropout=0.0)
    monkeypatch.setattr(models, "SHAPES", {**models.SHAPES, "toy": toy, "toy p_fusion": fused})
    sides = {"side by side, 1", "side by side, 2"}
    for name, loops in (("toy", {"loop", "loop, mended"}), ("toy p_fusion", {"loop, mended"})):
        spent, validating = models.measure(name, 2, rounds=1, epochs=1)
        assert set(spent) == {*loops, *sides, models.FLOOR} and set(validating) == sides
    operations = {
        name: sum(2 * t * m * i * n for t, m, i, n in models.products(s)) for name, s in models.SHAPES.items()
    }
    assert operations["mimic"] == pytest.approx(8.1e6, rel=0.02)  # performance.md, section 6
    assert operations["weather2k"] == pytest.approx(996e6, rel=0.05)
