"""Which runs have lost their process, so that none stays STARTED: asked by Dagster's run monitoring and by `mmn run`.

Dagster's own launcher sees a killed run only while the code server that started it lives.
"""

from __future__ import annotations

import socket
from typing import Any

import psutil
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

# Of a run that is walked by the process that asked for it (`mmn run`).
PID_TAG = "mmn/pid"
HOST_TAG = "mmn/host"
# As Dagster's code server says it, with the process' number.
_BEGUN = "Started process for run"
# A process younger than its run by more than this has only the number of the one that was killed. Clocks are set.
_SECONDS = 300
# A run that was killed before its first event is called starting.
_UNDER_WAY = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED)


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's default one, which can say whether a run's process is still there."""

    _instance: Any

    def launch_run(self, context: LaunchRunContext) -> None:
        self._instance.add_run_tags(context.dagster_run.run_id, here())
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        if is_lost(self._instance, run):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def here() -> dict[str, str]:
    return {HOST_TAG: socket.gethostname()}


def fail_lost_runs(instance: DagsterInstance) -> list[str]:
    """Mark as failed what is called starting or started and has no process any more; the runs' ids."""
    lost = [
        run
        for run in instance.get_runs(RunsFilter(statuses=_UNDER_WAY))
        if is_lost(instance, run) and _status(instance, run) in _UNDER_WAY
    ]
    for run in lost:
        instance.report_run_failed(run, "Its process is gone; `mmn run` goes on from what it finished.")
    return [run.run_id for run in lost]


def is_lost(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether it ran on this machine and its process is no more. What cannot be known is not lost."""
    if run.tags.get(HOST_TAG) != socket.gethostname():
        return False
    found = _process(instance, run)
    return found is not None and not _lives(*found)


def _process(instance: DagsterInstance, run: DagsterRun) -> tuple[int, float] | None:
    """Number and the time by which it was there; None before there was one."""
    if PID_TAG in run.tags:
        record = instance.get_run_record_by_id(run.run_id)
        return (int(run.tags[PID_TAG]), record.create_timestamp.timestamp()) if record is not None else None
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is not None and (event.message or "").startswith(_BEGUN):
            return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
    return None


def _lives(pid: int, by: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= by + _SECONDS
    except psutil.NoSuchProcess:
        return False


def _status(instance: DagsterInstance, run: DagsterRun) -> DagsterRunStatus | None:
    """As it is now: a run may have ended while its process was looked for."""
    now = instance.get_run_by_id(run.run_id)
    return now.status if now is not None else None
