"""The report's part on several data sets in one model: drawn, said in words, and each with its table."""

import json

import numpy as np
import pandas as pd
import pytest

from mmn.orchestration.report.highmmt import KEYS, joined_csvs, joined_view, read_joined

NODES = ["notes", "xray", "problem"]


@pytest.fixture
def found(tmp_path):
    """As the steps write it: two near modalities and a far one, the last not measured against the first."""
    far = np.array([[0, 0.01, 0.9], [0.01, 0, 0.8], [0.9, 0.8, 0]])
    distances = pd.DataFrame(
        [
            {"source": a, "target": b, "distance": far[i, j], "measured": {i, j} != {0, 2}}
            for i, a in enumerate(NODES)
            for j, b in enumerate(NODES)
            if i != j
        ]
    )
    groups = pd.DataFrame({"budget": 2, "node": NODES, "group": [0, 0, 1]})
    completion = pd.DataFrame({"share": [0.5], "draw": [0], "completed": [0.2], "mean_filled": [0.3], "rand": [0.4]})
    front = pd.DataFrame(
        {
            "plan": ["pre-training", "all shared", "2 groups", "2 groups by lot, 1", "none shared"],
            "kind": ["pre-training", "all shared", "groups", "groups by lot", "none shared"],
            "num_encoders": [1, 1, 2, 2, 3],
            "num_blocks": [1, 1, 1, 1, 1],
            "num_parameters": [100, 100, 200, 200, 300],
            "mean_skill": [0.2, 0.3, 0.45, 0.35, 0.4],
        }
    )
    scores = pd.DataFrame(
        {"dataset": ["edu"] * 2, "share": [0.1] * 2, "way": ["alone", "after the others"], "skill": [0.1, 0.2]}
    )
    tables = {
        "unimodal": {"distances": distances, "groups": groups, "completion": completion},
        "sharing": {"front": front, "scores": scores.assign(num_items=7, num_positive=3)},
        "transfer": {"scores": scores},
        "ablations": {
            "ablations": pd.DataFrame({"without": ["nothing"], "num_parameters": [100], "mean_skill": [0.3]})
        },
    }
    for kind, of_kind in tables.items():
        folder = tmp_path / KEYS[kind]
        folder.mkdir(parents=True)
        for name, table in of_kind.items():
            table.to_parquet(folder / f"{name}.parquet")
        card = {"nodes": NODES, "no_better_than_a_constant": ["problem"], "num_measured": 2, "num_pairs": 3}
        (folder / "card.json").write_text(json.dumps(card))
    return read_joined(lambda key: tmp_path / key, dict.fromkeys(KEYS[kind] for kind in tables))


def test_the_answers_say_who_is_best_and_whether_groups_beat_lots(found):
    told = " ".join(f"{lead} {rest}" for lead, rest in joined_view(found)["answers"])
    assert "Best: 2 groups (mean skill 0.450 with 67% of the parameters" in told
    assert "+0.100 of skill on average, at as many parameters" in told
    assert "wrong by 0.200 on average, the mean of the known ones by 0.300" in told


def test_a_figure_names_what_is_near_what_was_completed_and_what_says_nothing(found):
    first, front, transfer, _ = joined_view(found)["figures"]
    assert "notes and xray 0.010" in first.panels[0].alt
    assert "2 of 3 pairs were measured, the others (hatched)" in first.caption
    assert "No model of problem beat a constant" in first.caption
    assert first.rows == [["2", "notes, xray; problem"]]
    assert "2 groups by lot, 1: 200 parameters, skill 0.350" in front.panels[0].alt
    assert transfer.head[-2:] == ["alone", "after the others"] and transfer.rows == [["edu", "10%", "0.100", "0.200"]]


def test_every_figure_has_its_table_and_counts_of_items_are_in_none(found):
    csvs = joined_csvs(found)
    assert {view.csv for view in joined_view(found)["figures"]} <= set(csvs)
    assert not any({"num_items", "num_positive"} & set(table) for table in csvs.values())


def test_without_joined_data_sets_there_is_no_such_part():
    assert read_joined(lambda key: None, {}) == {} and joined_view({}) is None
