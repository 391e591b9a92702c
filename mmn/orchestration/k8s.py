"""A Kubernetes Job per step: dagster-k8s's own executor, whose settings and cluster are looked at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher, k8s_job_executor
from kubernetes.config import ConfigException

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.params import nearest_of

WHERE = f"{OPERATING_FILE}: engine.k8s"
_THEIRS: Any = k8s_job_executor


def k8s_executor(given: Mapping[str, Any]) -> dg.ExecutorDefinition:
    """given: what dagster-k8s's executor is told. Raises ParamsError where it does not know a setting, or its type."""
    schema = _THEIRS.config_schema.config_type
    known = sorted(schema.fields)
    for name in given:
        if name not in known:
            raise ParamsError(f"{WHERE} has no setting '{name}'. {nearest_of(str(name), known)}")
    looked = process_config(schema, dict(given))
    if not looked.success:
        # Each repeats the whole schema after what is wrong.
        told = [
            error.message.partition(" Expected")[0].replace("at path root:", "at ") for error in looked.errors or ()
        ]
        raise ParamsError(f"{WHERE}: {' '.join(told)} docs.dagster.io describes dagster-k8s's executor.")
    asked: dg.ExecutorDefinition = _checked.configured(dict(given))
    return asked


def _create(context: dg.InitExecutorContext) -> dg.Executor:
    try:
        if not isinstance(context.instance.run_launcher, K8sRunLauncher):
            raise MmnError(
                f"{OPERATING_FILE}: with the engine k8s runs are Jobs too, and this Dagster starts them another way. "
                "Put deploy/k8s/dagster.yaml, with your image, where DAGSTER_HOME is (.dagster), or start the run in "
                "the cluster's own UI."
            )
        created: dg.Executor = _THEIRS.executor_creation_fn(context)
        return created
    except ConfigException as error:
        raise MmnError(
            f"{WHERE}: no cluster is reached from here ({error}). Start the run in the cluster's UI (deploy/k8s), or "
            "say `load_incluster_config: false` there and in .dagster/dagster.yaml."
        ) from error


_checked = dg.ExecutorDefinition(
    name=_THEIRS.name,
    config_schema=_THEIRS.config_schema,
    requirements=_THEIRS._requirements_fn,
    executor_creation_fn=_create,
    description=_THEIRS.description,
)
