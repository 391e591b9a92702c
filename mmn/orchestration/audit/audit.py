"""The answer to one question: a key, all that it was made from, all that reads it, and what the witnesses say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmn.orchestration.audit.check import Checked, check, check_git, check_lock
from mmn.orchestration.audit.dagster_copies import check_copies
from mmn.orchestration.audit.dagster_events import Event, events_of
from mmn.orchestration.audit.decisions import check_decisions, decisions_told
from mmn.orchestration.audit.finding import Finding
from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.audit.part import Part, read_part
from mmn.orchestration.audit.snapshot import Snapshot, readers, upstream
from mmn.orchestration.audit.stages import check_stages
from mmn.orchestration.audit.stale import Staleness

SCHEMA = "mmn-audit/1"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One artifact. made: who, when, with what, from the journal; {} where it does not know. featurizer: what an
    embedding says of how it was made (name, weights with hash, licence and what they have seen, settings)."""

    entry: Entry
    checked: Checked
    stale: str | None
    made: dict[str, Any]

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def featurizer(self) -> dict[str, Any]:
        told = self.checked.provenance
        settings = {"settings": told["identity"]["settings"]} if "identity" in told else {}
        return {**told.get("featurizer", {}), **settings}

    def as_json(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "key": entry.key,
            "path": entry.path,
            "version": entry.version,
            "inputs": dict(sorted(entry.inputs.items())),
            "raw": dict(sorted(entry.raw.items())),
            "code_version": entry.code_version,
            "code": dict(sorted(entry.code.items())),
            "params": dict(entry.params),
            "featurizer": self.featurizer,
            "stale": self.stale,
            "made": self.made,
            "witnesses": self.checked.witnesses,
        }


@dataclass(frozen=True, kw_only=True)
class Audit:
    """nodes: sources first, the subject last. read_by: reader -> (version read, why it is stale or None). decisions:
    the journal's lines of the subject's promotions, oldest first. part: of the subject, where a path inside was asked
    for."""

    subject: str
    snapshot: Snapshot
    verified: bool
    nodes: tuple[Node, ...]
    read_by: Mapping[str, tuple[str, str | None]]
    findings: tuple[Finding, ...]
    missing: Mapping[str, str]
    decisions: tuple[Mapping[str, Any], ...] = ()
    part: Part | None = None

    @property
    def sound(self) -> bool:
        return not any(finding.severity == "fault" for finding in self.findings)

    def node(self, key: str) -> Node:
        return next(node for node in self.nodes if node.key == key)

    def as_json(self) -> dict[str, Any]:
        commit = self.snapshot.commit
        return {
            "schema": SCHEMA,
            "subject": self.subject,
            "part": self.part.as_json() if self.part else None,
            "revision": asdict(commit) if commit else None,
            "verified": self.verified,
            "sound": self.sound,
            "artifacts": [node.as_json() for node in self.nodes],
            "read_by": [
                {"key": key, "version_read": version, "stale": why} for key, (version, why) in self.read_by.items()
            ],
            "decisions": [
                {name: line.get(name) for name in ("at", "by", "verdict", "why", "candidate", "current", "now_current")}
                for line in self.decisions
            ],
            "missing_witnesses": dict(self.missing),
            "findings": [asdict(finding) for finding in self.findings],
        }


def audit(snapshot: Snapshot, key: str, *, verify: bool = False) -> Audit:
    """key: of an artifact, or a path inside one, which is audited with the whole. Raises MmnError where neither is."""
    key, inside = snapshot.within(key)
    keys = upstream(snapshot.entries, [key])
    found = _audit(snapshot, key, keys, verify=verify, readers_of=key)
    if not inside:
        return found
    node = found.node(key)
    part, faults = read_part(node.entry, node.checked.artifact, inside)
    return replace(found, part=part, findings=(*found.findings, *faults))


def audit_all(snapshot: Snapshot, *, verify: bool = False) -> Audit:
    """Every recorded artifact, and files under `artifacts/` that nothing records."""
    return _audit(snapshot, "", upstream(snapshot.entries, snapshot.entries), verify=verify, strays=True)


