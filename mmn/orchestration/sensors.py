"""New or changed raw files lead to a run of exactly what depends on them. One sensor per raw folder, switched off at
first. A look compares sizes and modification times with what the manifest was made from; it reads no file."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from mmn.data.files import read_json
from mmn.data.manifest import files_of
from mmn.orchestration.code import code_files
from mmn.orchestration.dvc_pipeline import code_version
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.operating import NewFiles
from mmn.orchestration.steps import Step, active_datasets, build_steps
from mmn.orchestration.under_way import asset_key, who_makes
from mmn.orchestration.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs from a source's manifest. fingerprint: of names, sizes and times. newest: modification time of the
    youngest changed file, 0 where files are only gone."""

    new: int
    changed: int
    gone: int
    fingerprint: str
    newest: float

    @property
    def told(self) -> str:
        counts = (("new", self.new), ("changed", self.changed), ("gone", self.gone))
        return "raw files: " + ", ".join(f"{count} {what}" for what, count in counts if count)


def changed_sources(workspace: Workspace, steps: Mapping[str, Step]) -> dict[str, Change]:
    """Of the raw steps among `steps` that have a manifest. A file counts as unchanged if its size, time and inode are
    those with which the manifest's hash was taken."""
    found = {}
    for step in steps.values():
        manifest = workspace.root / step.out
        if step.kind != "raw" or step.raw is None or not manifest.exists():
            continue
        change = _change(workspace, workspace.raw(step.raw), step, read_json(manifest))
        if change is not None:
            found[step.key] = change
    return found


def _change(workspace: Workspace, raw: Any, step: Step, manifest: Mapping[str, Any]) -> Change | None:
    recorded = {entry["path"]: entry["md5"] for entry in manifest["files"]}
    files = {path.relative_to(raw).as_posix(): path for path in files_of(raw, step.options["patterns"])}
    known = workspace.hashes.known(files.values())
    new = files.keys() - recorded.keys()
    gone = recorded.keys() - files.keys()
    changed = {
        name for name, path in files.items() if name in recorded and known.get(path, {}).get("md5") != recorded[name]
    }
    if not (new or gone or changed):
        return None
    digest = hashlib.sha256("\n".join(sorted(gone)).encode())
    newest = 0.0
    for name in sorted(new | changed):
        stat = files[name].stat()
        digest.update(f"\0{name}:{stat.st_size}:{stat.st_mtime_ns}".encode())
        newest = max(newest, stat.st_mtime)
    return Change(
        new=len(new), changed=len(changed), gone=len(gone), fingerprint=digest.hexdigest()[:16], newest=newest
    )


def why_raw_stale(workspace: Workspace, step: Step, steps: Mapping[str, Step], lock: Mapping[str, Any]) -> str | None:
    """As `why_stale`, of a raw step whose files are known to be unchanged."""
    entry = lock.get(step.stage)
    if entry is None:
        return "never recorded"
    if not (workspace.root / step.out).exists():
        return "its output is gone"
    recorded = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    code = code_files(step.modules, step.tables)
    if changed := [p for p in code if workspace.hashes.version_of(workspace.root / p) != recorded.get(p)]:
        return f"{changed[0]} changed"
    return None


def downstream(steps: Mapping[str, Step], keys: Iterable[str]) -> list[str]:
    """The keys and all that is made from them, in the table's order."""
    found = set(keys)
    for step in steps.values():
        if found.intersection(step.deps):
            found.add(step.key)
    return [key for key in steps if key in found]


def beside(steps: Mapping[str, Step], keys: Iterable[str]) -> list[str]:
    """The other pins of the raw folders of these: each records the folder's version, so all are pinned anew. It costs
    no reading, and what their own files lead to stays as it is."""
    folders = {steps[key].raw for key in keys if steps[key].kind == "raw"}
    return [key for key, step in steps.items() if step.kind == "raw" and step.raw in folders]


