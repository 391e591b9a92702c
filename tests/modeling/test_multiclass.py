"""Tasks with several classes: learnt, stored, streamed and scored, beside tasks of the other kinds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mmn.data.dataset import Task
from mmn.data.errors import ContractError, ParamsError
from mmn.modeling import multiclass
from mmn.modeling.architecture import loss_terms, to_prediction
from mmn.modeling.comparisons import compare
from mmn.modeling.floors import SHUFFLED, floor_predictions
from mmn.modeling.inputs import Member
from mmn.modeling.metrics import once
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.scores import score
from mmn.modeling.settings import ComparisonSettings
from mmn.modeling.storage import read_model, write_model
from mmn.modeling.train import train
from tests.modeling.worlds import GRADE, LEVEL, SICK, make_batch, make_world, quick, rngs, shapes_for

PROBABILITIES = ["probability_0", "probability_1", "probability_2"]
SEVERAL = {"multimodn": (SICK, GRADE, LEVEL), "p_fusion": (GRADE,), "fusion_transformer": (SICK, GRADE, LEVEL)}


def test_the_loss_is_torchs_cross_entropy_and_two_classes_are_a_binary_task():
    raw = torch.randn((2, 7, 3), generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([0.0, 2, 1, 1, 0, 2, 2]).double().expand(2, 7)
    expected = torch.nn.functional.cross_entropy(raw.flatten(0, 1), target.flatten().long(), reduction="none")
    torch.testing.assert_close(loss_terms(raw, target, GRADE, "logits").flatten(), expected)
    torch.testing.assert_close(to_prediction(raw, GRADE, "logits"), torch.softmax(raw, dim=-1))
    two = dataclasses.replace(GRADE, classes=("no", "yes"))
    for loss in ("logits", "published"):
        both = [loss_terms(raw[..., :2], target.clamp(max=1), task, loss) for task in (two, SICK)]
        torch.testing.assert_close(*both)
        torch.testing.assert_close(
            to_prediction(raw[..., :2], two, loss)[..., 1], to_prediction(raw[..., :2], SICK, loss)
        )


def test_the_gradients_that_are_written_out_are_autograds():
    shapes = shapes_for({"a": 3, "b": 2}, 2)
    now = dataclasses.replace(GRADE, name="now", per_step=True, read_step=1)
    tasks = (SICK, GRADE, now, LEVEL)
    batch = make_batch(shapes, tasks, 2, np.random.default_rng(0).random((6, 4)) < 0.7, 2, unlabelled=0.2)
    model, plain = (MultiModN(shapes, tasks, 2, quick(), rngs(2)).double() for _ in range(2))
    expected = plain.losses(batch)
    expected.sum().backward()
    torch.testing.assert_close(model.accumulate_gradients(batch), expected.detach(), atol=1e-12, rtol=0)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", SEVERAL)
def test_three_planted_classes_are_told_apart_and_a_stored_model_says_the_same(architecture, tmp_path):
    cohort, embeddings = make_world(num_items=180, present_rate=0.95)
    embeddings["b"].values[0, :, 0, 0] += 8 * cohort.targets["grade"]
    how = quick(epochs=15, learning_rate=5e-3, state=12)
    trained = train(cohort, embeddings, SEVERAL[architecture], architecture, how)
    assert np.mean(trained.metrics["grade"]["macro_auroc"]) > 0.8
    assert np.mean(trained.metrics["grade"]["bac"]) > 0.55, "chance is a third"
    frame = trained.predictions[trained.predictions["task"] == "grade"]
    np.testing.assert_allclose(frame[PROBABILITIES].sum(axis=1), 1.0, atol=1e-6)
    assert np.array_equal(frame["prediction"], frame[PROBABILITIES].to_numpy().argmax(axis=1))
    others = trained.predictions[trained.predictions["task"] != "grade"]
    assert others[PROBABILITIES].isna().all().all() and others["prediction"].notna().all()
    write_model(tmp_path / "model", trained, {"step": "test"})
    again = read_model(tmp_path / "model")
    assert again.tasks == trained.tasks
    assert again.predict(embeddings).equals(trained.predict(embeddings))
    assert again.predictions.equals(trained.predictions)


def test_a_task_of_other_kinds_has_the_columns_that_it_had():
    cohort, embeddings = make_world(num_items=60)
    frame = train(cohort, embeddings, (SICK, LEVEL), "multimodn", quick(epochs=1)).predictions
    assert list(frame.columns) == ["item", "member", "fold", "task", "step", "prediction"]


def test_members_side_by_side_are_those_alone_and_a_stream_says_what_the_batch_says():
    cohort, embeddings = make_world(num_items=61, num_steps=2, unlabelled=0.1)
    cohort.targets["now"] = np.stack([cohort.targets["grade"]] * 2, axis=1)
    tasks = (dataclasses.replace(GRADE, name="now", per_step=True, read_step=1), dataclasses.replace(SICK, read_step=1))
    how = quick(dtype="float64", dropout=0.2)
    together = train(cohort, embeddings, tasks, "multimodn", how, [Member(fold=0), Member(fold=1)])
    for k in range(2):
        alone = train(cohort, embeddings, tasks, "multimodn", how, [Member(fold=k)]).predictions
        mine = together.predictions[together.predictions["member"] == k]
        np.testing.assert_allclose(mine[PROBABILITIES], alone[PROBABILITIES], atol=1e-8)
    state = together.start(4)
    for step in range(2):
        for name, e in embeddings.items():
            state = together.update(state, name, e.values[0, :4, step])
    said = together.predict(embeddings, np.arange(4))
    last = said[(said["task"] == "now") & (said["step"] == 1)]
    np.testing.assert_allclose(together.read(state)["now"], last[PROBABILITIES].to_numpy().reshape(2, 4, 3), atol=1e-9)


def test_the_metrics_are_scikit_learns_and_weights_are_counts():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 80).astype(float), rng.dirichlet([1, 1, 1], 80)
    assert multiclass.macro_auroc(y, p, once(80))[0] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert multiclass.balanced_accuracy(y, p, once(80))[0] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    weights = rng.integers(0, 3, (2, 80)).astype(float)
    for metric in multiclass.MULTICLASS:
        drawn = [np.repeat(np.arange(80), w.astype(int)) for w in weights]
        expected = [metric.compute(y[d], p[d], once(len(d)))[0] for d in drawn]
        np.testing.assert_allclose(metric.compute(y, p, weights), expected, atol=1e-12)
    assert np.isnan(multiclass.macro_auroc(np.ones(5), p[:5], once(5))[0]), "one class alone"
    assert np.isnan(multiclass.brier(np.zeros(0), np.zeros((0, 3)), once(0))[0])


@pytest.mark.parametrize("select_by", ["auto", "accuracy", "mse"])
def test_every_way_of_choosing_the_epoch_has_a_score_for_several_classes(select_by):
    cohort, embeddings = make_world(num_items=60)
    scores = train(cohort, embeddings, (GRADE,), "multimodn", quick(select_by=select_by)).history["validation_score"]
    low, high = {"auto": (0, 2), "accuracy": (0, 1), "mse": (-2, 0)}[select_by]
    assert scores.between(low, high).all()


def test_a_class_that_no_training_item_has_is_said_and_other_targets_are_refused():
    cohort, embeddings = make_world(num_items=60)
    cohort.targets["grade"][cohort.rows(0, "train")] %= 2
    trained = train(cohort, embeddings, (GRADE,), "multimodn", quick(epochs=1), [Member(fold=0)])
    assert any("no training item is of class high" in note for note in trained.notes)
    cohort.targets["grade"][:] = 3
    with pytest.raises(ContractError, match=r"'grade'.*whole number from 0 to 2"):
        train(cohort, embeddings, (GRADE,), "multimodn", quick(epochs=1))
    with pytest.raises(ParamsError, match="two or more"):
        Task(name="x", number=None, kind="multiclass", description="")
    with pytest.raises(ParamsError, match="this one is binary"):
        Task(name="x", number=None, kind="binary", description="", classes=("a", "b"))


@pytest.fixture(scope="module")
def scored():
    """A planted world of three classes, two of its models, and the table of scores."""
    cohort, embeddings = make_world(num_items=180, present_rate=0.95)
    embeddings["b"].values[0, :, 0, 0] += 8 * cohort.targets["grade"]
    how = quick(epochs=15, learning_rate=5e-3, state=12)
    predictions = {
        ("grade", name): train(cohort, embeddings, (GRADE,), name, how).predictions
        for name in ("multimodn", "p_fusion")
    }
    return (
        cohort,
        embeddings,
        predictions,
        score(cohort, (GRADE,), predictions, embeddings, alone={"grade": ["a", "b"]}),
    )


def test_scores_are_scikit_learns_fold_by_fold(scored):
    cohort, _, predictions, table = scored
    row = table[(table["model"] == "multimodn") & (table["metric"] == "macro_auroc")].iloc[0]
    assert row["primary"]
    frame = predictions["grade", "multimodn"]
    labels = dict(zip(cohort.items["item"], cohort.targets["grade"], strict=True))
    for fold, value in enumerate(row["fold_values"]):
        mine = frame[(frame["fold"] == fold) & (frame["step"] == GRADE.read_step)]
        y = mine["item"].map(labels).to_numpy()
        known = ~np.isnan(y)
        expected = roc_auc_score(y[known], mine[PROBABILITIES][known], multi_class="ovr", average="macro")
        assert value == pytest.approx(expected, abs=1e-12)


def test_floors_of_three_classes_know_what_they_were_fitted_on(scored):
    table = scored[-1]
    floors = table[(table["kind"] == "floor") & (table["metric"] == "macro_auroc")].set_index("model")["estimate"]
    assert floors["training shares"] == pytest.approx(0.5, abs=1e-12), "the same for every item"
    assert floors["b alone"] > 0.8 > floors["a alone"], "the classes were planted in b"
    assert abs(floors[SHUFFLED] - 0.5) < 0.1
    models = table[(table["kind"] == "model") & (table["metric"] == "macro_auroc")]
    assert models["best_floor"].eq(floors.max()).all()


def test_the_probabilities_of_every_floor_sum_to_one(scored):
    cohort, embeddings, *_ = scored
    for name, folds in floor_predictions(cohort, GRADE, embeddings, ("a", "b")).items():
        for found in folds:
            assert found.shape[1] == 3 and (found >= 0).all(), name
            np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9, err_msg=name)


def test_two_models_of_three_classes_are_compared(scored):
    cohort, _, predictions, table = scored
    compared = compare(cohort, (GRADE,), predictions, ComparisonSettings())
    row = compared[compared["metric"] == "macro_auroc"].iloc[0]
    models = table[(table["metric"] == "macro_auroc") & (table["kind"] == "model")]
    first, second = models.set_index("model").loc[["multimodn", "p_fusion"], "estimate"]
    assert abs(row["difference"]) == pytest.approx(abs(first - second), abs=1e-12)


def test_a_baseline_of_one_number_is_refused(scored):
    cohort, embeddings, *_ = scored
    one = {"item": cohort.items["item"][:1], "task": "grade", "baseline": "guess", "fold": -1, "prediction": 1.0}
    with pytest.raises(ContractError, match="one per class"):
        floor_predictions(dataclasses.replace(cohort, baselines=pd.DataFrame(one)), GRADE, embeddings)
