"""Who learns from absence? One modality goes missing in training depending on the label (MNAR), or not (MCAR).

Every fold, rate and mechanism is a member, and all members of a model train side by side (paper, section 5.4). The
published gap is confounded: its code skips an encoder for whole batches of 16, so it hardly sees that absence goes with
the label. Hence MultiModN runs with both kinds of skip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.floors import read_target
from mmn.modeling.inputs import Member
from mmn.modeling.metrics import auroc, once
from mmn.modeling.settings import MissingnessSettings, TrainingSettings
from mmn.modeling.train import train
from mmn.modeling.trained import Trained, one_thread

MECHANISMS = ("mnar", "mcar")
TESTS = ("complete", "flipped")
# model, what sets it apart (column `skip`), its settings.
VARIANTS: tuple[tuple[str, str, dict], ...] = (
    ("multimodn", "item", {"skip": "item"}),
    ("multimodn", "batch", {"skip": "batch"}),
    ("p_fusion", "", {"skip": "item", "mask_bits": False}),
    ("p_fusion", "mask bits", {"skip": "item", "mask_bits": True}),
)
Progress = Callable[[int, int], None]


def missingness_experiment(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    modality: str,
    settings: TrainingSettings,
    missingness: MissingnessSettings,
    progress: Progress = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda variant: None,
) -> pd.DataFrame:
    """`model`, `skip`, `mechanism`, `rate`, `test`, `fold`, `auroc`: NaN where a fold's test items are of one class.

    In training and validation a seeded choice of items loses the modality: at `rate` among those of class 1 ("mnar"),
    or among all ("mcar"). Test "complete" is as it is; "flipped" takes it from class 0 at the same rate instead. At
    rate 0 both mechanisms are the same models. Which items lose it is the same for every model, and grows with rate.
    checkpoint: of each variant's training, by a name of its own.
    """
    if task.kind != "binary":
        raise ParamsError(f"the missingness experiment needs a binary task; '{task.name}' is a {task.kind}.")
    if modality not in embeddings:
        raise ParamsError(f"no modality '{modality}' to take away; there are {', '.join(embeddings)}.")
    settings = dataclasses.replace(settings, epochs=missingness.epochs or settings.epochs, seed=missingness.seed)
    plan = [
        (fold, mechanism, rate)
        for rate in sorted(set(missingness.rates))
        for mechanism in (MECHANISMS if rate else MECHANISMS[:1])
        for fold in range(cohort.num_folds)
    ]
    target = read_target(cohort, task)
    members, flipped = [], []
    for fold, mechanism, rate in plan:
        learning = np.concatenate([cohort.rows(fold, "train"), cohort.rows(fold, "validation")])
        groups = [learning[target[learning] == 1]]
        if mechanism == "mcar":
            groups.append(learning[target[learning] == 0])
        test = cohort.rows(fold, "test")
        removed = _choose(len(cohort), groups, rate, [missingness.seed, fold, 0])
        flipped.append({modality: _choose(len(cohort), [test[target[test] == 0]], rate, [missingness.seed, fold, 1])})
        label = f"{mechanism} {rate:g}"
        members.append(Member(fold=fold, seed=missingness.seed, absent={modality: removed}, label=label))
    found: list[pd.DataFrame] = []
    total = len(VARIANTS) * settings.epochs
    for done, (architecture, skip, changes) in enumerate(VARIANTS):
        trained = train(
            cohort,
            embeddings,
            (task,),
            architecture,
            dataclasses.replace(settings, **changes),
            members,
            _part_of(progress, done * settings.epochs, total),
            checkpoint(f"{architecture} {skip}".strip()),
        )
        for test_name in TESTS:
            absent = flipped if test_name == "flipped" else None
            values = _test_auroc(trained, cohort, embeddings, task, target, absent)
            frame = pd.DataFrame(plan, columns=["fold", "mechanism", "rate"]).assign(
                model=architecture, skip=skip, test=test_name, auroc=values
            )
            found += [frame, frame[frame["rate"] == 0].assign(mechanism="mcar")]
    progress(total, total)
    table = pd.concat(found, ignore_index=True)
    return table[["model", "skip", "mechanism", "rate", "test", "fold", "auroc"]]


def _part_of(progress: Progress, before: int, total: int) -> Progress:
    return lambda epoch, epochs: progress(before + epoch, total)


def _choose(num_items: int, groups: list[np.ndarray], rate: float, seed: list[int]) -> np.ndarray:
    """(N,) bool: `rate` of each group, rounded; a higher rate adds to those of a lower one."""
    chosen = np.zeros(num_items, dtype=bool)
    for number, group in enumerate(groups):
        order = np.random.default_rng([*seed, number]).permutation(group)
        chosen[order[: round(rate * len(group))]] = True
    return chosen


def _test_auroc(
    trained: Trained,
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    target: np.ndarray,
    absent: list[dict[str, np.ndarray]] | None,
) -> list[float]:
    rows = []
    for member in trained.members:
        test = cohort.rows(member.fold, "test")
        rows.append(test[~np.isnan(target[test])])
    with one_thread():
        predicted = trained.collect(trained.inputs(embeddings, absent), rows, trained.model.read)[task.name]
    return [
        float(auroc(target[r], p.astype(np.float64), once(len(r)))[0]) for r, p in zip(rows, predicted, strict=True)
    ]
