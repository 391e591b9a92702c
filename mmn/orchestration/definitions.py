"""The road in Dagster: one asset per step of the table. The UI, `mmn run` and the stages of `dvc.yaml` load it."""

import os
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from mmn.data.errors import MmnError
from mmn.orchestration import engines
from mmn.orchestration.audit.markdown import Pages
from mmn.orchestration.backfill import one_by_one
from mmn.orchestration.checks import KINDS, Check, CheckFailed, check_known_names, names_of, refuses
from mmn.orchestration.dvc_pipeline import code_version, read_lock, refresh_stages, why_stale
from mmn.orchestration.needs import with_needs
from mmn.orchestration.operating import Operating, load_operating
from mmn.orchestration.presentation import check_told, description, fixed_metadata, kinds, tags, told_metadata
from mmn.orchestration.promotion import Decision, decide
from mmn.orchestration.schedules import ONLY_STALE_TAG, asset_key, automation, condition_of, road_job_of, schedules_of
from mmn.orchestration.sensors import freshness_of, sensors_of
from mmn.orchestration.steps import Active, Step, active_datasets, build_steps, check_params
from mmn.orchestration.sync import known_version
from mmn.orchestration.walk import Outcome, fresh, may_pass, walk
from mmn.orchestration.workspace import Workspace, find_workspace

PROMOTION = "no_worse_than_current"
# Errors that are not ours may quote a cell of the data; their words are shown to who asks for them on his own machine.
FULL_ERRORS_VARIABLE = "MMN_FULL_ERRORS"


def build_definitions(workspace: Workspace) -> dg.Definitions:
    check_params(workspace.params)
    operating = load_operating(workspace.root)
    check_known_names(operating.checks)
    active = active_datasets(workspace)
    steps = with_needs(build_steps(active), operating.engine.needs, workspace.params)
    pages = Pages(workspace.root)
    return dg.Definitions(
        assets=[_asset(workspace, step, steps, active, operating, pages) for step in steps.values()],
        jobs=road_job_of(steps),
        schedules=schedules_of(workspace, steps, active, operating),
        sensors=[
            *sensors_of(workspace, steps, operating.new_files, pins_only=operating.automation.enabled),
            *one_by_one(workspace, steps),
            *automation(operating.automation),
        ],
        executor=engines.executor(operating.engine),
    )


def _asset(
    workspace: Workspace,
    step: Step,
    steps: Mapping[str, Step],
    active: Mapping[str, Active],
    operating: Operating,
    pages: Pages,
) -> dg.AssetsDefinition:
    guarded = step.kind == "model" and operating.promotion.enabled

    @dg.asset(
        key=asset_key(step.key),
        deps=[asset_key(dep) for dep in step.deps],
        group_name=step.dataset,
        description=description(step, active, workspace.root),
        kinds=kinds(step),
        tags=tags(step),
        owners=list(operating.owners),
        code_version=code_version(workspace, step),
        pool=engines.pool(step.need, operating.engine),
        op_tags=engines.op_tags(step.need, operating.engine),
        retry_policy=engines.retry_policy(operating.engine),
        automation_condition=condition_of(step, operating.automation),
        freshness_policy=freshness_of(step, operating.new_files),
        check_specs=[*_check_specs(step, operating), *([_promotion_spec(step)] if guarded else [])],
        metadata=fixed_metadata(workspace, step, active, pages),
    )
    def walk_step(context: dg.AssetExecutionContext) -> Iterator[Any]:
        try:
            if context.run.tags.get(ONLY_STALE_TAG) and why_stale(workspace, step, steps, read_lock(workspace)) is None:
                outcome = fresh(workspace, step, steps, active)
            else:
                refresh_stages(workspace, step, steps)
                _check_known(context.instance, workspace, step, steps)
                outcome = walk(workspace, step, steps, active)
            decision = _decision(workspace, step, steps, active, operating) if guarded else None
        except CheckFailed as error:
            yield from (_check_result(step, check) for check in error.checks)
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except MmnError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except OSError as error:
            if may_pass(error):
                raise  # and so be retried
            if error.strerror is None:  # raised by a reader, whose words may quote the file
                raise _without_words(error) from None
            why = f"{error.filename or 'a file'}: {error.strerror}. Mend that; the same command goes on from there."
            raise dg.Failure(description=why, allow_retries=False) from error
        except Exception as error:
            if os.environ.get(FULL_ERRORS_VARIABLE):
                raise dg.Failure(description=f"{type(error).__name__}: {error}", allow_retries=False) from error
            raise _without_words(error) from None
        yield _result(workspace, step, outcome, decision)

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


def _decision(
    workspace: Workspace, step: Step, steps: Mapping[str, Step], active: Mapping[str, Active], operating: Operating
) -> Decision:
    dataset = active[step.dataset].dataset
    tasks = [dataset.task(name) for name in step.options["tasks"]]
    cohort = workspace.root / steps[f"cohorts/{step.dataset}"].out
    return decide(workspace, step, tasks, cohort, operating.promotion)


def _without_words(error: Exception) -> dg.Failure:
    """Where it happened, and nothing of what it says."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-8:])
    return dg.Failure(
        description=f"{type(error).__name__}; its words may quote the data and are left out. "
        f"{FULL_ERRORS_VARIABLE}=1 shows them.",
        metadata={"where": dg.MetadataValue.md(f"```\n{frames}```")},
        allow_retries=False,
    )


# What a materialisation says


def _result(workspace: Workspace, step: Step, outcome: Outcome, decision: Decision | None) -> dg.MaterializeResult:
    metadata = told_metadata(workspace, step, outcome.version, outcome.page)
    results = [_check_result(step, check) for check in outcome.page.checks]
    if decision is not None:
        metadata["promotion"] = f"{decision.verdict}: {decision.why}"
        results.append(_promotion_result(step, decision))
    return dg.MaterializeResult(data_version=dg.DataVersion(outcome.version), metadata=metadata, check_results=results)


def _check_specs(step: Step, operating: Operating) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset_key(step.key),
            blocking=refuses(name, operating.checks),
            description=KINDS[name].description,
        )
        for name in names_of(step.kind)
    ]


def _check_result(step: Step, check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(**check_told(step, check))


def _promotion_spec(step: Step) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        PROMOTION,
        asset=asset_key(step.key),
        description="On no task worse than the current model, nor than the best, by more than the margin, on the "
        "same folds; else the current one stays.",
    )


def _promotion_result(step: Step, decision: Decision) -> dg.AssetCheckResult:
    rows = [
        dg.TableRecord(
            {
                "task": task.task, "against": task.against, "metric": task.metric,
                "folds": len(task.folds), "items": task.items, "worse by": task.worse_by, "margin": task.margin,
            }
        )
        for task in decision.tasks
    ]  # fmt: skip
    return dg.AssetCheckResult(
        asset_key=asset_key(step.key),
        check_name=PROMOTION,
        passed=decision.promoted,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{decision.verdict}: {decision.why}",
        metadata={
            "candidate": decision.candidate,
            "current before": decision.current or "none",
            **({"comparison": dg.MetadataValue.table(rows)} if rows else {}),
        },
    )


def road_job() -> dg.JobDefinition:
    """For `dagster.reconstructable`, which a step's own process uses to find its job again."""
    return defs.resolve_job_def("road")


_workspace = find_workspace()
_workspace.prepare()
defs = build_definitions(_workspace)

__all__ = ["ONLY_STALE_TAG", "asset_key", "build_definitions", "defs", "road_job"]
