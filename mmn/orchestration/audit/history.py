"""The journal in git: what a commit holds of it must begin with what each of its parents held.

A journal that was shortened or rewritten and then committed is in order by itself; only the commits before it tell.
Of a long history few bytes are read: whether one blob begins with another is told by its hash, as git computes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from mmn.orchestration.audit.finding import Finding, Severity
from mmn.orchestration.audit.git import Blob, blobs_at, commit_of, history_of, read_blob
from mmn.orchestration.journal import FILE

_PLACE = f"{FILE} in git"


def check_history(root: Path, revisions: Sequence[str], newest: bytes) -> tuple[Finding, ...]:
    """revisions: commits whose ancestors are looked at. newest: the last commit's journal; what it has again is not
    lost. Commits do not change, so each question is asked once."""
    return _check(root, tuple(revisions), newest)


@lru_cache(maxsize=4)
def _check(root: Path, revisions: tuple[str, ...], newest: bytes) -> tuple[Finding, ...]:
    return tuple(_findings(root, revisions, newest))


def _findings(root: Path, revisions: Sequence[str], newest: bytes) -> Iterator[Finding]:
    commits = history_of(root, revisions, FILE)
    blobs = blobs_at(root, [sha for sha, _ in commits], FILE)
    texts = _Texts(root, newest)
    for sha, parents in commits:
        blob = blobs.get(sha)
        kept = {parent: texts.begins(blob, blobs.get(parent)) for parent in parents}
        for parent in (parent for parent, begins in kept.items() if not begins):
            now, before = texts.of(blob), texts.of(blobs.get(parent))
            num = before.count(b"\n", _common(now, before)) + (not before.endswith(b"\n"))
            yield _finding(
                root, sha, parent, num,
                restored=newest.startswith(before),
                merged=any(kept[other] and blobs.get(other) for other in parents) and not before.startswith(now),
            )  # fmt: skip


def _finding(root: Path, sha: str, parent: str, num: int, *, restored: bool, merged: bool) -> Finding:
    """merged: the commit goes on with another parent's journal, which had parted from this one's."""
    lines = f"{num} line{'s' if num != 1 else ''}"
    severity: Severity = "note" if restored or merged else "fault"
    if merged:
        message = f"merge {sha[:12]} kept one of two journals; {lines} of the other stand in {parent[:12]} alone"
    else:
        who = commit_of(root, sha)
        message = f"commit {sha[:12]} ({who.at}, {who.author}) removed or changed {lines} that {parent[:12]} holds"
        message += "; they are here again" if restored else ""
    return Finding(severity=severity, code="journal", key="", place=_PLACE, message=message)


class _Texts:
    """Journals by blob. One that is the beginning of another is not read: it shares the other's bytes."""

    def __init__(self, root: Path, newest: bytes) -> None:
        self._root = root
        self._known = {_git_hash(newest, length): newest for length in (40, 64)}

    def of(self, blob: Blob | None) -> bytes:
        return b"" if blob is None else self._longer(blob)[: blob.size]

    def begins(self, blob: Blob | None, before: Blob | None) -> bool:
        """Whether a journal begins with the one before it."""
        if before is None or before == blob:
            return True
        if blob is None or before.size > blob.size:
            return False
        whole = self._longer(blob)
        begins = _git_hash(whole[: before.size], len(before.id)) == before.id
        if begins:
            self._known.setdefault(before.id, whole)
        return begins

    def _longer(self, blob: Blob) -> bytes:
        if blob.id not in self._known:
            self._known[blob.id] = read_blob(self._root, blob.id)
        return self._known[blob.id]


def _git_hash(data: bytes, length: int) -> str:
    """As git names a blob: SHA-1, in a repository of the newer kind SHA-256."""
    algorithm = "sha256" if length == 64 else "sha1"
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _common(a: bytes, b: bytes) -> int:
    """The length of their common beginning, in whole lines."""
    length = 0
    for one, other in zip(a.splitlines(keepends=True), b.splitlines(keepends=True), strict=False):
        if one != other:
            break
        length += len(one)
    return length
