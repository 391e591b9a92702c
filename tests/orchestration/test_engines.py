"""The same steps on another engine: what each is told, and the Slurm executor against commands without daemons."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration import engines, slurm
from mmn.orchestration.operating import EngineSettings
from mmn.orchestration.steps import Need
from tests.orchestration.slurm import fake

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
