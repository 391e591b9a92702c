"""Hyperparameter search: the paper's one-at-a-time sweeps (Fig. 9), and a seeded random or TPE search over its grid.

A setting is chosen by its VALIDATION score alone (`search_table.py` does it, and says by how much). Test scores stand
beside it under `test.` and choose nothing. Folds and seeds of one setting are members of one training. A killed search
trains again only what was not finished, and ends with the same bytes: the next proposal depends on the seed and on the
finished scores, which are kept to the last digit.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from mmn.data import files
from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.checkpoint import Checkpoint, fingerprint
from mmn.modeling.inputs import Member, check_inputs
from mmn.modeling.search_plan import (
    DEFAULT,
    PAPER_AXES,
    Axes,
    Plan,
    changed,
    check_axes,
    ordered,
    paper_plan,
    paper_space,
    with_own,
)
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import pick_device, train

Progress = Callable[[int, int], None]
# Gives a setting's values, is sent its mean validation score.
Proposals = Generator[dict[str, Any], float, None]

CONTRACT = "search-setting/1"
_FIELDS = tuple(field.name for field in dataclasses.fields(TrainingSettings))
# Known proposals in a row after which TPE is taken to have settled.
_IN_VAIN = 50


def sweep(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    tasks: tuple[Task, ...],
    architecture: str,
    base: TrainingSettings,
    folder: Path | None = None,
    plan: Plan | None = None,
    seeds: Sequence[int] | None = None,
    progress: Progress = lambda done, total: None,
    code_version: str = "",
) -> pd.DataFrame:
    """Train every setting of the plan (None = `paper_plan`) on every fold and seed. One row per (setting, seed, fold).

    Columns: `setting` (0 is `base`), `roles` (its places in the plan, "; " between; equal settings train once), the
    searched settings, `fold`, `seed`, `validation_score` (higher is better; NaN without a validation label or where
    training diverged), `diverged`, `best_epoch`, `num_epochs`, `num_parameters`, `num_train`, `num_validation`,
    `num_test`, and `test.TASK.METRIC`, of the epoch that validation chose. seeds: None = the base's.
    folder: keeps each finished setting, and the state of the one in training, under a fingerprint of all that decides
    its result; None keeps nothing. code_version: goes into the fingerprint, for a caller who knows when code changed.
    progress: epochs done and to do, of all settings. Raises ParamsError for a setting that cannot be, else as `train`.
    """
    plan = {DEFAULT: base} | dict(paper_plan(base, architecture) if plan is None else plan)
    if plan[DEFAULT] != base:
        raise ParamsError(f"the plan's '{DEFAULT}' is not the base setting; give that role another name.")
    check_axes(_varied(base, plan.values()), architecture)
    total = len({repr(settings) for settings in plan.values()})
    runner = _Runner(cohort, embeddings, tasks, architecture, base, folder, seeds, progress, total, code_version)
    for role, settings in plan.items():
        runner.run(settings, role)
    return runner.table()


def search(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    tasks: tuple[Task, ...],
    architecture: str,
    base: TrainingSettings,
    folder: Path | None = None,
    space: Axes | None = None,
    num_settings: int = 30,
    sampler: Literal["tpe", "random"] = "tpe",
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    progress: Progress = lambda done, total: None,
    code_version: str = "",
) -> pd.DataFrame:
    """Train `num_settings` distinct settings of the space: the base first, then what the sampler proposes. As `sweep`.

    space: axis -> its values; None = the paper's that the architecture reads. The base's own value joins each axis.
    random: uniform, none twice. tpe: optuna's, which learns from the mean validation score over folds and seeds; a
    setting that diverged counts as failed. With the same seed and folder, a longer search goes on from a shorter one.
    seed: of the proposals; seeds: of the trainings. Fewer settings come back where the space has no more, or where TPE
    proposes nothing new for 50 times in a row.
    """
    if sampler not in _SAMPLERS:
        raise ParamsError(f"unknown sampler '{sampler}'; known: {', '.join(_SAMPLERS)}.")
    if num_settings < 1 or seed < 0:
        raise ParamsError(f"num_settings is {num_settings}, seed is {seed}; give at least 1 and at least 0.")
    space = paper_space(architecture) if space is None else space
    check_axes(space, architecture)
    own = {axis: getattr(base, axis) for axis in space}
    points = {axis: with_own(axis, values, own[axis]) for axis, values in space.items()}
    for axis, values in points.items():
        for value in values:
            changed(base, {axis: value})  # what cannot be is refused before anything is trained
    if not points:
        raise ParamsError("the search has nothing to vary; name at least one setting with the values to try.")
    total = min(num_settings, math.prod(len(values) for values in points.values()))
    runner = _Runner(cohort, embeddings, tasks, architecture, base, folder, seeds, progress, total, code_version)
    proposals = _SAMPLERS[sampler](points, own, seed)
    proposal: dict[str, Any] | None = next(proposals)
    while proposal is not None:
        known = len(runner.results)
        score = runner.run(changed(base, proposal), f"{sampler} {known}" if known else DEFAULT, again=False)
        try:
            proposal = proposals.send(score) if len(runner.results) < total else None
        except StopIteration:
            proposal = None
    proposals.close()
    return runner.table()


class _Runner:
    """Trains a setting, or finds it trained."""

    def __init__(
        self,
        cohort: Cohort,
        embeddings: Mapping[str, Embeddings],
        tasks: tuple[Task, ...],
        architecture: str,
        base: TrainingSettings,
        folder: Path | None,
        seeds: Sequence[int] | None,
        progress: Progress,
        num_settings: int,
        code_version: str,
    ) -> None:
        check_inputs(cohort, embeddings, tasks)
        self.cohort, self.embeddings, self.tasks, self.architecture = cohort, embeddings, tasks, architecture
        self.base, self.folder, self.progress = base, folder, progress
        seeds = (base.seed,) if seeds is None else tuple(seeds)
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ParamsError(f"seeds are {list(seeds)}; give at least one, each once, none negative.")
        self.members = [Member(fold=fold, seed=one) for one in seeds for fold in range(cohort.num_folds)]
        self.num_settings = num_settings
        self.results: dict[str, tuple[TrainingSettings, list[str], list[dict[str, Any]]]] = {}
        self.inputs = fingerprint(
            CONTRACT, code_version, torch.__version__, str(pick_device(base.device)), architecture, _learnt(tasks),
            [(member.fold, member.seed) for member in self.members], cohort.num_steps,
            cohort.items["item"].to_numpy(dtype=object),
            *(cohort.folds[name].to_numpy(dtype=object) for name in ("item", "fold", "split")),
            *(cohort.targets[task.name] for task in tasks),
            *(part for name, e in embeddings.items() for part in (name, e.present, e.values)),
        )  # fmt: skip
        if folder is not None:
            files.sweep(folder)

    def run(self, settings: TrainingSettings, role: str, again: bool = True) -> float:
        """The mean validation score over folds and seeds that have labels for one; NaN where a training diverged.

        again: whether a setting that is known takes on the role as well.
        """
        name = repr(settings)
        if name not in self.results:
            self.results[name] = (settings, [role], self._rows(settings))
            self._tell(len(self.results) * self.base.epochs)
        elif again and role not in self.results[name][1]:
            self.results[name][1].append(role)
        rows = self.results[name][2]
        if any(row["diverged"] for row in rows):
            return np.nan
        scores = [row["validation_score"] for row in rows if row["validation_score"] is not None]
        return float(np.mean(scores)) if scores else np.nan

    def _rows(self, settings: TrainingSettings) -> list[dict[str, Any]]:
        """One row per member: found in the folder, or trained and kept there."""
        if self.folder is None:
            return self._trained(settings, None)
        key = fingerprint(self.inputs, settings)
        kept, unfinished = self.folder / f"{key}.json", Checkpoint(self.folder / f"{key}.checkpoint")
        rows = _read_kept(kept, key)
        if rows is None:
            rows = self._trained(settings, unfinished)
            # JSON is written with sorted keys; the table's columns are to keep their order.
            results = {"columns": list(rows[0]), "rows": [list(row.values()) for row in rows]}
            card = {"contract": CONTRACT, "key": key, "settings": dataclasses.asdict(settings), **results}
            files.write_json(kept, card)
        unfinished.remove()
        return rows

    def _trained(self, settings: TrainingSettings, checkpoint: Checkpoint | None) -> list[dict[str, Any]]:
        before, share = len(self.results) * self.base.epochs, self.base.epochs
        trained = train(
            self.cohort,
            self.embeddings,
            self.tasks,
            self.architecture,
            settings,
            self.members,
            lambda epoch, epochs: self._tell(before + epoch * share // epochs),
            checkpoint,
            allow_diverged=True,
        )
        rows = []
        for k, (member, counts) in enumerate(zip(trained.members, trained.counts, strict=True)):
            mine = trained.history[trained.history["member"] == k]
            scores = mine["validation_score"].to_numpy()
            missing = bool(np.isnan(scores).any())
            # Of predictions that are no numbers some metrics are; the loss is not.
            diverged = not np.isfinite(mine["train_loss"]).all() or (
                missing and self._has_validation_label(member.fold)
            )
            best = len(scores) - 1 if missing or diverged else int(scores.argmax())
            rows.append(
                {
                    "fold": member.fold,
                    "seed": member.seed,
                    "validation_score": None if missing or diverged else float(scores[best]),
                    "diverged": diverged,
                    "best_epoch": best,
                    "num_epochs": len(scores),
                    "num_parameters": trained.num_parameters,
                    **{f"num_{split}": counts[split] for split in ("train", "validation", "test")},
                    **{
                        f"test.{task}.{metric}": values[k]
                        for task, by_metric in trained.metrics.items()
                        for metric, values in by_metric.items()
                    },
                }
            )
        return rows

    def _has_validation_label(self, fold: int) -> bool:
        """Without one nothing can be chosen by; with one, a training that has no score has diverged."""
        rows = self.cohort.rows(fold, "validation")
        for task in [t for t in self.tasks if t.name == self.base.select_task] or self.tasks:
            target = self.cohort.targets[task.name].reshape(len(self.cohort), -1)
            if not np.isnan(target[rows, task.read_step if task.per_step else 0]).all():
                return True
        return False

    def _tell(self, done: int) -> None:
        self.progress(done, self.num_settings * self.base.epochs)

    def table(self) -> pd.DataFrame:
        found = list(self.results.values())
        varied = {*PAPER_AXES, *_varied(self.base, (settings for settings, _, _ in found))}
        table = pd.DataFrame(
            [
                {
                    "setting": number,
                    "roles": "; ".join(roles),
                    **{name: getattr(settings, name) for name in _FIELDS if name in varied},
                    **row,
                }
                for number, (settings, roles, rows) in enumerate(found)
                for row in rows
            ]
        )
        scores = [name for name in table if name == "validation_score" or name.startswith("test.")]
        return table.astype(dict.fromkeys(scores, "float64"))


def _learnt(tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """What of a task decides its training: not its words."""
    words = {"number", "description", "unit", "published", "early"}
    return [{k: v for k, v in vars(task).items() if k not in words} for task in tasks]


def _varied(base: TrainingSettings, others: Iterable[TrainingSettings]) -> list[str]:
    others = list(others)
    return [name for name in _FIELDS if any(getattr(other, name) != getattr(base, name) for other in others)]


def _read_kept(path: Path, key: str) -> list[dict[str, Any]] | None:
    """A finished setting's rows; None where there is none, or a file that a failing disk has cut: it is made again."""
    try:
        card = files.read_json(path)
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    whole = isinstance(card, dict) and card.get("contract") == CONTRACT and card.get("key") == key
    return [dict(zip(card["columns"], row, strict=True)) for row in card["rows"]] if whole else None


