"""One HighMMT over several data sets: trained side by side on all of them, sharing what its groups say (paper, section
3.3 and appendix B; the batch schedule is the published code's).

With all modalities in one group this is homogeneous pre-training; with groups found by `grouping`, started from that
model's weights, it is heterogeneity-aware fine-tuning. K members: the folds of every data set, of which there must be
as many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from mmn.data.errors import ParamsError
from mmn.modeling.batch import Batch
from mmn.modeling.checkpoint import Checkpoint, fingerprint
from mmn.modeling.floors import read_target
from mmn.modeling.highmmt.heterogeneity import Source, declared_of
from mmn.modeling.highmmt.network import HIGHMMT, HighMMT, Parts
from mmn.modeling.highmmt.serialise import Declared
from mmn.modeling.inputs import Member, fit_target_range, padded
from mmn.modeling.layers import add_gradient
from mmn.modeling.packed import Packed
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import Training
from mmn.modeling.trained import Trained, one_thread

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """trained: data set -> its model, which shares `parts` with the others. num_parameters: of one member, each shared
    tensor once."""

    trained: dict[str, Trained]
    parts: Parts
    num_parameters: int


def train_jointly(
    sources: Mapping[str, Source],
    settings: TrainingSettings,
    batch_sizes: Mapping[str, int] | None = None,
    start: Joint | None = None,
    progress: Progress = lambda epoch, epochs: None,
    declared: tuple[Declared, ...] | None = None,
    raised: Mapping[str, float] | None = None,
    checkpoint: Checkpoint | None = None,
    only: Literal["all", "encoders", "blocks", "heads"] = "all",
    last: bool = False,
    cross_group: Sequence[float] = (),
    select: str = "",
) -> Joint:
    """settings: of all (epochs, learning rate, sizes, groups over the modalities of all). batch_sizes: data set -> its
    own, so that each has about as many batches. start: a joint model whose weights to begin with: a group begins with
    those that its first modality used there. declared: all modalities that the model is told of, where more data sets
    are to use its weights later; None = those of `sources`. raised: task -> what its weight is multiplied by.
    checkpoint: where a training that was killed left its state, if it was this one; it goes on from there and ends with
    the same bytes. only: what learns; the rest stays as it began. last: keep the last epoch, whatever its
    validation. cross_group: a weight for each encoder, by its number: with that weight an encoder and the heads learn,
    too, from the data sets that have no modality in its group, read through it (the published code's fine-tuning; it is
    not in the paper). select: the data set whose validation alone picks the epoch; "" = the sum over all.

    Step n of an epoch holds batch n of every data set that has one, the last step first, so that the data set with the
    most batches begins alone and all end together. Each task's loss is weighted by one over the loss of a constant
    prediction, unless `settings.task_weights` names it. Kept is each member's epoch with the greatest sum of validation
    scores over data sets. Raises ParamsError where data sets differ in their number of folds.
    """
    if any(cross_group) and settings.mode != "published":
        raise ParamsError("cross_group is the published code's and not in the paper: set mode: published, or leave it.")
    refuse_other_folds(sources)
    with one_thread():
        trainings, parts = _trainings(
            sources, settings, batch_sizes or {}, declared or declared_of(sources, settings), raised or {}
        )
        if start is not None:
            _begin_with(parts, trainings, start)
        whole = nn.ModuleDict({name: training.trained.model for name, training in trainings.items()})
        # The last to pack: from here on all parameters are views of these rows.
        packed = Packed(whole, settings.learning_rate, settings.clip_norm, settings.weight_decay)
        packed.hold(_held(parts, trainings, only))
        others = _OtherGroups(parts, cross_group)
        history = _run(trainings, packed, settings, others, progress, checkpoint, only, last, select)
        trained = {name: training.finish(history[name]) for name, training in trainings.items()}
    return Joint(trained=trained, parts=parts, num_parameters=sum(p[0].numel() for p in whole.parameters()))


def refuse_other_folds(sources: Mapping[str, Source]) -> None:
    folds = {name: source.cohort.num_folds for name, source in sources.items()}
    if len(set(folds.values())) != 1:
        told = ", ".join(f"{name} {number}" for name, number in folds.items())
        raise ParamsError(
            f"all data sets must have as many folds; there are {told}. Set `num_folds` of their cohorts alike."
        )


def _trainings(
    sources: Mapping[str, Source],
    settings: TrainingSettings,
    batch_sizes: Mapping[str, int],
    declared: tuple[Declared, ...],
    raised: Mapping[str, float],
) -> tuple[dict[str, Training], Parts]:
    members = [Member(fold=fold, seed=settings.seed) for fold in range(next(iter(sources.values())).cohort.num_folds)]
    rngs = [member.rng("initial values") for member in members]
    parts = Parts(declared, settings, rngs)
    shared = dataclasses.replace(HIGHMMT, build=partial(HighMMT, declared=declared, parts=parts))
    trainings = {}
    for name, source in sources.items():
        weights = {**_weights(source), **settings.task_weights}
        weights = {task: weight * raised.get(task, 1.0) for task, weight in weights.items()}
        size = batch_sizes.get(name, settings.batch_size)
        own = dataclasses.replace(settings, task_weights=weights, batch_size=size, draw=source.draw)
        trainings[name] = Training(source.cohort, source.embeddings, source.tasks, shared, own, members)
    return trainings, parts


class _OtherGroups:
    """The published code's cross-group loss. weights: of each encoder, by its number."""

    def __init__(self, parts: Parts, weights: Sequence[float]) -> None:
        self.parts, self.weights = parts, tuple(weights[: len(parts.encoders)])

    def add_gradients(self, model: HighMMT, batch: Batch) -> None:
        """Of the batch read through every encoder that none of its modalities has. Pair blocks learn nothing of it."""
        own = {self.parts.encoder_of[name] for name in model.names}
        learning = [*model.heads.parameters(), *self.parts.encoders.parameters()]
        for encoder, weight in enumerate(self.weights):
            if encoder in own or not weight:
                continue
            with self.parts.through(encoder):
                loss = weight * model.losses(batch).sum()
            for p, gradient in zip(learning, torch.autograd.grad(loss, learning, allow_unused=True), strict=True):
                if gradient is not None:
                    add_gradient(p, gradient)


