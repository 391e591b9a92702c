"""What Dagster is told of a run: a killed one does not stay STARTED, and an error's own words stay out of it."""

import importlib
import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus

from mmn.orchestration import launcher
from mmn.orchestration.launcher import HOST_TAG, PID_TAG, WatchedRunLauncher, fail_lost_runs, here, is_lost
from mmn.orchestration.operating import Operating
from mmn.orchestration.storage import write_settings
from tests.orchestration.toy import STEPS, make_toy

QUOTED = "Mrs Doe was admitted with chest pain"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def dead() -> int:
    """The number of a process that was killed, and that nobody has asked after."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.communicate()


@dg.job
def road(): ...


def started(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> dg.DagsterRun:
    return instance.create_run_for_job(road, tags=tags, status=status)


def launched(instance: dg.DagsterInstance, pid: int, **status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """As the UI starts one: its process says its own number."""
    run = started(instance, **status, **here())
    told = f"Started process for run (pid: {pid})."
    instance.report_engine_event(told, run, EngineEventData.in_process(pid))
    return run


def test_a_run_without_a_process_is_marked_failed_and_every_other_one_is_left(instance, dead):
    starting = dg.DagsterRunStatus.STARTING
    lost = [
        started(instance, **{PID_TAG: str(dead)}, **here()),
        launched(instance, dead),
        launched(instance, dead, status=starting),  # killed before it said that it had started
    ]
    others = [
        started(instance, **{PID_TAG: str(os.getpid())}, **here()),
        launched(instance, os.getpid()),
        started(instance, **here()),  # its process has not said its number yet
        started(instance, **{PID_TAG: str(dead), HOST_TAG: "another-machine"}),
        started(instance, **{PID_TAG: str(dead)}),
    ]
    young = started(instance, starting, **here())
    assert set(fail_lost_runs(instance)) == {run.run_id for run in lost}
    assert {instance.get_run_by_id(run.run_id).status for run in lost} == {dg.DagsterRunStatus.FAILURE}
    assert {instance.get_run_by_id(run.run_id).status for run in others} == {dg.DagsterRunStatus.STARTED}
    assert instance.get_run_by_id(young.run_id).status is starting
    assert fail_lost_runs(instance) == []


def test_a_later_process_with_the_same_number_is_not_taken_for_the_run(instance, monkeypatch):
    run = launched(instance, os.getpid())
    assert not is_lost(instance, run)
    began = launcher.psutil.Process().create_time()
    monkeypatch.setattr(launcher.psutil.Process, "create_time", lambda process: began + 3600)
    assert is_lost(instance, run)


def test_a_run_that_ends_while_it_is_looked_for_keeps_its_end(instance, dead, monkeypatch):
    run = started(instance, **{PID_TAG: str(dead)}, **here())

    def ended_meanwhile(*_):
        instance.report_run_canceled(run)
        return True

    monkeypatch.setattr(launcher, "is_lost", ended_meanwhile)
    assert fail_lost_runs(instance) == []
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.CANCELED


def test_dagsters_monitoring_asks_the_launcher_that_a_workspace_is_given(tmp_path, dead):
    write_settings(tmp_path, tmp_path)
    settings = tmp_path / "dagster.yaml"
    lines = settings.read_text().splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if "run_launcher" not in line))  # as an older `mmn` left it
    write_settings(tmp_path, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        asked = instance.run_launcher
        assert isinstance(asked, WatchedRunLauncher) and asked.supports_check_run_worker_health
        assert instance.run_monitoring_enabled
        status = {pid: asked.check_run_worker_health(launched(instance, pid)).status for pid in (dead, os.getpid())}
        assert status == {dead: WorkerStatus.NOT_FOUND, os.getpid(): WorkerStatus.RUNNING}


@pytest.fixture
def definitions(tmp_path, monkeypatch):
    """The module, loaded in a folder of no raw data; what it sets is put back."""
    (tmp_path / "empty").mkdir()
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "MMN_FULL_ERRORS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MMN_ROOT", str(tmp_path / "empty"))
    return importlib.import_module("mmn.orchestration.definitions")


def test_an_error_that_quotes_the_data_leaves_no_word_of_it_in_dagsters_records(definitions, tmp_path, monkeypatch):
    toy, step = make_toy(tmp_path / "study"), STEPS["cohorts/toy"]

    def stumble(*_):
        raise ValueError(f"could not convert string to float: '{QUOTED}'") from KeyError(QUOTED)

    monkeypatch.setattr(definitions, "refresh_stages", stumble)
    asset = definitions._asset(
        toy.workspace, step, STEPS, toy.active, Operating(), definitions.Pages(tmp_path / "study")
    )

    def told(instance) -> str:
        run = dg.materialize([asset], instance=instance, raise_on_error=False)
        assert not run.success
        return " ".join(map(str, instance.all_logs(run.run_id)))

    with dg.DagsterInstance.ephemeral() as instance:
        said = told(instance)
        assert "ValueError; its words may quote the data" in said and "in stumble" in said
        assert "Mrs Doe" not in said
        monkeypatch.setenv("MMN_FULL_ERRORS", "1")
        assert QUOTED in told(instance)