def _audit(
    snapshot: Snapshot, subject: str, keys: Sequence[str], *, verify: bool, readers_of: str = "", strays: bool = False
) -> Audit:
    events, why_no_events = events_of(snapshot.root, keys)
    staleness = Staleness(snapshot)
    findings = [*check_lock(snapshot), *check_git(snapshot), *check_stages(snapshot, verify=verify)]
    nodes = [_node(snapshot, staleness, key, None if why_no_events else events, verify=verify) for key in keys]
    for node in nodes:
        findings += node.checked.findings
        if node.stale is not None:
            place = node.entry.path
            findings.append(Finding(severity="stale", code="stale", key=node.key, place=place, message=node.stale))
    findings += check_decisions(snapshot, keys)
    findings += [] if why_no_events else check_copies(snapshot.root, keys, verify=verify)
    read_by = {
        reader: (snapshot.entries[reader].inputs[readers_of], staleness.why(reader))
        for reader in (readers(snapshot.entries, readers_of) if readers_of else ())
    }
    findings += _strays(snapshot) if strays and snapshot.commit is None else []
    missing = dict(snapshot.missing) | ({"dagster": why_no_events} if why_no_events else {})
    if snapshot.journal is None:
        missing["journal"] = "no journal.jsonl is here"
    return Audit(
        subject=subject,
        snapshot=snapshot,
        verified=verify,
        nodes=tuple(nodes),
        read_by=read_by,
        findings=tuple(findings),
        missing=missing,
        decisions=tuple(decisions_told(snapshot, subject)) if subject.startswith("models/") else (),
    )


def nodes_of(snapshot: Snapshot, keys: Sequence[str]) -> tuple[Node, ...]:
    """The keys and all that they were made from, sources first; no bytes are read, nothing else is asked."""
    wanted = upstream(snapshot.entries, keys)
    events, why_no_events = events_of(snapshot.root, wanted)
    staleness = Staleness(snapshot)
    known = None if why_no_events else events
    return tuple(_node(snapshot, staleness, key, known, verify=False) for key in wanted)


def _node(
    snapshot: Snapshot, staleness: Staleness, key: str, events: Mapping[str, Sequence[Event]] | None, *, verify: bool
) -> Node:
    """events: None where Dagster's database is not here."""
    entry = snapshot.entries[key]
    own = [] if events is None else events.get(key, [])
    checked = check(snapshot, entry, None if events is None else own, verify=verify)
    return Node(entry=entry, checked=checked, stale=staleness.why(key), made=_made(snapshot, entry, own))


def _made(snapshot: Snapshot, entry: Entry, events: Sequence[Event]) -> dict[str, Any]:
    """The last run that ended in these bytes from these inputs, code and parameters."""
    journal = snapshot.journal
    lines = journal.runs(entry.key, entry.version) if journal else []
    line = next((line for line in reversed(lines) if line["entry"] == entry.digest), lines[-1] if lines else None)
    runs = [event.run_id for event in events if event.version == entry.version and event.run_id]
    made: dict[str, Any] = {"dagster_run": runs[-1]} if runs else {}
    if line is None or journal is None:
        return made
    made |= {name: line[name] for name in ("at", "by", "git", "via", "code", "sha256") if name in line}
    return made | {"environment": journal.environment(line["environment"]) or {}}


def _strays(snapshot: Snapshot) -> list[Finding]:
    """Files under `artifacts/` that are of no recorded artifact."""
    recorded = {entry.path for entry in snapshot.entries.values()}
    found = []
    for folder, folders, files in os.walk(snapshot.root / "artifacts"):
        base = Path(folder).relative_to(snapshot.root).as_posix()
        folders[:] = sorted(name for name in folders if f"{base}/{name}" not in recorded)
        for name in sorted(files):
            place = f"{base}/{name}"
            if place in recorded or name == ".gitignore" or (name.startswith(".") and name.endswith(".tmp")):
                continue
            message = "is recorded nowhere; `mmn prune` says whether anything needs it"
            found.append(Finding(severity="note", code="stray", key="", place=place, message=message))
    return found
