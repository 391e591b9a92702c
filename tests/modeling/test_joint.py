"""HighMMT over several data sets: what is shared is one tensor, what is grouped apart is not, and all learn."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.highmmt import joint as joint_module
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import train_jointly
from mmn.modeling.highmmt.people import keep_apart
from tests.modeling.worlds import LEVEL, SICK, make_world, quick

SETTINGS = {"latents": 3, "latent_width": 8, "learning_rate": 3e-3, "batch_size": 32}


def source(prefix: str, tasks, num_items: int, seed: int, num_folds: int = 3) -> Source:
    cohort, embeddings = make_world(num_items=num_items, seed=seed, num_folds=num_folds)
    return Source(cohort=cohort, embeddings={f"{prefix}_{m}": e for m, e in embeddings.items()}, tasks=tasks)


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {"one": source("one", (SICK,), 200, 3), "two": source("two", (SICK, LEVEL), 130, 4)}


@pytest.fixture(scope="module")
def pretrained(sources):
    return train_jointly(sources, quick(**SETTINGS, epochs=10))


def test_all_data_sets_learn_in_one_model_that_counts_what_is_shared_once(pretrained):
    # One dimension of one of three modalities tells; it is there for four of five items (see test_highmmt).
    assert np.mean(pretrained.trained["one"].metrics["sick"]["auroc"]) > 0.68
    assert np.mean(pretrained.trained["two"].metrics["sick"]["auroc"]) > 0.62
    one, two = (pretrained.trained[name].model for name in ("one", "two"))
    assert one.parts is two.parts is pretrained.parts
    shared = sum(p[0].numel() for p in pretrained.parts.parameters())
    heads = sum(p[0].numel() for model in (one, two) for p in model.heads.parameters())
    assert pretrained.num_parameters == shared + heads
    assert set(pretrained.trained["two"].predictions["task"]) == {"sick", "level"}


def test_the_same_seed_gives_the_same_bytes_and_the_weights_are_those_of_the_best_epoch(sources, pretrained):
    again = train_jointly(sources, quick(**SETTINGS, epochs=10))
    for name in sources:
        pd.testing.assert_frame_equal(again.trained[name].predictions, pretrained.trained[name].predictions)
    scores = sum(
        pretrained.trained[name].history.set_index(["member", "epoch"])["validation_score"] for name in sources
    )
    # One member's best epoch is the last of a training that long; then its weights are the same.
    member, epoch = next(iter(scores.groupby("member").idxmax()))
    shorter = train_jointly(sources, quick(**SETTINGS, epochs=epoch + 1))
    for name in sources:
        mine, theirs = (
            joint.trained[name].predictions.groupby("member")["prediction"].get_group(member).to_numpy()
            for joint in (pretrained, shorter)
        )
        np.testing.assert_array_equal(mine, theirs)


def test_the_data_set_with_most_batches_begins_alone_and_all_end_together(sources, monkeypatch):
    met: list[list[str]] = [[]]
    step = joint_module.Packed.step

    def watched(self, active):
        met.append([])
        return step(self, active)

    monkeypatch.setattr(joint_module.Packed, "step", watched)
    original = joint_module.HighMMT.accumulate_gradients

    def named(self, batch, *more):
        met[-1].append(self.names[0].split("_")[0])
        return original(self, batch, *more)

    monkeypatch.setattr(joint_module.HighMMT, "accumulate_gradients", named)
    train_jointly(sources, quick(**{**SETTINGS, "batch_size": 20}, epochs=1))
    steps = met[:-1]
    assert steps[0] == ["one"] and steps[-1] == ["one", "two"]
    alone = [part == ["one"] for part in steps]
    assert alone == sorted(alone, reverse=True)


def test_groups_begin_with_the_weights_of_the_model_before_and_then_differ(sources, pretrained):
    apart = {name: n for n, source in enumerate(sources.values()) for name in source.embeddings}
    pairs = {
        "+".join(sorted((a, b))): 1 for a in sources["two"].embeddings for b in sources["two"].embeddings if a != b
    }
    grouped = quick(**SETTINGS, epochs=1, encoder_groups=apart, pair_groups=pairs)
    still = train_jointly(sources, dataclasses.replace(grouped, learning_rate=1e-12), start=pretrained)
    assert len(still.parts.encoders) == 2 and len(still.parts.blocks) == 2
    for encoder in still.parts.encoders:
        torch.testing.assert_close(encoder.latents_K1Ld, pretrained.parts.encoders[0].latents_K1Ld)
    for name, of_head in still.trained["two"].model.heads.named_parameters():
        torch.testing.assert_close(of_head, dict(pretrained.trained["two"].model.heads.named_parameters())[name])
    tuned = train_jointly(sources, grouped, start=pretrained)
    first, second = (encoder.latents_K1Ld for encoder in tuned.parts.encoders)
    assert float((first - second).detach().abs().max()) > 1e-4
    assert tuned.num_parameters > pretrained.num_parameters


def test_the_cross_group_loss_teaches_encoders_and_heads_from_data_sets_outside_their_group(sources, pretrained):
    apart = {name: n for n, source in enumerate(sources.values()) for name in source.embeddings}
    # One step, so that what is learnt of one data set has not reached the others yet.
    once = quick(**{**SETTINGS, "batch_size": 200}, epochs=1, encoder_groups=apart, mode="published", clip_norm=0.0)
    first = train_jointly(sources, once, start=(start := train_jointly(sources, dataclasses.replace(once, epochs=1))))

    def weights(joint, part):
        return torch.cat([p.detach().flatten() for p in part(joint).parameters()])

    def differ(joint, part) -> bool:
        return not torch.equal(weights(joint, part), weights(first, part))

    crossed = train_jointly(sources, once, start=start, cross_group=(0.0, 0.5))
    assert not differ(crossed, lambda j: j.parts.encoders[0]) and differ(crossed, lambda j: j.parts.encoders[1])
    assert differ(crossed, lambda j: j.trained["one"].model.heads), "read through the other's encoder"
    assert not differ(crossed, lambda j: j.trained["two"].model.heads)
    assert not differ(crossed, lambda j: j.parts.blocks), "pair blocks learn nothing of it"
    none = train_jointly(sources, once, start=start, cross_group=(0.0, 0.0, 9.0))
    assert not any(differ(none, part) for part in (lambda j: j.parts, lambda j: j.trained["one"].model.heads))
    with pytest.raises(ParamsError, match=r"cross_group .* mode: published"):
        train_jointly(sources, quick(**SETTINGS), cross_group=(0.5,))


def test_nobody_teaches_in_one_data_set_whom_another_of_the_same_people_judges():
    one, two = (dataclasses.replace(source(n, (SICK,), 60, seed), people="p") for n, seed in (("one", 1), ("two", 2)))
    shared = set(one.cohort.items["subject"]) & set(two.cohort.items["subject"])
    assert len(shared) > 20
    kept = keep_apart({"one": one, "two": two, "others": dataclasses.replace(two, people="q")})
    assert kept["one"].given_up > 0 and kept["others"].given_up == 0 and kept["others"].cohort is two.cohort

    def people(name: str, fold: int, *splits: str) -> set[str]:
        cohort = kept[name].cohort
        return {s for split in splits for s in cohort.items["subject"].to_numpy()[cohort.rows(fold, split)]}

    for fold in range(3):
        for mine, other in (("one", "two"), ("two", "one")):
            assert not people(mine, fold, "train") & people(other, fold, "validation", "test")
            assert not people(mine, fold, "validation") & people(other, fold, "test")
        assert np.array_equal(kept["one"].cohort.rows(fold, "test"), one.cohort.rows(fold, "test"))
    with pytest.raises(ParamsError, match="another data set of the same people 2"):
        keep_apart({"one": one, "two": dataclasses.replace(source("two", (SICK,), 60, 1, num_folds=2), people="p")})


def test_the_data_set_that_is_to_select_picks_the_epoch_alone(sources):
    chosen = {name: train_jointly(sources, quick(**SETTINGS, epochs=4), select=name) for name in ("one", "two")}
    for name, joint in chosen.items():
        kept = joint.trained[name].history.groupby("member")["validation_score"].max()
        sums = sum(t.history.set_index(["member", "epoch"])["validation_score"] for t in joint.trained.values())
        assert sums.groupby("member").size().eq(4).all() and kept.notna().all()
    one, two = (chosen[name].trained["one"].predictions["prediction"].to_numpy() for name in ("one", "two"))
    assert not np.array_equal(one, two), "each picked another epoch"


def test_data_sets_of_other_folds_or_shared_names_are_refused(sources):
    with pytest.raises(ParamsError, match="as many folds; there are one 3, two 2"):
        train_jointly({"one": sources["one"], "two": source("two", (SICK,), 60, 1, num_folds=2)}, quick())
    blank = {
        m: Embeddings(items=e.items, values=e.values, present=e.present) for m, e in sources["one"].embeddings.items()
    }
    twin = dataclasses.replace(sources["one"], embeddings=blank)
    with pytest.raises(ValueError, match="all different"):
        train_jointly({"one": sources["one"], "twin": twin}, quick())
