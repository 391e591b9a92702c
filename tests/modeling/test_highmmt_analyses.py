"""HighMMT: which parameters take part in which task, what wrong labels of one data set do to the others, and joint
trainings that go on after a kill."""

import dataclasses
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch

from mmn.data.errors import ParamsError
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.interference import NOBODY, flipped, interferences
from mmn.modeling.highmmt.involvement import involvement
from mmn.modeling.highmmt.joint import Joint, train_jointly
from mmn.modeling.highmmt.transfer import transfers_to
from mmn.modeling.train import Training
from tests.modeling.test_heterogeneity import planted
from tests.modeling.worlds import GRADE, LEVEL, SICK, make_world, quick

SMALL = {"latents": 3, "latent_width": 6, "batch_size": 32, "learning_rate": 8e-3, "device": "cpu"}


def two(num_items: int = 90, told: float = 1.0) -> dict[str, Source]:
    """Two data sets of two modalities; one number of each tells the state."""
    found = {}
    for number, name in enumerate(("a", "b")):
        source = planted(num_items, seed=number)
        tables = {f"{name}_{m}": source.embeddings[m] for m in ("same_1", "same_2")}
        for table in tables.values():
            table.values[0, :, 0, 3] += told * source.cohort.targets["state"]
        found[name] = Source(cohort=source.cohort, embeddings=tables, tasks=source.tasks)
    return found


@pytest.fixture(scope="module")
def world() -> dict[str, Source]:
    return two()


@pytest.fixture(scope="module")
def shared(world) -> Joint:
    return train_jointly(world, quick(**SMALL, epochs=6))


@pytest.fixture(scope="module")
def apart(world) -> Joint:
    return train_jointly(world, quick(**SMALL, epochs=6, **groups_apart(world)))


def groups_apart(world) -> dict:
    of = {m: number for number, source in enumerate(world.values()) for m in source.embeddings}
    return {"encoder_groups": of, "pair_groups": {"a_same_1+a_same_2": 0, "b_same_1+b_same_2": 1}}


def shares(joint: Joint, world, **more) -> pd.Series:
    table = involvement(joint, world, num_items=8, **more)
    return table.groupby(["level", "part", "num"])["share"].mean()


def test_parameters_of_one_data_set_alone_are_involved_in_it_alone_and_shared_ones_in_both(world, shared, apart):
    both, none = shares(shared, world), shares(apart, world)
    for part in ("encoders", "blocks"):
        assert both["data set", part].sum() == pytest.approx(1.0)
        assert none["data set", part, 2] == 0.0 and none["data set", part, 1] > 0.9
        assert both["data set", part, 2] > 0.3


def test_a_threshold_that_all_reach_involves_all_and_one_that_only_the_greatest_reaches_involves_one(world, shared):
    low, high = (shares(shared, world, threshold=value)["task", "encoders"] for value in (1e-9, 1.0))
    assert low[2] > 0.9 and high[2] == 0.0 and high[1] > 0.9


def test_involvement_is_the_mean_size_of_the_gradient_and_signed_only_as_published(world, shared):
    """By hand, for one member and the first number of the encoder's latents."""
    source, trained = world["a"], shared.trained["a"]
    table = {mode: involvement(shared, world, num_items=8, mode=mode) for mode in ("paper", "published")}
    for level in ("data set", "task"):
        same = [t[(t["level"] == level) & (t["part"] == "encoders")]["share"].to_numpy() for t in table.values()]
        np.testing.assert_array_equal(*same)
    signed, plain = (t[t["part"] == "blocks"]["share"].to_numpy() for t in (table["published"], table["paper"]))
    assert not np.array_equal(signed, plain)
    rows = source.cohort.rows(0, "test")[:8]
    from mmn.modeling.highmmt.involvement import _taken

    found = _taken(shared, "a", source, source.tasks[0], 8, "paper")["encoders"][0, 0]
    latents = shared.parts.encoders[0].latents_K1Ld
    total = 0.0
    for row in rows:
        batch = trained.inputs(source.embeddings).gather(np.full((3, 1), row), np.ones((3, 1), bool), False)
        probability = torch.softmax(trained.model.eval()(batch)["state"][0, 0], dim=-1)
        true = int(source.cohort.targets["state"][row])
        total += abs(float(torch.autograd.grad(probability[true], latents)[0][0, 0, 0, 0]))
    # The tables are flattened in the order of the modules' parameters, whose first are the latents.
    assert found == pytest.approx(total / 8, rel=1e-4)


def test_flipped_labels_are_the_next_class_or_mirrored_and_the_unknown_stay_so():
    cohort, embeddings = make_world(num_items=40, unlabelled=0.2)
    source = Source(cohort=cohort, embeddings=embeddings, tasks=(GRADE, LEVEL))
    before, after = cohort.targets, flipped(source).cohort.targets
    known = ~np.isnan(before["grade"])
    assert (after["grade"][known] == (before["grade"][known] + 1) % 3).all() and np.isnan(after["grade"][~known]).all()
    level = before["level"]
    np.testing.assert_array_equal(np.isnan(after["level"]), np.isnan(level))
    both = (after["level"] + level)[~np.isnan(level)]
    np.testing.assert_allclose(both, np.nanmin(level) + np.nanmax(level))
    np.testing.assert_array_equal(after["sick"], before["sick"], "another's task")


