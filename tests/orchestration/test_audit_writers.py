"""Who records: one at a time, the others wait, and a killed one is in nobody's way. Also: what `dvc init` leaves."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmn.data.errors import StaleInputError
from mmn.orchestration.audit.audit import audit_all
from mmn.orchestration.audit.snapshot import open_snapshot
from mmn.orchestration.code import PACKAGE
from mmn.orchestration.dvc_pipeline import ensure_dvc, read_lock, refresh_stages, write_lock, write_stages
from mmn.orchestration.journal import journal_of
from mmn.orchestration.workspace import Workspace
from tests.orchestration.audit_world import PARAMS, steps
from tests.orchestration.test_audit import AGE, MODEL, NOTES, first_world, world  # noqa: F401 - fixtures

# As `record` does it, and then for ever.
HOLD = """
import sys, time
from dvc.repo import Repo
with Repo(sys.argv[1], _wait_for_lock=True) as repo, repo.lock:
    print("held", flush=True)
    time.sleep(600)
"""


def test_steps_that_end_together_are_all_recorded(world):  # noqa: F811
    before = len(journal_of(world.root).lines)
    write_lock(world.workspace, {})
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(world.walk, ["raw/toy/visits", AGE, NOTES]))
    assert set(read_lock(world.workspace)) == {"raw-toy-visits", "features-toy-age", "features-toy-notes"}
    journal = journal_of(world.root)
    assert journal.problems == ()
    assert {line["step"] for line in journal.lines[before:] if line["did"] == "step"} == {"raw/toy/visits", AGE, NOTES}


def test_a_writer_waits_for_the_one_before_and_goes_on_when_that_is_killed(world):  # noqa: F811
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(world.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        # What a killed `dvc repro` leaves besides: the paths it read and wrote, under the name of a process.
        (world.root / ".dvc" / "tmp" / "rwlock").write_text(
            json.dumps({"write": {str(world.root / "artifacts" / MODEL): {"pid": holder.pid, "cmd": "dvc repro"}}})
        )
        world.params({"toy": {"features": {"notes": {"width": 5}}, "training": {"epochs": 2}}})
        version = read_lock(world.workspace)["features-toy-notes"]["outs"][0]["md5"]
        walking = threading.Thread(target=world.walk, args=[NOTES])
        walking.start()
        walking.join(2)
        assert walking.is_alive(), "it waits"
        assert read_lock(world.workspace)["features-toy-notes"]["outs"][0]["md5"] == version
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        walking.join(60)
        assert not walking.is_alive()
    finally:
        holder.kill()
        holder.wait()
    assert read_lock(world.workspace)["features-toy-notes"]["outs"][0]["md5"] != version
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "commit", "-f", "models-toy-died-multimodn"],
        cwd=world.root, env={**os.environ, "DVC_NO_ANALYTICS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    world.walk(MODEL, "results/toy/scores")
    world.tell_dagster()
    assert audit_all(open_snapshot(world.root), verify=True).sound


def test_a_stage_that_dvc_read_before_a_parameter_was_named_is_refused_inside_dvc_repro(world, monkeypatch):  # noqa: F811
    """DVC would record the step without the parameter, which the artifact itself tells."""
    world.params({"toy": {"training": {"epochs": 2}}})
    write_stages(world.workspace, steps())
    world.params(PARAMS)
    monkeypatch.setenv("DVC_STAGE", "features-toy-notes")
    refresh_stages(world.workspace, steps()[AGE], steps())  # its own stage is as it was
    world.params({"toy": {"training": {"epochs": 2}}})
    write_stages(world.workspace, steps())
    world.params(PARAMS)
    with pytest.raises(StaleInputError, match=r"brought up to date; type `dvc repro` again"):
        refresh_stages(world.workspace, steps()[NOTES], steps())
    refresh_stages(world.workspace, steps()[NOTES], steps())
    assert "toy.features.notes" in (world.root / "dvc.yaml").read_text()


@pytest.mark.parametrize("in_git", [True, False])
def test_a_workspace_with_or_without_git_is_one_for_dvc_and_a_clone_has_its_settings(tmp_path, in_git):
    if in_git:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        (tmp_path / ".gitignore").write_text("/artifacts/\n")
    ensure_dvc(tmp_path)
    told = (tmp_path / ".dvc" / "config").read_text()
    assert ("no_scm = True" in told) is not in_git and "analytics = False" in told
    from dvc.repo import Repo

    with Repo(str(tmp_path)) as repo:
        assert repo.config["core"]["no_scm"] is not in_git and repo.index.stages == []
    if in_git:
        staged = ["git", "show", ":.dvc/config"]
        assert subprocess.run(staged, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == told
        assert subprocess.run(["git", "show", ":.gitignore"], cwd=tmp_path, check=False).returncode == 0


def test_a_clone_of_a_study_finds_the_code_again(first_world, tmp_path):  # noqa: F811
    first_world.git("clone", "-q", str(first_world.root), str(tmp_path / "copy"))
    code = tmp_path / "copy" / "mmn"
    assert not code.exists()
    kept = {name: os.environ.get(name) for name in ("DAGSTER_HOME", "MMN_ROOT")}
    try:
        for _ in range(2):
            Workspace(tmp_path / "copy").prepare()
            assert code.resolve() == PACKAGE
            code.unlink()
            code.symlink_to(tmp_path / "gone")
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
