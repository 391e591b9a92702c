"""The road in Dagster: one asset per step of the table. The UI, `mmn run` and the stages of `dvc.yaml` load it."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mmn.data.errors import MmnError
from mmn.orchestration.dvc_pipeline import code_version, read_lock, why_stale
from mmn.orchestration.steps import Active, Step, active_datasets, build_steps, check_params
from mmn.orchestration.sync import known_version
from mmn.orchestration.walk import Outcome, ProgressFile, walk
from mmn.orchestration.workspace import Workspace, find_workspace

ONLY_STALE_TAG = "mmn/only_stale"
KINDS = {
    "raw": "raw", "cohort": "table", "features": "embedding", "autoencoder": "embedding", "model": "model",
    "scores": "results", "interpretability": "results", "missingness": "results", "report": "html",
}  # fmt: skip
# What a step's process needs, imported once by the server it is forked from: 0.2 s a step instead of 2.
PRELOAD = [
    "dagster._cli", "dagster._core.storage.event_log", "dagster._core.storage.runs", "dagster._core.storage.schedules",
    "dagster._core.storage.local_compute_log_manager", "dagster._core.storage.legacy_storage",
    "dagster._core.storage.root", "dvc.repo", "pyarrow.parquet", "sklearn.model_selection", "matplotlib.figure",
    "mmn.orchestration.settings", "mmn.orchestration.actions.features", "torch",
]  # fmt: skip


def asset_key(key: str) -> dg.AssetKey:
    return dg.AssetKey(key.split("/"))


def build_definitions(workspace: Workspace) -> dg.Definitions:
    check_params(workspace.params)
    active = active_datasets(workspace)
    steps = build_steps(active)
    return dg.Definitions(
        assets=[_asset(workspace, step, steps, active) for step in steps.values()],
        jobs=[dg.define_asset_job("road", selection=dg.AssetSelection.all(), description="The whole road.")]
        if steps
        else [],
        executor=dg.multiprocess_executor.configured(
            {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": PRELOAD}}}
        ),
    )


def _asset(
    workspace: Workspace, step: Step, steps: Mapping[str, Step], active: Mapping[str, Active]
) -> dg.AssetsDefinition:
    key = asset_key(step.key)

    @dg.asset(
        key=key,
        deps=[asset_key(dep) for dep in step.deps],
        group_name=step.dataset,
        description=step.description,
        kinds={KINDS[step.kind]},
        code_version=code_version(workspace, step),
        pool="gpu" if step.need.gpus and Path("/dev/nvidiactl").exists() else None,
        check_specs=[
            dg.AssetCheckSpec(
                "contract",
                asset=key,
                blocking=True,
                description="The output keeps its contract; checked before it is written.",
            )
        ],
        metadata={"dvc stage": step.stage, "path": step.out, "parameters": ", ".join(step.sections) or "none"},
    )
    def walk_step(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        if context.run.tags.get(ONLY_STALE_TAG) and why_stale(workspace, step, steps, read_lock(workspace)) is None:
            version = workspace.hashes.version_of(workspace.root / step.out)
            ProgressFile(workspace, step).unchanged()
            return _result(Outcome(version=version, inputs={}, summary={"unchanged": True}))
        try:
            _check_known(context.instance, workspace, step, steps)
            return _result(walk(workspace, step, steps, active))
        except MmnError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    return walk_step


def _check_known(instance: dg.DagsterInstance, workspace: Workspace, step: Step, steps: Mapping[str, Step]) -> None:
    """What is on disk must be what Dagster will record as read; else the lineage would be a guess."""
    for dep in step.deps:
        path = workspace.root / steps[dep].out
        if not path.exists():
            continue  # walk() says so, with the command that mends it
        known, there = known_version(instance, dep), workspace.hashes.version_of(path)
        if known != there:
            raise MmnError(
                f"{step.key}: {dep} is at version {there} on disk, but Dagster knows {known or 'none'}. "
                "Type `mmn sync` to tell Dagster what DVC recorded, or materialise it again."
            )


def _result(outcome: Outcome) -> dg.MaterializeResult:
    metadata: dict[str, Any] = {name: _metadata(value) for name, value in outcome.summary.items()}
    metadata["version"] = outcome.version
    if outcome.picture is not None:
        data = base64.b64encode(outcome.picture).decode()
        metadata["picture"] = dg.MetadataValue.md(f"![picture](data:image/png;base64,{data})")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(outcome.version),
        metadata=metadata,
        check_results=[dg.AssetCheckResult(check_name="contract", passed=True)],
    )


def _metadata(value: Any) -> Any:
    return dg.MetadataValue.json(value) if isinstance(value, dict | list) else value


def road_job() -> dg.JobDefinition:
    """For `dagster.reconstructable`, which a step's own process uses to find its job again."""
    return defs.resolve_job_def("road")


_workspace = find_workspace()
_workspace.prepare()
defs = build_definitions(_workspace)

__all__ = ["ONLY_STALE_TAG", "asset_key", "build_definitions", "defs", "road_job"]
