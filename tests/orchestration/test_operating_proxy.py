"""The recipe `deploy/nginx/mmn.conf`, by a real nginx before the real servers: who may look, who may start runs."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import dagster as dg
import pytest

from tests.orchestration.test_engines_k8s import DEPLOY
from tests.orchestration.test_engines_system import free_ports

pytestmark = pytest.mark.system
NAME = "mmn.hospital.example"
MUTATION = 'mutation{deletePipelineRun(runId:"x"){__typename}}'


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """Where it listens, and its log; behind it a server that may start runs and one that may not."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "nginx is not installed; `make test-system` installs it"
    root = tmp_path_factory.mktemp("proxy")
    root.chmod(0o755)
    listens, writable, read_only = free_ports(3)
    (root / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (root / "nothing.py").write_text("import dagster as dg\ndefs = dg.Definitions(jobs=[])\n")
    # Made before two servers begin on it: each would make its tables, and one of them would end on the other's.
    with dg.DagsterInstance.from_config(str(root)) as instance:
        assert not instance.get_runs(limit=1) and not instance.all_asset_keys() and not instance.all_instigator_state()
    environment = {**os.environ, "DAGSTER_HOME": str(root), "MMN_UI_HOSTS": NAME}
    commands = [
        [sys.executable, "-m", "mmn.orchestration.webserver", "-f", "nothing.py", "-p", str(port), *more]
        for port, more in ((writable, []), (read_only, ["--read-only"]))
    ]
    certificate(root)
    (root / "nginx.conf").write_text(rendered(root, listens, writable, read_only))
    commands.append([nginx, "-e", str(root / "error.log"), "-c", str(root / "nginx.conf"), "-g", "daemon off;"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [
        subprocess.Popen(command, env=environment, cwd=root, start_new_session=True, **quiet) for command in commands
    ]
    try:
        deadline = time.monotonic() + 120
        while not all(ask(listens, user)[0] == 200 for user in ("jane", "bob")):
            assert time.monotonic() < deadline and all(process.poll() is None for process in running)
            time.sleep(0.5)
        yield listens, root / "mmn.log"
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(timeout=30)


def certificate(root: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-keyout", root / "key.pem", "-out", root / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    users = {"jane": "of jane", "bob": "of bob"}
    lines = (f"{u}:{{SHA}}{base64.b64encode(hashlib.sha1(p.encode()).digest()).decode()}\n" for u, p in users.items())
    (root / "mmn.users").write_text("".join(lines))


def rendered(root: Path, listens: int, writable: int, read_only: int) -> str:
    """The recipe as it is, with this test's ports and files."""
    recipe = (DEPLOY / "nginx" / "mmn.conf").read_text()
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{listens}"),
        ("127.0.0.1:3000;", f"127.0.0.1:{writable};"),
        ("127.0.0.1:3001;", f"127.0.0.1:{read_only};"),
        ("/etc/ssl/mmn/", f"{root}/"),
        ("/etc/nginx/", f"{root}/"),
        ("/var/log/nginx/", f"{root}/"),
    ):
        assert old in recipe
        recipe = recipe.replace(old, new)
    temporary = "".join(
        f"  {kind}_temp_path {root}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"{user}pid {root}/nginx.pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\n{temporary}{recipe}}}\n"


def ask(port: int, user: str | None, query: str = "{version}", host: str = NAME, get: bool = False, **headers: str):
    """The status and the answer."""
    url = f"https://127.0.0.1:{port}/graphql" + ("?query={version}" if get else "")
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:of {user}".encode()).decode()
    headers |= {"Host": host, "Content-Type": "application/json"}
    body = None if get else json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, data=body, headers=headers)
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


def test_without_a_login_or_by_another_name_nothing_is_answered(proxy):
    port, _ = proxy
    assert ask(port, None)[0] == 401
    assert ask(port, "eve")[0] == 401
    assert ask(port, "jane", host="other.example")[0] == 421


def test_who_may_look_looks_and_who_may_start_runs_starts_them_and_the_log_says_who(proxy):
    port, log = proxy
    assert ask(port, "bob", MUTATION) == (200, {"deletePipelineRun": {"__typename": "UnauthorizedError"}})
    assert ask(port, "jane", MUTATION) == (200, {"deletePipelineRun": {"__typename": "RunNotFoundError"}})
    told = log.read_text()
    assert re.search(r'^\S+ jane 127\.0\.0\.1:\d+ "POST /graphql" 200$', told, re.MULTILINE)
    assert re.search(r'^\S+ bob 127\.0\.0\.1:\d+ "POST /graphql" 200$', told, re.MULTILINE)


def test_another_sites_page_gets_nothing_by_the_session_of_who_is_logged_in(proxy):
    port, _ = proxy
    assert ask(port, "jane", MUTATION, Origin="https://evil.example")[0] == 403
    assert ask(port, "jane", MUTATION, Origin=f"https://{NAME}")[0] == 200
    assert ask(port, "jane", get=True)[0] == 405