def only_makeable(workspace: Workspace, steps: Mapping[str, Step], keys: Iterable[str]) -> list[str]:
    """Without steps that read what was never made and is not about to be: a report of data sets never walked."""
    wanted, kept = set(keys), []
    for step in steps.values():
        if step.key in wanted and all(dep in kept or (workspace.root / steps[dep].out).exists() for dep in step.deps):
            kept.append(step.key)
    return kept


def freshness_of(step: Step, settings: NewFiles) -> dg.FreshnessPolicy | None:
    """Of raw files alone: what is made from them is as fresh as they are, however long ago it was made."""
    if settings.expected_days is None or step.kind != "raw":
        return None
    return dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(days=settings.expected_days))


def fingerprint(
    workspace: Workspace, steps: Mapping[str, Step], keys: Iterable[str], changes: Mapping[str, Change]
) -> str:
    """Of what a run of these steps would be asked for: the same is asked for once, whatever became of that run, until
    code, parameters or `operating.yaml` change.

    The same files may go, come back and go again: of each such change the manifest was written at another time.
    """
    digest = hashlib.sha256()
    for key, change in sorted(changes.items()):
        written = (workspace.root / steps[key].out).stat().st_mtime_ns
        digest.update(f"{key} {change.fingerprint} {written}\n".encode())
    for key in sorted(keys):
        digest.update(f"{key} {code_version(workspace, steps[key])}\n".encode())
    operating = workspace.root / OPERATING_FILE
    digest.update(operating.read_bytes() if operating.exists() else b"")
    return digest.hexdigest()[:16]


def sensors_of(
    workspace: Workspace, steps: Mapping[str, Step], settings: NewFiles, *, pins_only: bool = False
) -> list[dg.SensorDefinition]:
    """pins_only: what follows from new pins is left to `automation`."""
    raw_names = dict.fromkeys(step.raw for step in steps.values() if step.kind == "raw" and step.raw is not None)
    return [_sensor(workspace, steps, name, settings, pins_only) for name in raw_names]


def _sensor(
    workspace: Workspace, steps: Mapping[str, Step], name: str, settings: NewFiles, pins_only: bool
) -> dg.SensorDefinition:
    from mmn.orchestration.schedules import ONLY_STALE_TAG

    pins = {key: step for key, step in steps.items() if step.kind == "raw" and step.raw == name}

    @dg.sensor(
        name=f"new_files_{name}",
        asset_selection=dg.AssetSelection.assets(*map(asset_key, downstream(steps, pins))),
        minimum_interval_seconds=settings.seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.running else dg.DefaultSensorStatus.STOPPED,
        description=f"New or changed {name} files: "
        + ("pin them; follow_changes runs what depends on them." if pins_only else "run exactly what depends on them."),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = Workspace(workspace.root)
        if build_steps(active_datasets(now)).keys() != steps.keys():
            return dg.SkipReason("The raw files allow other steps than before: reload the code location in the UI.")
        changes = changed_sources(now, pins)
        if not changes:
            return dg.SkipReason(f"No file of {len(pins)} sources changed.")
        age = time.time() - max(change.newest for change in changes.values())
        if age < settings.settled_seconds:
            return dg.SkipReason(f"A file is {max(age, 0):.0f} s old and may still be written; looking again later.")
        follows = list(changes) if pins_only else downstream(steps, changes)
        # The report is of all data sets: what makes it for another one is no reason to wait.
        if (told := who_makes(context.instance, (key for key in follows if steps[key].kind != "report"))) is not None:
            return dg.SkipReason(told)
        selection = only_makeable(now, steps, [*follows, *beside(steps, changes)])
        first = next(iter(changes))
        return dg.RunRequest(
            run_key=f"{','.join(changes)}:{fingerprint(now, steps, follows, changes)}",
            asset_selection=[asset_key(key) for key in selection],
            tags={ONLY_STALE_TAG: "true", "mmn/because": f"{first}: {changes[first].told}"[:250]},
        )

    return look
