"""What is given to Kubernetes: read as a person would, and (`make test-system`) held against the API's own schemas."""

import json
from pathlib import Path

import pytest
import yaml

from mmn.orchestration import engines
from mmn.orchestration.operating import EngineSettings, load_operating
from mmn.orchestration.steps import Need

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
VERSIONS = ("1.31", "1.34")
GPU = Need(gpus=1, cpus=4, mem_gb=32, minutes=90)


def manifests() -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "k8s" / "manifests.yaml").read_text()))


def pod_of(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("engine", ["k8s", "slurm"])
def test_the_example_settings_are_read_by_the_workspace(engine):
    settings = load_operating(DEPLOY / engine).engine
    assert settings.name == engine and settings.retries == 2


def test_nobody_is_root_nothing_is_open_and_no_secret_is_written_down():
    kinds = [manifest["kind"] for manifest in manifests()]
    assert "Secret" not in kinds and "Service" not in kinds and "Ingress" not in kinds
    pod = pod_of(next(m for m in manifests() if m["kind"] == "Deployment"))
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert "memory" in container["resources"]["limits"]
    webserver = next(c for c in pod["containers"] if c["name"] == "webserver")
    assert "127.0.0.1" in webserver["command"]
    for file in DEPLOY.rglob("*.yaml"):
        assert "password:" not in file.read_text().lower().replace("password: {env:", "")


def test_a_person_without_rights_gets_none_through_the_role():
    role = next(m for m in manifests() if m["kind"] == "Role")
    assert all("*" not in rule["verbs"] and "secrets" not in rule["resources"] for rule in role["rules"])


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
def test_the_run_launcher_takes_the_example_settings():
    from dagster._config import process_config
    from dagster_k8s import K8sRunLauncher

    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]
    result = process_config(K8sRunLauncher.config_type(), launcher["config"])
    assert result.success, [error.message for error in result.errors]
