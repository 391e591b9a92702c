"""The DVC side of the table of steps: `dvc.yaml` from it, `dvc.lock` read back, and a finished step recorded.

`dvc.lock` is what freshness is decided by: a step is fresh when its command, its inputs, its code, its parameters and
its output are those that the lock recorded. Dagster is told of the same versions, so the two always agree.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmn.data.errors import MmnError, StaleInputError
from mmn.data.files import write_bytes
from mmn.orchestration.code import code_files
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import section
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

HEADER = "# Made from the table of steps (mmn/orchestration/steps.py) by `mmn stages`; edits here are overwritten.\n"


def render_stages(steps: Mapping[str, Step], params: Mapping[str, Any]) -> str:
    """The text of `dvc.yaml`."""
    return HEADER + yaml.safe_dump(
        {"stages": {step.stage: _stage(step, steps, params) for step in steps.values()}}, sort_keys=False, width=120
    )


def write_stages(workspace: Workspace, steps: Mapping[str, Step]) -> bool:
    """Bring `dvc.yaml` up to the table; True if it had to change. Without any raw data there is no table to write."""
    if not steps:
        return False
    path = workspace.root / "dvc.yaml"
    text = render_stages(steps, workspace.params)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_bytes(path, text.encode())
    return True


def _stage(step: Step, steps: Mapping[str, Step], params: Mapping[str, Any]) -> dict[str, Any]:
    stage: dict[str, Any] = {"cmd": f"mmn step {step.key}", "deps": dep_paths(step, steps)}
    if sections := present_sections(step, params):
        stage["params"] = sections
    stage["outs"] = [step.out]
    return stage


def dep_paths(step: Step, steps: Mapping[str, Step]) -> list[str]:
    """What the step reads: other steps' outputs, the raw folder (for a manifest), and code."""
    raw = [f"raw/{step.raw}"] if step.kind == "raw" else []
    return [*raw, *(steps[key].out for key in step.deps), *code_files(step.modules)]


def present_sections(step: Step, params: Mapping[str, Any]) -> list[str]:
    return [dotted for dotted in step.sections if section(dict(params), dotted)]


def code_version(workspace: Workspace, step: Step) -> str:
    """From the code's bytes and the parameters alone, so that it can be recomputed from `dvc.lock`."""
    code = {path: workspace.hashes.version_of(workspace.root / path) for path in code_files(step.modules)}
    return code_version_from(
        code, {dotted: section(workspace.params, dotted) for dotted in present_sections(step, workspace.params)}
    )


def code_version_from(code: Mapping[str, str], params: Mapping[str, Any]) -> str:
    text = json.dumps([sorted(code.items()), params], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lock(workspace: Workspace) -> dict[str, Any]:
    """Stage name -> its entry in `dvc.lock`; {} where nothing was recorded yet."""
    path = workspace.root / "dvc.lock"
    if not path.exists():
        return {}
    return (
        yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    ).get("stages", {})


def why_stale(workspace: Workspace, step: Step, steps: Mapping[str, Step], lock: Mapping[str, Any]) -> str | None:
    """Why the step must run, in words; None if what is there is what it would make."""
    entry = lock.get(step.stage)
    out = workspace.root / step.out
    if entry is None:
        return "never recorded" if out.exists() else "not made yet"
    if not out.exists():
        return "its output is gone"
    if entry["cmd"] != f"mmn step {step.key}":
        return "its command changed"
    recorded = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    wanted = dep_paths(step, steps)
    if changed := sorted(set(recorded) ^ set(wanted)):
        return f"its inputs are others now: {changed[0]}"
    for path in wanted:
        if not (workspace.root / path).exists():
            return f"{path} is not made yet"
        if workspace.hashes.version_of(workspace.root / path) != recorded[path]:
            return f"{path} changed"
    recorded_params = entry.get("params", {}).get(PARAMS_FILE, {})
    current = {dotted: section(workspace.params, dotted) for dotted in present_sections(step, workspace.params)}
    if recorded_params != current:
        names = sorted(name for name in {*recorded_params, *current} if recorded_params.get(name) != current.get(name))
        return f"{PARAMS_FILE}: {', '.join(names)} changed"
    if workspace.hashes.version_of(out) != entry["outs"][0]["md5"]:
        return "its output was changed by hand"
    return None


def record(workspace: Workspace, step: Step, inputs: Mapping[str, str], version: str) -> None:
    """Record a finished step in `dvc.lock` and DVC's cache, unless `dvc repro` is our parent and does so itself.

    Waits for DVC's lock, so that two steps that end together both get recorded. Raises StaleInputError where an input
    changed while the step ran.
    """
    if os.environ.get("DVC_STAGE"):
        return
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # its hints speak of a command line that nobody typed
    with Repo(str(workspace.root), _wait_for_lock=True) as repo:
        repo.commit(step.stage, force=True)
    entry = read_lock(workspace)[step.stage]
    recorded = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    for path, seen in inputs.items():
        if recorded.get(path) != seen:
            raise StaleInputError(f"{step.key}: {path} changed while the step ran. Run it again.")
    if entry["outs"][0]["md5"] != version:
        raise MmnError(f"{step.key}: DVC and the step disagree on the version of {step.out}. Run it again.")


def ensure_dvc(root: Path) -> None:
    """`dvc init` where it has not been done; analytics off."""
    if (root / ".dvc" / "config").exists():
        return
    from dvc.repo import Repo

    Repo.init(str(root), no_scm=not (root / ".git").exists()).close()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    autostage = false\n")