def _random(points: Mapping[str, tuple], own: Mapping[str, Any], seed: int) -> Proposals:
    """The base, then uniform draws, none twice. A longer search begins as the shorter one does."""
    rng = np.random.default_rng([seed, 9])
    seen = {tuple(own.values())}
    yield dict(own)
    while True:
        drawn = {axis: values[int(rng.integers(len(values)))] for axis, values in points.items()}
        if tuple(drawn.values()) not in seen:
            seen.add(tuple(drawn.values()))
            yield drawn


def _tpe(points: Mapping[str, tuple], own: Mapping[str, Any], seed: int) -> Proposals:
    """Optuna's proposals. A resumed search asks for all of them anew and tells the kept scores: it goes the same way.

    A number is proposed by its rank among the values, so that the sampler knows which are near each other.
    """
    try:
        import optuna
    except ImportError as error:
        raise ParamsError(
            "the TPE search needs optuna, an extra: `pip install 'mmn[search]'`. The sampler 'random' needs nothing."
        ) from error
    by_rank = {axis: ordered(values) for axis, values in points.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial({axis: points[axis].index(own[axis]) if by_rank[axis] else own[axis] for axis in points})
        seen: set[tuple] = set()
        in_vain = 0
        while in_vain < _IN_VAIN:
            trial = study.ask()
            drawn = {
                axis: values[trial.suggest_int(axis, 0, len(values) - 1)]
                if by_rank[axis]
                else trial.suggest_categorical(axis, values)
                for axis, values in points.items()
            }
            in_vain = in_vain + 1 if tuple(drawn.values()) in seen else 0
            seen.add(tuple(drawn.values()))
            score = yield drawn
            if np.isnan(score):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)
    finally:
        optuna.logging.set_verbosity(verbosity)


_SAMPLERS: dict[str, Callable[[Mapping[str, tuple], Mapping[str, Any], int], Proposals]] = {
    "tpe": _tpe,
    "random": _random,
}
