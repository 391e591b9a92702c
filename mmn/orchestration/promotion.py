"""Which version of a model is the current one: a retrained model takes its place only if it is no worse, neither than
the current one nor than the best one. Against the current one alone a margin would be lost with each retraining.

`artifacts/models/...` always holds the newest model; `promoted/<data set>/<task set>/<architecture>.json` names the
current one and all decisions that led to it, and is kept in git beside `dvc.lock`. It is no step of the road: a step's
bytes follow from its inputs, a decision also from what was current before. Both versions stay in DVC's cache, each
decision is a line of the journal, and the file holds aggregates only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmn.data.cohort import read_cohort
from mmn.data.dataset import Task
from mmn.data.errors import MmnError
from mmn.data.files import atomic_path, read_json, write_json
from mmn.orchestration.audit.artifact import Artifact, cache_folder, in_cache, in_tree
from mmn.orchestration.audit.decisions import FOLDER, digest_of, place_of
from mmn.orchestration.journal import append
from mmn.orchestration.operating import PromotionSettings
from mmn.orchestration.params import nearest_of
from mmn.orchestration.promotion_compare import Against, Comparison, compare
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

# Before a model's key: its current version instead of the newest.
CURRENT = "current:"
Verdict = Literal["first", "promoted", "kept", "not comparable", "by hand"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """candidate, current: versions. The candidate becomes the current one unless the verdict is "kept" or "not
    comparable". best: the version (`best_of`) that the candidate was held against besides; null where that is the
    current one, and in decisions of before it was asked."""

    model: str
    candidate: str
    current: str | None
    verdict: Verdict
    why: str
    tasks: list[Comparison] = field(default_factory=list)
    best: str | None = None

    @property
    def promoted(self) -> bool:
        return self.verdict not in {"kept", "not comparable"}


def current_version(root: Path, key: str) -> str | None:
    """Of a model's key; None where nothing was promoted yet."""
    path = _file(root, key)
    return read_json(path)["current"] if path.exists() else None


def model_step(steps: Mapping[str, Step], key: str) -> Step:
    """Raises MmnError for what is no model of this workspace."""
    models = sorted(name for name, step in steps.items() if step.kind == "model")
    if key not in models:
        raise MmnError(f"{key}: no model of this workspace. {nearest_of(key, models)}")
    return steps[key]


def current_model(workspace: Workspace, step: Step) -> Path:
    """The folder of the current model: its own place if that is the newest, else a copy from DVC's cache.

    Raises MmnError where none was promoted or its bytes are nowhere.
    """
    version = current_version(workspace.root, step.key)
    if version is None:
        raise MmnError(f"{step.key}: no version was promoted yet. `mmn run {step.key}` trains one.")
    place = workspace.root / step.out
    if place.exists() and workspace.hashes.version_of(place) == version:
        return place
    kept = _kept(workspace.root, step, version)
    folder = workspace.root / ".mmn" / "current" / step.stage / version
    if not folder.exists():
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            for name, path in kept.files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, temporary / name)
    return folder


def named_current(workspace: Workspace, named: str) -> Path:
    """The folder of "current:models/mimic/multitask/multimodn" ("models/" may be left out). It needs no raw data.

    Raises MmnError as `current_model`, and for a model of which nothing was ever decided.
    """
    key = "models/" + named.removeprefix(CURRENT).removeprefix("models/")
    known = {
        path.relative_to(workspace.root / FOLDER).with_suffix("").as_posix(): path for path in _files(workspace.root)
    }
    if key.removeprefix("models/") not in known:
        raise MmnError(f"{named}: no version was promoted. {nearest_of(key.removeprefix('models/'), sorted(known))}")
    dataset = key.split("/")[1]
    return current_model(
        workspace, Step(key=key, kind="model", dataset=dataset, out=f"artifacts/{key}", description=key)
    )


def decide(
    workspace: Workspace, step: Step, tasks: Sequence[Task], cohort_path: Path, settings: PromotionSettings
) -> Decision:
    """Compare the model that lies in its place with the current one; record what was decided. The same pair is decided
    once: a second call gives the recorded decision."""
    candidate = workspace.hashes.version_of(workspace.root / step.out)
    current = current_version(workspace.root, step.key)
    if candidate == current:
        return Decision(model=step.key, candidate=candidate, current=current, verdict="promoted", why="It is current.")
    decisions = decisions_of(workspace.root, step.key)
    if (told := _decided(decisions, step.key, candidate, current)) is not None:
        return told
    if current is None:
        decision = Decision(
            model=step.key, candidate=candidate, current=None, verdict="first", why="There was no model before."
        )
    else:
        found = in_tree(workspace.root, step.out)
        assert found is not None
        best = best_of(decisions)
        best = None if best in (candidate, current) else best
        try:
            cohort, new = read_cohort(cohort_path), _predictions(found)
            compared = []
            against: Against
            for against, version in (("current", current), ("best", best)):
                if version is not None:
                    old = _predictions(_kept(workspace.root, step, version))
                    compared += compare(cohort, tasks, new, old, settings, against)
        except MmnError as error:
            decision = Decision(
                model=step.key, candidate=candidate, current=current, verdict="not comparable", why=str(error),
                best=best,
            )  # fmt: skip
        else:
            told_worse = "; ".join(c.told for c in compared if c.refused)
            decision = Decision(
                model=step.key,
                candidate=candidate,
                current=current,
                verdict="kept" if told_worse else "promoted",
                why=told_worse or f"No worse than the margin on any of {len(tasks)} tasks.",
                tasks=compared,
                best=best,
            )
    _record(workspace.root, decision)
    return decision


