"""Promotions: what `promoted/` says of each model, held against the journal's lines, which can only grow.

Each line holds the decision's hash, so the numbers that it rests on cannot be changed either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmn.orchestration.audit.finding import Finding
from mmn.orchestration.audit.git import show_many
from mmn.orchestration.audit.snapshot import Snapshot

FOLDER = "promoted"
_TOLD = ("candidate", "current", "verdict", "why")


def digest_of(decision: Mapping[str, Any]) -> str:
    """Of all that it says, the compared numbers too."""
    return hashlib.sha256(json.dumps(decision, sort_keys=True).encode()).hexdigest()


def place_of(model: str) -> str:
    return f"{FOLDER}/{model.removeprefix('models/')}.json"


def decisions_told(snapshot: Snapshot, key: str) -> list[dict[str, Any]]:
    """The journal's lines of one model's promotions that the snapshot holds, oldest first."""
    lines, data = _lines(snapshot).get(key, []), _files(snapshot, [key]).get(key)
    return lines[: len(_decisions(data) or ())] if snapshot.commit else lines


def check_decisions(snapshot: Snapshot, keys: Sequence[str]) -> Iterator[Finding]:
    """keys: of the models that are asked for."""
    if snapshot.journal is None:
        return
    lines = _lines(snapshot)
    files = _files(snapshot, [key for key in keys if key.startswith("models/")])
    for key in keys:
        told, data = lines.get(key, []), files.get(key)
        if data is not None:
            for message in _faults(data, told, whole=snapshot.commit is None):
                yield Finding(severity="fault", code="decision", key=key, place=place_of(key), message=message)
        elif told and snapshot.commit is None:
            message = f"is not here; the journal holds {len(told)} decisions of it"
            yield Finding(severity="missing", code="decision", key=key, place=place_of(key), message=message)


def _lines(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in snapshot.journal.lines if snapshot.journal else ():
        if line.get("did") == "promotion":
            found.setdefault(line["model"], []).append(line)
    return found


def _files(snapshot: Snapshot, keys: Sequence[str]) -> dict[str, bytes]:
    if snapshot.commit:
        found = show_many(snapshot.root, snapshot.commit.sha, [place_of(key) for key in keys])
        return {key: found[place_of(key)] for key in keys if place_of(key) in found}
    paths = {key: snapshot.root / place_of(key) for key in keys}
    return {key: path.read_bytes() for key, path in paths.items() if path.is_file()}


def _decisions(data: bytes | None) -> list[dict[str, Any]] | None:
    """None where the file cannot be read."""
    try:
        rows = json.loads(data or b"")["decisions"]
    except (ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None


def _faults(data: bytes, told: Sequence[Mapping[str, Any]], *, whole: bool) -> Iterator[str]:
    """whole: no decision of the journal may be missing; a revision holds those up to then."""
    rows = _decisions(data)
    if rows is None:
        yield "is not readable"
        return
    if len(rows) > len(told):
        yield f"decision {len(told) + 1} of {len(rows)} is in no line of the journal"
    elif whole and len(rows) < len(told):
        yield f"holds {len(rows)} decisions, the journal {len(told)}"
    for number, (row, line) in enumerate(zip(rows, told, strict=False), 1):
        # Lines of before the hash was kept say the words alone.
        same = row.get("model") == line["model"] and all(row.get(name) == line.get(name) for name in _TOLD)
        if not same or line.get("decision", digest_of(row)) != digest_of(row):
            yield f"decision {number} of {len(rows)} is not what the journal holds"
    if rows and len(rows) <= len(told):
        current, led = json.loads(data).get("current"), told[len(rows) - 1].get("now_current")
        if current != led:
            yield f"names {current} as the current version; its decisions lead to {led}"
