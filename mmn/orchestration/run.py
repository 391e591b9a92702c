"""`mmn run`: find what is stale, materialise it through Dagster, show how far it is, say what was done.

Interrupted, it resumes where it was: every finished step is recorded, and only what is not fresh runs again.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmn.data import DATASETS, load_dataset
from mmn.data.errors import MmnError
from mmn.data.files import read_json, sweep
from mmn.orchestration.dvc_pipeline import ensure_dvc, read_lock, why_stale, write_stages
from mmn.orchestration.steps import Step, active_datasets, build_steps, check_params, refuse_unusable
from mmn.orchestration.workspace import Workspace

# What failed where no step did.
THE_RUN = "the run"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """why: step -> the reason it must run. maybe: the same of what follows from those, and runs if bytes change."""

    why: dict[str, str]
    maybe: dict[str, str]

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.why, *self.maybe)


def make_plan(workspace: Workspace, steps: Mapping[str, Step], targets: Sequence[str] = ()) -> Plan:
    """targets: keys or key prefixes (`features/mimic`); none means everything. What they need is included."""
    wanted = _with_inputs(steps, _match(steps, targets)) if targets else set(steps)
    lock = read_lock(workspace)
    why: dict[str, str] = {}
    touched: set[str] = set()
    maybe: dict[str, str] = {}
    for step in steps.values():
        if step.key not in wanted:
            continue
        follows = [dep for dep in step.deps if dep in touched]
        reason = why_stale(workspace, step, steps, lock)
        if follows:
            maybe[step.key] = reason or f"{follows[0]} may change"
        elif reason is not None:
            why[step.key] = reason
        if follows or reason is not None:
            touched.add(step.key)
    return Plan(why=why, maybe=maybe)


def run(
    workspace: Workspace,
    targets: Sequence[str] = (),
    *,
    dry_run: bool = False,
    each: bool = False,
    console: Console | None = None,
) -> bool:
    """Bring everything asked for up to date. True if all is fresh at the end.

    each: one Dagster run per model, so that one that fails or is stopped leaves the others' runs whole.
    """
    console = console or Console()
    check_params(workspace.params)
    linked = [name for name in dict.fromkeys(load_dataset(key).raw for key in DATASETS) if workspace.linked(name)]
    if not linked:
        raise MmnError("No raw data is linked. Type `mmn demo` for a generated world, or `mmn run --raw mimic=PATH`.")
    for name in linked:
        for line in refuse_unusable(name, workspace.raw(name)):
            console.print(line, highlight=False, markup=False)
    steps = build_steps(active_datasets(workspace))
    workspace.prepare()
    if not dry_run:
        ensure_dvc(workspace.root)
        write_stages(workspace, steps)
    plan = make_plan(workspace, steps, targets)
    if not plan.keys:
        console.print(f"Nothing to do: all {len(steps)} steps are fresh.")
        if not dry_run:
            _tell_dagster(workspace, steps)
        return True
    told = [f"  {key}: {reason}" for key, reason in (plan.why | plan.maybe if dry_run else plan.why).items()]
    for line in told if dry_run else told[:12]:
        console.print(line, highlight=False, markup=False)
    if len(told) > 12 and not dry_run:
        console.print(f"  … and {len(told) - 12} more")
    console.print(f"{len(plan.why)} steps to run, {len(plan.maybe)} that follow from them, of {len(steps)}.")
    if dry_run:
        return False
    sweep(workspace.artifacts)
    _tell_dagster(workspace, steps)
    for key in plan.keys:
        (workspace.progress / f"{steps[key].stage}.json").unlink(missing_ok=True)
    started, causes = time.monotonic(), list[tuple[str, str]]()
    with (
        quiet(workspace.root / ".mmn" / "run.log", console),
        Watcher(workspace, [steps[key] for key in plan.keys], console),
    ):
        try:
            for keys in one_per_model(steps, plan.keys) if each else [plan.keys]:
                causes += _materialise(keys)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
    failed = _report_failures(workspace, [steps[key] for key in plan.keys], causes, console)
    left = make_plan(workspace, steps, targets)
    done = len(plan.keys) - len(left.keys)
    console.print(f"{done} steps in {time.monotonic() - started:.0f} s; {len(left.keys)} left.")
    if left.keys and not failed:
        console.print("Stopped before the end. What was finished is kept; the same command goes on from there.")
    return not (stopped or causes or left.keys)


def one_per_model(steps: Mapping[str, Step], keys: Sequence[str]) -> list[Sequence[str]]:
    """What the models need; each model alone; what is made from models. In the table's order."""
    models = [key for key in keys if steps[key].kind == "model"]
    after: set[str] = set()
    for step in steps.values():
        if any(dep in after or dep in models for dep in step.deps):
            after.add(step.key)
    before = [key for key in keys if key not in models and key not in after]
    rest = [key for key in keys if key in after and key not in models]
    return [part for part in (before, *([key] for key in models), rest) if part]


