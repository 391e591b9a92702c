"""The witnesses of one artifact compared: `dvc.lock`, the artifact's own words, its bytes, Dagster, the journal.

A fault is something that cannot be true if nobody changed anything by hand; only faults make an audit fail. That code,
parameters or data have changed since is no fault as long as a witness vouches for what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmn.data.errors import MmnError
from mmn.orchestration.audit.artifact import Artifact
from mmn.orchestration.audit.dagster_events import Event
from mmn.orchestration.audit.finding import Finding, Severity, Witness, verdict
from mmn.orchestration.audit.history import check_history
from mmn.orchestration.audit.lock import Entry, key_of
from mmn.orchestration.audit.snapshot import JOURNAL_FILE, Snapshot
from mmn.orchestration.audit.verify import check_bytes, check_code, check_raw


@dataclass(frozen=True, kw_only=True)
class Checked:
    """witnesses: lock, artifact, bytes, dagster, journal -> what it says of this version."""

    witnesses: dict[str, Witness]
    findings: tuple[Finding, ...]
    artifact: Artifact | None
    provenance: dict[str, Any]


def check(snapshot: Snapshot, entry: Entry, events: Sequence[Event] | None, *, verify: bool) -> Checked:
    """events: of Dagster for this key; None where its database is not here. verify: every byte is read."""
    artifact, findings = _found(snapshot, entry)
    provenance: dict[str, Any] = {}
    said: list[Finding] = []
    if artifact is not None:
        provenance, said = _provenance(entry, artifact, verify=verify)
    journal = _journal(snapshot, entry)
    dagster = [] if events is None else _dagster(snapshot, entry, events)
    read = []
    if verify:
        lines = _lines(snapshot, entry)
        # Dagster is told of code, parameters and artifacts; the version of a raw folder only the journal knows.
        by_journal = any(line["entry"] == entry.digest for line in lines)
        vouched = by_journal or _told_dagster(entry, events)
        read = [
            *(check_bytes(snapshot, entry, artifact, {line["sha256"] for line in lines}) if artifact else ()),
            *check_code(snapshot, entry, vouched=vouched),
            *check_raw(snapshot, entry, artifact, vouched=by_journal),
        ]
    findings += [*said, *journal, *dagster, *read]
    seen_by_dagster = any(event.version == entry.version for event in events or ())
    witnesses: dict[str, Witness] = {
        "lock": "missing" if entry.rebuilt else "agrees",
        "artifact": verdict(said) if provenance or said else "missing",
        "bytes": "missing" if artifact is None else "not read",
        "dagster": verdict(dagster) if seen_by_dagster or verdict(dagster) == "disagrees" else "missing",
        "journal": verdict(journal) if _lines(snapshot, entry) else "missing",
    }
    if verify and artifact is not None:
        witnesses["bytes"] = verdict(finding for finding in read if finding.code == "bytes")
    return Checked(witnesses=witnesses, findings=tuple(findings), artifact=artifact, provenance=provenance)


def check_lock(snapshot: Snapshot) -> Iterator[Finding]:
    """The recorded files as a whole: the form of the lock, the journal's chain, and what git holds of both."""
    for place, message in snapshot.lock.problems:
        yield Finding(severity="fault", code="lock-form", key="", place=place, message=message)
    if snapshot.journal is None:
        return
    for number, message in snapshot.journal.problems:
        yield Finding(severity="fault", code="journal", key="", place=f"journal.jsonl line {number}", message=message)


def check_git(snapshot: Snapshot) -> Iterator[Finding]:
    """The journal only grows: from each commit to the next, and from the last one to the working tree."""
    last = snapshot.last
    if last is None or last.commit is None:
        return
    then, now = last.files.get(JOURNAL_FILE), snapshot.files.get(JOURNAL_FILE, b"")
    removed = "journal" in snapshot.missing and "params.yaml" not in snapshot.missing  # not merely not checked out
    if snapshot.commit is None and then is not None and (removed or not now.startswith(then)):
        message = "does not begin with what the last commit holds of it: lines were changed or removed"
        message = "was removed; `git restore` brings back what the last commit holds of it" if removed else message
        yield Finding(severity="fault", code="journal", key="", place=JOURNAL_FILE, message=message)
    if (snapshot.root / ".git" / "shallow").is_file():
        message = (
            "the clone is shallow: what earlier commits hold of it is not here to compare with; `git fetch --unshallow`"
        )
        yield Finding(severity="missing", code="journal", key="", place=JOURNAL_FILE, message=message)
    revisions = [last.commit.sha, *([snapshot.commit.sha] if snapshot.commit else [])]
    yield from check_history(snapshot.root, list(dict.fromkeys(revisions)), then or b"")


def _found(snapshot: Snapshot, entry: Entry) -> tuple[Artifact | None, list[Finding]]:
    try:
        artifact = snapshot.artifact(entry)
    except MmnError as error:
        finding = Finding(severity="fault", code="bytes", key=entry.key, place="DVC's cache", message=str(error))
        return None, [finding]
    if artifact is not None:
        return artifact, []
    removal = snapshot.journal.removal(entry.version) if snapshot.journal else None
    if removal is not None:
        message = f"its bytes were removed on purpose on {removal['at']} by {removal['by']} (`mmn prune`)"
    elif snapshot.commit is None:
        message = "it is recorded, but not here; `dvc pull` or `mmn run` brings it back"
    else:
        message = f"the bytes of version {entry.version} are not in DVC's cache; `dvc fetch` brings them from a remote"
    return None, [Finding(severity="missing", code="bytes", key=entry.key, place=entry.path, message=message)]


