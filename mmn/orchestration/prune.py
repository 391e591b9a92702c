"""`mmn prune`: what no kept model needs. It shows; it removes only when told to, and the journal says what and who.

Kept is what `dvc.lock` records: in the working tree, of steps that are in the table; and in every commit of every
branch and tag, or in their tips alone where that is asked for. A data set whose raw files are not linked is not judged.
Pieces of finished featurizations and states of trainings are caches: removing them costs time alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mmn.data.errors import MmnError
from mmn.orchestration.audit.artifact import cache_folder, in_tree
from mmn.orchestration.audit.git import revisions
from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.audit.snapshot import Snapshot, open_snapshot, upstream
from mmn.orchestration.dvc_pipeline import code_version, read_lock, why_stale, write_lock
from mmn.orchestration.journal import removed
from mmn.orchestration.promotion import kept_versions
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

KINDS = {
    "artifact": "artifacts of steps that are no longer in the table",
    "cache": "versions in DVC's cache that nothing kept records",
    "shard": "pieces of featurizations that are finished",
    "checkpoint": "states of trainings that are finished or gone",
}


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """One thing that may go. path: below the workspace. version: of an artifact or a cache entry, else ""."""

    kind: str
    path: str
    num_bytes: int
    version: str = ""
    key: str = ""


def find_unneeded(
    workspace: Workspace,
    steps: Mapping[str, Step],
    *,
    keep: Iterable[str] = (),
    only: Iterable[str] = (),
    tips: bool = False,
) -> list[Unneeded]:
    """keep: more git revisions to keep. tips: of git's history, keep what branches and tags point at alone.

    only: keys or prefixes; of the working tree, only they and what they were made from are kept. Raises MmnError for a
    prefix that nothing bears.
    """
    root = workspace.root
    here = open_snapshot(root)
    kept = _kept_here(here, steps, tuple(only))
    gone = [here.entries[key] for key in sorted(set(here.entries) - kept)]
    snapshots = [open_snapshot(root, sha) for sha in sorted({*revisions(root, tips=tips), *keep})]
    versions = {here.entries[key].version for key in kept}
    versions |= {entry.version for snapshot in snapshots for entry in snapshot.entries.values()}
    versions |= kept_versions(root)
    return [
        *_artifacts(root, gone),
        *_cache(root, versions),
        *_shards(workspace, steps),
        *_checkpoints(workspace, steps),
    ]


def remove(workspace: Workspace, unneeded: Iterable[Unneeded]) -> int:
    """The bytes that were freed. The journal is written first, so that nothing goes without a line."""
    found = list(unneeded)
    if not found:
        return 0
    gone = {item.key for item in found if item.kind == "artifact"}
    from dvc.repo import Repo

    with Repo(str(workspace.root), _wait_for_lock=True) as repo, repo.lock:
        removed(workspace.root, [asdict(item) for item in found], "mmn prune: no kept model needs it")
        if gone:
            lock = read_lock(workspace)
            write_lock(workspace, {n: e for n, e in lock.items() if e["cmd"].removeprefix("mmn step ") not in gone})
        for item in found:
            path = workspace.root / item.path if not Path(item.path).is_absolute() else Path(item.path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return sum(item.num_bytes for item in found)


def _kept_here(here: Snapshot, steps: Mapping[str, Step], only: tuple[str, ...]) -> set[str]:
    if only:
        wanted: set[str] = set()
        for prefix in only:
            bearing = {k for k in here.entries if k == prefix or k.startswith(prefix.rstrip("/") + "/")}
            if not bearing:
                raise MmnError(f"--only {prefix}: nothing recorded bears that name. `mmn steps` lists the keys.")
            wanted |= bearing
        return set(upstream(here.entries, wanted))
    active = {step.dataset for step in steps.values()}
    unjudged = {key for key in here.entries if key not in steps and _dataset(key) not in active}
    return set(upstream(here.entries, unjudged | (set(steps) & set(here.entries))))


def _dataset(key: str) -> str:
    return key.split("/")[1] if "/" in key else key


def _artifacts(root: Path, gone: Iterable[Entry]) -> Iterator[Unneeded]:
    for entry in gone:
        there = in_tree(root, entry.path)
        yield Unneeded(
            kind="artifact",
            path=entry.path,
            num_bytes=there.size if there else 0,
            version=entry.version,
            key=entry.key,
        )


def _cache(root: Path, versions: set[str]) -> Iterator[Unneeded]:
    cache = cache_folder(root)
    needed = set(versions)
    for version in versions:
        listing = cache / version[:2] / version[2:]
        if version.endswith(".dir") and listing.is_file():
            try:
                needed |= {row["md5"] for row in json.loads(listing.read_bytes())}
            except (ValueError, KeyError, TypeError) as error:
                raise MmnError(
                    f"DVC's cache, {version}: the folder's listing is damaged, so it cannot be said what it needs. "
                    "`dvc fetch` or `mmn run` brings it back; nothing was removed."
                ) from error
    for file in sorted(cache.glob("??/*")):
        md5 = file.parent.name + file.name
        if md5 not in needed and len(md5.removesuffix(".dir")) == 32:
            yield Unneeded(kind="cache", path=_below(root, file), num_bytes=file.stat().st_size, version=md5)


def _shards(workspace: Workspace, steps: Mapping[str, Step]) -> Iterator[Unneeded]:
    """None while a featurization is to be done: it may go on from them."""
    lock = read_lock(workspace)
    if any(step.kind == "features" and why_stale(workspace, step, steps, lock) for step in steps.values()):
        return
    for file in sorted(workspace.shards.rglob("*.safetensors")):
        yield Unneeded(kind="shard", path=_below(workspace.root, file), num_bytes=file.stat().st_size)


def _checkpoints(workspace: Workspace, steps: Mapping[str, Step]) -> Iterator[Unneeded]:
    """Those of steps that are not there any more, or whose code and parameters are others now."""
    stages = {step.stage: step for step in steps.values()}
    for folder in sorted(workspace.checkpoints.glob("*")):
        step = stages.get(folder.name)
        current = code_version(workspace, step) if step else None
        for file in sorted(folder.glob("*.safetensors")):
            if current is None or not file.stem.endswith(f"-{current}"):
                yield Unneeded(kind="checkpoint", path=_below(workspace.root, file), num_bytes=file.stat().st_size)


def _below(root: Path, path: Path) -> str:
    """Relative to the workspace; a cache that lies elsewhere is named in full."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
