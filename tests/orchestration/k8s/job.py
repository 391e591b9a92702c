"""The job of the Slurm tests, on Kubernetes: the settings of deploy/k8s, another image and another address."""

from functools import partial

import dagster as dg
import dagster_k8s.executor

from mmn.orchestration.engines import executor
from mmn.orchestration.operating import load_operating
from tests.orchestration.slurm.job import after, broken, prepared, train_a, train_b
from tests.orchestration.test_engines_k8s import DEPLOY

# As it comes, the executor looks every 20 s whether a Job is still alive; a test need not wait so long.
dagster_k8s.executor.StepDelegatingExecutor = partial(
    dagster_k8s.executor.StepDelegatingExecutor, check_step_health_interval_seconds=1
)


def k8s_job() -> dg.JobDefinition:
    definitions = dg.Definitions(
        assets=[prepared, train_a, train_b, broken, after],
        jobs=[dg.define_asset_job("all_of_it")],
        executor=executor(load_operating(DEPLOY / "k8s").engine),
    )
    return definitions.resolve_job_def("all_of_it")
