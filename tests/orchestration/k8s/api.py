"""A stand-in for Kubernetes' API: it takes Jobs, holds them against the API's schema, and runs each container's
arguments as a process of this machine, GPU Jobs on a node that has one GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: me, namespace: mmn}}}}]
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{}}}}]
"""


class Cluster:
    """jobs: name -> manifest as it came, in the order in which they came."""

    def __init__(self, version: str, environment: Mapping[str, str]) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self._version, self.environment = version, dict(environment)
        self._processes: dict[str, subprocess.Popen | None] = {}
        self._gpu = threading.Lock()

    def take(self, job: dict[str, Any]) -> None:
        import kubernetes_validate

        kubernetes_validate.validate(job, self._version, strict=True)
        name = job["metadata"]["name"]
        assert name not in self.jobs, "a name is a Job's alone"
        self.jobs[name], self._processes[name] = job, None
        threading.Thread(target=self._run, args=(name,), daemon=True).start()

    def status(self, name: str) -> dict[str, int]:
        process = self._processes[name]
        if process is None or process.poll() is None:
            return {"active": 1}
        return {"failed": 1} if process.returncode else {"succeeded": 1}

    def remove(self, name: str) -> None:
        if process := self._processes[name]:
            process.kill()

    def _run(self, name: str) -> None:
        container = self.jobs[name]["spec"]["template"]["spec"]["containers"][0]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        program, *rest = container["args"]
        assert program == "dagster"
        told = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        environment = {**self.environment, **told, "NODE_NAME": "gpu1" if gpus else "cpu1"}
        with self._gpu if gpus else threading.Lock():
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", program, *rest], env=environment, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._processes[name].wait()


@contextmanager
def served(version: str, **environment: str) -> Iterator[tuple[Cluster, int]]:
    cluster = Cluster(version, {**os.environ, **environment})

    class Answers(BaseHTTPRequestHandler):
        def _say(self, body: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _name(self) -> str | None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            assert parts[:3] == ["apis", "batch", "v1"] and parts[3:6] == ["namespaces", "mmn", "jobs"]
            return parts[6] if len(parts) > 6 else None

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                cluster.take(job)
            except Exception as error:
                self._say({"kind": "Status", "message": str(error)}, 422)
            else:
                self._say(job, 201)

        def do_GET(self) -> None:
            if "/pods" in self.path:
                return self._say({"kind": "PodList", "apiVersion": "v1", "items": []})
            if (name := self._name()) in cluster.jobs:
                return self._say({**cluster.jobs[name], "status": cluster.status(name)})
            return self._say({"kind": "Status", "reason": "NotFound"}, 404)

        def do_DELETE(self) -> None:
            cluster.remove(str(self._name()))
            self._say({"kind": "Status", "status": "Success"})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield cluster, server.server_port
    finally:
        server.shutdown()
        server.server_close()
