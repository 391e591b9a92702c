"""An asset's page says what is in it: shapes, columns, units; of an embedding the numbers of the one that is there."""

import pytest

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Inspection
from mmn.data.edu.prepared import SCHEMA as EDU_EVENTS
from mmn.data.mimic.narrow import COLUMNS as MIMIC_EVENTS
from mmn.orchestration.presentation import description, made_metadata
from mmn.orchestration.shapes import PREPARED, embedding_shape
from mmn.orchestration.steps import Step, activate, build_steps
from tests.orchestration.test_operating_checks import SCORES, scores
from tests.orchestration.toy import make_toy

JOINED = {"highmmt": {"datasets": ["edu", "weather2k"]}, "open_questions": {"ask": True}}


def test_every_step_of_every_data_set_says_what_is_in_what_it_makes(tmp_path):
    everything = Inspection(version="", found={}, skipped={})
    active = {name: activate(load_dataset(name), everything, JOINED) for name in DATASETS}
    steps = build_steps(active)
    assert {"results/highmmt/sharing", "results/open_questions", "report"} <= set(steps)
    silent = [key for key, step in steps.items() if "\n\n" not in description(step, active, tmp_path)]
    assert silent == []


@pytest.mark.parametrize(("num_steps", "told"), [(1, "(item, D) = (240, 3)"), (4, "(item, step, D) = (240, 4, 3)")])
def test_an_embedding_says_its_real_size_once_it_is_there(tmp_path, num_steps, told):
    toy = make_toy(tmp_path / "study", num_steps=num_steps)
    path = toy.root / "artifacts" / "features" / "toy" / "a.parquet"
    step = Step(
        key="features/toy/a", kind="features", dataset="toy", out="artifacts/features/toy/a.parquet", description="A.",
        options={"modality": "a"},
    )  # fmt: skip
    assert "Shape ([fold,] item, [step,] D): float32" in description(step, toy.active, toy.root)
    toy.write_embedding()
    assert f"Shape {told}: float32" in description(step, toy.active, toy.root)
    path.write_bytes(b"half a file")
    assert embedding_shape(path) == "" and "([fold,] item" in description(step, toy.active, toy.root)


def test_every_column_of_a_prepared_table_is_described():
    assert set(EDU_EVENTS.names) == set(PREPARED["edu"])
    assert set(MIMIC_EVENTS) == set(PREPARED["mimic"])
    raw = {load_dataset(name).raw for name in DATASETS if load_dataset(name).prepared}
    assert raw == set(PREPARED)


def test_the_columns_of_results_are_shown_with_their_units(tmp_path):
    toy = make_toy(tmp_path / "study")
    job = scores(toy, 0.8)
    job.out.rename(toy.root / "there")
    step = Step(**{**vars(SCORES), "out": "there"})
    told = made_metadata(toy.workspace, step)
    columns = {column.name: column for column in told["dagster/column_schema"].schema.columns}
    assert columns["estimate"].description == "Mean over folds, in the metric's unit."
    assert columns["estimate"].type == "double" and told["dagster/row_count"] == told["rows of scores"] == 1
    assert told["columns of scores"] == told["dagster/column_schema"]