def _materialise(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Walk the steps in one run; what failed and why, none if it succeeded. Raises KeyboardInterrupt if stopped."""
    import dagster as dg

    from mmn.orchestration import definitions
    from mmn.orchestration.launcher import PID_TAG, here

    with (
        dg.DagsterInstance.get() as instance,
        dg.execute_job(
            dg.reconstructable(definitions.road_job),
            instance=instance,
            asset_selection=[definitions.asset_key(key) for key in keys],
            tags={definitions.ONLY_STALE_TAG: "true", PID_TAG: str(os.getpid()), **here()},
        ) as result,
    ):
        causes = causes_of(result)
        if not causes and not result.success:
            raise KeyboardInterrupt
        return causes


def causes_of(result: Any) -> list[tuple[str, str]]:
    """What failed of a finished run, and why: steps, or the run itself; nothing for what was interrupted."""
    failures = [event for event in result.all_events if event.is_step_failure or event.is_job_failure]
    found = {event.step_key or THE_RUN: _cause(event.event_specific_data) for event in failures}
    return [(key.replace("__", "/"), why) for key, why in found.items() if why is not None]


def _cause(failure: Any) -> str | None:
    """In the words of the error with which it began; None of a run whose steps failed, and of what was interrupted.

    A step's own words were made fit to be shown (`definitions`)."""
    told = getattr(failure, "user_failure_data", None)
    if told is not None and told.description:
        return str(told.description)
    # A run that failed by its steps repeats the first of their errors.
    error = None if getattr(getattr(failure, "failure_reason", None), "name", "") == "STEP_FAILURE" else failure.error
    while error is not None and (before := error.cause or error.context) is not None:
        error = before
    if error is None or error.cls_name in {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}:
        return None
    # Ours begin with what and where; of others the kind of error is a part of the story.
    return str(error.message).strip().removeprefix(f"{MmnError.__module__}.{error.cls_name}: ")


@contextmanager
def quiet(log: Path, console: Console) -> Iterator[None]:
    """Send what this process and its children print to a file, and only the console's own lines to the terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept, old_file = [os.dup(1), os.dup(2)], console.file
    console.file = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)
        console.file.close()
        console.file = old_file


def _tell_dagster(workspace: Workspace, steps: Mapping[str, Step]) -> None:
    import dagster as dg

    from mmn.orchestration.launcher import fail_lost_runs
    from mmn.orchestration.sync import sync

    with dg.DagsterInstance.get() as instance:
        fail_lost_runs(instance)
        sync(instance, workspace, steps)


def _match(steps: Mapping[str, Step], targets: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for target in targets:
        hits = {key for key in steps if key == target or key.startswith(target.rstrip("/") + "/")}
        if not hits:
            import difflib

            nearest = difflib.get_close_matches(target, list(steps), n=1)
            raise MmnError(
                f"No step '{target}'. " + (f"Did you mean '{nearest[0]}'?" if nearest else "`mmn steps` lists them.")
            )
        found |= hits
    return found


def _with_inputs(steps: Mapping[str, Step], keys: set[str]) -> set[str]:
    waiting, seen = list(keys), set()
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            waiting.extend(steps[key].deps)
    return seen


def _report_failures(
    workspace: Workspace, steps: Sequence[Step], causes: Sequence[tuple[str, str]], console: Console
) -> bool:
    """Say what failed and why; whether anything did. causes: as Dagster tells them, which knows of what never began:
    an engine that took no step, a machine that was lost."""
    states = {step.key: _state(workspace, step) for step in steps}
    failed = {key: state["error"] for key, state in states.items() if state.get("state") == "failed"}
    for key, error in {**failed, **dict(causes)}.items():
        console.print(f"[red]failed[/red] {key}: {escape(error)}", highlight=False, soft_wrap=True)
    return bool(failed or causes)


def _state(workspace: Workspace, step: Step) -> dict:
    path = workspace.progress / f"{step.stage}.json"
    return read_json(path) if path.exists() else {}


class Watcher:
    """Shows the progress files of the running steps: a live bar on a terminal, a line per finished step elsewhere."""

    def __init__(self, workspace: Workspace, steps: Sequence[Step], console: Console) -> None:
        self._workspace, self._steps, self._console = workspace, steps, console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        rounds = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        columns = (*rounds, TimeRemainingColumn(), TextColumn("left"))
        live = self._console.is_terminal
        finished: set[str] = set()
        with Progress(*columns, console=self._console, disable=not live) as bars:
            total = bars.add_task("steps", total=len(self._steps))
            bar_of: dict[str, TaskID] = {}
            last = False
            while not last:
                last = self._stop.wait(0.3)
                for step in self._steps:
                    state = _state(self._workspace, step)
                    if state.get("state") == "running":
                        if step.key not in bar_of:
                            bar_of[step.key] = bars.add_task(step.key, total=None)
                        what = f"{step.key} ({state['what']})" if state.get("what") else step.key
                        done, of = state["done"], state["total"] or None
                        bars.update(bar_of[step.key], completed=done, total=of, description=what)
                    elif state.get("state") in {"done", "same", "failed", "stopped"} and step.key not in finished:
                        finished.add(step.key)
                        if step.key in bar_of:
                            bars.remove_task(bar_of.pop(step.key))
                        bars.update(total, completed=len(finished))
                        count = f"{len(finished)}/{len(self._steps)}"
                        self._console.print(f"{count:>8} {state['state']:>7}  {step.key}", highlight=False)
