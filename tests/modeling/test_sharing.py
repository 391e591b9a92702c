"""HighMMT over several data sets: who shares with whom, what others are worth to a new one, and with how few labels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mmn.data.errors import ParamsError
from mmn.modeling.highmmt.features import feature_distances
from mmn.modeling.highmmt.grouping import hidden_error
from mmn.modeling.highmmt.heterogeneity import Node, Source, declared_of, measure
from mmn.modeling.highmmt.joint import train_jointly
from mmn.modeling.highmmt.settings import HighMMTSettings
from mmn.modeling.highmmt.sharing import (
    APART,
    BLOCKS,
    BY_FEATURES,
    BY_LOT,
    ENCODERS,
    FROM_START,
    MEASURED,
    PRETRAINED,
    SHARED,
    compare_plans,
    plans,
)
from mmn.modeling.highmmt.transfer import AFTER, ALONE, WITH, transfers_to, with_share
from mmn.modeling.storage import read_model, write_model
from tests.modeling.test_heterogeneity import planted
from tests.modeling.worlds import quick

SMALL = {"latents": 4, "latent_width": 8, "batch_size": 32, "learning_rate": 4e-3}
NAMES = ("a", "b", "c", "d")
# Two data sets of one law, two of another; a distance that says so.
FAR = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=float)


def world(num_items: int = 300, seed: int = 0) -> dict[str, Source]:
    found = {}
    for number, (name, law) in enumerate(zip(NAMES, ("same_1", "same_2", "other", "other"), strict=True)):
        source = planted(num_items, seed=10 * seed + number)
        found[name] = Source(
            cohort=source.cohort, embeddings={f"of_{name}": source.embeddings[law]}, tasks=source.tasks
        )
    return found


def auroc(trained) -> float:
    return float(np.mean(trained.metrics["state"]["auroc"]))


def test_groups_by_heterogeneity_beat_groups_by_lot_of_as_many_parameters():
    chosen = plans(FAR, [f"of_{n}" for n in NAMES], None, [], (2,), 0)
    groups = next(plan.encoder_groups for plan in chosen if plan.kind == MEASURED)
    assert list(groups.values()) == [0, 0, 1, 1]
    told = {True: [], False: []}
    for seed in (0, 1):
        sources = world(seed=seed)
        for numbers in ([0, 0, 1, 1], [0, 1, 0, 1]):
            by = dict(zip(groups, numbers, strict=True))
            joint = train_jointly(sources, quick(**SMALL, epochs=10, encoder_groups=by))
            told[by == groups].append((joint.num_parameters, np.mean([auroc(t) for t in joint.trained.values()])))
    assert {number for number, _ in told[True]} == {number for number, _ in told[False]}
    right, by_lot = (np.mean([value for _, value in told[kind]]) for kind in (True, False))
    # 2,400 test items on each side: a standard error of about 0.01; seen 0.998 and 0.913.
    assert right > by_lot + 0.05


def test_the_plans_are_every_way_of_sharing_with_groups_by_lot_of_the_same_sizes():
    names, pairs = [f"of_{n}" for n in NAMES], [("of_a", "of_b"), ("of_c", "of_d")]
    chosen = plans(FAR, names, np.array([[0.0, 2], [2, 0]]), pairs, (2, 3), 2)
    grouped = [MEASURED, BY_LOT, BY_LOT]
    assert [plan.kind for plan in chosen] == [SHARED, *grouped, FROM_START, *grouped, ENCODERS, BLOCKS, APART]
    assert (chosen[4].encoder_groups, chosen[4].pair_groups) == (chosen[1].encoder_groups, chosen[1].pair_groups)
    encoders, blocks = chosen[-3:-1]
    assert set(encoders.encoder_groups.values()) == {0} and len(set(encoders.pair_groups.values())) == 2
    assert len(set(blocks.encoder_groups.values())) == 4 and blocks.pair_groups == {}
    for first in (1, 5):
        sizes = [sorted(np.bincount(list(plan.encoder_groups.values()))) for plan in chosen[first : first + 3]]
        assert sizes[0] == sizes[1] == sizes[2]
    assert len(set(chosen[-1].encoder_groups.values())) == 4 and chosen[0].encoder_groups == {}
    assert set(chosen[1].pair_groups) == {"of_a+of_b", "of_c+of_d"}
    assert chosen == plans(FAR, names, np.array([[0.0, 2], [2, 0]]), pairs, (2, 3), 2), "a seed, one result"


def test_all_plans_but_one_begin_from_one_pre_training_and_cost_what_they_do_not_share():
    sources = world(60)
    chosen = plans(FAR, [f"of_{n}" for n in NAMES], None, [], (2,), 1, features=(FAR, np.zeros((0, 0))))
    found = list(compare_plans(sources, lambda first: chosen, quick(**SMALL, epochs=2), quick(**SMALL, epochs=1)))
    assert [plan.kind for plan, _ in found] == [PRETRAINED, SHARED, MEASURED, BY_LOT, BY_FEATURES, FROM_START, APART]
    cost = [joint.num_parameters for _, joint in found]
    assert cost[0] == cost[1] < cost[2] == cost[3] == cost[4] == cost[5] < cost[6]
    epochs = [len(joint.trained["a"].history["epoch"].unique()) for _, joint in found]
    assert epochs == [2, 1, 1, 1, 1, 3, 1]


def test_features_of_one_law_and_scale_are_nearer_than_those_of_another_scale():
    sources = world(60)
    joint = train_jointly(sources, quick(**SMALL, epochs=1, without="marks"))
    for name in ("of_c", "of_d"):  # far from what the others show: nine standard deviations off
        source = sources[name[-1]]
        table = source.embeddings[name]
        sources[name[-1]] = dataclasses.replace(
            source, embeddings={name: dataclasses.replace(table, values=table.values + 9)}
        )
    modalities, pairs = feature_distances(joint, sources)
    assert modalities.shape == (4, 4) and pairs.shape == (0, 0) and (np.diag(modalities) == 0).all()
    assert max(modalities[0, 1], modalities[2, 3]) < modalities[:2, 2:].min()


def test_a_model_of_one_data_set_is_stored_and_read_alone_and_says_the_same(tmp_path):
    joint = train_jointly(world(60), quick(**SMALL, epochs=1, encoder_groups={"of_c": 1, "of_d": 1}))
    for name, source in world(60).items():
        write_model(tmp_path / name, joint.trained[name], {"step": "test"})
        again = read_model(tmp_path / name)
        pd.testing.assert_frame_equal(again.predict(source.embeddings), joint.trained[name].predict(source.embeddings))


def test_what_the_others_learnt_is_worth_most_where_labels_are_few():
    # All of one law: what three know, the fourth needs not learn.
    sources = {}
    for number, name in enumerate(NAMES):
        source = planted(300, seed=20 + number)
        sources[name] = Source(
            cohort=source.cohort, embeddings={f"of_{name}": source.embeddings["same_1"]}, tasks=source.tasks
        )
    found = {
        (way, share): auroc(trained)
        for way, share, trained in transfers_to("d", sources, (0.2, 1.0), quick(**SMALL, epochs=10))
    }
    assert set(found) == {(way, share) for way in (ALONE, AFTER, WITH) for share in (0.2, 1.0)}
    # 300 test items: a standard error of 0.03. Of 40 labels nothing is learnt alone.
    assert found[ALONE, 0.2] < 0.62 and found[AFTER, 0.2] > found[ALONE, 0.2] + 0.1


def test_a_share_leaves_out_training_items_alone_and_keeps_the_larger_share_a_superset():
    source = planted(120)
    few, more = (with_share(source, share) for share in (0.25, 0.5))
    for fold in range(3):
        for split in ("validation", "test"):
            assert np.array_equal(few.cohort.rows(fold, split), source.cohort.rows(fold, split))
        train = [set(one.cohort.rows(fold, "train")) for one in (few, more, source)]
        assert train[0] < train[1] < train[2] and len(train[0]) == round(0.25 * len(train[2]))
    assert with_share(source, 1.0) is source


def test_transfers_are_measured_between_the_chosen_pairs_alone():
    sources = {"toy": planted(60)}
    nodes = [Node(source="toy", modalities=(name,)) for name in ("same_1", "same_2", "other")]
    settings = quick(**SMALL, epochs=1)
    found = measure(sources, nodes, settings, pairs=[("same_1", "other")])
    assert set(zip(found["source"], found["target"], strict=True)) == {("same_1", "other"), ("other", "same_1")}
    whole = measure(sources, nodes, settings)
    keys = ["source", "target", "fold", "seed"]
    both = found.merge(whole, on=keys)
    np.testing.assert_allclose(both["loss_x"], both["loss_y"], rtol=1e-4)
    with pytest.raises(ParamsError, match="nobody is no node"):
        measure(sources, nodes, settings, pairs=[("same_1", "nobody")])


def test_the_error_of_completion_is_none_of_a_matrix_it_can_know_and_told_for_one_it_cannot():
    places = np.linspace(0, 1, 12)
    smooth = (places[:, None] - places[None]) ** 2  # rank 3
    rng = np.random.default_rng(0)
    noise = np.triu(rng.random((12, 12)), 1)
    told = {name: hidden_error(d, 0.8, draws=10).mean() for name, d in (("smooth", smooth), ("noise", noise + noise.T))}
    assert told["smooth"]["completed"] < 0.2 * told["smooth"]["mean_filled"]
    assert told["noise"]["completed"] > 0.9 * told["noise"]["mean_filled"]
    assert hidden_error(smooth, 1.0).empty


@pytest.mark.parametrize("part", ["marks", "encoder", "pairs"])
def test_without_a_part_a_model_still_learns_and_absence_has_no_influence(part):
    source = planted(240)
    pair = {name: source.embeddings[name] for name in ("same_1", "same_2")}
    for table in pair.values():
        table.values[0, :, 0, 3] += 2 * source.cohort.targets["state"]  # so that no law need be found
    trained = train_jointly(
        {"toy": dataclasses.replace(source, embeddings=pair)}, quick(**SMALL, epochs=12, without=part)
    ).trained["toy"]
    assert auroc(trained) > 0.75
    absent = {name: dataclasses.replace(e, present=e.present & (name == "same_1")) for name, e in pair.items()}
    other = {name: dataclasses.replace(e, values=e.values + (name == "same_2")) for name, e in absent.items()}
    pd.testing.assert_frame_equal(trained.predict(absent), trained.predict(other))


def test_settings_that_make_no_sense_are_refused():
    for wrong, message in (
        ({"datasets": ("mimic",)}, "two or more"),
        ({"share": 0.0}, "share is 0"),
        ({"budgets": (1,)}, "at least 2"),
        ({"few_shot": (2.0,)}, "few_shot"),
        ({"seeds": ()}, "seeds"),
        ({"datasets": ("edu", "mimic"), "batch_sizes": {"edu": 0}}, "batch_sizes.edu"),
        ({"batch_sizes": {"edu": 8}}, "batch_sizes names edu, which is not among"),
        ({"budgets": (3, 3)}, "name each once"),
        ({"tuning": {"latents": 8}}, "tuning names latents"),
        ({"training": {"without": "marks"}}, "training names without: the analysis sets it"),
        ({"tuning": {"mode": "published"}}, "tuning names mode: `mode` decides it once"),
    ):
        with pytest.raises(ValueError, match=message):
            HighMMTSettings(**wrong)
    with pytest.raises(ParamsError, match="at least one data set more"):
        next(transfers_to("a", {"a": world(60)["a"]}, (1.0,), quick()))
    assert len(declared_of(world(60), quick())) == 4
