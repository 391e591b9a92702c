"""What Dagster is told of a run: a killed one does not stay STARTED, and an error's own words stay out of it."""

import errno
import gzip
import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus

from mmn.orchestration import launcher
from mmn.orchestration.launcher import HOST_TAG, PID_TAG, WatchedRunLauncher, fail_lost_runs, here, is_lost
from mmn.orchestration.operating import EngineSettings, Operating
from mmn.orchestration.run import causes_of
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


@pytest.mark.parametrize(
    ("error", "attempts", "said"),
    [
        (OSError(errno.EIO, "Input/output error", "raw/x"), 2, ""),
        (OSError(errno.ESTALE, "Stale file handle", "raw/x"), 2, ""),
        (ConnectionResetError(), 2, ""),
        (PermissionError(errno.EACCES, "Permission denied", "raw/x"), 1, "raw/x: Permission denied. Mend that"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "raw/x"), 1, "raw/x: No such file"),
        (gzip.BadGzipFile(f"Not a gzipped file ({QUOTED})"), 1, "BadGzipFile; its words may quote the data"),
    ],
)
def test_what_a_person_must_mend_is_not_tried_again_and_a_disk_that_was_away_is(
    definitions, tmp_path, monkeypatch, error, attempts, said
):
    toy, step, begun = make_toy(tmp_path / "study"), STEPS["cohorts/toy"], []

    def stumble(*_):
        begun.append(1)
        raise error

    monkeypatch.setattr(definitions, "refresh_stages", stumble)
    engine = EngineSettings(retries=1, retry_delay_seconds=0)
    asset = definitions._asset(
        toy.workspace, step, STEPS, toy.active, Operating(engine=engine), definitions.Pages(tmp_path / "study")
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], instance=instance, raise_on_error=False)
        assert not result.success and len(begun) == attempts
        ((key, why),) = causes_of(result)
        assert key == "cohorts/toy" and said in why
        assert QUOTED not in " ".join(map(str, instance.all_logs(result.run_id)))
