"""The journal: who did what, when, with which code and environment. One line per event, only ever appended to.

`journal.jsonl` lies beside `dvc.lock` and is kept in git with it. Every line holds the SHA-256 of the line before and
of itself, so that a changed, added or removed line in the middle is seen; what stands in a commit vouches for the end.
No patient-level value is written: step keys, versions, hashes, names of files.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from mmn.orchestration.code import PACKAGE
from mmn.orchestration.dvc_pipeline import entry_of
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

FILE = "journal.jsonl"
START = "0" * 64
# What the readers of a line take from it.
_FIELDS = {
    "step": {"step", "version", "entry", "sha256", "environment", "at", "by"},
    "environment": {"digest", "environment"},
    "removed": {"what", "at", "by"},
}
# What decides numbers; the rest of an environment does not.
PACKAGES = (
    "mmn", "torch", "torchvision", "transformers", "safetensors", "numpy", "pandas", "pyarrow", "duckdb",
    "scikit-learn", "scipy", "statsmodels", "xgboost", "pillow", "dvc", "dagster",
)  # fmt: skip


@dataclass(frozen=True)
class Journal:
    """lines: as read, first to last. problems: (line number from 1, what is wrong with it)."""

    lines: tuple[dict[str, Any], ...] = ()
    problems: tuple[tuple[int, str], ...] = ()

    def runs(self, key: str, version: str) -> list[dict[str, Any]]:
        """The runs of a step that ended in this version, oldest first."""
        return self._runs.get((key, version), [])

    @cached_property
    def _runs(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for line in self.lines:
            if line.get("did") == "step":
                found.setdefault((line["step"], line["version"]), []).append(line)
        return found

    def environment(self, digest: str) -> dict[str, Any] | None:
        return self._environments.get(digest)

    @cached_property
    def _environments(self) -> dict[str, dict[str, Any]]:
        return {line["digest"]: line["environment"] for line in self.lines if line.get("did") == "environment"}

    def removal(self, version: str) -> dict[str, Any] | None:
        """The line that recorded the removal of the bytes of this version, if they were removed on purpose."""
        return self._removals.get(version)

    @cached_property
    def _removals(self) -> dict[str, dict[str, Any]]:
        return {
            item["version"]: line
            for line in self.lines
            if line.get("did") == "removed"
            for item in line["what"]
            if item.get("version")
        }


def read_journal(data: bytes | None) -> Journal | None:
    """From the file's bytes; None where there is no journal. A line that was tampered with is named in `problems`."""
    if data is None:
        return None
    lines, problems, previous = [], [], START
    rows = data.split(b"\n")
    if rows[-1]:
        problems.append((len(rows), "the last line was cut short"))
    for number, row in enumerate(rows[:-1], 1):
        try:
            line = json.loads(row)
            told = line.pop("hash")
        except (ValueError, KeyError, AttributeError, TypeError):
            problems.append((number, "not a line of the journal"))
            previous = ""  # what follows cannot be compared with it
            continue
        if _as_text(line | {"hash": told}).encode() != row or told != _digest(line):
            problems.append((number, "its content is not what its own hash says: it was changed"))
            previous = ""
            continue
        if previous and line.get("previous") != previous:
            problems.append((number, "does not follow the line before it: a line was changed, removed or put in"))
        previous = told
        if _FIELDS.get(line.get("did"), {"did"}) <= set(line):
            lines.append(line)
        else:
            problems.append((number, "not a line of the journal"))
    return Journal(tuple(lines), tuple(problems))


def journal_of(root: Path) -> Journal | None:
    path = root / FILE
    return read_journal(path.read_bytes() if path.is_file() else None)


