"""The Kubernetes engine as it runs: Dagster's own executor against a stand-in for the API that starts processes."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from mmn.data import load_dataset
from mmn.orchestration.storage import SETTINGS
from tests.orchestration.k8s.api import KUBECONFIG, served
from tests.orchestration.test_engines import HOME, REPOSITORY, check_semantics, run_job
from tests.orchestration.test_engines_k8s import DEPLOY, VERSIONS, manifests, pod_of
from tests.orchestration.test_engines_system import free_ports
from tests.orchestration.test_operating_ui import post


@pytest.mark.system
def test_on_kubernetes_a_killed_step_is_retried_gpus_are_shared_and_a_failure_ends_its_branch(tmp_path):
    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]
    here = {"dagster_home": str(tmp_path / "home"), "load_incluster_config": False}
    here["kubeconfig_file"] = str(tmp_path / "kubeconfig")
    launcher["config"] |= here
    home = HOME + yaml.safe_dump({"run_launcher": launcher})
    with served(VERSIONS[-1], PYTHONPATH=str(REPOSITORY), MMN_ROOT=str(tmp_path)) as (cluster, port):
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(port=port))
        said, notes = run_job(tmp_path, "k8s", os.environ["PATH"], home)
        jobs = list(cluster.jobs.values())
    check_semantics(said, notes, "gpu1")
    assert len(jobs) == 5, "four steps, one of them twice; what a person must mend is not tried again"
    assert sum(name.endswith("-1") for name in cluster.jobs) == 1, "the second attempt has a name of its own"
    for job in jobs:
        assert pod_of(job)["securityContext"]["runAsNonRoot"] and job["spec"]["backoffLimit"] == 0


class Pod:
    """The Deployment's pod on this machine: its volumes are folders, its commands and probes processes. Only the
    storage is another: SQLite, as there is no Postgres."""

    def __init__(self, root: Path, port: int, api: int) -> None:
        self.root, self._port = root, port
        (root / "kubeconfig").write_text(KUBECONFIG.format(port=api))
        self.files = {"mmn-dagster": self._dagster(), "mmn-settings": self._settings()}
        told = {m["kind"]: m for m in manifests()}
        self._pod = pod_of(told["Deployment"])
        named = {name: self._here(value) for name, value in told["ConfigMap"]["data"].items()}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "DVC", "MMN"))},
            **named,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
        }

    def _here(self, text: str) -> str:
        for folder in ("/workspace", "/settings", "/raw"):
            text = text.replace(folder, f"{self.root}{folder}")
        return text.replace("3000", str(self._port))

    def _dagster(self) -> dict[str, str]:
        text = (DEPLOY / "k8s" / "dagster.yaml").read_text()
        told = yaml.safe_load(self._here(text))
        del told["storage"]
        told["run_launcher"]["config"] |= {
            "load_incluster_config": False, "kubeconfig_file": str(self.root / "kubeconfig"),
        }  # fmt: skip
        return {"dagster.yaml": yaml.safe_dump(told)}

    def _settings(self) -> dict[str, str]:
        told = yaml.safe_load(self._here((DEPLOY / "k8s" / "operating.yaml").read_text()))
        told["storage"] = "sqlite"
        told["engine"]["k8s"] |= {"load_incluster_config": False, "kubeconfig_file": str(self.root / "kubeconfig")}
        return {"operating.yaml": yaml.safe_dump(told), "params.yaml": "edu: {training: {epochs: 1}}\n"}

    def _mount(self, container: dict) -> None:
        """What the kubelet would mount; a file goes only where a folder waits for it."""
        maps = {v["name"]: v["configMap"]["name"] for v in self._pod["volumes"] if "configMap" in v}
        for mount in container["volumeMounts"]:
            files = self.files.get(maps.get(mount["name"], ""), {})
            place = Path(self._here(mount["mountPath"]))
            if "subPath" in mount:
                place.write_text(files[mount["subPath"]])
            else:
                place.mkdir(parents=True, exist_ok=True)
                for name, text in files.items():
                    (place / name).write_text(text)

    def _command(self, container: dict) -> dict:
        self._mount(container)
        command = [self._here(part) for part in container["command"]]
        return {"args": command, "cwd": self.root / "workspace", "env": self.environment}

    def prepare(self) -> str:
        return "".join(
            subprocess.run(**self._command(one), capture_output=True, text=True, check=True).stdout
            for one in self._pod["initContainers"]
        )

    @contextmanager
    def started(self, name: str):
        container = next(one for one in self._pod["containers"] if one["name"] == name)
        with (self.root / f"{name}.log").open("w") as log:
            process = subprocess.Popen(**self._command(container), stdout=log, stderr=log)
            try:
                probe = [self._here(part) for part in container["startupProbe"]["exec"]["command"]]
                deadline = time.monotonic() + 120
                while subprocess.run(probe, env=self.environment, capture_output=True, check=False).returncode:
                    said = (self.root / f"{name}.log").read_text()[-3000:]
                    assert process.poll() is None and time.monotonic() < deadline, said
                    time.sleep(1)
                yield
            finally:
                process.terminate()
                process.wait(timeout=60)


LAUNCH = """mutation{launchPipelineExecution(executionParams:{mode:"default",runConfigData:{},selector:{
repositoryName:"__repository__",repositoryLocationName:"mmn.orchestration.definitions",pipelineName:"__ASSET_JOB",
assetSelection:[{path:["raw","edu","course"]}]}}){__typename ... on LaunchRunSuccess{run{runId}}}}"""


@pytest.mark.system
def test_what_deploy_k8s_describes_starts_and_a_run_of_its_ui_is_a_job_whose_steps_are_jobs(tmp_path):
    edu, (port,) = load_dataset("edu"), free_ports(1)
    edu.generate(tmp_path / "raw" / "edu", "tiny", 7)
    (tmp_path / "workspace").mkdir()
    with ExitStack() as stack:
        cluster, api = stack.enter_context(served(VERSIONS[-1]))
        pod = Pod(tmp_path, port, api)
        cluster.environment.update(pod.environment)
        assert f"raw/edu: {tmp_path / 'raw' / 'edu'}" in pod.prepare()
        for name in ("webserver", "daemon"):
            stack.enter_context(pod.started(name))
        launched = post(port, LAUNCH)["data"]["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        asked = f'{{runOrError(runId:"{launched["run"]["runId"]}"){{... on Run{{status}}}}}}'
        status, deadline = "", time.monotonic() + 180
        while status not in {"SUCCESS", "FAILURE", "CANCELED"} and time.monotonic() < deadline:
            time.sleep(1)
            status = post(port, asked)["data"]["runOrError"]["status"]
        home = tmp_path / "workspace" / ".dagster" / "dagster.yaml"
        assert home.read_text() == pod.files["mmn-dagster"]["dagster.yaml"] not in SETTINGS.values()
    assert status == "SUCCESS", (tmp_path / "daemon.log").read_text()[-3000:]
    assert (tmp_path / "workspace" / "artifacts" / "raw" / "edu" / "course.json").is_file()
    run, step = cluster.jobs.values()
    assert run["metadata"]["name"].startswith("dagster-run-") and step["metadata"]["name"].startswith("dagster-step-")
    for job in (run, step):
        one = pod_of(job)["containers"][0]
        assert one["securityContext"]["runAsNonRoot"] and "memory" in one["resources"]["limits"]
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod_of(job)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        paths = [mount["mountPath"] for mount in one["volumeMounts"]]
        assert str(home) in paths and len(set(paths)) == len(paths)
        assert len({volume["name"] for volume in pod_of(job)["volumes"]}) == len(pod_of(job)["volumes"])
