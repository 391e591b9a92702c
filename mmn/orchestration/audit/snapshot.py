"""A workspace at one moment: its working tree, or a git revision, with all that is recorded of it then."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration.audit.artifact import Artifact, cache_folder, in_cache, in_tree
from mmn.orchestration.audit.git import Commit, RevisionError, commit_of, has_commits, show_many
from mmn.orchestration.audit.lock import Entry, Lock, key_of, read_lock_text
from mmn.orchestration.journal import FILE as JOURNAL_FILE
from mmn.orchestration.journal import Journal, journal_of, read_journal
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import nearest_of

LOCK_FILE, STAGES_FILE = "dvc.lock", "dvc.yaml"
_STAGE = re.compile(r"^  (\S+):\n", re.MULTILINE)
_LISTED = re.compile(r"^    - (\S+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """root: of the workspace. commit: None is the working tree."""

    root: Path
    commit: Commit | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @cached_property
    def lock(self) -> Lock:
        """Without `dvc.lock`, what the artifacts say of themselves, and the loss is noted in `missing`."""
        data = self.files.get(LOCK_FILE)
        if data is not None:
            return read_lock_text(data.decode("utf-8", errors="replace"))
        self.missing["dvc.lock"] = "it is not here; the chain is taken from what the artifacts say of themselves"
        return Lock(entries={} if self.commit else _entries_from_artifacts(self.root))

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self.lock.entries

    def entry(self, key: str) -> Entry:
        """Raises MmnError with the nearest known key."""
        if key not in self.entries:
            near = nearest_of(key, sorted(self.entries)) if self.entries else "Nothing is recorded."
            raise MmnError(f"'{key}' is recorded nowhere {self.when}. {near}")
        return self.entries[key]

    @property
    def when(self) -> str:
        return f"at {self.commit.sha[:12]}" if self.commit else "in this workspace"

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The recorded files, as bytes; those that are not there are left out."""
        names = (LOCK_FILE, STAGES_FILE, PARAMS_FILE, JOURNAL_FILE)
        if self.commit:
            return show_many(self.root, self.commit.sha, names)
        return {name: (self.root / name).read_bytes() for name in names if (self.root / name).is_file()}

    @cached_property
    def params(self) -> dict[str, Any]:
        try:
            return yaml.safe_load(self.files.get(PARAMS_FILE, b"")) or {}
        except yaml.YAMLError as error:
            raise ParamsError(f"{PARAMS_FILE} {self.when}: not readable as YAML. Restore it from git.") from error

    @cached_property
    def stages(self) -> dict[str, frozenset[str]] | None:
        """Stage -> all that `dvc.yaml` lists for it (inputs, sections of the parameters, output); None without it."""
        if STAGES_FILE not in self.files:
            return None
        text = self.files[STAGES_FILE].decode("utf-8", errors="replace")
        pieces = _STAGE.split(text)
        return {name: frozenset(_LISTED.findall(block)) for name, block in zip(pieces[1::2], pieces[2::2], strict=True)}

    @cached_property
    def journal(self) -> Journal | None:
        """The one of the working tree, as it only grows; that of the revision where it was not kept on."""
        found = journal_of(self.root)
        return found if found is not None or self.commit is None else read_journal(self.files.get(JOURNAL_FILE))

    @cached_property
    def _blobs(self) -> dict[str, bytes]:
        paths = sorted({path for entry in self.entries.values() for path in entry.code})
        return show_many(self.root, self.commit.sha, paths) if self.commit else {}

    @cached_property
    def _code(self) -> dict[str, tuple[str, int] | None]:
        return {}

    def code(self, path: str) -> tuple[str, int] | None:
        """MD5 and size of a file of code at this moment; None where it is not here."""
        if path not in self._code:
            there = self.root / path
            if self.commit:
                data = self._blobs.get(path)
            else:
                data = there.read_bytes() if there.is_file() else None
            known = None if data is None else (hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))
            self._code[path] = known
        return self._code[path]

    def md5_of_code(self, path: str) -> str | None:
        known = self.code(path)
        return known[0] if known else None

    @cached_property
    def has_code(self) -> bool:
        if self.commit:
            return bool(self._blobs)
        return (self.root / "mmn").is_dir()

    def artifact(self, entry: Entry) -> Artifact | None:
        """The bytes of what the entry recorded; None where they are nowhere. Of a revision: only if they are those."""
        if self.commit is None:
            return in_tree(self.root, entry.path)
        found = in_cache(cache_folder(self.root), entry.path, entry.version)
        if found is None and (there := in_tree(self.root, entry.path)) is not None and there.version == entry.version:
            return there
        return found


def open_snapshot(root: Path, revision: str | None = None) -> Snapshot:
    """Raises RevisionError where the revision is not known."""
    return Snapshot(root=root, commit=commit_of(root, revision) if revision else None)


def committed(root: Path) -> Snapshot | None:
    """The last commit's, where there is one."""
    if not has_commits(root):
        return None
    try:
        return open_snapshot(root, "HEAD")
    except RevisionError:
        return None


def upstream(entries: Mapping[str, Entry], keys: Iterable[str]) -> list[str]:
    """The keys and all that they were made from, sources first. What is not recorded is not followed."""
    order: list[str] = []
    seen: set[str] = set()
    waiting = [(key, False) for key in sorted(keys, reverse=True)]
    while waiting:
        key, done = waiting.pop()
        if done:
            order.append(key)
        elif key not in seen and key in entries:
            seen.add(key)
            waiting.append((key, True))
            waiting += [(source, False) for source in sorted(entries[key].inputs, reverse=True) if source not in seen]
    return order


def readers(entries: Mapping[str, Entry], key: str) -> list[str]:
    """What was made directly from the key."""
    return sorted(reader for reader, entry in entries.items() if key in entry.inputs)


def _entries_from_artifacts(root: Path) -> dict[str, Entry]:
    """What can be rebuilt without a lock: key, version of the bytes, inputs and parameters of each artifact."""
    base = root / "artifacts"
    outs = {card.parent for card in base.rglob("card.json")}
    for pattern in ("features/**/*.parquet", "prepared/**/*.parquet", "raw/**/*.json"):
        outs |= set(base.glob(pattern))
    paths = {out.relative_to(root).as_posix() for out in outs}
    path_of = {key_of(path): path for path in paths}
    entries = {}
    for path in sorted(paths):
        artifact = in_tree(root, path)
        assert artifact is not None
        told = artifact.provenance() or {}
        inputs = told.get("inputs", {})
        entries[key_of(path)] = Entry(
            stage=key_of(path).replace("/", "-"),
            cmd=f"mmn step {key_of(path)}",
            deps={
                path_of.get(key, f"artifacts/{key}"): {"path": path_of.get(key, f"artifacts/{key}"), "md5": version}
                for key, version in inputs.items()
            },
            out={"path": path, "md5": artifact.version},
            params=told.get("params", {}),
        )
    return entries
