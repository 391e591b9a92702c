"""The Kubernetes engine as it runs: Dagster's own executor against a stand-in for the API that starts processes."""

import os

import pytest
import yaml

from tests.orchestration.k8s.api import KUBECONFIG, served
from tests.orchestration.test_engines import HOME, REPOSITORY, check_semantics, run_job
from tests.orchestration.test_engines_k8s import DEPLOY, VERSIONS, pod_of


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