def _held(parts: Parts, trainings: Mapping[str, Training], only: str) -> list[nn.Parameter]:
    """What may not learn."""
    heads = nn.ModuleList(training.trained.model.get_submodule("heads") for training in trainings.values())
    named = {"encoders": parts.encoders, "blocks": parts.blocks, "heads": heads}
    return [p for name, module in named.items() if only not in {"all", name} for p in module.parameters()]


def _run(
    trainings: Mapping[str, Training],
    packed: Packed,
    settings: TrainingSettings,
    others: _OtherGroups,
    progress: Progress,
    checkpoint: Checkpoint | None,
    only: str,
    last: bool,
    select: str,
) -> dict[str, pd.DataFrame]:
    num_members = packed.num_members
    best, since_best = np.full(num_members, -np.inf), np.zeros(num_members, dtype=int)
    running = np.ones(num_members, dtype=bool)
    history: list[pd.DataFrame] = []
    first, rngs = 0, [rng for training in trainings.values() for rng in training.shufflers]
    if checkpoint is not None:
        told = [training.fingerprint() for training in trainings.values()]
        checkpoint.fingerprint = fingerprint(
            list(trainings), told, only, last, others.weights, select, *packed.values, *packed.buffers
        )
        if (found := checkpoint.restore(packed, rngs)) is not None:
            first, arrays, earlier = found
            best, since_best, running = arrays["best"], arrays["since_best"], arrays["running"]
            history.append(earlier)
    for epoch in range(first, settings.epochs if running.any() else first):
        losses = _epoch(trainings, packed, others, running)
        scores, sound = np.zeros(num_members), packed.finite()
        for number, (name, training) in enumerate(trainings.items()):
            scored, right = training.validate(sound & np.isfinite(losses[name]))
            scores, sound = scores + np.nan_to_num(scored) * (select in {"", name}), sound & right
            frame = pd.DataFrame(
                {
                    "member": np.arange(num_members, dtype=np.int32),
                    "fold": np.array([k.fold for k in training.members], dtype=np.int32),
                    "label": [k.label for k in training.members],
                    "epoch": np.int32(epoch),
                    "train_loss": losses[name],
                    "validation_score": scored,
                    "source": np.int32(number),
                }
            )
            history.append(frame[running])
        if (lost := running & ~sound & np.isneginf(best)).any():
            raise ParamsError(
                f"member {int(np.flatnonzero(lost)[0])}: its numbers are no longer finite in epoch {epoch + 1} of "
                f"{settings.epochs}. Use a smaller learning_rate (it is {settings.learning_rate:g})."
            )
        improved = running & sound & (last | (scores > best))
        best = np.where(improved, scores, best)
        packed.keep_best(improved)
        since_best = np.where(improved, 0, since_best + 1)
        running &= sound
        if settings.patience:
            running &= since_best < settings.patience
        progress(epoch + 1, settings.epochs)
        if checkpoint is not None and checkpoint.due(last=epoch + 1 == settings.epochs or not running.any()):
            arrays = {"best": best, "since_best": since_best, "running": running}
            checkpoint.save(packed, rngs, arrays, pd.concat(history, ignore_index=True), epoch)
        if not running.any():
            break
    packed.restore_best()
    by_source = dict(list(pd.concat(history, ignore_index=True).groupby("source")))
    return {
        name: by_source[number].drop(columns="source").reset_index(drop=True) for number, name in enumerate(trainings)
    }


