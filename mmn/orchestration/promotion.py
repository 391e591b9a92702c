"""Which version of a model is the current one: a retrained model takes its place only if it is no worse.

`artifacts/models/...` always holds the newest model; `promoted/<data set>/<task set>/<architecture>.json` names the
current one and all decisions that led to it, and is kept in git beside `dvc.lock`. It is no step of the road: a step's
bytes follow from its inputs, a decision also from what was current before. Both versions stay in DVC's cache, each
decision is a line of the journal, and the file holds aggregates only.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort, read_cohort
from mmn.data.dataset import Task
from mmn.data.errors import MmnError
from mmn.data.files import atomic_path, read_json, write_json
from mmn.orchestration.audit.artifact import Artifact, cache_folder, in_cache, in_tree
from mmn.orchestration.audit.decisions import FOLDER, digest_of, place_of
from mmn.orchestration.journal import append
from mmn.orchestration.operating import PromotionSettings
from mmn.orchestration.params import nearest_of
from mmn.orchestration.steps import Step
from mmn.orchestration.workspace import Workspace

# Before a model's key: its current version instead of the newest.
CURRENT = "current:"
Verdict = Literal["first", "promoted", "kept", "not comparable", "by hand"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One task, fold by fold, on the items that both models were tested on in the same fold.

    candidate, current: the metric per fold; folds where it is undefined for one are left out of both. worse_by: mean
    over folds, positive where the candidate is worse; interval: of that mean, 95 %, corrected for shared training rows.
    """

    task: str
    metric: str
    folds: list[int]
    items: int
    candidate: list[float]
    current: list[float]
    worse_by: float
    interval: list[float] | None
    margin: float

    @property
    def refused(self) -> bool:
        return self.worse_by > self.margin


@dataclass(frozen=True, kw_only=True)
class Decision:
    """candidate, current: versions. The candidate becomes the current one unless the verdict is "kept" or "not
    comparable"."""

    model: str
    candidate: str
    current: str | None
    verdict: Verdict
    why: str
    tasks: list[Comparison] = field(default_factory=list)

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
    if (told := _decided(workspace.root, step.key, candidate, current)) is not None:
        return told
    if current is None:
        decision = Decision(
            model=step.key, candidate=candidate, current=None, verdict="first", why="There was no model before."
        )
    else:
        new = in_tree(workspace.root, step.out)
        assert new is not None
        try:
            compared = compare(
                read_cohort(cohort_path), tasks, _predictions(new), _predictions(_kept(workspace.root, step, current)),
                settings,
            )  # fmt: skip
        except MmnError as error:
            decision = Decision(
                model=step.key, candidate=candidate, current=current, verdict="not comparable", why=str(error)
            )
        else:
            worse = [c for c in compared if c.refused]
            told_worse = "; ".join(
                f"{c.task}: {c.metric} worse by {c.worse_by:.4g}, allowed {c.margin:.4g}" for c in worse
            )
            decision = Decision(
                model=step.key,
                candidate=candidate,
                current=current,
                verdict="kept" if worse else "promoted",
                why=told_worse or f"No worse than the margin on any of {len(compared)} tasks.",
                tasks=compared,
            )
    _record(workspace.root, decision)
    return decision


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


def compare(
    cohort: Cohort, tasks: Sequence[Task], candidate: pd.DataFrame, current: pd.DataFrame, settings: PromotionSettings
) -> list[Comparison]:
    """Raises MmnError where a task cannot be compared: too few items that both were tested on in the same fold."""
    from mmn.modeling.floors import read_target
    from mmn.modeling.metrics import once
    from mmn.modeling.selection import METRICS
    from mmn.orchestration.report.compare import paired

    compared = []
    for task in tasks:
        metric = METRICS[task.kind][0]
        labels = pd.Series(read_target(cohort, task), index=cohort.items["item"].to_numpy(), name="label")
        both = pd.concat([_of_task(frame, task, who) for who, frame in (("new", candidate), ("old", current))],
                         axis=1, join="inner")  # fmt: skip
        both = both.join(labels, on="item").dropna()
        folds, new, old, items = [], [], [], 0
        for fold, part in both.groupby(level="fold"):
            if len(part) < settings.least_items:
                continue
            y, weight = part["label"].to_numpy(), once(len(part))
            said = [part.filter(regex=f"^{who} ").to_numpy() for who in ("new", "old")]
            values = [float(metric.compute(y, p if task.classes else p[:, 0], weight)[0]) for p in said]
            if all(map(math.isfinite, values)):
                folds.append(int(fold))
                new.append(values[0])
                old.append(values[1])
                items += len(part)
        needed = min(settings.least_folds, cohort.num_folds)
        if len(folds) < needed:
            raise MmnError(
                f"{task.name}: {len(folds)} folds have {settings.least_items} or more items that both models were "
                f"tested on, {needed} are needed: few were tested, or the folds are others now. Compare them, and "
                "decide with `mmn promote`."
            )
        sign = 1 if metric.better == "higher" else -1
        # With the sign that positive is worse.
        worse = sign * (np.asarray(old) - np.asarray(new))
        test = np.mean([len(cohort.rows(f, "test")) / max(len(cohort.rows(f, "train")), 1) for f in folds])
        interval = paired(list(worse), [0.0] * len(worse), float(test))
        margin = settings.rmse_margin * float(np.mean(old)) if task.kind == "regression" else settings.auroc_margin
        compared.append(
            Comparison(
                task=task.name,
                metric=metric.name,
                folds=folds,
                items=items,
                candidate=_rounded(new),
                current=_rounded(old),
                worse_by=round(float(worse.mean()), 6),
                interval=_rounded([interval.low, interval.high]) if interval else None,
                margin=round(margin, 6),
            )
        )
    return compared


def _of_task(predictions: pd.DataFrame, task: Task, name: str) -> pd.DataFrame:
    """By item and fold, after the step at which the task is read; the mean over members where several share a fold.
    (name, number) -> one column, or one per class."""
    from mmn.modeling.prediction_table import value_columns

    rows = predictions[(predictions["task"] == task.name) & (predictions["step"] == task.read_step)]
    values = rows.groupby(["item", "fold"])[[*np.atleast_1d(value_columns(task))]].mean()
    return values.set_axis([f"{name} {number}" for number in range(values.shape[1])], axis=1)


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
    rows: list[Mapping[str, Any]] = read_json(path)["decisions"] if path.exists() else []
    return [Decision(**{**row, "tasks": [Comparison(**task) for task in row["tasks"]]}) for row in rows]


def kept_versions(root: Path) -> set[str]:
    """The versions of models whose bytes must stay: each current one, and the last candidate."""
    files = [read_json(path) for path in _files(root)]
    return {version for told in files for version in (told["current"], told["decisions"][-1]["candidate"]) if version}


def _decided(root: Path, key: str, candidate: str, current: str | None) -> Decision | None:
    """What was decided of this pair; a person's last word holds for every version that there was when it was said."""
    decisions = decisions_of(root, key)
    for decision in reversed(decisions):
        if (decision.candidate, decision.current) == (candidate, current):
            return decision
    if decisions and decisions[-1].verdict == "by hand" and any(d.candidate == candidate for d in decisions):
        return decisions[-1]
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


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in values]
