"""One drawing: the table of steps, the Dagster assets, the stages of dvc.yaml and the folders are the same."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
import yaml

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Inspection
from mmn.featurizers import FEATURIZERS, load_featurizer
from mmn.modeling import MODELS
from mmn.orchestration.code import PACKAGE, code_files
from mmn.orchestration.dvc_pipeline import render_stages
from mmn.orchestration.params import load_params
from mmn.orchestration.steps import Step, activate, build_steps, check_params

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    """As in the demo: every data set with everything it can have."""
    params, any_version = load_params(REPOSITORY), Inspection(version="any", found={}, skipped={})
    generated = [dataset for dataset in map(load_dataset, DATASETS) if dataset.generate is not None]
    return build_steps({dataset.name: activate(dataset, any_version, params) for dataset in generated})


def test_the_committed_dvc_yaml_is_the_table(steps):
    params = load_params(REPOSITORY)
    check_params(params)
    assert (REPOSITORY / "dvc.yaml").read_text() == render_stages(steps, params), "type `make demo`"


def test_stages_assets_and_folders_have_the_same_names(steps):
    stages = yaml.safe_load(render_stages(steps, {}))["stages"]
    assert list(stages) == [key.replace("/", "-") for key in steps]
    for key, step in steps.items():
        out = stages[step.stage]["outs"][0]
        assert out.removeprefix("artifacts/").split(".")[0] == key
        for dep in step.deps:
            assert steps[dep].out in stages[step.stage]["deps"]


def test_a_step_that_runs_models_reads_the_code_of_every_one_of_them(steps):
    looked = 0
    for step in steps.values():
        if step.kind not in {"subsets", "trust", "interpretability", "early"}:
            continue
        run = {key.split("/")[3] for key in step.deps if key.startswith("models/")}
        run |= {"p_fusion"} if step.kind == "early" else set()  # trained there
        code = code_files(step.modules, step.tables)
        for architecture in run:
            assert MODELS[architecture].split(":")[0].replace(".", "/") + ".py" in code, (step.key, architecture)
            looked += 1
    assert looked > 10


def test_dagster_has_the_same_assets_and_arrows(edu_road):
    code = (
        "from mmn.orchestration.definitions import defs\n"
        "graph = defs.resolve_asset_graph()\n"
        "for key in graph.get_all_asset_keys():\n"
        "    print(key.to_user_string(), *sorted(p.to_user_string() for p in graph.get(key).parent_keys))\n"
    )
    lines = edu_road.run(sys.executable, "-W", "ignore", "-c", code).stdout.strip().splitlines()
    workspace = edu_road.workspace
    from mmn.orchestration.steps import active_datasets

    table = build_steps(active_datasets(workspace))
    assert sorted(lines) == sorted(" ".join([key, *sorted(step.deps)]) for key, step in table.items())


def test_all_ten_tasks_are_on_the_road(steps):
    numbers = {task.number for name in DATASETS for task in load_dataset(name).tasks if task.number}
    assert numbers == set(range(1, 11))
    for name in (name for name in DATASETS if load_dataset(name).generate is not None):
        for task in load_dataset(name).tasks:
            for architecture in ("multimodn", "p_fusion"):
                assert f"models/{name}/{task.name}/{architecture}" in steps


def test_every_name_in_a_table_of_contents_leads_somewhere():
    for name in DATASETS:
        dataset = load_dataset(name)
        assert dataset.name == name
        for modality in dataset.modalities:
            assert modality.featurizer in FEATURIZERS
            assert load_featurizer(modality.featurizer).evidence == modality.evidence
            assert set(modality.sources) <= set(dataset.sources)
            assert set(modality.prepared) <= set(dataset.prepared)
        for sources in dataset.prepared.values():
            assert set(sources) <= set(dataset.sources)
            module, function = dataset.prepare.split(":")
            assert callable(getattr(import_module(module), function))


def test_data_sets_of_one_raw_folder_prepare_its_tables_alike():
    made: dict[tuple[str, str], tuple] = {}
    for dataset in map(load_dataset, DATASETS):
        for name, sources in dataset.prepared.items():
            way = (sources, dataset.prepare)
            assert made.setdefault((dataset.raw, name), way) == way


def test_modalities_that_are_not_read_by_default_are_read_when_named_and_forced_ones_despite_their_labels():
    dataset = load_dataset("mimic")
    inspection = Inspection(version="any", found={}, skipped={"chart_events": "not there"})
    plain = activate(dataset, inspection, {})
    assert plain.modalities == ("demographics", "xray", "notes")
    named = activate(dataset, inspection, {"mimic": {"modalities": ["radiology_notes", "xray", "chart_events"]}})
    assert named.modalities == ("xray", "radiology_notes"), "in the data set's order, without what is not there"
    assert named.modalities_for(("cardiomegaly",)) == ("xray",)
    forced = activate(
        dataset, inspection, {"mimic": {"modalities": ["radiology_notes", "xray"], "forced": ["radiology_notes"]}}
    )
    assert forced.modalities_for(("cardiomegaly",)) == ("xray", "radiology_notes")
    step = build_steps({"mimic": forced})["models/mimic/cardiomegaly/multimodn"]
    assert step.options["forced"] == ("radiology_notes",)
    assert "features/mimic/notes" not in build_steps({"mimic": named})


def test_other_architectures_are_trained_when_named(steps):
    assert not any(key.endswith("fusion_transformer") for key in steps)
    params = {"mimic": {"architectures": ["fusion_transformer", "multimodn"]}}
    table = build_steps(
        {"mimic": activate(load_dataset("mimic"), Inspection(version="", found={}, skipped={}), params)}
    )
    assert {"models/mimic/multitask/fusion_transformer", "models/mimic/cardiomegaly/multimodn"} <= set(table)
    assert not any(key.endswith("p_fusion") for key in table)


def test_a_steps_code_is_what_it_imports_and_not_the_machinery_around_it():
    files = code_files(("mmn.orchestration.actions.features", "mmn.data.edu", "mmn.featurizers.weekly_clicks"))
    assert "mmn/data/edu/reader.py" in files
    assert "mmn/data/embeddings.py" in files
    assert not any("weather2k" in file or "walk.py" in file or file.endswith("actions/report.py") for file in files)
    assert all((PACKAGE.parent / file).is_file() for file in files)


def test_string_selections_work_beside_dvc():
    """The ANTLR that DVC's hydra used to bring makes every string selection raise TypeError."""
    assert dg.AssetSelection.from_string("group:mimic or *") is not None


