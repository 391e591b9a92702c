"""What is given to Kubernetes: read as a person would, and (`make test-system`) held against the API's own schemas."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration import engines, volume
from mmn.orchestration.operating import EngineSettings, load_operating
from mmn.orchestration.steps import Need
from mmn.orchestration.workspace import Workspace

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
VERSIONS = ("1.31", "1.34")
GPU = Need(gpus=1, cpus=4, mem_gb=32, minutes=90)


def manifests() -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "k8s" / "manifests.yaml").read_text()))


def pod_of(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]


def deployed() -> dict:
    return pod_of(next(m for m in manifests() if m["kind"] == "Deployment"))


def containers_of(pod: dict) -> list[dict]:
    return [*pod["initContainers"], *pod["containers"]]


def named_in(part: object, field: str) -> set[str]:
    """The names under every `field` of a manifest, however deep."""
    if isinstance(part, list):
        return set().union(*(named_in(one, field) for one in part))
    if not isinstance(part, dict):
        return set()
    mine = {part[field]["name"]} if isinstance(part.get(field), dict) and "name" in part[field] else set()
    return mine.union(*(named_in(one, field) for one in part.values()))


@pytest.mark.parametrize("engine", ["k8s", "slurm"])
def test_the_example_settings_are_read_by_the_workspace(engine):
    settings = load_operating(DEPLOY / engine).engine
    assert settings.name == engine and settings.retries == 2


def test_nobody_is_root_nothing_is_open_and_no_secret_is_written_down():
    kinds = [manifest["kind"] for manifest in manifests()]
    assert "Secret" not in kinds and "Service" not in kinds and "Ingress" not in kinds
    pod = deployed()
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers_of(pod):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert "memory" in container["resources"]["limits"]
    webserver = next(c for c in pod["containers"] if c["name"] == "webserver")
    assert "127.0.0.1" in webserver["command"]
    for file in DEPLOY.rglob("*.yaml"):
        assert "password:" not in file.read_text().lower().replace("password: {env:", "")


def test_a_person_without_rights_gets_none_through_the_role():
    role = next(m for m in manifests() if m["kind"] == "Role")
    assert all("*" not in rule["verbs"] and "secrets" not in rule["resources"] for rule in role["rules"])


def test_every_settings_map_that_a_step_of_the_recipe_makes_is_mounted_and_none_else_is_named():
    recipe = (DEPLOY / "k8s" / "manifests.yaml").read_text().split("apiVersion", 1)[0]
    made = set(re.findall(r"create -n mmn configmap (\S+)", recipe))
    written = {m["metadata"]["name"] for m in manifests() if m["kind"] == "ConfigMap"}
    pod = deployed()
    mounted = {mount["name"] for container in containers_of(pod) for mount in container["volumeMounts"]}
    assert {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v and v["name"] in mounted} == made
    assert named_in(pod, "configMapRef") == written
    assert named_in(pod, "secretRef") == set(re.findall(r"create -n mmn secret generic (\S+)", recipe))
    assert {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v} == set(
        re.findall(r"`(mmn-\w+)` \(", recipe)
    )
    home = next(m for m in manifests() if m["kind"] == "ConfigMap")["data"]["DAGSTER_HOME"]
    for container in containers_of(pod)[1:]:
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts[f"{home}/dagster.yaml"]["subPath"] == "dagster.yaml", container["name"]
    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]["config"]
    assert launcher["dagster_home"] == home and launcher["instance_config_map"] in made
    for told in (launcher, load_operating(DEPLOY / "k8s").engine.k8s):  # of a run's Job and of a step's
        assert mounts[f"{home}/dagster.yaml"] in told["volume_mounts"]
        assert {"name": "dagster", "configMap": {"name": launcher["instance_config_map"]}} in told["volumes"]


def test_a_container_that_hangs_is_seen_from_inside_as_nothing_reaches_the_loopback_from_outside():
    for container in deployed()["containers"]:
        assert {"startupProbe", "livenessProbe"} <= set(container)
        assert all(set(container[name]) & {"exec"} for name in container if name.endswith("Probe")), container["name"]


def test_the_first_container_makes_a_workspace_of_an_empty_volume_and_says_what_lacks(tmp_path, monkeypatch, capsys):
    _, _, module, *arguments = deployed()["initContainers"][0]["command"]
    assert module == volume.__name__
    here = [str(tmp_path / argument.lstrip("/")) for argument in arguments]
    root, settings, raw = tmp_path / "workspace", *map(Path, here)
    for folder in (settings, raw / "edu", root / "lost+found"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("MMN_ROOT", str(root))
    shutil.copy(DEPLOY / "k8s" / "operating.yaml", settings)
    with pytest.raises(SystemExit, match=r"no params\.yaml there"):
        volume.main(here)
    (settings / "params.yaml").write_text("edu: {training: {epochs: 2}}\n")
    volume.main(here)
    volume.main(here)  # as after every restart
    assert load_operating(root).engine.name == "k8s" and Workspace(root).params["edu"]["training"] == {"epochs": 2}
    assert (root / "raw" / "edu").resolve() == raw / "edu" and not (root / "raw" / "mimic").exists()
    assert (root / ".dvc" / "config").is_file() and (root / ".dagster").is_dir()
    assert f"raw/edu: {raw / 'edu'}" in capsys.readouterr().out
    (settings / "params.yaml").write_text("edu: {trainig: {}}\n")
    with pytest.raises(SystemExit, match="Did you mean 'training'"):
        volume.main(here)


@pytest.mark.system
@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_what_the_api_knows(version):
    import kubernetes_validate

    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def step_job(need: Need) -> dict:
    """The Job that a step would become, as the executor makes it."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import (
        DagsterK8sJobConfig,
        UserDefinedDagsterK8sConfig,
        construct_dagster_k8s_job,
        get_user_defined_k8s_config,
    )
    from kubernetes.client import ApiClient

    given = load_operating(DEPLOY / "k8s").engine.k8s
    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]["config"]
    context = K8sContainerContext(
        env_config_maps=given["env_config_maps"], env_secrets=given["env_secrets"], volumes=given["volumes"],
        volume_mounts=given["volume_mounts"], namespace=given["job_namespace"],
        service_account_name=given["service_account_name"],
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(given["step_k8s_config"]),
    )  # fmt: skip
    tags = get_user_defined_k8s_config({engines.K8S_TAG: engines.op_tags(need, EngineSettings())[engines.K8S_TAG]})
    context = context.merge(K8sContainerContext(run_k8s_config=tags))
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=given["job_image"],
            dagster_home=launcher["dagster_home"],
            instance_config_map=launcher["instance_config_map"],
        ),
        ["dagster", "api", "execute_step"],
        "dagster-step-1",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return json.loads(json.dumps(ApiClient().sanitize_for_serialization(job)))


