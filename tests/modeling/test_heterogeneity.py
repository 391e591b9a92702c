"""Heterogeneity: planted worlds come out as planted, and the published matrices give the paper's own statistics."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.data.folds import subject_folds
from mmn.modeling.highmmt.bits import usable_bits
from mmn.modeling.highmmt.grouping import (
    adjusted_rand,
    complete,
    distance,
    groups,
    hidden_error,
    random_groups,
    spectrum_share,
    triangle_share,
)
from mmn.modeling.highmmt.heterogeneity import Node, Source, gains, matrices, measure
from tests.modeling.worlds import quick

# Transcribed from the paper's figure 5, lower triangles (highmmt.md, 4.6).
MU = [
    [], [0.4], [20, 20], [4.1, 5.0, 0.2], [0, 0.2, 20, 4.1], [0, 0, 20, 4.1, 0], [2.5, 0.3, 20, 6.0, 0.3, 0],
    [0, 0.2, 20, 4.2, 0, 0, 0.4], [0.2, 0.3, 20, 4.4, 0, 0, 0.5, 0.1], [0, 0.8, 20, 4.6, 0, 0, 0, 0, 0],
]  # fmt: skip
MC = [
    [], [23], [0.8, 22], [0.4, 24, 0.2], [0.4, 24, 0.2, 0.3], [0.4, 22, 0, 0, 0], [0.4, 22, 0, 0, 0.1, 0],
    [0.5, 22, 0, 0, 0.2, 0, 0.9],
]  # fmt: skip
STATE = Task(name="state", number=None, kind="binary", description="which of two")


def whole(lower: list[list[float]]) -> np.ndarray:
    square = np.zeros((len(lower), len(lower)))
    for row, values in enumerate(lower):
        square[row, : len(values)] = values
    return square + square.T


def test_the_published_matrices_have_the_papers_statistics():
    mu, mc = whole(MU), whole(MC)
    assert [round(triangle_share(d, distinct=False), 3) for d in (mu, mc)] == [0.868, 0.863]
    assert [round(triangle_share(d), 3) for d in (mu, mc)] == [0.817, 0.792]
    assert [round(triangle_share(d, 5.0, distinct=False), 3) for d in (mu, mc)] == [0.956, 0.961]
    assert [round(spectrum_share(d), 3) for d in (mu, mc)] == [0.967, 0.984]
    without = np.delete(np.delete(mu, (2, 3), 0), (2, 3), 1)
    assert round(spectrum_share(without), 2) == 0.87


def test_completion_is_judged_on_what_was_measured_where_not_all_was():
    half = np.outer([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4, 5])
    np.fill_diagonal(half, 0.0)
    half[0, 4] = half[4, 0] = np.nan
    found = hidden_error(half, 0.75, draws=5)
    assert len(found) == 5 and found["completed"].notna().all() and found["rand"].isna().all()


def test_completing_the_published_matrix_from_ten_pairs_finds_the_outlier_and_not_the_groups():
    mu = whole(MU)
    pairs = np.array([(i, j) for i in range(10) for j in range(i)])
    rng = np.random.default_rng(0)
    errors, by_mean, others = [], [], []
    calm = ~np.isin(pairs, (2, 3)).any(axis=1)
    for _ in range(60):
        seen = np.full((10, 10), np.nan)
        chosen = rng.permutation(len(pairs))[:10]
        for i, j in pairs[chosen]:
            seen[i, j] = seen[j, i] = mu[i, j]
        hidden = np.ones(len(pairs), dtype=bool)
        hidden[chosen] = False
        found = complete(seen)
        np.testing.assert_allclose(found[tuple(pairs[chosen].T)], mu[tuple(pairs[chosen].T)])
        error = np.abs(found - mu)[tuple(pairs.T)]
        errors.append(error[hidden].mean())
        others.append(error[hidden & calm].mean())
        by_mean.append(np.abs(np.nanmean(seen) - mu)[tuple(pairs[hidden].T)].mean())
    # Figures of 200 draws in the specification: 4.5 against 6.0, and 1.3 where the truth is 0.22.
    assert np.mean(errors) == pytest.approx(4.5, abs=0.7) and np.mean(by_mean) == pytest.approx(6.0, abs=0.7)
    assert np.mean(others) > 3 * 0.22


def test_a_matrix_of_low_rank_is_completed_exactly_from_most_of_its_entries():
    # Squared distances of points on a line have rank 3.
    places = np.linspace(0, 1, 12)
    truth = (places[:, None] - places[None]) ** 2
    seen = truth.copy()
    for i, j in ((0, 5), (3, 9), (2, 11)):
        seen[i, j] = seen[j, i] = np.nan
    np.testing.assert_allclose(complete(seen, rounds=20_000), truth, atol=1e-3)
    with pytest.raises(ParamsError, match="no distance was measured"):
        complete(np.full((3, 3), np.nan))


def test_distances_count_harm_alone_and_what_is_within_its_error_is_none():
    transfer = np.array([[0.0, 0.3, -0.4], [0.1, 0.0, 0.05], [0.2, 0.01, 0.0]])
    np.testing.assert_allclose(distance(transfer), [[0, 0.4, 0.2], [0.4, 0, 0.06], [0.2, 0.06, 0]])
    found = distance(transfer, np.full((3, 3), 0.1))
    np.testing.assert_allclose(found, [[0, 0.3, 0.2], [0.3, 0, 0], [0.2, 0, 0]])


def test_there_are_as_many_groups_as_asked_for_where_no_distance_differs_from_none():
    for num_groups in range(1, 6):
        assert len(set(groups(np.zeros((5, 5)), num_groups))) == num_groups


def test_groups_follow_the_distances_and_random_ones_only_their_sizes():
    two = np.array([[0, 0.1, 5, 5], [0.1, 0, 5, 5], [5, 5, 0, 0.2], [5, 5, 0.2, 0]], dtype=float)
    assert groups(two, 2) == [0, 0, 1, 1] and groups(two, 1) == [0] * 4 and groups(two, 4) == [0, 1, 2, 3]
    with pytest.raises(ParamsError, match="5 groups of 4"):
        groups(two, 5)
    with pytest.raises(ParamsError, match="not measured"):
        groups(np.full((3, 3), np.nan), 2)
    by_lot = random_groups(4, (2, 2), np.random.default_rng(1))
    assert sorted(np.bincount(by_lot)) == [2, 2]
    assert adjusted_rand([0, 0, 1, 1], [1, 1, 0, 0]) == 1.0


def planted(num_items: int = 600, seed: int = 0) -> Source:
    """`same_1` and `same_2` (other noise, one law) carry the state in the sign of the product of their first two
    numbers, `other` in that of its last two: no number alone tells anything, so the law is what must be learnt."""
    rng = np.random.default_rng(seed)
    state = (rng.random(num_items) < 0.5).astype(float)
    items = pd.DataFrame(
        {
            "item": [f"i{n:04d}" for n in range(num_items)],
            "subject": [f"s{n:04d}" for n in range(num_items)],
            "prediction_time": pd.NaT,
        }
    )

    def table(first: int) -> Embeddings:
        signs = rng.choice([-1.0, 1.0], (num_items, 4))
        signs[:, first + 1] = signs[:, first] * (2 * state - 1)
        values = signs + 0.3 * rng.standard_normal((num_items, 4))
        return Embeddings(
            items=items["item"].to_numpy(dtype=object), values=values[None, :, None].astype(np.float32),
            present=np.ones((num_items, 1), dtype=bool),
        )  # fmt: skip

    cohort = Cohort(items=items, targets={"state": state}, folds=subject_folds(items, state.astype(int), 3, 0))
    return Source(cohort=cohort, embeddings={"same_1": table(0), "same_2": table(0), "other": table(2)}, tasks=(STATE,))


def test_modalities_of_one_law_are_near_and_one_of_another_law_is_far():
    world = {"toy": planted()}
    nodes = [Node(source="toy", modalities=(name,)) for name in world["toy"].embeddings]
    settings = quick(epochs=5, batch_size=32, learning_rate=8e-3, latent_width=8, latents=4)
    found = measure(world, nodes, settings, seeds=(0, 1, 2))
    assert list(found.columns) == ["source", "target", "fold", "seed", "loss", "own", "again", "constant", "bits"]
    assert len(found) == 6 * 3 * 3
    related = (found["source"] != "other") & (found["target"] != "other")
    harm = (found["loss"] - found["again"]).groupby(related).agg(["mean", "sem"])
    assert harm.loc[False, "mean"] > 3 * harm.loc[False, "sem"]  # measured 0.060 with standard error 0.016
    assert abs(harm.loc[True, "mean"]) < 3 * harm.loc[True, "sem"] + 0.005
    names = [node.name for node in nodes]
    mean, error = matrices(found, names, against="again")
    assert groups(distance(mean, error), 2) == [0, 0, 1]


def test_the_chain_from_measured_transfers_finds_the_groups_of_four_data_sets():
    sources = {
        name: dataclasses.replace((one := planted(300, seed=number)), embeddings={f"of_{name}": one.embeddings[law]})
        for number, (name, law) in enumerate(zip("abcd", ("same_1", "same_2", "other", "other"), strict=True))
    }
    nodes = [Node(source=name, modalities=(f"of_{name}",)) for name in sources]
    settings = quick(epochs=8, batch_size=32, learning_rate=8e-3, latent_width=8, latents=4)
    found = measure(sources, nodes, settings, seeds=(0, 1, 2))
    mean, error = matrices(found, [node.name for node in nodes], against="again")
    assert groups(distance(mean, error), 2) == [0, 0, 1, 1]


def _transfers(**own_losses: list[float]) -> pd.DataFrame:
    rows = [
        {"source": source, "target": target, "fold": fold, "seed": 0, "loss": 0.9, "own": own, "again": own,
         "constant": 1.0}
        for target, losses in own_losses.items()
        for source in own_losses
        if source != target
        for fold, own in enumerate(losses)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_node_that_gains_little_or_only_as_much_as_its_error_is_silent():
    found = gains(_transfers(good=[0.5, 0.6, 0.7], little=[0.97, 0.96, 0.97], noisy=[0.5, 1.2, 0.9]))
    assert found["silent"].to_dict() == {"good": False, "little": True, "noisy": True}
    assert found.loc["good", "gain"] == pytest.approx(0.4) and found.loc["good", "share"] == pytest.approx(0.4)
    mean, _ = matrices(_transfers(good=[0.5, 0.6, 0.7], little=[0.97, 0.96, 0.97]), ["good", "little"])
    assert np.isnan(mean[0, 1]) and mean[1, 0] == pytest.approx((0.9 - 0.6) / 0.4)


def test_the_constant_of_a_task_of_several_classes_is_judged_as_its_models_are():
    source = planted(120)
    sizes = Task(name="size", number=None, kind="multiclass", description="s", read_step=0, classes=tuple("abcdef"))
    labels = np.random.default_rng(0).integers(0, 6, 120).astype(float)
    cohort = dataclasses.replace(source.cohort, targets={"size": labels})
    world = {"toy": dataclasses.replace(source, cohort=cohort, tasks=(sizes,))}
    nodes = [Node(source="toy", modalities=(name,)) for name in ("same_1", "other")]
    found = measure(world, nodes, quick(epochs=1, batch_size=32))
    # Of six even classes: 5/6 of squared error, and no more than a model that knows nothing.
    assert found["constant"].between(0.80, 0.90).all()


def interacting(num_items: int = 400, seed: int = 0) -> Source:
    """Three pairs of modalities: what one of a pair holds tells nothing, the product of the two tells the state. Of
    `one` and `two` it is the product of their first numbers, of `far` that of their second."""
    rng = np.random.default_rng(seed)
    state = (rng.random(num_items) < 0.5).astype(float)
    whole = planted(num_items, seed)
    tables = {}
    for name, first in (("one", 0), ("two", 0), ("far", 1)):
        a, b = (rng.choice([-1.0, 1.0], (num_items, 2)) for _ in range(2))
        b[:, first] = a[:, first] * (2 * state - 1)
        for half, signs in (("a", a), ("b", b)):
            values = (signs + 0.2 * rng.standard_normal((num_items, 2)))[None, :, None].astype(np.float32)
            some = whole.embeddings["other"]
            tables[f"{name}_{half}"] = Embeddings(items=some.items, values=values, present=some.present)
    items = whole.cohort.items
    cohort = Cohort(items=items, targets={"state": state}, folds=subject_folds(items, state.astype(int), 2, 0))
    return Source(cohort=cohort, embeddings=tables, tasks=(STATE,))


def test_pairs_that_interact_by_one_law_are_near_and_one_of_another_law_is_far():
    world = {"toy": interacting()}
    nodes = [Node(source="toy", modalities=(f"{name}_a", f"{name}_b")) for name in ("one", "two", "far")]
    settings = quick(epochs=10, batch_size=32, learning_rate=1e-2, latent_width=8, latents=2)
    found = measure(world, nodes, settings, seeds=(0, 1))
    assert (found["own"] < 0.5 * found["constant"]).mean() > 0.75, "most learn the interaction"
    related = ~found["source"].str.contains("far") & ~found["target"].str.contains("far")
    harm = (found["loss"] - found["again"]).groupby(related).agg(["mean", "sem"])
    assert harm.loc[False, "mean"] > 3 * harm.loc[False, "sem"]  # measured 0.127 with standard error 0.035
    assert abs(harm.loc[True, "mean"]) < 3 * harm.loc[True, "sem"] + 0.005
    mean, error = matrices(found, [node.name for node in nodes], against="again")
    assert groups(distance(mean, error), 2) == [0, 0, 1]


def test_pairs_are_measured_by_the_same_bytes_twice():
    world = {"toy": planted(num_items=60)}
    nodes = [
        Node(source="toy", modalities=pair) for pair in (("same_1", "same_2"), ("same_1", "other"), ("same_2", "other"))
    ]
    found = [measure(world, nodes, quick(epochs=1, batch_size=32)) for _ in range(2)]
    assert set(found[0]["source"]) == {"same_1+same_2", "same_1+other", "same_2+other"}
    pd.testing.assert_frame_equal(*found)


def test_bits_are_counted_against_the_shares_of_the_training_labels():
    two, learnt = STATE, np.array([0.0, 0, 0, 1, np.nan])
    assert usable_bits(two, np.array([1.0, 0, np.nan]), learnt, np.array([0.5, 0.5, 0.9])) == pytest.approx(
        ((np.log2(0.5) - np.log2(0.25)) + (np.log2(0.5) - np.log2(0.75))) / 2
    )
    several = dataclasses.replace(two, kind="multiclass", classes=("a", "b", "c"))
    sure = np.array([[0.0, 0.0, 1.0]])
    assert usable_bits(several, np.array([2.0]), np.array([0.0, 1, 2, 2]), sure) == pytest.approx(1.0)
    assert np.isnan(usable_bits(dataclasses.replace(two, kind="regression"), np.ones(1), learnt, np.ones(1)))


def test_a_model_tells_something_of_its_law_in_another_modality_and_less_than_nothing_of_another_law():
    world = {"toy": planted()}
    nodes = [Node(source="toy", modalities=(name,)) for name in world["toy"].embeddings]
    settings = quick(epochs=5, batch_size=32, learning_rate=8e-3, latent_width=8, latents=4)
    found = measure(world, nodes, settings, seeds=(0,)).set_index(["source", "target"])["bits"]
    related = found.loc[[("same_1", "same_2"), ("same_2", "same_1")]]
    others = found[~found.index.isin(related.index)]
    assert related.max() > 0.5 and others.max() < 0.0, "the model of another law is sure and wrong"
    assert related.median() > others.median() + 1.0


def test_what_cannot_be_measured_is_refused():
    world = {"toy": planted(num_items=60)}
    one = Node(source="toy", modalities=("same_1",))
    for nodes, message in (
        ([one], "at least two nodes"),
        ([one, Node(source="toy", modalities=("same_1", "other"))], "all of one modality or all of two"),
        ([one, one], "same_1 is given twice"),
        ([one, Node(source="toy", modalities=("none",))], "no such modality"),
    ):
        with pytest.raises(ParamsError, match=message):
            measure(world, nodes, quick())
    with pytest.raises(ParamsError, match="in more than one source"):
        measure({**world, "twin": world["toy"]}, [one, Node(source="toy", modalities=("other",))], quick())
