"""A job for the tests of the Slurm engine: which node each step lands on, and one that is killed in mid-step."""

import os
import signal
import time
from pathlib import Path

import dagster as dg

from mmn.orchestration.engines import op_tags, retry_policy
from mmn.orchestration.operating import EngineSettings
from mmn.orchestration.slurm import slurm_executor
from mmn.orchestration.steps import Need

SETTINGS = EngineSettings(
    name="slurm",
    gres=os.environ.get("MMN_TEST_GRES", "gpu"),
    gpu_partition=os.environ.get("MMN_TEST_GPU_PARTITION"),
    retries=1,
    retry_delay_seconds=1,
)
SMALL = {"mem_gb": 1, "minutes": 5}


def note(step: str, text: str) -> None:
    node = os.environ.get("NODE_NAME") or os.environ.get("SLURMD_NODENAME")
    with (Path(os.environ["MMN_ROOT"]) / "seen.log").open("a") as stream:
        stream.write(f"{step} {text} {node} {time.time()}\n")


def _asset(name: str, deps: list[str], need: Need, work):
    @dg.asset(
        name=name,
        deps=deps,
        op_tags=op_tags(need, SETTINGS),
        retry_policy=retry_policy(SETTINGS),
        pool="gpu" if need.gpus else None,
    )
    def made() -> dg.MaterializeResult:
        note(name, "begins")
        work()
        note(name, "ends")
        return dg.MaterializeResult(data_version=dg.DataVersion(name))

    return made


def _die_once() -> None:
    marker = Path(os.environ["MMN_ROOT"]) / "died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
    raise dg.Failure("something a person must mend", allow_retries=False)


prepared = _asset("prepared", [], Need(**SMALL), _die_once)
train_a = _asset("train_a", ["prepared"], Need(gpus=1, **SMALL), lambda: time.sleep(1))
train_b = _asset("train_b", ["prepared"], Need(gpus=1, **SMALL), lambda: time.sleep(1))
broken = _asset("broken", ["prepared"], Need(**SMALL), _fail)
after = _asset("after", ["broken"], Need(**SMALL), lambda: None)


def slurm_job() -> dg.JobDefinition:
    executor = slurm_executor.configured({"check_seconds": 1})
    assets = [prepared, train_a, train_b, broken, after]
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("all_of_it")], executor=executor)
    return definitions.resolve_job_def("all_of_it")
