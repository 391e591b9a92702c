"""The audit where people already look: Markdown for the pages of Dagster's assets. No bytes are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmn.orchestration.audit.audit import nodes_of
from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.audit.show import details
from mmn.orchestration.audit.snapshot import LOCK_FILE, Snapshot, open_snapshot, readers
from mmn.orchestration.audit.stale import Staleness


def lineage(root: Path, key: str, version: str = "", inputs: Mapping[str, str] | None = None) -> str:
    """From the artifact back to its raw files, as a nested list; "" where it is not recorded (in this version) yet.

    inputs: key -> version of what it was made from, for one that is not recorded yet: inside `dvc repro`, DVC records
    a step when its command has ended, and what it read is recorded.
    """
    snapshot, entries = _recorded(root)
    recorded = key in entries and version in {"", entries[key].version}
    if not recorded and not inputs:
        return ""
    sources = [key] if recorded else [source for source in inputs or {} if source in entries]
    nodes = {node.key: node for node in nodes_of(snapshot, sources)}
    lines: list[str] = []
    shown: set[str] = set()

    def add(one: str, seen: str, depth: int) -> None:
        known = one in nodes and one not in shown
        again = "" if known else " (above)" if one in shown else " (not recorded)"
        other = f", now `{nodes[one].entry.version}`" if one in nodes and nodes[one].entry.version != seen else ""
        lines.append(f"{'  ' * depth}- {link(one)} `{seen}`{other}{again}")
        if known:
            shown.add(one)
            lines.extend(f"{'  ' * (depth + 1)}- {line}" for line in details(nodes[one]))
            for source, read in sorted(nodes[one].entry.inputs.items()):
                add(source, read, depth + 1)

    if recorded:
        add(key, entries[key].version, 0)
    else:
        lines.append(f"- {link(key)} `{version}`")
        for source, read in sorted((inputs or {}).items()):
            add(source, read, 1)
    return "\n".join(lines) + "\n"


class Pages:
    """What was read by whom, and whether that is stale, of one moment; `dvc.lock` is read once."""

    def __init__(self, root: Path) -> None:
        self._snapshot, self._entries = _recorded(root)
        self._staleness = Staleness(self._snapshot)

    def readers(self, key: str, version: str = "") -> str:
        """A Markdown table of what reads it; "" where nothing that is recorded does. version: of what was just made,
        which may not be recorded yet."""
        rows = []
        for reader in readers(self._entries, key):
            seen = self._entries[reader].inputs[key]
            why = "stale: it read another version" if version not in {"", seen} else self._staleness.why(reader)
            rows.append((reader, seen, why or "fresh"))
        return _table("read by | at version | state", rows)

    def sources(self, key: str) -> str:
        """A Markdown table of what it was made from; "" where it is not recorded."""
        entry = self._entries.get(key)
        if entry is None:
            return ""
        own = self._staleness.why(key)
        rows = [(source, version, self._now(source, version)) for source, version in sorted(entry.inputs.items())]
        state = f"Version `{entry.version}`, {f'stale: {own}' if own else 'fresh'}.\n\n"
        return state + _table("made from | at version | which is", rows)

    def _now(self, source: str, version: str) -> str:
        there = self._entries.get(source)
        if there is None:
            return "not recorded any more"
        if there.version != version:
            return f"now `{there.version}`"
        return "stale" if self._staleness.why(source) else "fresh"


def _recorded(root: Path) -> tuple[Snapshot, Mapping[str, Entry]]:
    """Without `dvc.lock` nothing: an audit would then read every artifact, and a page must not."""
    snapshot = open_snapshot(root)
    return snapshot, snapshot.entries if LOCK_FILE in snapshot.files else {}


def link(key: str) -> str:
    """To the asset's page, which the same server has."""
    return f"[{key}](/assets/{key})"


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {link(key)} | `{version}` | {state} |" for key, version, state in rows]
    return "\n".join([f"| {head} |", "|---|---|---|", *lines]) + "\n"
