"""Retraining by the calendar, or by Dagster's conditions. All of it starts switched off; `operating.yaml` says when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from mmn.orchestration.dvc_pipeline import read_lock, why_stale
from mmn.orchestration.operating import Automation, Operating
from mmn.orchestration.sensors import beside, changed_sources, only_makeable, why_raw_stale
from mmn.orchestration.steps import Active, Step
from mmn.orchestration.under_way import asset_key, who_makes
from mmn.orchestration.workspace import Workspace

# A run with this tag walks only what is stale when its turn comes; `mmn run`, schedules and sensors set it.
ONLY_STALE_TAG = "mmn/only_stale"
# Follow their inputs at once under `automation`; the rest waits for its cron.
_FOLLOWS_AT_ONCE = {"prepared", "cohort", "features", "autoencoder"}


def road_job_of(steps: Mapping[str, Step]) -> list[Any]:
    """None where there is no raw data yet: a job of no asset is refused."""
    return (
        [dg.define_asset_job("road", selection=dg.AssetSelection.all(), description="The whole road.")] if steps else []
    )


def _retrain_job(steps: Mapping[str, Step], name: str) -> Any:
    return dg.define_asset_job(
        f"retrain_{name}",
        selection=dg.AssetSelection.assets(*map(asset_key, [*of_dataset(steps, name), *_report(steps)])),
        description=f"What is stale of {name}, and the report.",
        tags={ONLY_STALE_TAG: "true"},
    )


def schedules_of(
    workspace: Workspace, steps: Mapping[str, Step], active: Mapping[str, Active], operating: Operating
) -> list[dg.ScheduleDefinition]:
    return [_schedule(workspace, steps, name, operating) for name in active]


def _schedule(
    workspace: Workspace, steps: Mapping[str, Step], name: str, operating: Operating
) -> dg.ScheduleDefinition:
    settings = operating.schedule(name)

    @dg.schedule(
        name=f"retrain_{name}",
        job=_retrain_job(steps, name),
        cron_schedule=settings.cron,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Bring {name} up to date: only what is stale runs; nothing stale, no run.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        why = what_would_run(Workspace(workspace.root), steps, of_dataset(steps, name))
        if not why:
            return dg.SkipReason(f"Nothing of {name} is stale.")
        if (told := who_makes(context.instance, why)) is not None:
            return dg.SkipReason(told)
        selection = only_makeable(workspace, steps, [*why, *beside(steps, why), *_report(steps)])
        first = next(iter(why))
        return dg.RunRequest(
            asset_selection=[asset_key(key) for key in selection],
            tags={ONLY_STALE_TAG: "true", "mmn/because": f"{first}: {why[first]}"[:250]},
        )

    return tick


def what_would_run(workspace: Workspace, steps: Mapping[str, Step], wanted: Iterable[str]) -> dict[str, str]:
    """Step -> why, in order; what follows from another is in it too. Looks at raw files' sizes and times and reads
    none, so it is quick enough for a schedule's tick."""
    wanted, lock = set(wanted), read_lock(workspace)
    changed = changed_sources(workspace, {key: steps[key] for key in wanted})
    why: dict[str, str] = {}
    for step in steps.values():
        if step.key not in wanted:
            continue
        if follows := [dep for dep in step.deps if dep in why]:
            why[step.key] = f"{follows[0]} may change"
        elif step.kind == "raw":
            reason = changed[step.key].told if step.key in changed else why_raw_stale(workspace, step, steps, lock)
            if reason is not None:
                why[step.key] = reason
        elif (reason := why_stale(workspace, step, steps, lock)) is not None:
            why[step.key] = reason
    return why


def of_dataset(steps: Mapping[str, Step], name: str) -> list[str]:
    """Everything of a data set and all that it is made from, in the table's order; not the report, which is of all."""
    return with_inputs(steps, (step.key for step in steps.values() if step.dataset == name))


def with_inputs(steps: Mapping[str, Step], keys: Iterable[str]) -> list[str]:
    """These and all that they are made from, in the table's order."""
    waiting, found = list(keys), set[str]()
    while waiting:
        if (key := waiting.pop()) not in found:
            found.add(key)
            waiting.extend(steps[key].deps)
    return [key for key in steps if key in found]


def _report(steps: Mapping[str, Step]) -> list[str]:
    return ["report"] if "report" in steps else []


def condition_of(step: Step, settings: Automation) -> dg.AutomationCondition | None:
    if not settings.enabled or step.kind == "raw":
        return None
    if step.kind in _FOLLOWS_AT_ONCE:
        return dg.AutomationCondition.eager()
    return dg.AutomationCondition.on_cron(settings.cron, settings.timezone) & ~dg.AutomationCondition.in_progress()


def automation(settings: Automation) -> list[dg.SensorDefinition]:
    if not settings.enabled:
        return []
    running = dg.DefaultSensorStatus.RUNNING if settings.running else dg.DefaultSensorStatus.STOPPED
    return [
        dg.AutomationConditionSensorDefinition(
            "follow_changes",
            target=dg.AssetSelection.all(),
            default_status=running,
            run_tags={ONLY_STALE_TAG: "true"},
            description=f"Data follows at once; models and results at {settings.cron} ({settings.timezone}). Raw files "
            "are looked at by the sensors new_files_...: switch them on too.",
        )
    ]
