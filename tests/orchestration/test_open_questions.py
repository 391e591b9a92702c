"""The open questions as a step, and their part of the report."""

from types import SimpleNamespace

import pandas as pd
import pytest

from mmn.data.errors import ParamsError
from mmn.modeling.growth import costs
from mmn.orchestration.actions import open_questions
from mmn.orchestration.report.open_questions import KEY, opened_csvs, opened_view, read_opened
from mmn.orchestration.settings import open_questions_settings

TINY = {"ask": True, "items": 60, "epochs": 1, "modalities": [2], "tasks": [1], "states": [1, 2], "steps": 3}
TINY |= {"grown": [2, 4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("asked") / KEY
    job = SimpleNamespace(
        workspace=SimpleNamespace(params={"open_questions": TINY}),
        out=out,
        provenance={"step": KEY},
        progress=lambda done, total: None,
    )
    work = open_questions.run(job)
    assert set(work.pictures) == {"state sizes", "operations", "memory"} and work.summary["items"] == 60
    return out


def test_a_table_stands_beside_each_figure_as_parquet_and_as_csv(folder):
    found = read_opened(lambda key: folder, {KEY: None})
    for name in ("state_sizes", "unequal_lengths", "costs"):
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), found[name], check_dtype=False)
    view = opened_view(found)
    assert {figure.csv for figure in view["figures"]} == set(opened_csvs(found))
    assert [len(figure.rows) for figure in view["figures"]] == [2, 18, 6]
    assert "2 modalities and 1 task" in view["answers"][0][1] and view["num_items"] == "60"


def test_without_the_step_there_is_no_such_part():
    assert read_opened(lambda key: None, {}) == {} and opened_view({}) is None and opened_csvs({}) == {}


def test_costs_are_counted_so_they_are_the_same_twice_and_the_arithmetic_is_known():
    """P-Fusion: (16 M x 32 + 32 x 32 + 32 x 2) weights, each a product and a sum per item, forwards and for the
    gradients of weights and of what the last two layers read."""
    table = costs([2, 4], ("p_fusion", "multimodn"), num_items=60)
    pd.testing.assert_frame_equal(table, costs([2, 4], ("p_fusion", "multimodn"), num_items=60))
    mine = table[table["architecture"] == "p_fusion"].set_index("num_modalities")
    # The number of batches does not divide the items, so some rows only fill up; their share is below a third.
    for number in (2, 4):
        exact = 2 * (2 * 16 * number * 32 + 3 * 32 * 32 + 3 * 32 * 2)
        assert exact <= mine.loc[number, "operations"] <= 1.6 * exact
    assert (table.groupby("architecture")["peak_bytes"].diff().dropna() > 0).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [({"items": 3}, "items is 3"), ({"states": []}, "states must be"), ({"state": [1]}, "Did you mean 'states'")],
)
def test_what_cannot_be_asked_is_refused(given, told):
    with pytest.raises(ParamsError, match=told):
        open_questions_settings({"open_questions": given})
