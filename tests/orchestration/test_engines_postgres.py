"""Dagster's storage in Postgres by one line of `operating.yaml`: what is written, what is refused, a real server."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from mmn.data.errors import ParamsError
from mmn.orchestration import storage
from mmn.orchestration.audit.dagster_events import events_of
from mmn.orchestration.demo import make_workspace
from mmn.orchestration.storage import SETTINGS, URL_VARIABLE, write_settings
from tests.orchestration.conftest import PARAMS, Road, generate
from tests.orchestration.test_engines_k8s import DEPLOY
from tests.orchestration.test_engines_system import free_ports

URL = "postgresql+psycopg2://mmn:secret@127.0.0.1:1/mmn"


def workspace(root: Path, operating: str, dagster: str | None = None) -> Path:
    home = root / ".dagster"
    home.mkdir()
    (root / "operating.yaml").write_text(operating)
    if dagster is not None:
        (home / "dagster.yaml").write_text(dagster)
    return home


@pytest.fixture
def reachable(monkeypatch):
    """Packages and server as if they were there."""
    monkeypatch.setattr(storage, "find_spec", lambda name: object())
    monkeypatch.setattr(storage, "_check_answers", lambda url, host: None)
    monkeypatch.setenv(URL_VARIABLE, URL)


def test_sqlite_is_the_default_and_its_settings_follow_the_choice_there_and_back(tmp_path, reachable):
    home = workspace(tmp_path, "")
    write_settings(tmp_path, home)
    assert (home / "dagster.yaml").read_text() == SETTINGS["sqlite"]
    (tmp_path / "operating.yaml").write_text("storage: postgres\n")
    write_settings(tmp_path, home)
    told = yaml.safe_load((home / "dagster.yaml").read_text())
    assert told["storage"] == {"postgres": {"postgres_url": {"env": URL_VARIABLE}}}
    assert told["run_monitoring"]["enabled"] and not told["telemetry"]["enabled"]
    assert "secret" not in (home / "dagster.yaml").read_text(), "the address stays in the environment"
    (tmp_path / "operating.yaml").write_text("storage: sqlite\n")
    write_settings(tmp_path, home)
    assert (home / "dagster.yaml").read_text() == SETTINGS["sqlite"]


def test_what_a_person_wrote_is_left_alone_unless_it_contradicts(tmp_path, reachable):
    own = "# mine\nstorage: {postgres: {postgres_url: {env: OTHER}}}\n"
    home = workspace(tmp_path, "storage: postgres\n", own)
    write_settings(tmp_path, home)
    assert (home / "dagster.yaml").read_text() == own
    (home / "dagster.yaml").write_text("# mine\ntelemetry: {enabled: false}\n")
    with pytest.raises(ParamsError, match="names no Postgres"):
        write_settings(tmp_path, home)


@pytest.mark.parametrize(
    ("url", "operating", "told"),
    [
        ("", "", "is not set"),
        ("postgresql://mmn:secret@db/mmn", "", r"begins with postgresql://; write it as postgresql\+psycopg2://"),
        (URL, "engine: {name: slurm}\n", "written into every batch script"),
    ],
)
def test_an_address_that_cannot_work_is_refused_without_saying_it(
    tmp_path, reachable, monkeypatch, url, operating, told
):
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(ParamsError, match=told) as refused:
        write_settings(tmp_path, workspace(tmp_path, f"storage: postgres\n{operating}"))
    assert "secret" not in str(refused.value)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"pip install 'mmn\[postgres\]'"):
        write_settings(tmp_path, workspace(tmp_path, "storage: postgres\n"))


def test_the_example_for_kubernetes_says_what_mmn_would_write():
    example = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())
    assert {**example, "run_launcher": None} == {**yaml.safe_load(SETTINGS["postgres"]), "run_launcher": None}


@pytest.fixture(scope="module")
def server():
    """A real server on this machine: its address and how to stop it."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    assert binaries, "Postgres is not installed; `make test-system` installs it"
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    # Postgres refuses root, and pytest's folders are their owner's alone.
    root = Path(tempfile.mkdtemp(prefix="pg-"))
    os.chown(root, account.pw_uid, account.pw_gid)
    (port,) = free_ports(1)

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / name, *arguments], cwd="/", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            user=account.pw_uid, group=account.pw_gid, extra_groups=[],
        )  # fmt: skip

    (root / "password").write_text("secret")
    os.chown(root / "password", account.pw_uid, account.pw_gid)
    data = str(root / "data")
    run("initdb", "-D", data, "-U", "mmn", "-A", "scram-sha-256", f"--pwfile={root / 'password'}", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={root} -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(root / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg2://mmn:secret@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
        shutil.rmtree(root)


@pytest.mark.system
def test_a_run_is_recorded_in_postgres_the_audit_reads_it_there_and_a_server_that_is_away_is_said(
    server, tmp_path, monkeypatch
):
    root = tmp_path / "study"
    make_workspace(root)
    road = Road(root)
    road.params({"edu": PARAMS["edu"]})
    (root / "operating.yaml").write_text("storage: postgres\n")
    generate(root, "edu")
    road.run("env", f"{URL_VARIABLE}={server}", "mmn", "run", "cohorts/edu")

    assert not (root / ".dagster" / "history" / "runs" / "index.db").exists()
    monkeypatch.setenv(URL_VARIABLE, server)
    events, why = events_of(root, ["cohorts/edu", "report"])
    assert why is None and set(events) == {"cohorts/edu"}
    assert events["cohorts/edu"][-1].version == road.versions()["cohorts-edu"]
    assert set(events["cohorts/edu"][-1].inputs) >= {"prepared/edu/events"}
    secrets = [path for path in root.rglob("*") if path.is_file() and b"secret@" in path.read_bytes()]
    assert secrets == []

    for url, told in (
        (server.replace("mmn:secret", "mmn:wrong"), "refuses this user and password"),
        (URL, "does not answer"),
    ):
        monkeypatch.setenv(URL_VARIABLE, url)
        with pytest.raises(ParamsError, match=told) as refused:
            write_settings(root, root / ".dagster")
        assert "secret" not in str(refused.value) and "wrong" not in str(refused.value)
    events, why = events_of(root, ["cohorts/edu"])
    assert events == {} and why is not None and "cannot be read" in why


@pytest.mark.system
def test_many_processes_write_to_postgres_at_once_and_nothing_is_lost(server, tmp_path):
    (tmp_path / "dagster.yaml").write_text(SETTINGS["postgres"])
    code = (
        "import sys, dagster as dg\n"
        "@dg.asset(key=sys.argv[1])\n"
        "def made(): ...\n"
        "with dg.DagsterInstance.get() as i:\n"
        "    for _ in range(5): assert dg.materialize([made], instance=i).success\n"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), URL_VARIABLE: server}
    running = [
        subprocess.Popen([sys.executable, "-c", code, name], env=environment, stderr=subprocess.DEVNULL)
        for name in ("a", "b")
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    count = (
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as i:\n"
        "    print(*(len(i.fetch_materializations(dg.AssetKey(k), limit=99).records) for k in 'ab'))\n"
    )
    said = subprocess.run([sys.executable, "-c", count], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["5", "5"]
