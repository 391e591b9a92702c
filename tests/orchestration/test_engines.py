"""The same steps on another engine: what each is told, and the Slurm executor against commands without daemons."""

import json
import os
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from mmn.data import load_dataset
from mmn.data.dataset import Inspection
from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration import engines, slurm
from mmn.orchestration.needs import with_needs
from mmn.orchestration.operating import EngineSettings
from mmn.orchestration.run import _report_failures, causes_of
from mmn.orchestration.steps import Need, Step, activate, build_steps
from mmn.orchestration.workspace import Workspace
from tests.orchestration.slurm import fake
from tests.orchestration.slurm.job import slurm_job

REPOSITORY = Path(__file__).resolve().parents[2]
GPU = Need(gpus=1, cpus=4, mem_gb=32, minutes=90)
RUN = """
import sys, warnings; warnings.simplefilter("ignore")
import dagster as dg
from tests.orchestration.{engine}.job import {engine}_job
with dg.DagsterInstance.get() as instance:
    with dg.execute_job(dg.reconstructable({engine}_job), instance=instance) as result:
        for event in result.get_asset_materialization_events():
            print("MADE", event.asset_key.to_user_string())
        print("SUCCESS" if result.success else "FAILURE")
"""
HOME = """
telemetry: {enabled: false}
concurrency: {pools: {default_limit: 1, granularity: op}}
"""


def run_job(root: Path, engine: str, path: str, home: str = HOME, **more: str) -> tuple[list[str], list[list[str]]]:
    """What the run printed, and what the steps noted: step, what, node, when."""
    (root / "home").mkdir()
    (root / "home" / "dagster.yaml").write_text(home)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "DVC", "MMN"))},
        "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_HOME": str(root / "home"),
        "MMN_ROOT": str(root),
        **more,
    }
    code = RUN.replace("{engine}", engine)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    logs = "\n".join(file.read_text()[-2000:] for file in (root / ".mmn" / "slurm").glob("*.log"))
    assert done.stdout, done.stderr[-3000:] + logs
    notes = [line.split() for line in (root / "seen.log").read_text().splitlines()]
    return done.stdout.splitlines(), notes


def check_semantics(said: list[str], notes: list[list[str]], gpu_node: str | None) -> None:
    """A killed step is done again, once; GPU steps land on the GPU's node, one at a time; nothing follows a failure."""
    begun = Counter(note[0] for note in notes if note[1] == "begins")
    ended = Counter(note[0] for note in notes if note[1] == "ends")
    assert begun["prepared"] == 2 and ended["prepared"] == 1, "killed once, then done"
    assert ended["train_a"] == ended["train_b"] == 1
    assert begun["after"] == 0 and ended["broken"] == 0
    assert sorted(line.split()[1] for line in said if line.startswith("MADE")) == ["prepared", "train_a", "train_b"]
    assert said[-1] == "FAILURE"
    times = sorted((float(n[3]), n[1]) for n in notes if n[0].startswith("train"))
    assert [what for _, what in times] == ["begins", "ends", "begins", "ends"], "one GPU, one at a time"
    if gpu_node:
        assert {note[2] for note in notes if note[0].startswith("train")} == {gpu_node}
        assert gpu_node not in {note[2] for note in notes if note[0] in {"prepared", "broken"}}


