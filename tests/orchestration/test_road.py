"""The road by `mmn run`, by `dvc repro` and by the Dagster UI's own path: the same steps, the same bytes."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.orchestration.conftest import PARAMS, Road, generate

EDU = {"edu": PARAMS["edu"]}


def test_after_a_run_dvc_is_clean_and_dagster_shows_nothing_stale(edu_road: Road):
    assert "up to date" in edu_road.run("dvc", "status").stdout
    assert edu_road.stale_in_dagster() == []


def test_a_second_run_does_no_work_and_says_so(edu_road: Road):
    before = edu_road.versions()
    assert "Nothing to do: all" in edu_road.run("mmn", "run").stdout
    assert edu_road.versions() == before


def test_a_changed_parameter_reruns_exactly_what_depends_on_it_by_dvc_repro(edu_road: Road):
    before = edu_road.versions()
    edu_road.params({"edu": EDU["edu"] | {"missingness": {"epochs": 1, "rates": [0.0, 0.6]}}})
    planned = edu_road.run("mmn", "run", "--dry-run").stdout
    assert "results/edu/missingness: params.yaml: edu.missingness changed" in planned
    assert "1 steps to run, 1 that follow" in planned
    edu_road.run("dvc", "repro")
    after = edu_road.versions()
    assert {name for name in after if after[name] != before[name]} == {"results-edu-missingness", "report"}
    assert edu_road.stale_in_dagster() == []
    assert "Nothing to do" in edu_road.run("mmn", "run").stdout
    edu_road.params(EDU)
    edu_road.run("mmn", "run")
    assert edu_road.versions() == before


def test_a_changed_raw_file_reruns_what_reads_it_and_says_why(edu_road: Road):
    before = edu_road.versions()
    table = next((edu_road.root / "raw" / "edu").rglob("schedule/*.csv*"))
    content = table.read_bytes()
    text = gzip.decompress(content).decode() if table.suffix == ".gz" else content.decode()
    changed = text.rstrip("\n") + "\n"  # same rows; the bytes of the file differ
    table.write_bytes(
        gzip.compress(changed.encode(), compresslevel=1, mtime=0)
        if table.suffix == ".gz"
        else (changed + "\n").encode()
    )
    assert "raw-edu-course" in edu_road.run("dvc", "status").stdout
    refused = edu_road.run("mmn", "step", "cohorts/edu", check=False)
    assert refused.returncode == 1
    assert "differ from the manifest raw/edu/course" in refused.stderr
    edu_road.run("mmn", "run")
    after = edu_road.versions()
    assert after["raw-edu-course"] != before["raw-edu-course"]
    assert after["raw-edu-video_events"] == before["raw-edu-video_events"]
    assert "up to date" in edu_road.run("dvc", "status").stdout
    table.write_bytes(content)
    edu_road.run("dvc", "repro")
    edu_road.run("mmn", "sync")
    assert edu_road.stale_in_dagster() == []
    assert edu_road.versions() == before


def test_an_artifact_changed_by_hand_is_made_again(edu_road: Road):
    before = edu_road.versions()
    card = edu_road.root / "artifacts" / "models" / "edu" / "pass_course" / "multimodn" / "card.json"
    card.write_text(card.read_text() + " ")
    assert "its output was changed by hand" in edu_road.run("mmn", "run", "--dry-run").stdout
    edu_road.run("mmn", "run")
    assert edu_road.versions() == before


def test_a_killed_run_resumes_where_it_was_and_ends_with_the_same_versions(edu_road: Road, tmp_path):
    from mmn.orchestration.demo import make_workspace

    root = tmp_path / "study"
    make_workspace(root)
    road = Road(root)
    road.params(EDU)
    generate(root, "edu")
    process = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.cli", "run"],
        cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (root / "artifacts" / "features" / "edu" / "video.parquet").exists():
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(yaml.safe_load((root / "dvc.lock").read_text())["stages"])
    out = road.run("mmn", "run").stdout
    total = len(edu_road.versions())
    assert 0 < finished < total
    assert f"of {total}" in out
    assert road.versions() == edu_road.versions()  # two workspaces, one killed midway: the same bytes
    assert not list((root / "artifacts").rglob(".*tmp"))


def test_an_interrupted_run_says_that_nothing_is_lost_and_the_next_one_goes_on(edu_road: Road):
    before = edu_road.versions()
    shutil.rmtree(edu_road.root / "artifacts" / "models")
    shutil.rmtree(edu_road.root / ".mmn" / "progress")
    log = edu_road.root / "interrupted.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "mmn.orchestration.cli", "run"],
            cwd=edu_road.root, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (edu_road.root / "artifacts" / "models").exists():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 1
    assert "the same command goes on from there" in " ".join(log.read_text().split())
    log.unlink()
    edu_road.run("mmn", "run")
    assert edu_road.versions() == before


def test_materialising_from_the_ui_gives_the_same_version(edu_road: Road):
    """The webserver's GraphQL, which is what the UI's button calls."""
    before = edu_road.versions()
    port = 3117
    server = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.cli", "ui", "--port", str(port)],
        cwd=edu_road.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "mmn.orchestration.definitions",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["models", "edu", "pass_course", "p_fusion"]}],
        }
        launched = None
        deadline = time.monotonic() + 120
        while launched is None and time.monotonic() < deadline:
            try:
                launched = _graphql(
                    port,
                    "mutation($p: ExecutionParams!){launchPipelineExecution(executionParams:$p){__typename "
                    "... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}",
                    {"p": {"selector": selector, "runConfigData": {}, "mode": "default"}},
                )["launchPipelineExecution"]
            except OSError:
                time.sleep(1)
        assert launched and launched["__typename"] == "LaunchRunSuccess", launched
        status = ""
        while status not in {"SUCCESS", "FAILURE", "CANCELED"} and time.monotonic() < deadline:
            time.sleep(1)
            answer = _graphql(
                port, "query($r: ID!){runOrError(runId:$r){... on Run{status}}}", {"r": launched["run"]["runId"]}
            )
            status = answer["runOrError"]["status"]
        assert status == "SUCCESS"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    assert edu_road.versions() == before
    assert "up to date" in edu_road.run("dvc", "status").stdout


def _graphql(port: int, query: str, variables: dict) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request, timeout=30))["data"]


def _find(root: Path, table: str) -> Path:
    return next((root / "raw" / "edu").rglob(f"{table}/*.csv*"))


def _rewrite(path: Path, change) -> None:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress(("\n".join(change(lines)) + "\n").encode(), mtime=0))


def _cut_short(root: Path) -> None:
    path = _find(root, "video_event")
    path.write_bytes(path.read_bytes()[:-2000])


def _rename_a_column(root: Path) -> None:
    _rewrite(_find(root, "grade"), lambda lines: [lines[0].replace("user_id", "someone"), *lines[1:]])


def _repeat_a_key(root: Path) -> None:
    _rewrite(_find(root, "grade"), lambda lines: [*lines, lines[1]])


def _write_milliseconds(root: Path) -> None:
    def change(lines: list[str]) -> list[str]:
        at = lines[0].split(",").index("timestamp")
        rows = [line.split(",") for line in lines[1:]]
        return [lines[0], *(",".join([*row[:at], f"{float(row[at]) * 1000:.0f}", *row[at + 1 :]]) for row in rows)]

    _rewrite(_find(root, "problem_event"), change)


def _empty_the_folder(root: Path) -> None:
    shutil.rmtree(root / "raw" / "edu")
    (root / "raw" / "edu").mkdir()


def _misspell_a_setting(root: Path) -> None:
    (root / "params.yaml").write_text("edu: {training: {epoch: 3}}\n")


SPOILT = {
    _cut_short: "the gzip stream ends early",
    _rename_a_column: "column 'user_id'",
    _repeat_a_key: "repeat",
    _write_milliseconds: "is in milliseconds",
    _empty_the_folder: "video_event",
    _misspell_a_setting: "edu.training has no setting 'epoch'. Did you mean 'epochs'?",
}


def test_wrong_input_is_refused_by_the_command_and_nothing_is_lost(edu_road: Road, tmp_path):
    """One after the other; when the input is right again, one run leaves everything as it was."""
    kept = tmp_path / "raw"
    shutil.copytree(edu_road.root / "raw", kept)
    before, lock = edu_road.versions(), (edu_road.root / "dvc.lock").read_bytes()
    report = (edu_road.root / "artifacts" / "report" / "index.html").read_bytes()
    for spoil, message in SPOILT.items():
        try:
            spoil(edu_road.root)
            done = edu_road.run("mmn", "run", check=False)
            said = " ".join((done.stdout + done.stderr).split())
            assert done.returncode == 1, spoil.__name__
            assert message in said and "Traceback" not in said, spoil.__name__
            assert (edu_road.root / "artifacts" / "report" / "index.html").read_bytes() == report, spoil.__name__
            for path in ("cohorts/edu/items.parquet", "features/edu/video.parquet", "models/edu/multitask/multimodn"):
                assert (edu_road.root / "artifacts" / path).exists(), spoil.__name__
        finally:
            shutil.rmtree(edu_road.root / "raw")
            shutil.copytree(kept, edu_road.root / "raw")
            edu_road.params(EDU)
    edu_road.run("mmn", "run")
    assert edu_road.versions() == before
    assert (edu_road.root / "dvc.lock").read_bytes() == lock


def test_a_folder_that_is_a_link_inside_the_raw_folder_is_refused(edu_road: Road, tmp_path):
    for part in (edu_road.root / "raw" / "edu").iterdir():
        (tmp_path / part.name).symlink_to(part, target_is_directory=part.is_dir())
    done = edu_road.run("mmn", "run", "--raw", f"edu={tmp_path}", check=False)
    assert done.returncode == 1 and "a link to a folder; changes behind it would go unnoticed" in done.stderr
    assert not (edu_road.root / "raw" / "edu").is_symlink()


@pytest.mark.parametrize("command", [["dvc", "dag"], ["dvc", "repro", "--dry"]])
def test_dvc_reads_the_stages_that_were_made(edu_road: Road, command):
    assert "report" in edu_road.run(*command).stdout


def test_the_whole_demo_world_walks_to_a_report(tmp_path: Path):
    """All four data sets in one workspace, from `mmn demo`."""
    from mmn.orchestration.demo import make_workspace

    root = tmp_path / "study"
    make_workspace(root)
    road = Road(root)
    road.params(PARAMS)
    out = road.run("mmn", "demo", "--size", "tiny").stdout
    assert "0 left" in out
    page = (root / "artifacts" / "report" / "index.html").read_text()
    for task in ("cardiomegaly", "mortality_48h", "pass_course", "temperature_30d", "visibility_1d"):
        assert task in page or task.replace("_", " ") in page
    assert "generated" in page.lower()
    assert road.stale_in_dagster() == []
    second = road.run("mmn", "demo", "--size", "tiny").stdout
    assert "Nothing to do" in second
