"""The members of the missingness experiment: what each has lost in training, and what its test items lose."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mmn.data.cohort import SPLITS, Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.floors import read_target
from mmn.modeling.inputs import Member
from mmn.modeling.missingness_mechanisms import choose_by_class, choose_by_score, severity
from mmn.modeling.missingness_settings import MissingnessSettings

NOTHING = "none"
"""The modality and the mechanism of the members that lose nothing."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One member. removed: in training and validation. same, flipped: of the test items, by the mechanism it was
    trained with, and from the other class. All (N,) bool."""

    modality: str
    mechanism: str
    rate: float
    fold: int
    removed: np.ndarray
    same: np.ndarray
    flipped: np.ndarray

    def member(self, seed: int) -> Member:
        return Member(
            fold=self.fold,
            seed=seed,
            absent={} if self.modality == NOTHING else {self.modality: self.removed},
            label=f"{self.modality} {self.mechanism} {self.rate:g}",
        )

    def absent(self, test: str) -> dict[str, np.ndarray]:
        """What its test items lose in one of TESTS."""
        if self.modality == NOTHING or test == "complete":
            return {}
        return {self.modality: self.same if test == "same" else self.flipped}


def plan_cells(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    modalities: Sequence[str],
    settings: MissingnessSettings,
) -> list[Cell]:
    """Those without removal first, one per fold: they are the same for every modality and mechanism.

    The same items are chosen whatever the model, and whichever other modalities, mechanisms and rates are asked for.
    Raises ParamsError where the experiment cannot be run on this task and these modalities.
    """
    _check(embeddings, task, modalities)
    target, num_items = read_target(cohort, task), len(cohort)
    sides = {(fold, split): cohort.rows(fold, split) for fold in range(cohort.num_folds) for split in SPLITS}
    lost, kept = settings.removed_class, 1 - settings.removed_class

    @cache
    def score(modality: str, fold: int) -> np.ndarray:
        found = severity(cohort, task, embeddings[modality], fold, settings.seed)
        return found if lost == 1 else -found

    def chosen(modality: str, mechanism: str, rate: float, fold: int, split: str) -> np.ndarray:
        rows = sides[fold, split]
        rows = rows[embeddings[modality].present[rows].any(axis=1)]
        seed = [settings.seed, fold, SPLITS.index(split), zlib.crc32(modality.encode())]
        if mechanism in {"mcar", "mnar_label", "flipped"}:
            classes = {"mcar": (0, 1), "mnar_label": (lost,), "flipped": (kept,)}[mechanism]
            return choose_by_class(rows, target, classes, rate, seed, num_items)
        by = modality if mechanism == "mnar_severity" else driver_of(modality, embeddings, settings)
        return choose_by_score(rows, score(by, fold), rate, seed, num_items)

    nothing = np.zeros(num_items, dtype=bool)
    cells = [
        Cell(modality=NOTHING, mechanism=NOTHING, rate=0.0, fold=fold, removed=nothing, same=nothing, flipped=nothing)
        for fold in range(cohort.num_folds)
    ]
    for modality in modalities:
        for mechanism in settings.mechanisms:
            for rate in sorted(rate for rate in settings.rates if rate):
                for fold in range(cohort.num_folds):
                    learnt = [chosen(modality, mechanism, rate, fold, split) for split in SPLITS[:2]]
                    cells.append(
                        Cell(
                            modality=modality,
                            mechanism=mechanism,
                            rate=rate,
                            fold=fold,
                            removed=learnt[0] | learnt[1],
                            same=chosen(modality, mechanism, rate, fold, "test"),
                            flipped=chosen(modality, "flipped", rate, fold, "test"),
                        )
                    )
    return cells


def driver_of(modality: str, embeddings: Mapping[str, Embeddings], settings: MissingnessSettings) -> str:
    """The modality that decides who loses `modality` under "mar". Raises ParamsError where there is none."""
    others = {name: float(e.present.any(axis=1).mean()) for name, e in embeddings.items() if name != modality}
    if not others:
        raise ParamsError(
            f"'{modality}' is the only modality, so nothing is left that could decide who loses it: leave \"mar\" out "
            "of missingness.mechanisms."
        )
    if not settings.driver:
        return max(others, key=lambda name: others[name])
    if settings.driver not in others:
        why = "is itself taken away" if settings.driver == modality else "is not read here"
        raise ParamsError(
            f"missingness.driver: '{settings.driver}' {why}. Name one of {', '.join(others)}, or leave it out."
        )
    return settings.driver


def _check(embeddings: Mapping[str, Embeddings], task: Task, modalities: Sequence[str]) -> None:
    if task.kind != "binary":
        raise ParamsError(f"the missingness experiment needs a binary task; '{task.name}' is a {task.kind}.")
    if not modalities:
        raise ParamsError(f"no modality to take away was named; there are {', '.join(embeddings)}.")
    for modality in modalities:
        if modality not in embeddings:
            raise ParamsError(f"no modality '{modality}' to take away; there are {', '.join(embeddings)}.")
    if len(embeddings) == 1:
        raise ParamsError(f"'{modalities[0]}' is the only modality: nothing is left to predict '{task.name}' from.")
