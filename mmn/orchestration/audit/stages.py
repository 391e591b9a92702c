"""`dvc.yaml` as a witness. It is made from the table of steps, so what that cannot have made was changed by hand.

The last commit vouches for a stage, and so does `dvc.lock`: what it recorded is what was listed then. Of a stage for
which nobody vouches, every input must be another stage's output, the raw folder or code, and every section known. What
is listed for metrics and plots follows from the stages themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mmn.data.errors import MmnError
from mmn.orchestration.actions import dvc_files
from mmn.orchestration.audit.finding import Finding, Severity
from mmn.orchestration.audit.lock import key_of
from mmn.orchestration.dvc_pipeline import HEADER, LOADER, Dumper
from mmn.orchestration.params import load_params, section

if TYPE_CHECKING:
    from mmn.orchestration.audit.lock import Entry
    from mmn.orchestration.audit.snapshot import Snapshot

FILE = "dvc.yaml"
_Table = dict[str, tuple["Stage", frozenset[str]]]
_MODELS = "artifacts/models/"
_HEAD = HEADER + "stages:\n"
_NAME = re.compile(r"^  (\S+):\n", re.MULTILINE)
_END = re.compile(r"^(?=metrics:|plots:)", re.MULTILINE)
_LISTED = re.compile(r"    - (\S+)\n")
_BLOCK = re.compile(
    r"    cmd: (?P<cmd>mmn step \S+)\n"
    r"(?:    deps:\n(?P<deps>(?:    - \S+\n)*))?"
    r"(?:    params:\n(?P<params>(?:    - \S+\n)*))?"
    r"    outs:\n    - (?P<out>\S+)\n"
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of `dvc.yaml`. text: its lines."""

    cmd: str = ""
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    out: str = ""
    text: str = ""

    @cached_property
    def listed(self) -> frozenset[str]:
        return frozenset({*self.deps, *self.params, self.out})


@dataclass(frozen=True, kw_only=True)
class Stages:
    """by_name: a stage that is not written as `mmn` writes one lists what can be read of it. rest: what stands behind
    them. head: whether it begins as `mmn` writes it. odd: names of the stages that are written otherwise."""

    by_name: Mapping[str, Stage]
    rest: str
    head: bool
    odd: tuple[str, ...] = ()


def read_stages(text: str) -> Stages:
    head = text.startswith(_HEAD)
    body, *rest = _END.split(text.removeprefix(_HEAD) if head else text, maxsplit=1)
    first, *pieces = _NAME.split(body)
    found = {name: _stage(block) for name, block in zip(pieces[::2], pieces[1::2], strict=True)}
    odd = [name for name, stage in found.items() if not stage.cmd]
    return Stages(by_name=found, rest="".join(rest), head=head and not first, odd=tuple(odd))


def _stage(block: str) -> Stage:
    match = _BLOCK.fullmatch(block)
    if match is None:
        return _by_yaml(block)
    return Stage(
        cmd=match["cmd"],
        deps=tuple(_LISTED.findall(match["deps"] or "")),
        params=tuple(_LISTED.findall(match["params"] or "")),
        out=match["out"],
        text=block,
    )


def _by_yaml(block: str) -> Stage:
    """A name so long that YAML folds its line, or one that it quotes; or a block that somebody changed."""
    lines = tuple(_LISTED.findall(block))
    try:
        told = yaml.load(f"stage:\n{block}", Loader=LOADER)
        written = yaml.dump({"stages": told}, Dumper=Dumper, sort_keys=False, width=120)
        told = told["stage"]
        if written != f"stages:\n  stage:\n{block}" or not set(told) <= {"cmd", "deps", "params", "outs"}:
            return Stage(deps=lines, text=block)
        return Stage(
            cmd=told["cmd"], deps=tuple(told["deps"]), params=tuple(told.get("params", ())), out=told["outs"][0],
            text=block,
        )  # fmt: skip
    except (yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError):
        return Stage(deps=lines, text=block)


