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
            "plan": [
                "pre-training",
                "all shared",
                "2 groups",
                "2 groups by lot, 1",
                "pair blocks shared alone",
                "none shared",
            ],
            "kind": [
                "pre-training",
                "all shared",
                "groups",
                "groups by lot",
                "pair blocks shared alone",
                "none shared",
            ],
            "num_encoders": [1, 1, 2, 2, 3, 3],
            "num_blocks": [1, 1, 1, 1, 1, 1],
            "num_parameters": [100, 100, 200, 200, 250, 300],
            "mean_skill": [0.2, 0.3, 0.45, 0.35, 0.3, 0.4],
        }
    )
    scores = pd.DataFrame(
        {"dataset": ["edu"] * 2, "share": [0.1] * 2, "way": ["alone", "after the others"], "skill": [0.1, 0.2]}
    )
    tables = {
        "unimodal": {
            "distances": distances,
            "groups": groups,
            "completion": completion,
            "gains": pd.DataFrame({"node": NODES, "gain": [0.1, 0.2, 0.0]}),
        },
        "sharing": {"front": front, "scores": scores.assign(num_items=7, num_positive=3)},
        "transfer": {"scores": scores},
        "ablations": {
            "ablations": pd.DataFrame({"without": ["nothing"], "num_parameters": [100], "mean_skill": [0.3]})
        },
    }
    shares = [("encoders", "data set", 0.75), ("blocks", "data set", 0.25)]
    tables["involvement"] = {
        "involvement": pd.DataFrame(
            [
                {"part": part, "level": level, "member": 0, "num": num, "share": share if num == 2 else 1 - share}
                for part, _, share in shares
                for level in ("data set", "task")
                for num in (1, 2)
            ]
        )
    }
    tables["interference"] = {
        "interference": pd.DataFrame(
            [
                {"learns": learns, "flipped": a, "measured": b, "skill": 0.4, "skill_flipped": 0.3, "drop": drop,
                 "low": drop - 0.05, "high": drop + 0.05}
                for learns in ("all", "encoders", "blocks")
                for a, b, drop in (("edu", "edu", 0.7), ("edu", "mimic", 0.2), ("mimic", "edu", 0.0),
                                   ("mimic", "mimic", 0.6))
            ]
        )
    }  # fmt: skip
    for kind, of_kind in tables.items():
        folder = tmp_path / KEYS[kind]
        folder.mkdir(parents=True)
        for name, table in of_kind.items():
            table.to_parquet(folder / f"{name}.parquet")
        card = {"nodes": NODES, "hardly_better_than_a_constant": ["problem"], "num_measured": 2, "num_pairs": 3}
        card |= {"mode": "published", "threshold": 0.2, "items": 64}
        (folder / "card.json").write_text(json.dumps(card))
    return read_joined(lambda key: tmp_path / key, dict.fromkeys(KEYS[kind] for kind in tables))


def test_the_answers_say_who_is_best_and_whether_groups_beat_lots(found):
    told = " ".join(f"{lead} {rest}" for lead, rest in joined_view(found)["answers"])
    assert "Best: 2 groups (mean skill 0.450 with 67% of the parameters" in told
    assert "+0.100 of skill on average, at as many parameters" in told
    assert "Models follow the published code" in told
    assert "the others lose 0.100 of skill on average; the interval lies above 0 for 1 of 2 pairs" in told
    assert "wrong by 0.200 on average, the mean of the known ones by 0.300" in told


def test_a_figure_names_what_is_near_what_was_completed_and_what_says_nothing(found):
    first, front, transfer, _, involved, interfering = joined_view(found)["figures"]
    assert "encoder: 1 25%, 2 75%; pair block: 1 75%, 2 25%" in involved.panels[0].alt
    assert ["data set", "encoder", "1: 25.0%, 2: 75.0%"] in involved.rows and "0.2 times" in involved.caption
    assert [panel.title for panel in interfering.panels] == [
        "the whole model learns", "the encoder alone learns", "the pair block alone",
    ]  # fmt: skip
    assert "edu flipped, mimic +0.200" in interfering.panels[0].alt
    assert ["the whole model learns", "edu", "mimic", "+0.200", "+0.150 to +0.250"] in interfering.rows
    assert "notes and xray 0.010" in first.panels[0].alt
    assert "2 of 3 pairs were measured, the others (hatched)" in first.caption
    assert "A model of problem hardly beats a constant" in first.caption
    assert "50% hidden in turn, it misses by 0.200, their mean by 0.300." in first.caption
    assert first.rows == [["2", "notes, xray; problem"]]
    assert "2 groups by lot, 1: 200 parameters, skill 0.350" in front.panels[0].alt
    assert transfer.head[-2:] == ["alone", "after the others"] and transfer.rows == [["edu", "10%", "0.100", "0.200"]]


def test_every_figure_has_its_table_and_counts_of_items_are_in_none(found):
    csvs = joined_csvs(found)
    assert {view.csv for view in joined_view(found)["figures"]} <= set(csvs)
    assert not any({"num_items", "num_positive"} & set(table) for table in csvs.values())


def test_without_joined_data_sets_there_is_no_such_part():
    assert read_joined(lambda key: None, {}) == {} and joined_view({}) is None