def step_done(workspace: Workspace, step: Step, inputs: Mapping[str, str], version: str) -> None:
    """A line for a finished step. inputs: path -> version of all that it read, code included."""
    made_from = {path: seen for path, seen in inputs.items() if path.startswith(("artifacts/", "raw/"))}
    append(
        workspace.root,
        {
            "did": "step",
            "step": step.key,
            "version": version,
            "sha256": sha256_of(workspace.root / step.out),
            "entry": entry_digest(entry_of(workspace, step, inputs)),
            "inputs": made_from,
            "via": "dvc repro" if os.environ.get("DVC_STAGE") else "mmn",
        },
    )


def removed(root: Path, what: Sequence[Mapping[str, Any]], why: str) -> None:
    """Lines for what is about to be removed: kind, path or step, version, bytes of each."""
    for first in range(0, len(what), 500):
        append(root, {"did": "removed", "why": why, "what": [dict(item) for item in what[first : first + 500]]})


def append(root: Path, event: Mapping[str, Any]) -> None:
    """Add a line, and one for the environment where it is new. One process at a time; on disk before this returns."""
    environment = environment_now()
    digest = _digest(environment)
    path = root / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        data = stream.read()
        rows = [row for row in data.split(b"\n") if row]
        last = _hash_in(rows[-1]) if rows else START
        # A line that a killed process left half-written is ended; reading names it for ever.
        text = "\n" if data and not data.endswith(b"\n") else ""
        number = len(rows)
        new: list[dict[str, Any]] = []
        if f'"digest":"{digest}"'.encode() not in data:
            new.append({"did": "environment", "digest": digest, "environment": environment})
        new.append({**event, "environment": digest, "code": code_revision(), **_who(root)})
        for line in new:
            whole = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "number": number, "previous": last, **line}
            last = _digest(whole)
            text += _as_text(whole | {"hash": last}) + "\n"
            number += 1
        stream.write(text.encode())
        os.fsync(stream.fileno())


def entry_digest(entry: Mapping[str, Any]) -> str:
    """Of an entry of `dvc.lock`, whoever wrote it: the order of keys and of inputs plays no part."""
    fields = ("path", "hash", "md5", "size", "nfiles")
    plain = {
        "cmd": entry.get("cmd"),
        "params": entry.get("params") or {},
        **{
            part: sorted(
                ({name: item[name] for name in fields if name in item} for item in entry.get(part) or []),
                key=lambda item: str(item.get("path")),
            )
            for part in ("deps", "outs")
        },
    }
    return _digest(plain)


def sha256_of(path: Path) -> str:
    """Of a file's bytes; for a folder, of its sorted listing."""
    if path.is_file():
        return _sha256_of_file(path)
    return sha256_of_listing(
        {file.relative_to(path).as_posix(): _sha256_of_file(file) for file in path.rglob("*") if file.is_file()}
    )


def sha256_of_files(files: Iterable[tuple[str, Path]], *, folder: bool) -> str:
    """As `sha256_of`, of files by their names, wherever they lie."""
    found = {name: _sha256_of_file(path) for name, path in files}
    return sha256_of_listing(found) if folder else next(iter(found.values()))


def sha256_of_listing(hashes: Mapping[str, str]) -> str:
    return _digest(sorted(hashes.items()))


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def environment_now() -> dict[str, Any]:
    """What may change a sum's last digits, and nothing that names the machine."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "not known"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def code_revision() -> dict[str, Any]:
    """The commit of the code and whether files of it differ from that; {} where the code is not in git."""
    revision = _git(PACKAGE.parent, "rev-parse", "HEAD")
    if revision is None:
        return {}
    return {"revision": revision, "changed": bool(_git(PACKAGE.parent, "status", "--porcelain", "--", "mmn"))}


@cache
def _who(root: Path) -> dict[str, str]:
    told = {"by": getpass.getuser()}
    name, mail = _git(root, "config", "user.name"), _git(root, "config", "user.email")
    return told | ({"git": f"{name or ''} <{mail or ''}>".strip()} if name or mail else {})


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hash_in(row: bytes) -> str:
    try:
        return str(json.loads(row)["hash"])
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(row).hexdigest()


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