@pytest.mark.system
@pytest.mark.parametrize("version", VERSIONS)
def test_a_gpu_steps_job_is_valid_asks_for_one_gpu_mounts_the_workspace_and_is_not_root(version):
    import kubernetes_validate

    job = step_job(GPU)
    kubernetes_validate.validate(job, version, strict=True)
    assert job["spec"]["backoffLimit"] == 0 and job["spec"]["activeDeadlineSeconds"] == 5400
    pod = pod_of(job)
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "1"}
    assert pod["securityContext"]["runAsUser"] == 10001 and container["securityContext"]["runAsNonRoot"]
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounted["workspace"]["mountPath"] == "/workspace" and mounted["raw"]["readOnly"]
    assert {"secretRef": {"name": "mmn-postgres"}} in container["envFrom"]
    assert "nvidia.com/gpu" not in pod_of(step_job(Need()))["containers"][0]["resources"]["limits"]


@pytest.mark.system
def test_the_executor_takes_the_example_settings():
    settings = load_operating(DEPLOY / "k8s").engine
    executor = engines.executor(settings)
    assert executor.name == "k8s"


@pytest.mark.system
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"job_imag": "x"}, "operating.yaml: engine.k8s has no setting 'job_imag'. Did you mean 'job_image'?"),
        ({"env_secrets": {"a": "b"}}, "engine.k8s: Value at env_secrets must be list."),
        ({"resources": {"limit": {}}}, 'Received unexpected config entry "limit" at resources.'),
    ],
)
def test_a_setting_that_the_executor_does_not_know_is_refused_in_one_line(given, said):
    with pytest.raises(ParamsError) as refused:
        engines.executor(EngineSettings(name="k8s", k8s=given))
    assert said in str(refused.value) and len(str(refused.value)) < 200


@pytest.mark.system
def test_without_a_cluster_or_with_another_launcher_the_way_on_is_said(monkeypatch):
    from dagster_k8s import K8sRunLauncher

    from mmn.orchestration.k8s import k8s_executor

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    config = {"job_image": "x", "load_incluster_config": True, "kubeconfig_file": None}
    create = k8s_executor({"job_image": "x"}).executor_creation_fn
    launchers = {object(): "Put deploy/k8s/dagster.yaml", object.__new__(K8sRunLauncher): "no cluster is reached"}
    for launcher, said in launchers.items():
        with pytest.raises(MmnError, match=said):
            create(SimpleNamespace(instance=SimpleNamespace(run_launcher=launcher), executor_config=config))


@pytest.mark.system
def test_the_run_launcher_takes_the_example_settings():
    from dagster._config import process_config
    from dagster_k8s import K8sRunLauncher

    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]
    result = process_config(K8sRunLauncher.config_type(), launcher["config"])
    assert result.success, [error.message for error in result.errors]
