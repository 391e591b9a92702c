"""The DVC side of the table of steps: `dvc.yaml` from it, `dvc.lock` read back, and a finished step recorded.

`dvc.lock` is what freshness is decided by: a step is fresh when its command, its inputs, its code, its parameters and
its output are those that the lock recorded. Dagster is told of the same versions, so the two always agree.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mmn.data.errors import StaleInputError
from mmn.data.files import md5_of_file, write_bytes
from mmn.orchestration.actions import dvc_files
from mmn.orchestration.code import code_files
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import section
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

# The C parser where PyYAML has it: the lock is read by every step.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BASE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Dumper(_BASE_DUMPER):
    def ignore_aliases(self, data: Any) -> bool:
        return True


HEADER = "# Made from the table of steps (mmn/orchestration/steps.py) by `mmn stages`; edits here are overwritten.\n"


def render_stages(steps: Mapping[str, Step], params: Mapping[str, Any]) -> str:
    """The text of `dvc.yaml`: the stages, and which files of the scores DVC shows as metrics and plots."""
    text: dict[str, Any] = {"stages": {step.stage: _stage(step, steps, params) for step in steps.values()}}
    if scores := [step for step in steps.values() if step.kind == "scores"]:
        text["metrics"] = [f"{step.out}/{dvc_files.METRICS}" for step in scores]
        text["plots"] = [plot for step in scores for plot in dvc_files.plots(step.out, _models_of(step))]
    return HEADER + yaml.dump(text, Dumper=Dumper, sort_keys=False, width=120)


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


def refresh_stages(workspace: Workspace, step: Step, steps: Mapping[str, Step]) -> None:
    """Before a step runs: `dvc.yaml` as the table is now, as `params.yaml` may have got a section since.

    Raises StaleInputError inside `dvc repro` where DVC had read another stage for the step: it would record that one.
    """
    path = workspace.root / "dvc.yaml"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if not write_stages(workspace, steps) or not os.environ.get("DVC_STAGE"):
        return
    listed = ((yaml.load(before, Loader=LOADER) or {}).get("stages") or {}).get(step.stage)
    if listed != _stage(step, steps, workspace.params):
        raise StaleInputError(
            f"{step.key}: dvc.yaml did not list what this step reads now (a section that {PARAMS_FILE} has got, or "
            "code). It is brought up to date; type `dvc repro` again."
        )


def _stage(step: Step, steps: Mapping[str, Step], params: Mapping[str, Any]) -> dict[str, Any]:
    stage: dict[str, Any] = {"cmd": f"mmn step {step.key}", "deps": dep_paths(step, steps)}
    if sections := present_sections(step, params):
        stage["params"] = sections
    stage["outs"] = [step.out]
    return stage


def _models_of(step: Step) -> list[str]:
    return [key for key in step.deps if key.startswith("models/")]


def dep_paths(step: Step, steps: Mapping[str, Step]) -> list[str]:
    """What the step reads: other steps' outputs, the raw folder (for a manifest), and code."""
    raw = [f"raw/{step.raw}"] if step.kind == "raw" else []
    return [*raw, *(steps[key].out for key in step.deps), *code_files(step.modules, step.tables)]


def present_sections(step: Step, params: Mapping[str, Any]) -> list[str]:
    return [dotted for dotted in step.sections if section(dict(params), dotted)]


def code_version(workspace: Workspace, step: Step) -> str:
    """From the code's bytes and the parameters alone, so that it can be recomputed from `dvc.lock`."""
    files = {path: workspace.root / path for path in code_files(step.modules, step.tables)}
    code = {path: _md5_of_code(file, file.stat().st_mtime_ns) for path, file in files.items()}
    return code_version_from(
        code, {dotted: section(workspace.params, dotted) for dotted in present_sections(step, workspace.params)}
    )


@cache
def _md5_of_code(file: Path, changed: int) -> str:
    return md5_of_file(file)