def check_stages(snapshot: Snapshot, *, verify: bool) -> Iterator[Finding]:
    """Of the working tree; a revision's is what was committed. verify: all is compared with the table of steps too."""
    stages, last = snapshot.stages, snapshot.last
    if snapshot.commit is not None or stages is None or "dvc.yaml" in snapshot.missing:
        return
    table = cache(_table)
    if last is None or last.files.get(FILE) != snapshot.files[FILE]:
        yield from _by_hand(snapshot, stages, table)
    others = [name for name, stage in stages.by_name.items() if verify and _is_other(stage, table(snapshot.root), name)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        message = f"is not what the steps make now: {others[0]}{more}; `mmn stages` writes it anew"
        yield _finding("note", FILE, message)


def _by_hand(snapshot: Snapshot, stages: Stages, table: Callable[[Path], _Table | None]) -> Iterator[Finding]:
    """What nobody vouches for and cannot have been made: by another state of the code or of `params.yaml` it can."""
    last = snapshot.last
    committed = last.stages.by_name if last is not None and last.stages else {}
    entries = {entry.stage: entry for entry in snapshot.entries.values()}
    if not stages.head or stages.rest != _rest_of(stages):
        yield _finding("fault", FILE, "is not what `mmn` writes of these stages: it was changed by hand")
    outs = {stage.out for stage in stages.by_name.values()}
    listed = Counter(path for stage in stages.by_name.values() for path in stage.deps)
    for name, stage in stages.by_name.items():
        if stage == committed.get(name) or _is_recorded(stage, entries.get(name)):
            continue
        place, key = f"{FILE}, {name}", stage.cmd.removeprefix("mmn step ")
        if name in stages.odd or key.replace("/", "-") != name or key_of(stage.out) != key:
            yield _finding("fault", place, "is not written as `mmn` writes it: it was changed by hand")
            continue
        sound = [
            path in outs
            or (path.startswith("raw/") and path.split("/")[1:] == key.split("/")[1:2])
            or (path.startswith("mmn/") and (listed[path] > 1 or (snapshot.root / path).is_file()))
            for path in stage.deps
        ]
        strange = [path for path, known in zip(stage.deps, sound, strict=True) if not known]
        unknown = [dotted for dotted in stage.params if not section(snapshot.params, dotted)]
        if unknown and (made := table(snapshot.root)) is not None:
            unknown = [dotted for dotted in unknown if name not in made or dotted not in made[name][1]]
        if strange or unknown:
            yield _finding("fault", place, f"{[*strange, *unknown][0]} is nothing that it can read: changed by hand")


def _is_other(stage: Stage, table: _Table | None, name: str) -> bool:
    if table is None or name not in table:
        return False
    wanted, sections = table[name]
    same = (stage.cmd, stage.deps, stage.out) == (wanted.cmd, wanted.deps, wanted.out)
    return not same or not set(stage.params) <= sections


def _is_recorded(stage: Stage, entry: Entry | None) -> bool:
    return (
        entry is not None
        and not entry.rebuilt
        and (stage.cmd, stage.out) == (entry.cmd, entry.path)
        and sorted(stage.deps) == sorted(entry.deps)
        and sorted(stage.params) == sorted(entry.params)
    )


def _table(root: Path) -> _Table | None:
    """Stage -> what the table of steps makes of it, and all sections of the parameters that its step may read. None
    where no raw data is here, or `params.yaml` is refused."""
    from mmn.orchestration.dvc_pipeline import dep_paths
    from mmn.orchestration.steps import active_datasets, build_steps
    from mmn.orchestration.workspace import Workspace

    try:
        load_params(root)
        steps = build_steps(active_datasets(Workspace(root)))
    except (MmnError, OSError):
        return None
    return {
        step.stage: (
            Stage(cmd=f"mmn step {step.key}", deps=tuple(dep_paths(step, steps)), out=step.out),
            frozenset(step.sections),
        )
        for step in steps.values()
    } or None


def _rest_of(stages: Stages) -> str | None:
    """Metrics and plots, as `dvc_pipeline.render_stages` derives them; None where a model's name is damaged."""
    told: dict[str, Any] = {}
    scores = [stage for stage in stages.by_name.values() if stage.out.endswith("/scores")]
    if any(path.count("/") != 4 for stage in scores for path in stage.deps if path.startswith(_MODELS)):
        return None
    if scores:
        models = [
            [path.removeprefix("artifacts/") for path in stage.deps if path.startswith(_MODELS)] for stage in scores
        ]
        told["metrics"] = [f"{stage.out}/{dvc_files.METRICS}" for stage in scores]
        told["plots"] = [
            plot for stage, keys in zip(scores, models, strict=True) for plot in dvc_files.plots(stage.out, keys)
        ]
    return yaml.dump(told, Dumper=Dumper, sort_keys=False, width=120) if told else ""


def _finding(severity: Severity, place: str, message: str) -> Finding:
    return Finding(severity=severity, code="stages", key="", place=place, message=message)
