"""`mmn run --each` for the UI: all that is stale of a data set, or of a selection of it, in many runs.

One sensor per data set, switched off at first. At each look, when its last run has ended, it asks for the next one:
what the models need, each model alone, what is made from models. One that fails leaves the others' runs whole. Its
cursor, which a person edits on the sensor's page, is a selection as in the catalog; without one all of it is meant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._check import CheckError

from mmn.data.errors import ParamsError
from mmn.orchestration.dvc_pipeline import read_lock
from mmn.orchestration.schedules import ONLY_STALE_TAG, of_dataset, what_would_run, with_inputs
from mmn.orchestration.sensors import changed_sources, fingerprint
from mmn.orchestration.steps import Step
from mmn.orchestration.under_way import UNDER_WAY, asset_key, who_makes
from mmn.orchestration.workspace import Workspace

DATASET_TAG, PART_TAG = "mmn/one_by_one", "mmn/part"
_SECONDS = 30


def one_by_one(workspace: Workspace, steps: Mapping[str, Step]) -> list[dg.SensorDefinition]:
    datasets = dict.fromkeys(step.dataset for step in steps.values() if step.kind == "model")
    return [_sensor(workspace, steps, name) for name in datasets]


def _sensor(workspace: Workspace, steps: Mapping[str, Step], name: str) -> dg.SensorDefinition:
    wanted = [*of_dataset(steps, name), *(key for key in ("report",) if key in steps)]

    @dg.sensor(
        name=f"one_by_one_{name}",
        asset_selection=dg.AssetSelection.assets(*map(asset_key, wanted)),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"What is stale of {name} in many runs: what models need, each model, what is made from them. "
        'Its cursor may be a selection, such as tag:"mmn/architecture"="multimodn": then that, and what it needs.',
    )
    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now, mine = Workspace(workspace.root), {DATASET_TAG: name}
        if context.instance.get_runs(dg.RunsFilter(tags=mine, statuses=list(UNDER_WAY)), limit=1):
            return dg.SkipReason("The run before has not ended.")
        try:
            chosen = _chosen(context, steps, wanted)
        except ParamsError as error:
            return dg.SkipReason(str(error))
        why = what_would_run(now, steps, chosen)
        failed = []
        for part in parts(now, steps, why):
            tags = {**mine, PART_TAG: _fingerprint(now, steps, part)}
            if context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1):
                failed.append(part[0])
                continue
            if (told := who_makes(context.instance, part)) is not None:
                return dg.SkipReason(told)
            because = f"{part[0]}: {why[part[0]]}"[:250]
            return dg.RunRequest(
                asset_selection=list(map(asset_key, part)),
                tags={**tags, ONLY_STALE_TAG: "true", "mmn/because": because},
            )
        if failed:
            return dg.SkipReason(
                f"{', '.join(failed)}: not made by their runs, and nothing that they read has changed since. See those "
                "runs; what you materialise yourself is tried again."
            )
        what = f"the {len(chosen)} steps of the selection" if context.cursor else name
        return dg.SkipReason(f"Nothing of {what} is stale." if not why else "What is stale waits for other data sets.")

    return look


def _chosen(context: dg.SensorEvaluationContext, steps: Mapping[str, Step], all_of_it: Sequence[str]) -> list[str]:
    """What the cursor selects, and all that it is made from. Raises ParamsError for what is no selection or selects
    nothing here."""
    if not context.cursor:
        return list(all_of_it)
    assert context.repository_def is not None
    try:
        selected = dg.AssetSelection.from_string(context.cursor).resolve(context.repository_def.asset_graph)
    except (dg.DagsterError, CheckError, NotImplementedError) as error:  # the last: what only the catalog knows
        raise ParamsError(
            f"The cursor, {context.cursor!r}, is no selection by key, group, kind or tag. Edit it on the sensor's page."
        ) from error
    keys = {key.to_user_string() for key in selected} & set(all_of_it)
    if not keys:
        raise ParamsError(f"The cursor, {context.cursor!r}, selects nothing here. Edit it on the sensor's page.")
    return with_inputs(steps, keys)


def parts(workspace: Workspace, steps: Mapping[str, Step], why: Mapping[str, str]) -> Iterator[list[str]]:
    """Of what is stale what can be made now, as `mmn run --each` would split it: all that it reads is fresh or made in
    the same run."""
    from mmn.orchestration.run import one_per_model  # with it come bars and colours, which loading needs not

    for part in one_per_model(steps, [key for key in steps if key in why]):
        kept: list[str] = []
        for key in part:
            deps = [dep for dep in steps[key].deps if dep not in kept]
            if all(dep not in why and (workspace.root / steps[dep].out).exists() for dep in deps):
                kept.append(key)
        if kept:
            yield kept


def _fingerprint(workspace: Workspace, steps: Mapping[str, Step], part: list[str]) -> str:
    """Of all that decides what a run would make: the same is asked for once, whatever became of that run."""
    changed = changed_sources(workspace, {key: steps[key] for key in part})
    lock, digest = read_lock(workspace), hashlib.sha256(fingerprint(workspace, steps, part, changed).encode())
    for key in part:
        read = [(lock.get(steps[dep].stage) or {}).get("outs") for dep in steps[key].deps]
        digest.update(f"{key} {read}\n".encode())
    return digest.hexdigest()[:16]
