"""Why two artifacts, or two states of a workspace, differ: code, parameters, inputs, weights, settings, environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmn.data.errors import MmnError
from mmn.orchestration.audit.audit import Audit, Node, audit, audit_all
from mmn.orchestration.audit.snapshot import Snapshot, open_snapshot

SCHEMA = "mmn-audit-diff/1"
_ABSENT = "none"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """kind: code, parameters, inputs, weights, settings, environment, or bytes where nothing recorded explains it.
    key: the artifact where it enters. what: the file, parameter, input or package. a, b: what it was on either side."""

    kind: str
    key: str
    what: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True)
class Side:
    label: str
    snapshot: Snapshot
    key: str | None


def parse_side(root: Path, text: str, revision: str | None = None) -> Side:
    """KEY, REVISION, FOLDER (another workspace), REVISION:KEY or FOLDER:KEY. A lone KEY is taken at `revision`."""
    here = open_snapshot(root, revision)
    if text in here.entries:
        return Side(label=text, snapshot=here, key=text)
    where, colon, key = text.partition(":")
    folder = Path(where).expanduser()
    if where == "." or not where:  # this workspace, wherever one stands
        snapshot = open_snapshot(root)
    elif folder.is_dir() and ((folder / "dvc.lock").exists() or (folder / "artifacts").is_dir()):
        snapshot = open_snapshot(folder.resolve())
    else:
        try:
            snapshot = open_snapshot(root, where)
        except MmnError as error:
            raise MmnError(
                f"'{text}': neither a recorded key nor a workspace's folder nor a git revision. "
                "Write KEY, REVISION, FOLDER, REVISION:KEY or FOLDER:KEY; `mmn audit all` lists the keys."
            ) from error
    if colon:
        snapshot.entry(key)
    return Side(label=text, snapshot=snapshot, key=key or None)


def diff(a: Side, b: Side, *, verify: bool = False) -> dict[str, Any]:
    """Two artifacts where both sides name one, else the two states. Raises MmnError where only one side names a key
    that the other has not."""
    key_a, key_b = a.key or b.key, b.key or a.key
    audits = [
        audit(side.snapshot, key, verify=verify) if key else audit_all(side.snapshot, verify=verify)
        for side, key in ((a, key_a), (b, key_b))
    ]
    nodes = [{node.key: node for node in found.nodes} for found in audits]
    pairs = {key: (nodes[0][key], nodes[1][key]) for key in nodes[0] if key in nodes[1]}
    added, removed = sorted(set(nodes[1]) - set(nodes[0])), sorted(set(nodes[0]) - set(nodes[1]))
    if key_a and key_b and key_a != key_b:
        pairs[f"{key_a} → {key_b}"] = (nodes[0].pop(key_a), nodes[1].pop(key_b))
        pairs.pop(key_a, None)
        pairs.pop(key_b, None)
        added, removed = [key for key in added if key != key_b], [key for key in removed if key != key_a]
    differing = {
        key: (one, other, list(_causes(key, one, other)))
        for key, (one, other) in pairs.items()
        if one.entry.version != other.entry.version or one.entry.digest != other.entry.digest
    }
    changed = {key: pair for key, pair in differing.items() if pair[0].entry.version != pair[1].entry.version}
    without_effect = [cause for key, (_, _, found) in differing.items() if key not in changed for cause in found]
    causes = [cause for _, _, found in changed.values() for cause in found]
    roots = [cause for cause in causes if cause.kind != "inputs" or cause.what not in changed]
    return {
        "schema": SCHEMA,
        "a": _side(a, key_a, audits[0]),
        "b": _side(b, key_b, audits[1]),
        "same": not changed and not added and not removed,
        "added": added,
        "removed": removed,
        "changed": [
            {
                "key": key,
                "a": one.entry.version,
                "b": other.entry.version,
                "causes": [asdict(cause) for cause in found],
            }
            for key, (one, other, found) in changed.items()
        ],
        "root_causes": [asdict(cause) for cause in roots],
        "without_effect": [asdict(cause) for cause in without_effect],
        "sound": all(found.sound for found in audits),
        "findings": [asdict(finding) for found in audits for finding in found.findings if finding.severity == "fault"],
    }


def _side(side: Side, key: str | None, found: Audit) -> dict[str, Any]:
    commit = side.snapshot.commit
    version = found.node(key).entry.version if key else None
    return {"given": side.label, "key": key, "version": version, "revision": asdict(commit) if commit else None}


def _causes(key: str, one: Node, other: Node) -> Iterator[Cause]:
    found = list(_recorded(key, one, other))
    yield from found
    if one.entry.version == other.entry.version:
        return
    environment = list(_between(key, "environment", _flat(_environment(one)), _flat(_environment(other))))
    yield from environment
    if not found and not environment:
        told = "the environment too" if _environment(one) and _environment(other) else "the environment is not recorded"
        yield Cause(
            kind="bytes", key=key, what=f"code, parameters and inputs are the same, {told}",
            a=one.entry.version, b=other.entry.version,
        )  # fmt: skip


def _recorded(key: str, one: Node, other: Node) -> Iterator[Cause]:
    yield from _between(key, "code", one.entry.code, other.entry.code)
    parameters = list(_between(key, "parameters", _flat(one.entry.params), _flat(other.entry.params)))
    yield from parameters
    yield from _between(key, "inputs", one.entry.inputs, other.entry.inputs)
    yield from _between(key, "inputs", one.entry.raw, other.entry.raw)
    featurizers = one.featurizer, other.featurizer
    yield from _between(key, "weights", *(_flat(told.get("weights") or {}) for told in featurizers))
    names = [{"featurizer": told["name"]} if "name" in told else {} for told in featurizers]
    settings = [name | _flat(told.get("settings") or {}) for name, told in zip(names, featurizers, strict=True)]
    cards = [node.checked.artifact.card() if node.checked.artifact else {} for node in (one, other)]
    for side, card in zip(settings, cards, strict=True):
        side |= _flat(card.get("settings") or {})
        side |= {name: card[name] for name in ("architecture",) if name in card}
        if "tasks" in card and isinstance(card["tasks"], list):
            side["tasks"] = ", ".join(task["name"] for task in card["tasks"])
    # A setting that a parameter decides is told once.
    told_already = {cause.what.rpartition(".")[2] for cause in parameters}
    for cause in _between(key, "settings", *settings):
        if cause.what.rpartition(".")[2] not in told_already:
            yield cause


def _between(key: str, kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Cause]:
    for what in sorted({*a, *b}):
        if a.get(what, _ABSENT) != b.get(what, _ABSENT):
            yield Cause(kind=kind, key=key, what=what, a=a.get(what, _ABSENT), b=b.get(what, _ABSENT))


def _environment(node: Node) -> dict[str, Any]:
    return node.made.get("environment") or {}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flat(inner, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = inner
    return flat
