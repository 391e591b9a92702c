"""Walking one step: check what it reads, do the work, put the result in place, record it.

Dagster's assets and DVC's stages both come here, which is why they leave the same bytes.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn.data.errors import MmnError, StaleInputError
from mmn.data.files import atomic_path, read_provenance, write_json
from mmn.orchestration.checks import check_result, names_of
from mmn.orchestration.dvc_pipeline import code_version, dep_paths, present_sections, record
from mmn.orchestration.journal import step_done
from mmn.orchestration.made import Page, recall, remember
from mmn.orchestration.operating import load_operating
from mmn.orchestration.params import section
from mmn.orchestration.steps import Active, Step
from mmn.orchestration.workspace import Workspace

if TYPE_CHECKING:
    from mmn.modeling.checkpoint import Checkpoint

Progress = Callable[[int, int], None]
_PASSING = {
    errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENODEV, errno.ENXIO,
    errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.ENOTCONN, errno.EPIPE, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a work function is given: the step, where things are, what to write, and how to say how far it is.

    tell: of what `progress` counts the rounds, for whoever watches.
    """

    step: Step
    steps: Mapping[str, Step]
    workspace: Workspace
    active: Mapping[str, Active]
    out: Path
    provenance: dict[str, Any]
    progress: Progress
    tell: Callable[[str], None] = lambda what: None

    def path(self, key: str) -> Path:
        """Where another step's output lies."""
        return self.workspace.root / self.steps[key].out

    def checkpoint(self, name: str) -> Checkpoint:
        """Where a training of this step keeps its state; gone when the step is recorded."""
        from mmn.modeling.checkpoint import Checkpoint

        code = code_version(self.workspace, self.step)
        return Checkpoint(self.workspace.checkpoints / self.step.stage / f"{name.replace(' ', '_')}-{code}.safetensors")

    @property
    def raw(self) -> Path:
        assert self.step.raw is not None
        return self.workspace.raw(self.step.raw)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """version: of the bytes written. inputs: path -> version of what was read. page: what is told of it."""

    version: str
    inputs: dict[str, str]
    page: Page


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a work function returns."""

    summary: dict[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def walk(workspace: Workspace, step: Step, steps: Mapping[str, Step], active: Mapping[str, Active]) -> Outcome:
    """Run one step to its recorded end. An error of the work leaves the old output and its record as they were."""
    inputs = {path: workspace.hashes.version_of(workspace.root / path) for path in dep_paths(step, steps)}
    _check_chain(workspace, step, steps)
    if step.raw is not None and step.kind != "raw":
        _check_raw(workspace, step, steps)
    report = ProgressFile(workspace, step)
    work = import_module(f"mmn.orchestration.actions.{step.action or step.kind}").run
    with report, said_if_full(workspace.root), atomic_path(workspace.root / step.out) as temporary:
        job = Job(
            step=step,
            steps=steps,
            workspace=workspace,
            active=active,
            out=temporary,
            provenance=_provenance(workspace, step, steps, inputs),
            progress=report.progress,
            tell=report.tell,
        )
        done: Work = work(job)
        checks = check_result(job, load_operating(workspace.root).checks)
        for path, seen in inputs.items():
            if workspace.hashes.version_of(workspace.root / path) != seen:
                raise StaleInputError(f"{step.key}: {path} changed while the step ran. Run it again.")
    version = workspace.hashes.version_of(workspace.root / step.out)
    record(workspace, step, inputs, version)
    step_done(workspace, step, inputs, version)
    shutil.rmtree(workspace.checkpoints / step.stage, ignore_errors=True)
    page = Page(summary=done.summary, pictures=done.pictures, checks=checks)
    remember(workspace.checks, step.stage, version, page)
    return Outcome(version=version, inputs=inputs, page=page)


def may_pass(error: OSError) -> bool:
    """Of a disk or a network that was away, so that trying again may help. A file that is not there, may not be read or
    is broken stays so until a person mends it."""
    return error.errno in _PASSING or (error.errno is None and isinstance(error, ConnectionError | TimeoutError))


@contextmanager
def said_if_full(root: Path) -> Iterator[None]:
    """A full disk, and not one that was away: trying again helps nobody, so it is an error of ours with the way on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        left = shutil.disk_usage(root).free >> 20
        raise MmnError(
            f"{error.filename or root}: no room left on its disk ({left:,} MB are free below {root}). Nothing was "
            "replaced. Make room (`mmn prune` shows what no kept model needs), or set TMPDIR where that is the full "
            "disk; the same command goes on from what is finished."
        ) from error