def best_of(decisions: Sequence[Decision]) -> str | None:
    """The version that no later one was better than throughout: the first one, or a person's choice; then each promoted
    one that was on no task worse than the best before it. None without decisions."""
    best = None
    for decision in decisions:
        against = "current" if decision.current == best else "best"
        tasks = [task for task in decision.tasks if task.against == against]
        if decision.verdict in {"first", "by hand"} or (
            decision.verdict == "promoted" and tasks and all(task.worse_by <= 0 for task in tasks)
        ):
            best = decision.candidate
    return best


def promote(workspace: Workspace, step: Step, version: str, why: str) -> Decision:
    """A person's own decision, for the newest version or back to an earlier one. Raises MmnError where its bytes are
    nowhere or no reason is given."""
    if not why.strip():
        raise MmnError(f"{step.key}: give the reason with --why; it is recorded beside the decision.")
    place = workspace.root / step.out
    if not (place.exists() and workspace.hashes.version_of(place) == version):
        _kept(workspace.root, step, version)
    decision = Decision(
        model=step.key,
        candidate=version,
        current=current_version(workspace.root, step.key),
        verdict="by hand",
        why=why.strip(),
    )
    _record(workspace.root, decision)
    return decision


def _predictions(model: Artifact) -> pd.DataFrame:
    path = model.files.get("predictions.parquet")
    if path is None:
        raise MmnError(f"{model.place}: it holds no predictions, so it cannot be compared. Decide with `mmn promote`.")
    return pd.read_parquet(path)


def _kept(root: Path, step: Step, version: str) -> Artifact:
    found = in_cache(cache_folder(root), step.out, version)
    if found is None:
        raise MmnError(
            f"{step.key}: the bytes of version {version} are not in DVC's cache. `dvc fetch` may bring them from a "
            "remote; else decide with `mmn promote`."
        )
    return found


def _files(root: Path) -> list[Path]:
    return sorted((root / FOLDER).rglob("*.json"))


def _file(root: Path, key: str) -> Path:
    return root / place_of(key)


def decisions_of(root: Path, key: str) -> list[Decision]:
    """Oldest first."""
    path = _file(root, key)
    return _decisions_in(read_json(path)) if path.exists() else []


def _decisions_in(told: Mapping[str, Any]) -> list[Decision]:
    rows: list[Mapping[str, Any]] = told["decisions"]
    return [Decision(**{**row, "tasks": [Comparison(**task) for task in row["tasks"]]}) for row in rows]


def kept_versions(root: Path) -> set[str]:
    """The versions of models whose bytes must stay: each current one, the last candidate, and the best."""
    kept: set[str | None] = set()
    for path in _files(root):
        told = read_json(path)
        kept |= {told["current"], told["decisions"][-1]["candidate"], best_of(_decisions_in(told))}
    return {version for version in kept if version}


def _decided(decisions: Sequence[Decision], key: str, candidate: str, current: str | None) -> Decision | None:
    """What was decided of this pair. A person's last word comes before it: of the versions that there were when it was
    said, it holds for all but the one that was chosen."""
    by_hand = [number for number, decision in enumerate(decisions) if decision.verdict == "by hand"]
    if by_hand:
        word = decisions[by_hand[-1]]
        if candidate != word.candidate and any(d.candidate == candidate for d in decisions[: by_hand[-1]]):
            why = f"By hand {word.candidate} was chosen ({word.why}). `mmn promote` decides anew."
            return Decision(model=key, candidate=candidate, current=current, verdict="kept", why=why)
    for decision in reversed(decisions):
        if (decision.candidate, decision.current) == (candidate, current):
            return decision
    return None


def _record(root: Path, decision: Decision) -> None:
    path = _file(root, decision.model)
    before: Mapping[str, Any] = read_json(path) if path.exists() else {"current": None, "decisions": []}
    current = decision.candidate if decision.promoted else before["current"]
    said = asdict(decision)
    decisions = [*before["decisions"], said]
    write_json(path, {"model": decision.model, "current": current, "decisions": decisions})
    told = {name: getattr(decision, name) for name in ("model", "candidate", "current", "verdict", "why")}
    append(root, {"did": "promotion", **told, "now_current": current, "decision": digest_of(said)})
