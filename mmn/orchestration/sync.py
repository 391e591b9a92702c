"""Telling Dagster what DVC recorded: after `dvc pull`, `dvc checkout` or a run-cache hit nothing ran there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mmn.orchestration.dvc_pipeline import code_version_from, read_lock
from mmn.orchestration.made import Page, recall
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.presentation import check_told, lineage_metadata, told_metadata
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

DATA_VERSION = "dagster/data_version"
USER_PROVIDED = "dagster/data_version_is_user_provided"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version"
INPUT_POINTER = "dagster/input_event_pointer"


def event_tags(instance: dg.DagsterInstance, key: str) -> dict[str, str]:
    """The tags of the latest materialisation of an asset; {} where there is none."""
    entry = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    materialization = entry.asset_materialization if entry else None
    return dict(materialization.tags or {}) if materialization else {}


def known_version(instance: dg.DagsterInstance, key: str) -> str | None:
    return event_tags(instance, key).get(DATA_VERSION)


def sync(instance: dg.DagsterInstance, workspace: Workspace, steps: Mapping[str, Step]) -> list[str]:
    """Report to Dagster each recorded output that is on disk and that it does not know so; the keys reported.

    Walks in order, so that an asset's event points at the newest events of its inputs.
    """
    lock = read_lock(workspace)
    reported = []
    for step in steps.values():
        entry = lock.get(step.stage)
        path = workspace.root / step.out
        if entry is None or not path.exists():
            continue
        version = entry["outs"][0]["md5"]
        if workspace.hashes.version_of(path) != version:
            continue
        by_path = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
        code = {name: md5 for name, md5 in by_path.items() if name.endswith(".py")}
        wanted = {
            DATA_VERSION: version,
            USER_PROVIDED: "true",
            CODE_VERSION: code_version_from(code, entry.get("params", {}).get(PARAMS_FILE, {})),
        }
        pointers = {}
        for dep in step.deps:
            wanted[f"{INPUT_VERSION}/{dep}"] = by_path.get(steps[dep].out, "")
            record = instance.get_latest_data_version_record(dg.AssetKey(dep.split("/")))
            if record is not None:
                pointers[f"{INPUT_POINTER}/{dep}"] = str(record.storage_id)
        have = event_tags(instance, step.key)
        if all(have.get(name) == value for name, value in wanted.items()):
            continue
        page = recall(workspace.checks, step.stage, version)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=dg.AssetKey(step.key.split("/")),
                metadata={**_told(workspace, step, version, page), "recorded by": "dvc.lock"},
                tags={**wanted, **pointers},
            )
        )
        for check in page.checks:
            instance.report_runless_asset_event(dg.AssetCheckEvaluation(**check_told(step, check)))
        reported.append(step.key)
    return reported


def _told(workspace: Workspace, step: Step, version: str, page: Page) -> dict[str, Any]:
    try:
        return told_metadata(workspace, step, version, page)
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        # Recorded by code of another day, whose files, cards and tables were others; its lineage is as good.
        why = f"written by other code, which this one does not read ({type(error).__name__}); `mmn run` makes it anew"
        return {**lineage_metadata(workspace, step, version), "version": version, "counts and tables": why}
