"""Where steps run: processes of this machine, a Kubernetes job per step, or a Slurm batch job per step.

`operating.yaml` chooses; steps and assets stay as they are. What a step needs of a machine (`Need`) is rendered here in
each engine's words; what an engine does not read it leaves alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg

from mmn.data.errors import ParamsError
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.operating import EngineSettings
from mmn.orchestration.steps import Need

GPU_POOL = "gpu"
SLURM_TAG = "mmn/slurm"
K8S_TAG = "dagster-k8s/config"
# What a step's process needs, imported once by the server it is forked from.
PRELOAD = [
    "dagster._cli", "dagster._core.storage.event_log", "dagster._core.storage.runs", "dagster._core.storage.schedules",
    "dagster._core.storage.local_compute_log_manager", "dagster._core.storage.legacy_storage",
    "dagster._core.storage.root", "dvc.repo", "pyarrow.parquet", "sklearn.model_selection", "matplotlib.figure",
    "mmn.orchestration.settings", "mmn.orchestration.actions.features", "torch", "upath",
    "dagster._core.storage.defs_state.blob_storage_state_storage", "mmn.orchestration.preload",
]  # fmt: skip
# Nothing of a container needs more: steps write below the mounted workspace and /tmp.
SECURE = {
    "allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}, "run_as_non_root": True,
    "seccomp_profile": {"type": "RuntimeDefault"},
}  # fmt: skip
# A day, so that a finished job's log can still be read; longer than any exit takes.
_KEEP_SECONDS = 86_400


def executor(settings: EngineSettings) -> dg.ExecutorDefinition:
    """Raises ParamsError where the engine's package is not installed or does not know a setting."""
    if settings.name == "slurm":
        from mmn.orchestration.slurm import slurm_executor

        return slurm_executor.configured({"max_concurrent": settings.max_concurrent})
    if settings.name == "k8s":
        try:
            import dagster_k8s  # noqa: F401
        except ImportError as error:
            raise ParamsError(
                f"{OPERATING_FILE}: engine k8s needs the package dagster-k8s. Type `pip install 'mmn[k8s]'`."
            ) from error
        from mmn.orchestration.k8s import k8s_executor

        return k8s_executor({"max_concurrent": settings.max_concurrent, **settings.k8s})
    return dg.multiprocess_executor.configured(
        {"max_concurrent": settings.max_concurrent, "start_method": {"forkserver": {"preload_modules": PRELOAD}}}
    )


def pool(need: Need, settings: EngineSettings) -> str | None:
    """GPU steps wait for one another in the pool `gpu` (`dagster instance concurrency set gpu N`; 1 where not set)."""
    if not need.gpus:
        return None
    return GPU_POOL if settings.name != "local" or Path("/dev/nvidiactl").exists() else None


def retry_policy(settings: EngineSettings) -> dg.RetryPolicy | None:
    """Of what may be retried: a lost process or machine. A step's own errors say themselves that they may not."""
    if not settings.retries:
        return None
    return dg.RetryPolicy(
        max_retries=settings.retries,
        delay=settings.retry_delay_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )


def op_tags(need: Need, settings: EngineSettings) -> dict[str, str]:
    return {K8S_TAG: json.dumps(k8s_config(need)), SLURM_TAG: json.dumps(sbatch_options(need, settings))}


def k8s_config(need: Need) -> dict[str, Any]:
    memory = {"memory": f"{need.mem_gb}Gi"}
    gpus = {"nvidia.com/gpu": str(need.gpus)} if need.gpus else {}
    return {
        "container_config": {
            "resources": {
                "requests": {"cpu": str(need.cpus), **memory, **gpus},
                # No limit on cores: it would only slow a step that finds the node idle.
                "limits": {**memory, **gpus},
            },
            "security_context": SECURE,
        },
        "job_spec_config": {
            "active_deadline_seconds": need.minutes * 60,
            # Dagster retries, under a new name; Kubernetes would run the same step twice.
            "backoff_limit": 0,
            "ttl_seconds_after_finished": _KEEP_SECONDS,
        },
    }


def sbatch_options(need: Need, settings: EngineSettings) -> list[str]:
    options = [f"--cpus-per-task={need.cpus}", f"--mem={need.mem_gb}G", f"--time={need.minutes}"]
    partition = settings.gpu_partition if need.gpus and settings.gpu_partition else settings.partition
    if partition:
        options.append(f"--partition={partition}")
    if settings.account:
        options.append(f"--account={settings.account}")
    if need.gpus:
        kind, _, name = settings.gres.rpartition(":")
        # A licence counts GPUs where Slurm does not know the devices.
        options.append(f"--licenses={name}:{need.gpus}" if kind == "license" else f"--gres={settings.gres}:{need.gpus}")
    return options