def fresh(workspace: Workspace, step: Step, steps: Mapping[str, Step], active: Mapping[str, Active]) -> Outcome:
    """What `walk` returned of a step that need not run; the checks of its version are made now if never here."""
    path = workspace.root / step.out
    version = workspace.hashes.version_of(path)
    page = recall(workspace.checks, step.stage, version)
    if not page.checked(names_of(step.kind)):
        report = ProgressFile(workspace, step)
        provenance = read_provenance(path) or {}
        job = Job(
            step=step, steps=steps, workspace=workspace, active=active, out=path, provenance=provenance,
            progress=report.progress,
            tell=report.tell,
        )  # fmt: skip
        page = replace(page, checks=check_result(job, load_operating(workspace.root).checks))
        remember(workspace.checks, step.stage, version, page)
    ProgressFile(workspace, step).unchanged()
    return Outcome(version=version, inputs={}, page=replace(page, summary={"unchanged": True, **page.summary}))


def _provenance(
    workspace: Workspace, step: Step, steps: Mapping[str, Step], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What the artifact says of itself. No time, host or code hash: equal inputs and parameters give equal bytes."""
    return {
        "step": step.key,
        "inputs": {key: inputs[steps[key].out] for key in step.deps},
        "params": {dotted: section(workspace.params, dotted) for dotted in present_sections(step, workspace.params)},
    }


def _check_chain(workspace: Workspace, step: Step, steps: Mapping[str, Step]) -> None:
    """Refuse an input that says it was made from something other than what is there now."""
    for key in step.deps:
        path = workspace.root / steps[key].out
        if not path.exists():
            raise StaleInputError(
                f"{step.key}: {key} is not made yet. Type `mmn run {key}`, or `mmn run` for everything."
            )
        made_from = (read_provenance(path) or {}).get("inputs", {})
        for source, version in made_from.items():
            if source not in steps:
                continue
            now = workspace.hashes.version_of(workspace.root / steps[source].out)
            if now != version:
                raise StaleInputError(
                    f"{step.key}: {key} was made from {source} at version {version}, which is now {now}. "
                    f"Type `mmn run {key}` first, or `mmn run` for everything."
                )


def _check_raw(workspace: Workspace, step: Step, steps: Mapping[str, Step]) -> None:
    """Refuse raw files that are no longer those of the manifest."""
    from mmn.data.files import read_json
    from mmn.data.manifest import files_of

    assert step.raw is not None
    raw = workspace.raw(step.raw)
    for key in step.deps:
        if not key.startswith("raw/"):
            continue
        manifest = {entry["path"]: entry for entry in read_json(workspace.root / steps[key].out)["files"]}
        files = {path.relative_to(raw).as_posix(): path for path in files_of(raw, steps[key].options["patterns"])}
        md5s = workspace.hashes.md5_of(files.values())
        changed = sorted(set(manifest) ^ set(files)) or [
            name for name, path in files.items() if md5s[path] != manifest[name]["md5"]
        ]
        if changed:
            raise StaleInputError(
                f"{step.key}: {len(changed)} raw files differ from the manifest {key}, the first {changed[0]}. "
                f"Type `mmn run {key}` to take the files as they are now."
            )


class ProgressFile:
    """How far a step is, in a small file that whoever watches can read: any process, any engine."""

    def __init__(self, workspace: Workspace, step: Step) -> None:
        self._path = workspace.progress / f"{step.stage}.json"
        self._last = 0.0
        self._what = ""

    def __enter__(self) -> ProgressFile:
        self._write({"state": "running", "done": 0, "total": 0})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._write({"state": "done"})
        elif isinstance(error, MmnError):
            self._write({"state": "failed", "error": str(error)})
        elif isinstance(error, Exception):
            # Not one of ours: its message may quote a cell of the data, so only its kind is shown.
            self._write({"state": "failed", "error": f"{type(error).__name__}; see the run in the UI"})
        else:
            self._write({"state": "stopped"})

    def unchanged(self) -> None:
        self._write({"state": "same"})

    def progress(self, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._last >= 0.5:
            self._last = now
            self._write({"state": "running", "done": done, "total": total, "what": self._what})

    def tell(self, what: str) -> None:
        self._what = what

    def _write(self, value: dict[str, Any]) -> None:
        write_json(self._path, value)