def test_definitions_and_help_load_without_torch(edu_road):
    code = "import sys; from mmn.orchestration import definitions; sys.exit('torch' in sys.modules)"
    assert edu_road.run(sys.executable, "-W", "ignore", "-c", code).returncode == 0
    heavy = "{'torch', 'dagster', 'pandas'}"
    code = f"import sys; from mmn.orchestration import cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_steps_process_finds_the_definitions_and_the_storage_as_the_server_that_it_is_forked_from_read_them(edu_road):
    code = (
        "import sys, threading\n"
        "from unittest import mock\n"
        "from mmn.orchestration import preload, definitions as d\n"
        "assert threading.active_count() == 1, 'a fork keeps one thread alone'\n"
        "with mock.patch.object(d, 'build_definitions'), mock.patch('alembic.script.base.Script') as read:\n"
        "    import dagster as dg\n"
        "    job = dg.reconstructable(d.road_job)\n"
        "    assert job.get_definition() is d.road_job()\n"
        "    with dg.DagsterInstance.get() as instance:\n"
        "        instance.event_log_storage.alembic_version()\n"
        "    assert not d.build_definitions.called and not read.mock_calls\n"
    )
    edu_road.run(sys.executable, "-W", "ignore", "-c", code)


def test_definitions_that_do_not_load_leave_the_server_alive_and_are_said(tmp_path):
    (tmp_path / "params.yaml").write_text("mimic: {trainig: {epochs: 2}}\n")
    environment = {**os.environ, "MMN_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import mmn.orchestration.preload"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ParamsError" in done.stderr and "Did you mean 'training'?" in done.stderr
