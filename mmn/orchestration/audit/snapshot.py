"""A workspace at one moment: its working tree, or a git revision, with all that is recorded of it then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from mmn.data.errors import MmnError, ParamsError
from mmn.orchestration.audit.artifact import Artifact, cache_folder, in_cache, in_tree
from mmn.orchestration.audit.git import Commit, RevisionError, commit_of, show_many
from mmn.orchestration.audit.lock import Entry, Lock, key_of, read_lock_text
from mmn.orchestration.audit.stages import FILE as STAGES_FILE
from mmn.orchestration.audit.stages import Stages, read_stages
from mmn.orchestration.journal import FILE as JOURNAL_FILE
from mmn.orchestration.journal import Journal, journal_of, read_journal
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import nearest_of

LOCK_FILE = "dvc.lock"
_RECORDS = (LOCK_FILE, STAGES_FILE, PARAMS_FILE, JOURNAL_FILE)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """root: of the workspace. commit: None is the working tree."""

    root: Path
    commit: Commit | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @cached_property
    def lock(self) -> Lock:
        """Where the working tree has no `dvc.lock`, the last commit's, but for steps that the journal says ran since;
        these, and all where no commit holds one, from what the artifacts say of themselves."""
        data = self.files.get(LOCK_FILE)
        found = Lock(entries={}) if data is None else read_lock_text(data.decode("utf-8", errors="replace"))
        if self.commit or (data is not None and "dvc.lock" not in self.missing):
            return found
        since = None if data is None else self._run_since()
        told = _entries_from_artifacts(self.root)
        later = {key: entry for key, entry in told.items() if since is None or key in since}
        return Lock(entries={**found.entries, **later}, problems=found.problems)

    def _run_since(self) -> set[str]:
        """Steps that ran after the last commit, as the journal says."""
        then = read_journal(self.last.files.get(JOURNAL_FILE)) if self.last else None
        before = len(then.lines) if then else 0
        lines = self.journal.lines[before:] if self.journal else ()
        return {line["step"] for line in lines if line.get("did") == "step"}

    @cached_property
    def last(self) -> Snapshot | None:
        """The last commit's, where there is one: of its files alone, which the working tree does not change."""
        try:
            return _at(self.root, commit_of(self.root, "HEAD"))
        except RevisionError:
            return None

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self.lock.entries

    def entry(self, key: str) -> Entry:
        """Raises MmnError with the nearest known key."""
        if key not in self.entries:
            near = nearest_of(key, sorted(self.entries)) if self.entries else "Nothing is recorded."
            raise MmnError(f"'{key}' is recorded nowhere {self.when}. {near}")
        return self.entries[key]

    def within(self, path: str) -> tuple[str, str]:
        """The recorded key and "", or, of a path inside a step's output, that step's key and the path in there. Raises
        MmnError for what is neither, with the nearest that is."""
        if path in self.entries:
            return path, ""
        above = [str(folder) for folder in PurePosixPath(path).parents]
        key = next((folder for folder in above if folder in self.entries), "")
        if not key:
            return self.entry(path).key, ""
        inside = path.removeprefix(f"{key}/")
        artifact = self.artifact(self.entries[key])
        if artifact is not None and not artifact.holds(inside):
            known = [f"{key}/{name}" for name in artifact.models_in() or sorted(artifact.files)]
            raise MmnError(f"'{path}': {key} is recorded {self.when} and holds no {inside}. {nearest_of(path, known)}")
        return key, inside

    @property
    def when(self) -> str:
        return f"at {self.commit.sha[:12]}" if self.commit else "in this workspace"

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The recorded files, as bytes; those that are nowhere are left out. What the working tree lacks is taken from
        the last commit, and `missing` says so."""
        if self.commit:
            found = show_many(self.root, self.commit.sha, _RECORDS)
            if LOCK_FILE not in found:
                self.missing["dvc.lock"] = "the revision holds none"
            return found
        found = {name: (self.root / name).read_bytes() for name in _RECORDS if (self.root / name).is_file()}
        lost = [name for name in _RECORDS if name not in found]
        held = self.last.files if lost and self.last else {}
        for name in lost:
            if name in held:
                found[name] = held[name]
                why = f"it is not in the working tree; read from the last commit, {self._last_sha}"
                self.missing[name.removesuffix(".jsonl")] = why
            elif name == LOCK_FILE:
                self.missing["dvc.lock"] = "it is not here; the chain is taken from the artifacts' own words"
        return found

    @property
    def _last_sha(self) -> str:
        return self.last.commit.sha[:12] if self.last and self.last.commit else ""

    @cached_property
    def params(self) -> dict[str, Any]:
        try:
            return yaml.safe_load(self.files.get(PARAMS_FILE, b"")) or {}
        except yaml.YAMLError as error:
            raise ParamsError(f"{PARAMS_FILE} {self.when}: not readable as YAML. Restore it from git.") from error

    @cached_property
    def stages(self) -> Stages | None:
        """What `dvc.yaml` lists; None without it."""
        data = self.files.get(STAGES_FILE)
        return None if data is None else read_stages(data.decode("utf-8", errors="replace"))

    @cached_property
    def journal(self) -> Journal | None:
        """The one of the working tree, as it only grows. Of a revision whose journal parted from it: that one's, and
        what the working tree's says besides."""
        then = read_journal(self.files.get(JOURNAL_FILE))
        now = journal_of(self.root) if self.commit else then
        if now is None or then is None or now.lines[: len(then.lines)] == then.lines:
            return now or then
        known = {line.get("previous") for line in then.lines}
        more = tuple(line for line in now.lines if line.get("previous") not in known)
        return Journal(then.lines + more, then.problems + now.problems)

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


@lru_cache(maxsize=4)
def _at(root: Path, commit: Commit) -> Snapshot:
    return Snapshot(root=root, commit=commit)


def open_snapshot(root: Path, revision: str | None = None) -> Snapshot:
    """Raises RevisionError where the revision is not known."""
    return Snapshot(root=root, commit=commit_of(root, revision) if revision else None)


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
    cards = {card.parent for card in base.rglob("card.json")}
    # A card inside another's folder is of a part of that artifact.
    outs = {folder for folder in cards if cards.isdisjoint(folder.parents)}
    for pattern in ("features/**/*.parquet", "prepared/**/*.parquet", "raw/**/*.json"):
        outs |= set(base.glob(pattern))
    paths = {out.relative_to(root).as_posix() for out in outs}
    path_of = {key_of(path): path for path in paths}
    entries = {}
    for path in sorted(paths):
        artifact = in_tree(root, path)
        assert artifact is not None
        try:
            told = artifact.provenance() or {}
        except (ValueError, KeyError, AttributeError):
            told = {}  # what is damaged is named where each artifact's own words are read
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
            rebuilt=True,
        )
    return entries