def test_wrong_labels_harm_those_who_share_and_nobody_where_nothing_is_shared(world, shared, apart):
    def auroc(joint, name):
        return float(np.mean(joint.trained[name].metrics["state"]["auroc"]))

    # Unclipped: the norm that gradients are clipped by is that of the whole model, over all data sets.
    settings = quick(**{**SMALL, "learning_rate": 1e-2}, epochs=6, clip_norm=0.0)
    for kind, start, more, num in (("shared", shared, {}, 5), ("apart", apart, groups_apart(world), 2)):
        totals: list[int] = []
        ways = interferences(
            world, start, dataclasses.replace(settings, **more), progress=lambda done, of, to=totals: to.append(of)
        )
        found = {(learns, name): joint for learns, name, joint in islice(ways, num)}
        assert (
            list(found) == [("all", NOBODY), ("all", "a"), ("all", "b"), ("encoders", NOBODY), ("encoders", "a")][:num]
        )
        assert set(totals) == {9}
        for learns in ("all", "encoders")[: num // 2]:
            harm = auroc(found[learns, NOBODY], "b") - auroc(found[learns, "a"], "b")
            # 90 test items: a standard error of 0.05. Seen 0.06 (all) and 0.21 (encoders, whose heads cannot adapt).
            assert harm == 0.0 if kind == "apart" else harm > (0.1 if learns == "encoders" else -0.05)


@pytest.mark.parametrize(("only", "moved"), [("encoders", "encoders"), ("blocks", "blocks"), ("heads", "heads")])
def test_what_is_held_does_not_move_even_under_weight_decay(world, shared, only, moved):
    found = train_jointly(world, quick(**SMALL, epochs=1, weight_decay=0.1), start=shared, only=only, last=True)

    def parts(joint):
        heads = joint.trained["a"].model.get_submodule("heads")
        return {"encoders": joint.parts.encoders, "blocks": joint.parts.blocks, "heads": heads}

    for name, module in parts(found).items():
        before = dict(parts(shared)[name].named_parameters())
        same = [torch.equal(p, before[key]) for key, p in module.named_parameters()]
        assert not any(same) if name == moved else all(same)


class Killed(Exception):
    """As a signal would end the process."""


def test_a_killed_joint_training_goes_on_where_it_was_and_ends_with_the_same_bytes(world, tmp_path):
    settings = quick(**SMALL, epochs=4)
    whole = train_jointly(world, settings)
    epochs = []

    def die(epoch, of):
        epochs.append(epoch)
        if len(epochs) == 3:
            raise Killed

    kept = Checkpoint(tmp_path / "joint.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        train_jointly(world, settings, progress=die, checkpoint=kept)
    again = train_jointly(world, settings, progress=lambda e, of: epochs.append(e), checkpoint=kept)
    assert epochs == [1, 2, 3, 3, 4]  # the third was not kept before the kill
    for name in world:
        pd.testing.assert_frame_equal(again.trained[name].history, whole.trained[name].history)
        pd.testing.assert_frame_equal(again.trained[name].predictions, whole.trained[name].predictions)
    # Finished, nothing is trained again; another training does not take it up.
    train_jointly(world, settings, progress=lambda e, of: epochs.append(e), checkpoint=kept)
    assert len(epochs) == 5
    train_jointly(world, settings, progress=lambda e, of: epochs.append(e), checkpoint=kept, only="heads")
    assert len(epochs) == 9


def test_after_the_others_the_heads_alone_learn_in_mode_published(world):
    for mode, moved in (("paper", True), ("published", False)):
        before = train_jointly({"a": world["a"]}, quick(**SMALL, epochs=1, mode=mode), declared=None)
        assert before.trained["a"].settings.mode == mode
        found = {
            way: trained for way, _, trained in transfers_to("b", world, (1.0,), quick(**SMALL, epochs=1, mode=mode))
        }
        rerun = train_jointly(
            {"a": world["a"]}, quick(**SMALL, epochs=1, mode=mode), declared=found["alone"].model.serialiser.declared
        )
        after, began = (m.parts.encoders[0].latents_K1Ld for m in (found["after the others"].model, rerun))
        assert torch.equal(after, began) != moved


def test_classes_are_drawn_equally_often_where_that_is_wanted_and_a_regression_has_none():
    cohort, embeddings = make_world(num_items=400, seed=2)
    rare = np.random.default_rng(0).random(400) < 0.9
    cohort.targets["sick"][rare] = 0.0
    cohort.targets["sick"][:20] = np.nan
    training = Training(cohort, embeddings, (SICK,), "p_fusion", quick(draw="classes"), None)
    drawn = training.draw_rows(np.array([True, True, False]))
    assert [len(rows) for rows in drawn] == [len(training.train_rows[0]), len(training.train_rows[1]), 0]
    for rows, train in zip(drawn[:2], training.train_rows, strict=False):
        labels = cohort.targets["sick"][rows]
        assert set(rows) <= set(train) and np.mean(labels) == pytest.approx(0.5, abs=0.1)
        assert np.nanmean(cohort.targets["sick"][train]) < 0.1
    once = Training(cohort, embeddings, (SICK,), "p_fusion", quick(), None).draw_rows(np.ones(3, dtype=bool))
    assert all(sorted(rows) == sorted(train) for rows, train in zip(once, training.train_rows, strict=True))
    with pytest.raises(ParamsError, match="'level', the first task, has none"):
        Training(cohort, embeddings, (LEVEL,), "p_fusion", quick(draw="classes"), None)