def _epoch(
    trainings: Mapping[str, Training], packed: Packed, others: _OtherGroups, running: np.ndarray
) -> dict[str, np.ndarray]:
    """Data set -> (K,): the mean training loss of each member."""
    plans = {}
    for name, training in trainings.items():
        plans[name] = padded(training.draw_rows(running))
    sizes = {name: training.settings.batch_size for name, training in trainings.items()}
    totals = {name: np.zeros(packed.num_members) for name in trainings}
    for step in range(max(-(-plans[name][0].shape[1] // sizes[name]) for name in trainings) - 1, -1, -1):
        active = np.zeros(packed.num_members, dtype=bool)
        for name, training in trainings.items():
            matrix, real = plans[name]
            part = slice(step * sizes[name], (step + 1) * sizes[name])
            num_real = real[:, part].sum(axis=1)
            if not num_real.any():
                continue
            model = training.trained.model
            model.train()
            rows = torch.from_numpy(matrix[:, part]).to(training.device)
            batch = training.inputs.gather(rows, torch.from_numpy(real[:, part]).to(training.device))
            totals[name] += model.accumulate_gradients(batch).cpu().numpy() * num_real
            others.add_gradients(cast(HighMMT, model), batch)
            active |= num_real > 0
        packed.step(active.tolist())
    return {name: total / np.maximum(plans[name][1].sum(axis=1), 1) for name, total in totals.items()}


def _weights(source: Source) -> dict[str, float]:
    """One over the loss of a constant prediction: the entropy of the labels, or the variance on the [0, 1] scale.

    Of all labels: members have one weight between them, and it sets a scale only."""
    weights = {}
    for task in source.tasks:
        known = read_target(source.cohort, task)
        known = known[~np.isnan(known)]
        if task.kind == "regression":
            width = float(np.diff(fit_target_range(known, [np.arange(len(known))])[0])[0])
            loss = float(np.var(known / width))
        else:
            shares = np.unique(known, return_counts=True)[1] / len(known)
            loss = float(-(shares * np.log(shares)).sum())
        weights[task.name] = 1.0 / loss if loss > 1e-6 else 1.0
    return weights


def _begin_with(parts: Parts, trainings: Mapping[str, Training], start: Joint) -> None:
    before = start.parts
    for name in reversed(list(parts.encoder_of)):
        if name in before.encoder_of:
            _copy(before.encoders[before.encoder_of[name]], parts.encoders[parts.encoder_of[name]])
    for name in reversed(list(parts.block_of)):
        if name in before.block_of:
            _copy(before.blocks[before.block_of[name]], parts.blocks[parts.block_of[name]])
    for name, training in trainings.items():
        if name in start.trained:
            _copy(start.trained[name].model.get_submodule("heads"), training.trained.model.get_submodule("heads"))


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())