def code_version_from(code: Mapping[str, str], params: Mapping[str, Any]) -> str:
    text = json.dumps([sorted(code.items()), params], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lock(workspace: Workspace) -> dict[str, Any]:
    """Stage name -> its entry in `dvc.lock`; {} where nothing was recorded yet."""
    path = workspace.root / "dvc.lock"
    if not path.exists():
        return {}
    return (yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) or {}).get("stages", {})


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

    `dvc commit` would do, but parses every YAML of a large pipeline in pure Python, eight times: four seconds a step.
    Here DVC's own library fills the cache, under DVC's own lock, and the entry is written as DVC writes it. Waits for
    the lock, so that two steps that end together both get recorded. Raises StaleInputError where an input changed
    while the step ran.
    """
    if os.environ.get("DVC_STAGE"):
        return
    from dvc.repo import Repo

    with Repo(str(workspace.root), _wait_for_lock=True) as repo, repo.lock:
        entry = entry_of(workspace, step, inputs)
        for dep in entry["deps"]:
            if dep["md5"] != inputs[dep["path"]]:
                raise StaleInputError(f"{step.key}: {dep['path']} changed while the step ran. Run it again.")
        if _save_to_cache(repo, workspace.root / step.out) != version or entry["outs"][0]["md5"] != version:
            raise StaleInputError(f"{step.key}: {step.out} changed while it was recorded. Run it again.")
        write_lock(workspace, {**read_lock(workspace), step.stage: entry})


def entry_of(workspace: Workspace, step: Step, inputs: Iterable[str]) -> dict[str, Any]:
    """What `dvc.lock` says of the step, from what is on disk now. inputs: the paths that it read."""
    params = {dotted: section(workspace.params, dotted) for dotted in sorted(present_sections(step, workspace.params))}
    entry: dict[str, Any] = {
        "cmd": f"mmn step {step.key}",
        "deps": [_described(workspace, path) for path in sorted(inputs)],
    }
    if params:
        entry["params"] = {PARAMS_FILE: params}
    return entry | {"outs": [_described(workspace, step.out)]}


def write_lock(workspace: Workspace, stages: Mapping[str, Any]) -> None:
    """Whoever calls holds DVC's lock."""
    text = yaml.dump({"schema": "2.0", "stages": dict(stages)}, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    write_bytes(workspace.root / "dvc.lock", text.encode())


def _described(workspace: Workspace, path: str) -> dict[str, Any]:
    """As DVC writes a dependency or an output into `dvc.lock`."""
    there = workspace.root / path
    files = [there] if there.is_file() else [file for file in there.rglob("*") if file.is_file()]
    entry: dict[str, Any] = {"path": path, "hash": "md5", "md5": workspace.hashes.version_of(there)}
    entry["size"] = sum(file.stat().st_size for file in files)
    return entry if there.is_file() else entry | {"nfiles": len(files)}


def _save_to_cache(repo: Any, path: Path) -> str:
    """Copy an output into DVC's cache; its version as DVC computes it."""
    from dvc.fs import localfs
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer

    cache = repo.cache.local
    staging, _, made = build(cache, str(path), localfs, "md5", ignore=repo.dvcignore)
    transfer(staging, cache, {made.hash_info}, shallow=False)
    return str(made.hash_info.value)


def ensure_dvc(root: Path) -> None:
    """`dvc init` where it has not been done; analytics off. In git, what a clone needs is staged, as DVC does."""
    if (root / ".dvc" / "config").exists():
        return
    from dvc.repo import Repo

    in_git = (root / ".git").exists()
    with Repo.init(str(root), no_scm=not in_git) as repo:
        with repo.config.edit("repo") as settings:
            # What `dvc init` wrote there stays: without git it says so (`core.no_scm`), and no command works else.
            settings["core"] |= {"analytics": False, "autostage": False}
            settings["plots"]["out_dir"] = ".mmn/dvc_plots"
        if in_git:
            staged = [name for name in (".dvc/config", ".gitignore") if (root / name).exists()]
            repo.scm.add([str(root / name) for name in staged])
