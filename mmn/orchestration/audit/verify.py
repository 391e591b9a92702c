"""What `verify` adds: every byte is read again, and compared with what was recorded of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmn.data.files import md5_of_file, version_of
from mmn.orchestration.audit.artifact import Artifact, cache_folder, changed_files
from mmn.orchestration.audit.finding import Finding, Severity
from mmn.orchestration.audit.lock import Entry, key_of
from mmn.orchestration.audit.snapshot import Snapshot
from mmn.orchestration.audit.stale import changed_code_of


def check_bytes(snapshot: Snapshot, entry: Entry, artifact: Artifact, sha256s: set[str]) -> Iterator[Finding]:
    """sha256s: what the journal recorded of this version."""

    def fault(message: str) -> Finding:
        return Finding(severity="fault", code="bytes", key=entry.key, place=artifact.place, message=message)

    now = artifact.version
    if now != entry.version:
        names = changed_files(cache_folder(snapshot.root), entry.version, artifact)
        files = f" ({', '.join(names[:5])}{' and more' if len(names) > 5 else ''})" if names else ""
        yield fault(f"its bytes{files} have version {now}, dvc.lock recorded {entry.version}: it was changed by hand")
    if entry.out.get("size", artifact.size) != artifact.size:
        yield fault(f"it holds {artifact.size} bytes, dvc.lock recorded {entry.out['size']}")
    if artifact.folder and entry.out.get("nfiles", len(artifact.files)) != len(artifact.files):
        yield fault(f"it holds {len(artifact.files)} files, dvc.lock recorded {entry.out['nfiles']}")
    if now == entry.version and sha256s and artifact.sha256 not in sha256s:
        yield fault("its MD5 is as recorded, its SHA-256 is not that of the journal: it was replaced on purpose")
    entries = snapshot.entries
    for path, dep in entry.deps.items():
        source = entries.get(key_of(path)) if path.startswith("artifacts/") else None
        if source is None or source.path != path or source.version != dep["md5"]:
            continue
        if any(dep.get(name) != source.out.get(name) for name in ("size", "nfiles")):
            yield Finding(
                severity="fault", code="lock-entry", key=entry.key, place=f"dvc.lock, {entry.stage}",
                message=f"its input {path} has another size than the same version where it was made",
            )  # fmt: skip


def check_code(snapshot: Snapshot, entry: Entry, *, vouched: bool) -> Iterator[Finding]:
    place = f"dvc.lock, {entry.stage}"
    if not snapshot.has_code:
        yield Finding(
            severity="missing", code="code", key=entry.key, place="mmn/", message="the code is not here to compare with"
        )
        return
    for path in changed_code_of(snapshot, entry):
        # Vouched for, it is known to have changed since: the artifact is stale, and the audit says so elsewhere.
        if vouched or (snapshot.commit is not None and snapshot.md5_of_code(path) is None):
            continue
        message = f"{path} is other than recorded: it changed since, or the record was changed; no witness tells which"
        yield Finding(severity="fault", code="lock-entry", key=entry.key, place=place, message=message)
    for path, md5 in entry.code.items():
        known, told = snapshot.code(path), entry.deps[path].get("size")
        if known and known[0] == md5 and told is not None and told != known[1]:
            message = f"the recorded size of {path} is not that of the same bytes"
            yield Finding(severity="fault", code="lock-entry", key=entry.key, place=place, message=message)


def check_raw(snapshot: Snapshot, entry: Entry, artifact: Artifact | None, *, vouched: bool) -> Iterator[Finding]:
    """The raw files of a manifest, against the files that are there."""
    for path in entry.raw:
        there = snapshot.root / path
        if not there.is_dir():
            message = "the raw files are not here to compare with"
            yield Finding(severity="missing", code="raw", key=entry.key, place=path, message=message)
            continue
        differing = _differing(there, artifact) if artifact is not None else []
        severity: Severity = "note" if snapshot.commit else "fault"
        for name in differing[:10]:
            yield Finding(
                severity=severity, code="raw", key=entry.key, place=f"{path}/{name}",
                message="is other than the manifest says: it changed since, or was damaged",
            )  # fmt: skip
        if len(differing) > 10:
            message = f"{len(differing) - 10} more files are other than the manifest says"
            yield Finding(severity=severity, code="raw", key=entry.key, place=path, message=message)
        if not snapshot.commit and not differing and not vouched and not _is_recorded(there, entry.deps[path]):
            message = f"the recorded version of {path} is not that of the folder: one of them changed since"
            place = f"dvc.lock, {entry.stage}"
            yield Finding(severity="fault", code="lock-entry", key=entry.key, place=place, message=message)


def _is_recorded(there: Path, dep: Mapping[str, Any]) -> bool:
    files = [file for file in there.rglob("*") if file.is_file()]
    now = {"md5": version_of(there), "size": sum(file.stat().st_size for file in files), "nfiles": len(files)}
    return all(dep.get(name, value) == value for name, value in now.items())


def _differing(raw: Path, artifact: Artifact) -> list[str]:
    try:
        listed = json.loads(next(iter(artifact.files.values())).read_bytes())["files"]
        return [
            str(entry["path"])
            for entry in listed
            if not (file := raw / str(entry["path"])).is_file()
            or file.stat().st_size != entry["size"]
            or md5_of_file(file) != entry["md5"]
        ]
    except (ValueError, KeyError, TypeError):
        return []  # the damaged manifest is a finding of its own
