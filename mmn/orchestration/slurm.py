"""A Slurm batch job per step, on Dagster's own step-delegating executor.

The job is handed to `sbatch` on its standard input; its name holds the run, the step and the attempt, so that a retry
or a run beside it is never taken for it. The workspace must be on a file system that all nodes share, and Dagster's
storage on a server that all nodes reach (`storage: postgres`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster import DagsterEvent, MetadataValue
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import EngineEventData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)

from mmn.data.errors import MmnError
from mmn.orchestration.engines import SLURM_TAG
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.storage import URL_VARIABLE

# COMPLETED: Slurm may know of the end before the event is in Dagster's storage.
ALIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "COMPLETED", "SUSPENDED", "REQUEUED", "RESIZING", "SIGNALING",
    "STAGE_OUT", "STOPPED",
}  # fmt: skip
NEEDS_MORE = {"OUT_OF_MEMORY": "Give it more mem_gb", "TIMEOUT": "Give it more minutes"}
_PASSED_ON = (
    "DAGSTER_HOME",
    "MMN_ROOT",
    "DAGSTER_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONPATH",
    URL_VARIABLE,
)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9]+")
_SECONDS = 60


@dg.executor(
    name="slurm",
    config_schema={
        "max_concurrent": dg.Field(dg.Noneable(int), is_required=False, default_value=None),
        "check_seconds": dg.Field(int, is_required=False, default_value=5),
    },
    requirements=multiple_process_executor_requirements(),
)
def slurm_executor(init_context: dg.InitExecutorContext) -> StepDelegatingExecutor:
    """check_seconds: between two looks at `squeue`; Slurm's MinJobAge must be longer (300 s as it comes)."""
    config = init_context.executor_config
    check_seconds, at_a_time = config["check_seconds"], config["max_concurrent"]
    assert isinstance(check_seconds, int) and (at_a_time is None or isinstance(at_a_time, int))
    return StepDelegatingExecutor(
        SlurmStepHandler(logs=Path(os.environ["MMN_ROOT"]) / ".mmn" / "slurm"),
        retries=RetryMode.ENABLED,
        max_concurrent=at_a_time,
        check_step_health_interval_seconds=check_seconds,
        should_verify_step=True,
    )


class SlurmStepHandler(StepHandler):
    def __init__(self, logs: Path) -> None:
        super().__init__()
        self._logs = logs

    @property
    def name(self) -> str:
        return "SlurmStepHandler"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        args = step_handler_context.execute_step_args
        step, job = job_name(step_handler_context)
        options = json.loads(step_handler_context.step_tags[step].get(SLURM_TAG, "[]"))
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {entry["name"]: entry["value"] for entry in args.get_command_env()}
        # "dagster api execute_step": by this Python, whether or not its scripts are on the PATH.
        command = [sys.executable, "-m", *args.get_command_args(skip_serialized_namedtuple=True)]
        number = _slurm(
            "sbatch", "--parsable", f"--job-name={job}", "--no-requeue", "--export=NIL",
            f"--chdir={os.environ['MMN_ROOT']}", f"--output={self._logs / job}.log", *options,
            script=render_script(environment, command),
        )  # fmt: skip
        yield DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(step),
            message=f"Slurm job {number.strip()}",
            metadata={
                "Slurm job": MetadataValue.text(number.strip()),
                "log": MetadataValue.path(self._logs / f"{job}.log"),
            },
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        _, job = job_name(step_handler_context)
        rows = _slurm("squeue", "--noheader", "--states=all", f"--name={job}", "--format=%T").split()
        state = rows[-1] if rows else "not known to Slurm any more"
        if state in ALIVE:
            return CheckStepHealthResult.healthy()
        more = f". {NEEDS_MORE[state]}, by engine.needs in {OPERATING_FILE}" if state in NEEDS_MORE else ""
        return CheckStepHealthResult.unhealthy(f"the Slurm job {job} is {state}{more}")

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step, job = job_name(step_handler_context)
        _slurm("scancel", f"--name={job}")
        yield DagsterEvent.engine_event(
            step_handler_context.get_step_context(step),
            message=f"cancelled {job}",
            event_specific_data=EngineEventData(),
        )


def job_name(context: StepHandlerContext) -> tuple[str, str]:
    """The step's key and the name of its job: one per run, step and attempt."""
    args = context.execute_step_args
    assert args.step_keys_to_execute
    step = args.step_keys_to_execute[0]
    attempt = args.known_state.get_retry_state().get_attempt_count(step) if args.known_state else 0
    return step, f"mmn-{args.run_id[:8]}-{_NOT_IN_A_NAME.sub('-', step)[:80]}-{attempt}"


def render_script(environment: Mapping[str, str], command: Sequence[str]) -> str:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    return f"#!/bin/bash\n{exports}exec {shlex.join(command)}\n"


def _slurm(*command: str, script: str | None = None) -> str:
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise MmnError(
            f"{command[0]} is not on the PATH: start this on a node from which jobs are submitted."
        ) from error
    if done.returncode:
        raise MmnError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[:500]}")
    return done.stdout