def test_a_gpu_step_asks_kubernetes_for_a_gpu_and_lets_dagster_retry():
    told = engines.k8s_config(GPU)
    resources = told["container_config"]["resources"]
    assert resources["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "1"}
    assert resources["requests"] == {"cpu": "4", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert told["job_spec_config"]["backoff_limit"] == 0
    assert told["job_spec_config"]["active_deadline_seconds"] == 5400
    assert "nvidia.com/gpu" not in engines.k8s_config(Need())["container_config"]["resources"]["limits"]


def test_a_gpu_step_asks_slurm_for_a_gpu_in_the_partition_that_has_them():
    settings = EngineSettings(name="slurm", partition="cpu", gpu_partition="gpu", account="med", gres="gpu:a100")
    assert engines.sbatch_options(GPU, settings) == [
        "--cpus-per-task=4", "--mem=32G", "--time=90", "--partition=gpu", "--account=med", "--gres=gpu:a100:1",
    ]  # fmt: skip
    assert engines.sbatch_options(Need(), settings) == [
        "--cpus-per-task=1", "--mem=4G", "--time=60", "--partition=cpu", "--account=med",
    ]  # fmt: skip
    assert "--licenses=gpu:1" in engines.sbatch_options(GPU, EngineSettings(gres="license:gpu"))


def test_a_gpu_step_waits_in_the_gpu_pool_where_there_are_gpus():
    assert engines.pool(Need(), EngineSettings(name="slurm")) is None
    assert engines.pool(GPU, EngineSettings(name="slurm")) == "gpu"
    assert engines.pool(GPU, EngineSettings(name="k8s")) == "gpu"


MODEL, FEATURES = "models/edu/multitask/multimodn", "features/edu/video"


@pytest.fixture(scope="module")
def edu() -> dict[str, Step]:
    everything = Inspection(version="", found={}, skipped={})
    return build_steps({"edu": activate(load_dataset("edu"), everything, {})})


def test_a_need_is_set_by_kind_and_by_a_keys_beginning_of_which_the_longest_counts_for_slurm_and_kubernetes(edu):
    needs = {
        "models/edu/multitask": {"minutes": 2880},
        "model": {"mem_gb": 32, "minutes": 1440},
        "models/edu": {"minutes": 90, "cpus": 4},
    }
    steps = with_needs(edu, needs)
    assert steps[MODEL].need == Need(gpus=1, cpus=4, mem_gb=32, minutes=2880)
    assert steps["models/edu/pass_course/multimodn"].need.minutes == 90
    assert steps[FEATURES] == edu[FEATURES], "what is not named stays as it was"
    told = engines.op_tags(steps[MODEL].need, EngineSettings())
    assert {"--cpus-per-task=4", "--mem=32G", "--time=2880"} <= set(json.loads(told[engines.SLURM_TAG]))
    kubernetes = json.loads(told[engines.K8S_TAG])
    assert kubernetes["container_config"]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "1"}
    assert kubernetes["job_spec_config"]["active_deadline_seconds"] == 2880 * 60


def test_a_need_of_a_data_set_that_is_not_linked_here_is_no_error(edu):
    assert with_needs(edu, {"models/mimic": {"gpus": 2}, "highmmt": {"minutes": 600}}) == edu


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"modle": {"mem_gb": 8}}, "'modle' is neither a kind of step nor .* Did you mean 'model'"),
        ({"models/mimmic": {"mem_gb": 8}}, "Did you mean 'models/mimic'"),
        ({True: {}}, "'True' is neither .* Kinds: autoencoder, cohort"),
        ({"models/mimic": {"mem": 8}}, r"operating.yaml: engine.needs.models/mimic has no setting 'mem'. .*'mem_gb'"),
        ({"model": {"minutes": 0}}, "engine.needs.model.minutes is 0; 1 or more"),
        ({"model": 32}, "engine.needs.model must be a block"),
    ],
)
def test_a_need_that_fits_nothing_is_refused_with_the_nearest_that_does(edu, needs, said):
    with pytest.raises(ParamsError, match=said):
        with_needs(edu, needs)


def test_a_wrong_need_in_operating_yaml_stops_the_definitions(definitions, tmp_path):
    (tmp_path / "operating.yaml").write_text("engine: {needs: {kohort: {minutes: 7}}}\n")
    with pytest.raises(ParamsError, match="Did you mean 'cohort'"):
        definitions.build_definitions(Workspace(tmp_path))


def test_every_engine_is_told_by_tags_that_the_others_leave_alone():
    tags = engines.op_tags(GPU, EngineSettings())
    assert json.loads(tags[engines.K8S_TAG]) == engines.k8s_config(GPU)
    assert json.loads(tags[engines.SLURM_TAG]) == engines.sbatch_options(GPU, EngineSettings())


