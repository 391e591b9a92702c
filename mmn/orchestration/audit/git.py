"""What git holds of a workspace at a revision. Reads only, and no network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmn.data.errors import MmnError


class RevisionError(MmnError):
    """A git revision is not known here, or the workspace is not in git."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """at: the committer's date, ISO 8601."""

    sha: str
    author: str
    at: str
    subject: str


@dataclass(frozen=True)
class Blob:
    """A file's content as git names it. size: bytes."""

    id: str
    size: int


def commit_of(root: Path, revision: str) -> Commit:
    """Raises RevisionError where the revision is not known."""
    # "--end-of-options": a revision is what a person types, and never an option of git's.
    done = _git(root, "log", "-1", "--format=%H%x00%an <%ae>%x00%cI%x00%s", "--end-of-options", revision)
    if done.returncode or not done.stdout:
        raise RevisionError(
            f"'{revision}': no such git revision in this workspace. `git log --oneline dvc.lock` lists those with a "
            "recorded state."
        )
    sha, author, at, subject = done.stdout.decode().rstrip("\n").split("\0")
    return Commit(sha=sha, author=author, at=at, subject=subject)


def has_commits(root: Path) -> bool:
    return _git(root, "rev-parse", "--verify", "-q", "HEAD").returncode == 0


def show_many(root: Path, revision: str, paths: Sequence[str]) -> dict[str, bytes]:
    """The bytes of each path (relative to the workspace) at the revision; a path that is not there is left out."""
    if not paths:
        return {}
    asked = "".join(f"{revision}:./{path}\n" for path in paths)
    done = _git(root, "cat-file", "--batch", given=asked.encode())
    if done.returncode:
        return {}
    found, rest = {}, done.stdout
    for path in paths:
        head, _, rest = rest.partition(b"\n")
        words = head.split()
        if words[-1:] == [b"missing"] or len(words) != 3 or words[1] != b"blob":
            if len(words) == 3 and words[1] != b"missing" and words[2].isdigit():
                rest = rest[int(words[2]) + 1 :]
            continue
        size = int(words[2])
        found[path], rest = rest[:size], rest[size + 1 :]
    return found


def revisions(root: Path, *, tips: bool = False) -> list[str]:
    """Every commit of any branch or tag that changed `dvc.lock`; tips: the branches, tags and HEAD themselves alone."""
    if not has_commits(root):
        return []
    if tips:
        named = _git(root, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags", "refs/remotes")
        return [_git(root, "rev-parse", "HEAD").stdout.decode().strip(), *named.stdout.decode().split()]
    return (
        _git(root, "log", "--all", "HEAD", "--full-history", "--format=%H", "--", "./dvc.lock").stdout.decode().split()
    )


def history_of(root: Path, revisions: Sequence[str], path: str) -> list[tuple[str, list[str]]]:
    """Commits that changed the file, and merges, with the nearest such ancestors of each; children before parents."""
    told = ["--topo-order", "--full-history", "--parents", "--format=%H %P"]
    done = _git(root, "log", *told, *revisions, "--", f"./{path}")
    words = [line.split() for line in done.stdout.decode().splitlines()]
    return [(sha, parents) for sha, *parents in words]


def blobs_at(root: Path, revisions: Sequence[str], path: str) -> dict[str, Blob]:
    """Revision -> the file there; a revision that has none is left out."""
    asked = "".join(f"{revision}:./{path}\n" for revision in revisions)
    done = _git(root, "cat-file", "--batch-check", given=asked.encode())
    words = [line.split() for line in done.stdout.decode().splitlines()]
    return {
        revision: Blob(id=told[0], size=int(told[2]))
        for revision, told in zip(revisions, words, strict=False)
        if len(told) == 3 and told[1] == "blob"
    }


def read_blob(root: Path, blob: str) -> bytes:
    """Raises RevisionError where git does not hold it, as in a clone that fetches contents only when asked."""
    done = _git(root, "cat-file", "blob", blob)
    if done.returncode:
        raise RevisionError(f"git object {blob}: not readable. `git fsck` says what is damaged or missing.")
    return done.stdout


def _git(root: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess:
    # What stands in place of a commit (`git replace`) would hide the commit itself.
    plain = {**os.environ, "GIT_NO_REPLACE_OBJECTS": "1"}
    try:
        return subprocess.run(["git", *arguments], cwd=root, env=plain, input=given, capture_output=True, check=False)
    except FileNotFoundError:  # without git, as without a repository
        return subprocess.CompletedProcess(arguments, 127, b"", b"")
