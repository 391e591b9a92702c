"""The UI is this machine's own: what the guard answers, what it does not, and what must be said to open it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration.ui import LOCK_VARIABLE, PROXY_FLAG, be_the_only, command
from mmn.orchestration.webserver import HOSTS_VARIABLE, Guard, proxies


def ask(method: str = "POST", path: str = "/graphql", query: str = "", kind: str = "http", names=(), **headers):
    """The status that the guard gives; 200 where it lets the application answer."""
    told: list[dict] = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        told.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    given = [(name.encode(), value.encode()) for name, value in {"host": "localhost:3000", **headers}.items()]
    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": given}
    asyncio.run(Guard(application, names)(scope, receive, send))
    return told[0].get("status", told[0].get("code"))


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "LOCALHOST"])
def test_the_loopback_names_are_answered(host):
    assert ask(host=host) == 200
    assert ask("GET", "/assets", host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1", "10.0.0.7:3000"]
)
def test_another_name_is_not_answered_be_it_bound_to_this_address(host):
    assert ask(host=host) == 421


def test_another_sites_page_is_not_answered_and_our_own_is():
    assert ask(origin="https://evil.example") == 403
    assert ask(origin="null") == 403
    assert ask(origin="http://localhost:3000") == 200
    assert ask("GET", kind="websocket", origin="https://evil.example") == 4403


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:8888", "http://localhost", "http://127.0.0.1:3000", "http://localhost:x", "http://[::1"],
)
def test_a_page_at_another_port_of_this_machine_is_another_site(origin):
    assert ask(origin=origin) == 403
    assert ask("GET", kind="websocket", origin=origin) == 4403


def test_a_page_of_ours_reached_by_a_tunnel_at_any_port_is_answered():
    assert ask(host="localhost:8080", origin="http://localhost:8080") == 200
    assert ask(host="LOCALHOST:3000", origin="http://localhost:3000") == 200
    assert ask(host="[::1]:3000", origin="http://[::1]:3000") == 200
    assert ask(host="localhost", origin="http://localhost:80") == 200


def test_of_a_proxys_machine_its_own_port_alone_is_answered():
    ours = {"names": ["mmn.example", "other.example:8443"]}
    for origin in ("https://mmn.example", "https://mmn.example:443", "https://other.example:8443"):
        assert ask(**ours, host="mmn.example", origin=origin) == 200
    for origin in ("https://mmn.example:8443", "https://other.example", "http://mmn.example:8888"):
        assert ask(**ours, host="mmn.example", origin=origin) == 403
    assert ask(**ours, host="other.example:8443", origin="https://other.example:8443") == 200


@pytest.mark.parametrize("query", ["query=mutation{x}", "QUERY=mutation{x}", "a=1&%71uery=mutation{x}", "id=1"])
def test_graphql_by_get_is_refused(query):
    assert ask("GET", query=query) == 405
    assert ask("GET", path="/graphql/", query=query) == 405
    assert ask("GET", path="/some/prefix/graphql", query=query) == 405


def test_the_proxys_name_is_answered_when_it_is_given(monkeypatch):
    monkeypatch.setenv(HOSTS_VARIABLE, "mmn.hospital.example, other.example")
    assert ask(names=proxies(), host="mmn.hospital.example", origin="https://mmn.hospital.example") == 200
    assert ask(host="mmn.hospital.example") == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.4", "my-machine"])
def test_another_address_needs_a_flag_that_names_the_risk(host):
    with pytest.raises(ParamsError, match=f"start and delete runs.*{PROXY_FLAG}"):
        command(host=host, port=3000, read_only=False, proxies=())
    assert host in command(host=host, port=3000, read_only=False, proxies=["mmn.example"])


@pytest.mark.parametrize(
    "name", ["", " ", "$NAME", "*", "mmn.example,evil.example", "https://mmn.example", "-a", "0.0.0.0", "[::]", "[1.2]"]
)
def test_a_proxy_without_the_name_of_a_host_opens_nothing(name):
    with pytest.raises(ParamsError, match=f"{PROXY_FLAG} .*names no host"):
        command(host="0.0.0.0", port=3000, read_only=False, proxies=[name])
    with pytest.raises(ParamsError, match="names no host"):
        command(host="127.0.0.1", port=3000, read_only=False, proxies=["mmn.example", name])


@pytest.mark.parametrize("name", ["mmn", "mmn.hospital.example", "MMN.example:8443", "10.0.0.5", "[2001:db8::1]:8443"])
def test_a_proxy_may_be_named_with_its_port(name):
    assert "10.0.0.5" in command(host="10.0.0.5", port=3000, read_only=False, proxies=[name])


HOLD = """import sys, pathlib
from mmn.orchestration.ui import be_the_only
be_the_only(pathlib.Path(sys.argv[1]), 3000)
print("held", flush=True)
input()
"""


def test_a_second_writable_ui_of_a_workspace_is_refused_until_the_first_has_ended(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCK_VARIABLE, "")
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(MmnError, match=rf"`mmn ui` at port 3000 \(process {first.pid} on .*--read-only"):
        be_the_only(tmp_path, 3001)
    first.kill()
    first.communicate()
    be_the_only(tmp_path, 3001)
    held = int(os.environ[LOCK_VARIABLE])
    assert os.get_inheritable(held), "the process that takes this one's place holds it on"
    os.close(held)


def test_the_daemon_holds_the_workspace_too_and_the_webserver_does_not(monkeypatch):
    from dagster._cli import dev

    from mmn.orchestration import ui

    started = []
    monkeypatch.setenv(LOCK_VARIABLE, "7")
    monkeypatch.setattr(dev, "open_ipc_subprocess", lambda parts, **options: started.append((parts, options)))
    monkeypatch.setattr(
        dev,
        "dev_command",
        lambda arguments: [
            dev.open_ipc_subprocess(["python", "-m", module], pass_fds=[5])
            for module in ("dagster_webserver", "dagster._daemon")
        ],
    )
    ui.main([])
    assert started == [
        (["python", "-m", "mmn.orchestration.webserver"], {"pass_fds": [5]}),
        (["python", "-m", "dagster._daemon"], {"pass_fds": [5, 7]}),
    ]
    assert LOCK_VARIABLE not in os.environ, "a run's process is told nothing of it"


def test_a_viewer_is_read_only_and_starts_nothing_by_itself():
    told = command(host="127.0.0.1", port=3001, read_only=True, proxies=())
    assert "--read-only" in told and "mmn.orchestration.webserver" in told


def post(port: int, query: str, method: str = "POST", **headers: str) -> dict:
    url = f"http://127.0.0.1:{port}/graphql"
    body = json.dumps({"query": query}).encode() if method == "POST" else None
    if method == "GET":
        url += "?query=" + query
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", **headers})
    return json.load(urllib.request.urlopen(request, timeout=30))


def test_the_real_server_stands_behind_the_guard_and_a_viewer_can_start_nothing(tmp_path):
    port = 3121
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "nothing.py").write_text("import dagster as dg\ndefs = dg.Definitions(jobs=[])\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.webserver", "-f", str(tmp_path / "nothing.py"), "-p", str(port),
         "--read-only"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path / "home")}, cwd=tmp_path, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline, version = time.monotonic() + 120, None
        while version is None and time.monotonic() < deadline:
            try:
                version = post(port, "{version}")["data"]["version"]
            except urllib.error.HTTPError:
                raise
            except OSError:
                time.sleep(0.5)
        assert version
        for method, headers, status in [
            ("GET", {}, 405),
            ("POST", {"Origin": "https://evil.example"}, 403),
            ("POST", {"Host": "evil.example"}, 421),
        ]:
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(port, "{version}", method, **headers)
            assert refused.value.code == status
        mutation = 'mutation{deletePipelineRun(runId:"x"){__typename}}'
        assert post(port, mutation)["data"]["deletePipelineRun"]["__typename"] == "UnauthorizedError"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
