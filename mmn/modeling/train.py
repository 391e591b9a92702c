"""Training: all members (folds, seeds, missingness settings) side by side in one program, each as if it were alone.

K members, B batch. Same seed, same bytes, on the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import CohortError, ParamsError
from mmn.modeling import MODELS, XGBOOST, load_model
from mmn.modeling.architecture import Architecture, Model
from mmn.modeling.checkpoint import Checkpoint, fingerprint
from mmn.modeling.given import check_members
from mmn.modeling.inputs import Inputs, Member, Scaling, check_inputs, fit_scaling, fit_target_range, padded, shapes_of
from mmn.modeling.packed import Dropout, Packed
from mmn.modeling.selection import metrics_of_test_items, validation_score
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.trained import Trained, one_thread

Progress = Callable[[int, int], None]


def train(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    tasks: tuple[Task, ...],
    architecture: str | Architecture,
    settings: TrainingSettings,
    members: Sequence[Member] | None = None,
    progress: Progress = lambda epoch, epochs: None,
    checkpoint: Checkpoint | None = None,
    allow_diverged: bool = False,
    start: Callable[[Model], None] | None = None,
) -> Trained:
    """Train on each member's training items, keep the epoch that is best on its validation, predict its test items.

    architecture: a name of `MODELS`, or one that is none of them. start: what puts other weights in place of the
    initial ones. members: None = one per fold of the cohort. Encoders run in the order of `embeddings`.
    checkpoint: where a training that was killed left its state, if it was this one; it goes on from there and ends with
    the same bytes. The caller removes it when the result is safe.
    A member whose loss, predictions or weights are no longer finite numbers stops; the best epoch before that stands,
    and `notes` says so. Where there was none, ParamsError names member and epoch; with `allow_diverged` the member
    keeps its initial values, and its history's `train_loss` is not finite.
    Raises ParamsError for an unknown architecture, ContractError where inputs, tasks and cohort do not fit together,
    CohortError where a member has no label to learn a task from, or no evidence. A fold whose training labels are all
    of one class is trained and said so in `notes`; a modality that none of a member's training items has is not used by
    that member.
    """
    with one_thread():
        return Training(cohort, embeddings, tasks, architecture, settings, members, start).run(
            progress, checkpoint, allow_diverged
        )


class Training:
    """All that one training holds, ready to run; `mmn.modeling.highmmt.joint` steps several at once."""

    def __init__(
        self,
        cohort: Cohort,
        embeddings: Mapping[str, Embeddings],
        tasks: tuple[Task, ...],
        architecture: str | Architecture,
        settings: TrainingSettings,
        members: Sequence[Member] | None,
        start: Callable[[Model], None] | None = None,
    ) -> None:
        if isinstance(architecture, str) and architecture not in MODELS:
            other = " XGBoost is trained by mmn.modeling.xgboost_fusion.fit_xgboost." if architecture == XGBOOST else ""
            raise ParamsError(f"unknown model '{architecture}'; known: {', '.join(MODELS)}.{other}")
        if not tasks:
            raise ParamsError("no task was given; a model needs at least one.")
        if len({task.name for task in tasks}) < len(tasks):
            raise ParamsError(f"tasks are {', '.join(task.name for task in tasks)}; name each once.")
        if len(tasks) == 1 and settings.task_weights.get(tasks[0].name) == 0:
            settings = dataclasses.replace(settings, task_weights={})
        self.cohort, self.settings, self.tasks = cohort, settings, tasks
        if not self._weighed():
            raise ParamsError(f"every task ({', '.join(t.name for t in tasks)}) has weight 0: nothing can be learnt.")
        if settings.draw == "classes" and tasks[0].kind == "regression":
            raise ParamsError(f"draw: classes, but '{tasks[0].name}', the first task, has none. Set draw: once.")
        check_inputs(cohort, embeddings, tasks)
        if members is None:
            members = [Member(fold=fold, seed=settings.seed) for fold in range(cohort.num_folds)]
        self.members = tuple(members)
        for member in self.members:
            if unknown := sorted(set(member.tasks) - {task.name for task in tasks}):
                raise ParamsError(
                    f"a member of fold {member.fold} is to learn {', '.join(unknown)}, which is not trained here; "
                    f"there are {', '.join(t.name for t in tasks)}."
                )
        check_members(self.members, cohort, embeddings)
        self.device, dtype = pick_device(settings.device), getattr(torch, settings.dtype)

        self.train_rows, self.validation_rows, self.test_rows = self._rows()
        ranges = {
            t.name: fit_target_range(cohort.targets[t.name], self.train_rows) for t in tasks if t.kind == "regression"
        }
        value = load_model(architecture) if isinstance(architecture, str) else architecture
        shapes = shapes_of(embeddings)
        model = value.build(shapes, tasks, cohort.num_steps, settings, [k.rng("initial values") for k in self.members])
        model.to(self.device, dtype)
        if start is not None:
            start(model)
        layouts = {name: encoder.shape for name, encoder in model.encoder_settings.items() if encoder.shape}
        scaling = {
            name: fit_scaling(e, name, self.members, self.train_rows, settings.scaler, layouts.get(name, (0,))[0])
            for name, e in embeddings.items()
        }
        self._refuse_without_evidence(scaling)
        if not value.every_step:
            self._refuse_nothing_before_the_read_step(embeddings)
        self.inputs = Inputs(
            embeddings,
            self.members,
            scaling,
            fill_absent=value.fill_absent,
            skip=settings.skip,
            tasks=tasks,
            targets=cohort.targets,
            target_ranges=ranges,
            device=self.device,
            dtype=dtype,
        )
        self.trained = Trained(
            architecture=value,
            settings=settings,
            tasks=tasks,
            modalities=shapes,
            num_steps=cohort.num_steps,
            members=self.members,
            model=model,
            scaling=scaling,
            target_ranges=ranges,
            notes=self._notes(scaling),
            counts=[
                {"train": len(a), "validation": len(b), "test": len(c)}
                for a, b, c in zip(self.train_rows, self.validation_rows, self.test_rows, strict=True)
            ],
        )
        self.packed = Packed(model, settings.learning_rate, settings.clip_norm, settings.weight_decay)
        self.shufflers = [k.rng("shuffle") for k in self.members]
        chances = settings.dropout if model.dropout_chances is None else model.dropout_chances
        self.dropout = Dropout(
            [k.rng("dropout") for k in self.members], model.dropout_width, chances, dtype, self.device
        )
        self.num_epochs = 0

    def run(self, progress: Progress, checkpoint: Checkpoint | None, allow_diverged: bool) -> Trained:
        settings, num_members = self.settings, len(self.members)
        best = np.full(num_members, -np.inf)
        since_best = np.zeros(num_members, dtype=int)
        running = np.ones(num_members, dtype=bool)
        history: list[pd.DataFrame] = []
        first = 0
        rngs = [*self.shufflers, *self.dropout.rngs]
        if checkpoint is not None:
            checkpoint.fingerprint = self.fingerprint()
            if (found := checkpoint.restore(self.packed, rngs)) is not None:
                first, arrays, earlier = found
                best, since_best, running = arrays["best"], arrays["since_best"], arrays["running"]
                history.append(earlier)
                self.num_epochs = first
        for epoch in range(first, settings.epochs if running.any() else first):
            losses = self.epoch(running)
            scores, sound = self.validate(np.isfinite(losses) & self.packed.finite())
            diverged = running & ~sound
            if diverged.any():
                self._stop_diverged(diverged, diverged & np.isneginf(best), epoch, allow_diverged)
                # Whatever it was that was not a number, the history says it here.
                losses = np.where(diverged & np.isfinite(losses), np.nan, losses)
            # Without a validation label there is nothing to choose by: the last epoch stands.
            improved = running & sound & ((scores > best) | np.isnan(scores))
            best = np.where(improved, scores, best)
            self.packed.keep_best(improved)
            since_best = np.where(improved, 0, since_best + 1)
            history.append(
                pd.DataFrame(
                    {
                        "member": np.arange(num_members, dtype=np.int32),
                        "fold": np.array([k.fold for k in self.members], dtype=np.int32),
                        "label": [k.label for k in self.members],
                        "epoch": np.int32(epoch),
                        "train_loss": losses,
                        "validation_score": scores,
                    }
                )[running]
            )
            progress(epoch + 1, settings.epochs)
            running &= sound
            if settings.patience:
                running &= since_best < settings.patience
            if checkpoint is not None and checkpoint.due(last=epoch + 1 == settings.epochs or not running.any()):
                arrays = {"best": best, "since_best": since_best, "running": running}
                checkpoint.save(self.packed, rngs, arrays, pd.concat(history, ignore_index=True), epoch)
            if not running.any():
                break
        self.packed.restore_best()
        return self.finish(pd.concat(history, ignore_index=True))

    def finish(self, history: pd.DataFrame) -> Trained:
        """With the weights as they are now: the test items' predictions and metrics."""
        trained = self.trained
        trained.history = history
        trained.notes = (*trained.notes, *self._divergence_notes(history))
        trained.predictions = trained.predict_rows(self.inputs, self.cohort.items["item"].to_numpy(), self.test_rows)
        trained.metrics = self._test_metrics()
        return trained

    def fingerprint(self) -> str:
        """Of all that decides the training's result."""
        inputs = self.inputs
        members = [
            (k.fold, k.seed, k.tasks, k.label, [(m, a.tobytes()) for m, a in sorted(k.absent.items())])
            for k in self.members
        ]
        rows = [np.concatenate(part) for part in (self.train_rows, self.validation_rows, self.test_rows)]
        return fingerprint(
            torch.__version__, str(self.device), self.settings, self.trained.architecture.name, self.tasks, members,
            *rows, inputs.table, inputs.presence, inputs.shift, inputs.inverse_scale,
            *inputs.targets.values(), *self.packed.values,
        )  # fmt: skip

    def epoch(self, running: np.ndarray) -> np.ndarray:
        """One pass over every running member's training items. Gives the mean loss per member, (K,)."""
        settings, model = self.settings, self.trained.model
        orders = self.draw_rows(running)
        matrix, real = padded(orders)
        num_items = real.sum(axis=1)
        rows_KN = torch.from_numpy(matrix).to(self.device)
        real_KN = torch.from_numpy(real).to(self.device)
        total_K = torch.zeros(len(self.members), dtype=self.inputs.dtype, device=self.device)
        model.train()
        for first in range(0, matrix.shape[1], settings.batch_size):
            part = slice(first, first + settings.batch_size)
            batch = self.inputs.gather(rows_KN[:, part], real_KN[:, part])
            num_real = real[:, part].sum(axis=1)
            keep = self.dropout.draw(num_real, batch.size)
            order = self._order(first // settings.batch_size) if settings.shuffle_order else None
            losses_K = model.accumulate_gradients(batch, keep, order)
            self.packed.step(num_real > 0)
            total_K += losses_K * torch.from_numpy(num_real).to(self.device, self.inputs.dtype)
        self.num_epochs += 1
        return total_K.cpu().numpy().astype(np.float64) / np.maximum(num_items, 1)

    def _order(self, batch: int) -> list[str]:
        """Of the modalities, one for all members. It follows from epoch and batch, so that a member meets the same
        orders whoever is trained beside it, and for however long."""
        rng = np.random.default_rng([self.settings.seed, 3, self.num_epochs, batch])
        return list(rng.permutation([s.name for s in self.trained.model.modalities]))

    def draw_rows(self, running: np.ndarray) -> list[np.ndarray]:
        """Each member's training items of an epoch, in order; none of a member that has stopped."""
        return [
            self._drawn(rng, rows) if on else rows[:0]
            for rng, rows, on in zip(self.shufflers, self.train_rows, running, strict=True)
        ]

    def _drawn(self, rng: np.random.Generator, rows: np.ndarray) -> np.ndarray:
        if self.settings.draw == "once":
            return rng.permutation(rows) if self.settings.shuffle else rows
        labels = self.target(self.tasks[0])[rows]
        known = ~np.isnan(labels)
        _, place, sizes = np.unique(labels[known], return_inverse=True, return_counts=True)
        return rng.choice(rows[known], len(rows), p=1.0 / (sizes[place] * len(sizes)))

    def validate(self, sound: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(K,): each member's validation score, higher is better, NaN without any validation label or where the member
        is not sound; and which are: of those that were, the ones whose predictions are all numbers."""
        predicted = self.trained.collect(self.inputs, self.validation_rows, self.trained.model.read)
        finite = [[bool(np.isfinite(p).all()) for p in per_member] for per_member in predicted.values()]
        said = [*finite, *([] if sound is None else [sound.tolist()])]
        still_sound: np.ndarray = np.array(said).min(axis=0)
        chosen = [t for t in self.tasks if t.name == self.settings.select_task] or self._weighed()
        scores = np.full(len(self.members), np.nan)
        for k in np.flatnonzero(still_sound).tolist():
            own = [t for t in chosen if self.members[k].learns(t)]
            per_task = [self._score(t, k, predicted[t.name][k].astype(np.float64)) for t in own]
            if not np.isnan(per_task).all():
                scores[k] = np.nansum(per_task)
        return scores, still_sound

    def _of(self, member: Member) -> list[Task]:
        return [task for task in self.tasks if member.learns(task)]

    def _weighed(self) -> list[Task]:
        return [task for task in self.tasks if self.settings.task_weights.get(task.name, 1.0) != 0]

    def _stop_diverged(self, diverged: np.ndarray, without_best: np.ndarray, epoch: int, allowed: bool) -> None:
        """Weights that are no numbers are put back; ParamsError for members that have none to go back to."""
        if without_best.any() and not allowed:
            told = ", ".join(self._name(k) for k in np.flatnonzero(without_best).tolist())
            raise ParamsError(
                f"{told}: the loss, the weights or the predictions are no longer finite numbers in epoch {epoch + 1} "
                f"of {self.settings.epochs}, before any epoch could be kept. Use a smaller learning_rate (it is "
                f"{self.settings.learning_rate:g}) or a clip_norm above 0 (it is {self.settings.clip_norm:g})."
            )
        self.packed.restore_best(diverged)

    def _divergence_notes(self, history: pd.DataFrame) -> list[str]:
        bad = history[~np.isfinite(history["train_loss"].to_numpy())]
        return [
            f"{self._name(k)}: training diverged in epoch {epoch + 1} and stopped; "
            + ("the best epoch before it is kept. " if epoch else "the member keeps its initial values. ")
            + "A smaller learning_rate would let it train on."
            for k, epoch in zip(bad["member"], bad["epoch"], strict=True)
        ]

    def _name(self, k: int) -> str:
        member = self.members[k]
        return f"member {k} (fold {member.fold}, seed {member.seed}{', ' + member.label if member.label else ''})"

    def _score(self, task: Task, member: int, predicted: np.ndarray) -> float:
        ranges = self.trained.target_ranges.get(task.name)
        y = self.target(task)[self.validation_rows[member]]
        return validation_score(task, y, predicted, self.settings.select_by, None if ranges is None else ranges[member])

    def target(self, task: Task) -> np.ndarray:
        """(N,): the target at the task's read step."""
        target = self.cohort.targets[task.name].reshape(len(self.cohort), -1)
        return target[:, task.read_step if task.per_step else 0]

    def _rows(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Train, validation and test rows per member; training items without any label are left out."""
        known = {
            task.name: ~np.isnan(self.cohort.targets[task.name].reshape(len(self.cohort), -1)).all(axis=1)
            for task in self.tasks
        }
        by_fold = {
            fold: tuple(self.cohort.rows(fold, split) for split in ("train", "validation", "test"))
            for fold in {member.fold for member in self.members}
        }
        train = []
        for member in self.members:
            rows, labelled = by_fold[member.fold][0], np.zeros(len(self.cohort), dtype=bool)
            for task in self._of(member):
                labelled |= known[task.name]
                if not known[task.name][rows].any():
                    raise CohortError(
                        f"fold {member.fold}: none of its {len(rows)} training items has a label for '{task.name}'. "
                        "Leave the task out, or give more labelled items."
                    )
            train.append(rows[labelled[rows]])
        return train, [by_fold[k.fold][1] for k in self.members], [by_fold[k.fold][2] for k in self.members]

    def _refuse_without_evidence(self, scaling: Mapping[str, Scaling]) -> None:
        for k, member in enumerate(self.members):
            if not any(learnt.trained[k] for learnt in scaling.values()):
                raise CohortError(
                    f"fold {member.fold}: none of its {len(self.train_rows[k])} training items has any of "
                    f"{', '.join(scaling)}. Give a modality that training items have, or make the features again."
                )

    def _refuse_nothing_before_the_read_step(self, embeddings: Mapping[str, Embeddings]) -> None:
        for member, rows in zip(self.members, self.train_rows, strict=True):
            for task in self._of(member):
                if np.isnan(self.target(task)[rows]).all():
                    raise CohortError(
                        f"fold {member.fold}: none of its {len(rows)} training items has a label for '{task.name}' at "
                        f"step {task.read_step}, the one at which it is read; this model learns from no other."
                    )
            last = max(task.read_step for task in self._of(member))
            present = np.zeros(len(rows), dtype=bool)
            for name, e in embeddings.items():
                kept = ~member.absent[name][rows] if name in member.absent else True
                present |= e.present[rows, : last + 1].any(axis=1) & kept
            if not present.any():
                raise CohortError(
                    f"fold {member.fold}: none of its {len(rows)} training items has any of {', '.join(embeddings)} up "
                    f"to step {last}, the last at which a task is read; this model learns from nothing later."
                )

    def _notes(self, scaling) -> tuple[str, ...]:
        notes = []
        for k, member in enumerate(self.members):
            for task in self._of(member):
                labels = self.cohort.targets[task.name][self.train_rows[k]]
                known = labels[~np.isnan(labels)]
                if unseen := [c for n, c in enumerate(task.classes) if n not in known]:
                    notes.append(
                        f"fold {member.fold}: no training item is of class {', '.join(unseen)} of '{task.name}'."
                    )
                if known.min() == known.max():
                    notes.append(
                        f"fold {member.fold}: all {known.size} training labels of '{task.name}' are the same; "
                        "nothing can be learnt of it there."
                    )
                if np.isnan(self.target(task)[self.validation_rows[k]]).all():
                    notes.append(
                        f"fold {member.fold}: no validation item has a label of '{task.name}' at its read step."
                    )
            notes += [
                f"fold {member.fold}: no training item has '{name}', so the model never uses it there."
                for name, learnt in scaling.items()
                if not learnt.trained[k]
            ]
        return tuple(dict.fromkeys(notes))

    def _test_metrics(self) -> dict[str, dict[str, list[float | None]]]:
        """task -> what `metrics_of_test_items` gives."""
        items, trained = self.cohort.items["item"].to_numpy(), self.trained
        return {
            task.name: metrics_of_test_items(
                task, pd.Series(self.target(task), index=items), trained.predictions, len(self.members),
                trained.target_ranges,
            )
            for task in self.tasks
        }  # fmt: skip


def pick_device(wanted: str) -> torch.device:
    """ "auto" is the first GPU if there is one, else the CPU."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=wanted)  # it may be known and not there
        return torch.device(wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParamsError(f"device '{wanted}' is none that torch has here; give auto, cpu or cuda.") from error
