"""The modularity score: worked by hand, counted edge by edge, and its limit."""

from itertools import pairwise

import numpy as np
import pytest

from mmn.data.errors import ParamsError
from mmn.data.files import read_json
from mmn.modeling.inputs import Member
from mmn.modeling.modularity import edge_shares, modularity, modularity_score
from mmn.modeling.storage import write_model
from mmn.modeling.train import train
from tests.modeling.worlds import LEVEL, NOISE, SICK, make_world, quick


def test_four_modalities_and_two_tasks_worked_by_hand():
    """15 edges: 3 in each community, 3 between neighbours. tr(G) = 12/15; of all ends, a community at the end of the
    chain has 3.5 of 15 and one inside 4 of 15, so ||G^2|| = (2 x 3.5^2 + 2 x 4^2) / 15^2 = 56.5/225."""
    assert modularity_score(4, 2) == pytest.approx(12 / 15 - 56.5 / 225, abs=1e-12)
    assert modularity_score(1, 3) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("modalities", "tasks"), [(1, 1), (2, 3), (5, 2)])
def test_it_is_newmans_modularity_of_the_models_graph(modalities, tasks):
    """Every edge of the graph, then Q = sum over communities of (edges within / m - (degrees / 2m)^2)."""
    edges = [(f"encoder{i}", f"state{i}") for i in range(modalities)]
    edges += [(f"state{i}", f"decoder{i}.{t}") for i in range(modalities) for t in range(tasks)]
    edges += [(f"state{i}", f"encoder{j}") for i, j in pairwise(range(modalities))]
    m = modalities * (tasks + 2) - 1
    assert len(edges) == m

    def community(node: str) -> int:
        return int("".join(c for c in node.split(".")[0] if c.isdigit()))

    within, degrees = np.zeros(modalities), np.zeros(modalities)
    for one, other in edges:
        within[community(one)] += community(one) == community(other)
        degrees[community(one)] += 1
        degrees[community(other)] += 1
    newmans = np.sum(within / m - (degrees / (2 * m)) ** 2)
    assert modularity_score(modalities, tasks) == pytest.approx(newmans, abs=1e-12)
    assert edge_shares(modalities, tasks).sum() == pytest.approx(1.0, abs=1e-12)


def test_it_tends_to_one_with_modalities_and_tasks():
    scores = [modularity_score(n, n) for n in (2, 4, 16, 64, 512)]
    assert scores == sorted(scores) and 1 - scores[-1] < 0.005


def test_a_trained_models_contributions_sum_to_its_score_and_p_fusion_has_none(tmp_path):
    cohort, embeddings = make_world(num_items=60)
    trained = train(cohort, embeddings, (SICK, NOISE, LEVEL), "multimodn", quick(epochs=1), [Member(fold=0)])
    found = modularity(trained)
    assert list(found["modality"]) == ["a", "b", "c"]
    assert found["contribution"].sum() == pytest.approx(modularity_score(3, 3), abs=1e-12)
    # m = 14; ends of the chain (4 + 1/2) / 14, the middle 5/14.
    np.testing.assert_allclose(found["contribution"], [4 / 14 - (n / 14) ** 2 for n in (4.5, 5, 4.5)], atol=1e-12)
    write_model(tmp_path / "m", trained, {"step": "test"})
    said = read_json(tmp_path / "m" / "card.json")["modularity"]
    assert said["score"] == pytest.approx(modularity_score(3, 3), abs=1e-6) and set(said["contributions"]) == set("abc")
    fused = train(cohort, embeddings, (SICK,), "p_fusion", quick(epochs=1), [Member(fold=0)])
    with pytest.raises(ParamsError, match="P-Fusion has no modules"):
        modularity(fused)
    with pytest.raises(ParamsError, match="0 modalities"):
        modularity_score(0, 2)