def _provenance(entry: Entry, artifact: Artifact, *, verify: bool) -> tuple[dict[str, Any], list[Finding]]:
    """What it says of itself, and where that differs from what is recorded."""
    findings: list[Finding] = []

    def fault(name: str, message: str) -> None:
        place = f"{entry.path}/{name}" if artifact.folder else entry.path
        findings.append(Finding(severity="fault", code="footer", key=entry.key, place=place, message=message))

    name = "card.json" if artifact.folder else next(iter(artifact.files))
    told: dict[str, dict[str, Any] | None] = {}
    for file in artifact.holders if verify else (name,):
        try:
            told[file] = artifact.provenance(file)
        except (ValueError, KeyError, AttributeError) as error:
            # The message of a parser may quote what it read.
            fault(file, f"cannot be read ({type(error).__name__}): it is damaged")
    main = told.get(name)
    if not isinstance(main, dict):
        if not findings:
            fault(name, "says nothing of what it was made from")
        return {}, findings
    for file, provenance in told.items():
        if not isinstance(provenance, dict):
            continue
        if provenance.get("step", entry.key) != entry.key:
            fault(file, f"says that it was made by {provenance['step']}")
        inputs = provenance.get("inputs", {})
        for source in sorted({*inputs, *entry.inputs}):
            if inputs.get(source) != entry.inputs.get(source):
                fault(
                    file,
                    f"says that it was made from {source} at {inputs.get(source, 'no version')}; "
                    f"dvc.lock recorded {entry.inputs.get(source, 'no version')}",
                )
        if provenance.get("params", {}) != dict(entry.params):
            fault(file, "says other parameters than dvc.lock recorded")
    return main, findings


def _lines(snapshot: Snapshot, entry: Entry) -> list[dict[str, Any]]:
    return snapshot.journal.runs(entry.key, entry.version) if snapshot.journal else []


def _journal(snapshot: Snapshot, entry: Entry) -> list[Finding]:
    lines = _lines(snapshot, entry)
    if snapshot.journal is None or any(_tells_the_same(line, entry) for line in lines):
        return []
    if not lines:
        runs = any(line.get("step") == entry.key for line in snapshot.journal.lines)
        message = "the journal knows no run that ended in this version"
        if runs:
            message += ", only in others: it was recorded without a run (`dvc commit`), or the journal was cut"
        severity: Severity = "fault" if runs else "note"
        return [Finding(severity=severity, code="journal", key=entry.key, place="journal.jsonl", message=message)]
    if entry.rebuilt:
        message = "it says that it was made from other inputs than the journal recorded for this version"
        return [Finding(severity="fault", code="footer", key=entry.key, place=entry.path, message=message)]
    return [
        Finding(
            severity="fault", code="lock-entry", key=entry.key, place=f"dvc.lock, {entry.stage}",
            message="it is not what the journal recorded for this version: an input, a file of code, a parameter or a "
            "size was changed in dvc.lock, or recorded without a run (`dvc commit`)",
        )
    ]  # fmt: skip


def _tells_the_same(line: Mapping[str, Any], entry: Entry) -> bool:
    """Without `dvc.lock` there is no entry to compare, and the artifacts that were read are compared alone."""
    if not entry.rebuilt:
        return line["entry"] == entry.digest
    told = {key_of(path): version for path, version in line.get("inputs", {}).items() if path.startswith("artifacts/")}
    return told == entry.inputs


def _dagster(snapshot: Snapshot, entry: Entry, events: Sequence[Event]) -> list[Finding]:
    def finding(severity: Severity, message: str) -> Finding:
        return Finding(severity=severity, code="dagster", key=entry.key, place="Dagster's events", message=message)

    ours = [event for event in events if event.version == entry.version]
    if not ours:
        if snapshot.commit or not events:
            return [finding("missing", "Dagster has not seen this version; `mmn sync` tells it what DVC recorded")]
        message = f"Dagster's latest version is {events[-1].version}; `mmn sync` tells it what DVC recorded"
        return [finding("fault", message)]
    findings = [
        finding("fault", f"run {event.run_id[:8] or 'none'} recorded other input versions for the same bytes")
        for event in ours
        if event.inputs and event.inputs != entry.inputs
    ]
    if not entry.rebuilt and not any(event.code_version == entry.code_version for event in ours):
        findings.append(finding("note", "Dagster recorded this version from other code or parameters; `mmn sync`"))
    if snapshot.commit is None and events[-1].version != entry.version:
        findings.append(finding("note", "Dagster's latest event is of another version; `mmn sync`"))
    return findings


def _told_dagster(entry: Entry, events: Sequence[Event] | None) -> bool:
    return any(event.version == entry.version and event.code_version == entry.code_version for event in events or ())
