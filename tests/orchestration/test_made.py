"""A step's page: what is told of a version stays, whoever finds it fresh and whatever storage is told of it later."""

import dataclasses
import shutil
import sys
import types

import dagster as dg
import numpy as np
import pytest

from mmn.orchestration.checks import Check, check_result, names_of
from mmn.orchestration.dvc_pipeline import ensure_dvc
from mmn.orchestration.made import Page, recall, remember
from mmn.orchestration.operating import CheckSettings, Operating
from mmn.orchestration.pictures import embedding_picture
from mmn.orchestration.presentation import as_metadata
from mmn.orchestration.sync import sync
from mmn.orchestration.walk import Work
from tests.orchestration.toy import STEPS, make_toy

KEY = "features/toy/a"


def test_what_was_told_is_known_of_that_version_alone(tmp_path):
    checks = (Check(name="schema", passed=True, refuses=True, said="Right.", metadata={"rows": 3}),)
    page = Page(summary={"z": 1, "a": [0.5, None]}, pictures={"a curve": b"\x89PNG"}, checks=checks)
    remember(tmp_path, "stage", "v1", page)
    told = recall(tmp_path, "stage", "v1")
    assert told == page and list(told.summary) == ["z", "a"]
    assert recall(tmp_path, "stage", "v2") == recall(tmp_path, "other", "v1") == Page()
    assert told.checked(["schema"]) and not told.checked(["schema", "one more"])


@pytest.fixture
def road(tmp_path, definitions, monkeypatch):
    """A cohort and an embedding, made and recorded as every step is; the toy, its assets and the instance told."""
    toy = make_toy(tmp_path / "study")
    action = types.ModuleType("mmn.orchestration.actions.of_a_test")

    def run(job) -> Work:
        if job.step.kind == "cohort":
            toy.write_cohort(job.out)
            return Work(summary={"items": len(toy.cohort)})
        toy.write_embedding(job.out, inputs=job.provenance["inputs"])
        picture = embedding_picture(toy.embeddings["a"])
        return Work(summary={"presence rate": 0.8, "by step": [0.8]}, pictures={"the embedding": picture})

    action.run = run
    monkeypatch.setitem(sys.modules, action.__name__, action)
    steps = {key: dataclasses.replace(step, action="of_a_test") for key, step in STEPS.items() if step.kind != "model"}
    ensure_dvc(toy.root)
    pages = definitions.Pages(toy.root)
    assets = [definitions._asset(toy.workspace, s, steps, toy.active, Operating(), pages) for s in steps.values()]
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(assets, instance=instance).success
        yield toy, steps, assets, instance


def page_in(instance) -> tuple[dict, dict]:
    """Metadata of the newest materialisation, and what its checks said."""
    key = dg.AssetKey(KEY.split("/"))
    told = instance.get_latest_materialization_event(key).asset_materialization.metadata
    asked = [dg.AssetCheckKey(key, name) for name in names_of("features")]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(asked)
    said = {
        check.name: (record.event.dagster_event.asset_check_evaluation_data.description, record.status.value)
        for check, record in found.items()
    }
    return dict(told), said


def test_a_step_found_fresh_keeps_its_counts_pictures_tables_and_checks(road, definitions):
    toy, _, assets, instance = road
    made, said = page_in(instance)
    assert {"picture: the embedding", "presence rate", "by step", "dagster/column_schema"} <= set(made)
    assert set(said) == set(names_of("features")) and said["finite"][1] == "SUCCEEDED"
    again = {"instance": instance, "tags": {definitions.ONLY_STALE_TAG: "true"}}
    assert dg.materialize(assets, **again).success
    told, checked = page_in(instance)
    assert told.pop("unchanged").value is True
    assert (told, checked) == (made, said)
    shutil.rmtree(toy.workspace.checks)  # as in a clone
    assert dg.materialize(assets, **again).success
    told, checked = page_in(instance)
    assert checked == said and told["dagster/row_count"] == made["dagster/row_count"]
    assert "picture: the embedding" not in told


def test_another_storage_is_told_the_same_page_and_the_same_checks(road):
    toy, steps, _, instance = road
    made, said = page_in(instance)
    with dg.DagsterInstance.ephemeral() as other:
        assert sync(other, toy.workspace, steps) == list(steps)
        told, checked = page_in(other)
        assert told.pop("recorded by").value == "dvc.lock"
        assert (told, checked) == (made, said)
        assert sync(other, toy.workspace, steps) == []


def test_what_another_days_code_wrote_is_told_with_its_lineage_and_stops_nothing(road, monkeypatch):
    toy, steps, _, _ = road

    def lacks(*_):
        raise KeyError("targets")

    monkeypatch.setattr("mmn.orchestration.presentation.made_metadata", lacks)
    with dg.DagsterInstance.ephemeral() as other:
        assert sync(other, toy.workspace, steps) == list(steps)
        told, _ = page_in(other)
    assert "KeyError" in told["counts and tables"].value and {"version", "inputs"} <= set(told)


def test_checks_that_were_not_made_of_this_version_are_made_and_kept(road):
    toy, steps, _, _ = road
    version = toy.workspace.hashes.version_of(toy.root / steps[KEY].out)
    kept = recall(toy.workspace.checks, steps[KEY].stage, version)
    expected = check_result(toy.job(KEY, toy.root / steps[KEY].out), CheckSettings())
    assert [check.name for check in kept.checks] == [check.name for check in expected]
    assert kept.summary == {"presence rate": 0.8, "by step": [0.8]}


def test_numbers_of_numpy_in_a_summary_or_a_check_become_what_dagster_can_write_down():
    told = {"skill": np.float64(0.5), "rows": np.int64(3), "good": np.bool_(True), "name": "x", "counts": {"a": 1}}
    metadata = {name: as_metadata(value) for name, value in told.items()}
    written = dg.serialize_value(dg.AssetMaterialization(asset_key="a", metadata=metadata))
    assert "0.5" in written and type(metadata["skill"]) is float and type(metadata["good"]) is bool
