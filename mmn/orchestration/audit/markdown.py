"""The audit where people already look: Markdown for the pages of Dagster's assets. No bytes are read."""

from __future__ import annotations

from pathlib import Path

from mmn.orchestration.audit.audit import audit
from mmn.orchestration.audit.show import details
from mmn.orchestration.audit.snapshot import open_snapshot, readers
from mmn.orchestration.audit.stale import Staleness


def lineage(root: Path, key: str, version: str = "") -> str:
    """From the artifact back to its raw files, as a nested list; "" where it is not recorded (in this version) yet:
    inside `dvc repro`, DVC records a step when its command has ended."""
    snapshot = open_snapshot(root)
    if key not in snapshot.entries or version not in {"", snapshot.entries[key].version}:
        return ""
    nodes = {node.key: node for node in audit(snapshot, key).nodes}
    lines: list[str] = []
    shown: set[str] = set()

    def add(one: str, version: str, depth: int) -> None:
        known = one in nodes and one not in shown
        again = "" if known else " (above)" if one in shown else " (not recorded)"
        lines.append(f"{'  ' * depth}- **{one}** `{version}`{again}")
        if known:
            shown.add(one)
            lines.extend(f"{'  ' * (depth + 1)}- {line}" for line in details(nodes[one]))
            for source, seen in sorted(nodes[one].entry.inputs.items()):
                add(source, seen, depth + 1)

    add(key, nodes[key].entry.version, 0)
    return "\n".join(lines) + "\n"


class Readers:
    """What reads each artifact and whether that is stale, of one moment; `dvc.lock` is read once."""

    def __init__(self, root: Path) -> None:
        self._snapshot = open_snapshot(root)
        self._staleness = Staleness(self._snapshot)

    def table(self, key: str) -> str:
        """A Markdown table; "" where nothing that is recorded reads it."""
        entries = self._snapshot.entries
        found = [(reader, entries[reader].inputs[key], self._staleness.why(reader)) for reader in readers(entries, key)]
        if not found:
            return ""
        rows = [f"| {reader} | `{version}` | {why or 'fresh'} |" for reader, version, why in found]
        return "\n".join(["| read by | at version | state |", "|---|---|---|", *rows]) + "\n"
