"""Of a cohort's folder, as read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmn.data.cohort import Cohort, check_cohort, read_cohort
from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.data.files import read_json
from mmn.orchestration.checks import Verdict, last_version
from mmn.orchestration.checks.sources import shrunk

if TYPE_CHECKING:
    from mmn.orchestration.operating import CheckSettings
    from mmn.orchestration.walk import Job

# Of regression targets, by their unit: beyond it a value was read wrongly, whatever it is of.
_LIMITS = {"share": (0.0, 1.0), "%": (0.0, 100.0), "°C": (-100.0, 100.0), "m": (-1e6, 1e6)}
_ANY = 1e9


def look(job: Job, settings: CheckSettings) -> Mapping[str, Verdict]:
    cohort = read_cohort(job.out)
    try:
        check_cohort(cohort, job.step.key)
    except ContractError as error:
        return {"schema": Verdict(str(error))}
    tasks = {task.name: task for task in job.active[job.step.dataset].dataset.tasks}
    binary = [task.name for task in tasks.values() if task.kind == "binary"]
    counts = {"items": len(cohort), "subjects": int(cohort.items["subject"].nunique())}
    last = last_version(job)
    return {
        "schema": Verdict(metadata={**counts, "folds": cohort.num_folds, "tasks": len(cohort.targets)}),
        "ranges": _ranges(cohort, tasks),
        "subjects_apart": _subjects_apart(cohort),
        "label_drift": _label_drift(job.out, last, binary, settings.label_margin),
        "volume_drift": shrunk(counts, _counts(last) if last else {}, settings.volume_margin),
    }


def _ranges(cohort: Cohort, tasks: Mapping[str, Task]) -> Verdict:
    wrong = {}
    for task, target in cohort.targets.items():
        outside = _impossible(target[~np.isnan(target)], tasks.get(task))
        if outside.any():
            wrong[task] = int(outside.sum())
    metadata = {task: int((~np.isnan(target)).sum()) for task, target in cohort.targets.items()}
    if not wrong:
        return Verdict(metadata=metadata)
    told = ", ".join(f"{task}: {count} labels" for task, count in wrong.items())
    return Verdict(f"{told} are neither missing nor possible. A label that cannot be read is missing.", metadata)


def _impossible(known: np.ndarray, task: Task | None) -> np.ndarray:
    """task: None of targets that the data set does not predict."""
    if task is None or task.kind == "regression":
        low, high = _LIMITS.get(task.unit if task else "", (-_ANY, _ANY))
        return (known < low) | (known > high)
    return ~np.isin(known, np.arange(2 if task.kind == "binary" else len(task.classes)))


def _subjects_apart(cohort: Cohort) -> Verdict:
    sides = cohort.folds.assign(subject=cohort.folds["item"].map(cohort.items.set_index("item")["subject"]))
    straddling = int(sides.groupby(["fold", "subject"])["split"].nunique().gt(1).sum())
    why = (
        f"{straddling} subjects sit on two sides of a fold, which is grouped by {cohort.fold_group} as published: "
        "scores may be too good for a new subject."
    )
    return Verdict(why if straddling else None, {"subjects on two sides": straddling})


def _label_drift(out: Path, last: Path | None, binary: list[str], margin: float) -> Verdict:
    now, before = _rates(out, binary), _rates(last, binary) if last else {}
    moved = {task: (before[task], rate) for task, rate in now.items() if task in before}
    far = {task: pair for task, pair in moved.items() if abs(pair[1] - pair[0]) > margin}
    if not far:
        return Verdict(metadata=now)
    told = ", ".join(f"{task}: {old:.1%} before, {new:.1%} now" for task, (old, new) in far.items())
    return Verdict(f"{told}. Look at the source of the labels before trusting a model of them.", now)


def _rates(folder: Path, binary: list[str]) -> dict[str, float]:
    told = read_json(folder / "card.json")["targets"]
    return {task: t["mean"] for task, t in told.items() if task in binary and t["mean"] is not None}


def _counts(folder: Path) -> dict[str, int]:
    card = read_json(folder / "card.json")
    return {"items": card["num_items"], "subjects": card["num_subjects"]}