def test_what_may_be_retried_is_retried_later_and_later_and_not_at_all_when_told_so():
    policy = engines.retry_policy(EngineSettings(retries=2, retry_delay_seconds=10))
    assert policy is not None and policy.max_retries == 2
    assert policy.backoff is dg.Backoff.EXPONENTIAL and policy.jitter is not None
    assert engines.retry_policy(EngineSettings(retries=0)) is None


def test_the_local_engine_is_the_default_and_a_missing_package_is_named(monkeypatch):
    assert engines.executor(EngineSettings()).name == "multiprocess"
    monkeypatch.setitem(sys.modules, "dagster_k8s", None)
    with pytest.raises(ParamsError, match=r"pip install 'mmn\[k8s\]'"):
        engines.executor(EngineSettings(name="k8s"))


def test_the_script_survives_a_value_with_quotes_and_spaces():
    script = slurm.render_script({"SAID": 'it\'s "here" $HOME `x`'}, [sys.executable, "-c", "print('a b')"])
    assert bash(script) == "a b\n"
    assert bash(script.splitlines()[1] + '\nprintf %s "$SAID"') == 'it\'s "here" $HOME `x`'


def bash(script: str) -> str:
    return subprocess.run(["bash"], input=script, text=True, capture_output=True, check=True).stdout


def test_a_machine_without_slurm_says_where_to_start(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MmnError, match="sbatch is not on the PATH"):
        slurm._slurm("sbatch")


def test_on_slurm_a_killed_step_is_retried_gpus_are_shared_and_a_failure_ends_its_branch(tmp_path):
    """The real executor; `sbatch`, `squeue` and `scancel` are processes of this machine."""
    (tmp_path / "slurm").mkdir()
    fake.install(tmp_path / "bin")
    said, notes = run_job(tmp_path, "slurm", str(tmp_path / "bin"), FAKE_SLURM=str(tmp_path / "slurm"))
    check_semantics(said, notes, "gpu1")
    scripts = [file.read_text() for file in (tmp_path / "slurm").glob("*.sh")]
    assert len(scripts) == 5, "four steps, one of them twice; what a person must mend is not tried again"


def test_an_engine_that_takes_no_step_says_why_on_the_command_line(tmp_path, monkeypatch):
    """The executor's own cleaning up fails too; the error with which it began is the one that is told."""
    for name in ("sbatch", "scancel", "squeue"):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\necho '{name}: error: invalid partition [gpu]' >&2\nexit 1\n")
        command.chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text(HOME)
    for name, value in {"PATH": tmp_path, "MMN_ROOT": tmp_path, "DAGSTER_HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(name, str(value))
    with (
        dg.DagsterInstance.get() as instance,
        dg.execute_job(dg.reconstructable(slurm_job), instance=instance) as result,
    ):
        causes = causes_of(result)
    assert causes == [("the run", "sbatch ended with 1: sbatch: error: invalid partition [gpu]")]
    screen = Console(file=StringIO(), width=40)
    assert _report_failures(Workspace(tmp_path), [], causes, screen)
    assert "failed the run: sbatch ended with 1: sbatch: error: invalid partition [gpu]\n" in screen.file.getvalue()


def test_a_step_that_slurm_ended_for_want_of_memory_or_time_names_the_setting_that_gives_more(tmp_path, monkeypatch):
    handler = slurm.SlurmStepHandler(tmp_path)
    monkeypatch.setattr(slurm, "job_name", lambda context: ("step", "mmn-1-step-0"))
    for state, told in [("OUT_OF_MEMORY", "more mem_gb, by engine.needs"), ("TIMEOUT", "more minutes"), ("FAILED", "")]:
        monkeypatch.setattr(slurm, "_slurm", lambda *_, state=state: f"{state}\n")
        health = handler.check_step_health(None)
        assert not health.is_healthy and f"is {state}" in health.unhealthy_reason and told in health.unhealthy_reason
        assert ("engine.needs" in health.unhealthy_reason) == bool(told)
