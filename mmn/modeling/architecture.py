"""What an architecture is: the one interface between the models and whatever trains, stores and reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.encoder_settings import EncoderSettings
from mmn.modeling.settings import TrainingSettings


class Model(nn.Module, ABC):
    """K members of one architecture. It knows no file, no config system, no logger."""

    modalities: tuple[ModalityShape, ...]
    tasks: tuple[Task, ...]
    dropout_width: int
    """How many numbers per item are subject to dropout; `keep` is (K, B, dropout_width): 0, or 1 / (1 - p)."""
    encoder_settings: Mapping[str, EncoderSettings] = MappingProxyType({})
    """Modality -> its encoder, where one was chosen that is not the MLP."""
    numbers_per_item: int = 0
    """How many numbers reading an item holds at a time, where that is more than its inputs."""
    dropout_chances: np.ndarray | None = None
    """(dropout_width,): the chance of each, where they differ; None = `TrainingSettings.dropout` for all."""

    def told(self) -> dict[str, Any]:
        """What only a model of its kind has to say of itself: into its card. `mode`, where paper and published code
        differ, stands in the footer of the weights too."""
        return {}

    @abstractmethod
    def accumulate_gradients(
        self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None
    ) -> Tensor:
        """Add each member's loss gradient to its parameters' `.grad`; return the losses, (K,), detached.

        A member with only filling rows in the batch gets loss 0 and no gradient. order: of the modalities; None is the
        order of training.
        """

    @abstractmethod
    def read(self, batch: Batch) -> dict[str, Tensor]:
        """task -> (K, B): the prediction at the task's read step: P(1), or the [0, 1]-scaled target; of a multiclass
        task (K, B, C), the probability of each class."""

    @abstractmethod
    def read_every_step(self, batch: Batch) -> dict[str, Tensor]:
        """task -> (K, B, T), or (K, B, T, C), for the tasks that the model can read at every step; others are left
        out."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An architecture as a value.

    multitask: whether one model may have several tasks. fill_absent: what an absent modality's input holds: 0 after
    scaling where it is never read, the training mean where it is. every_step: it learns from targets and evidence of
    all steps; False = of those up to a task's read step alone.
    build(modalities, tasks, num_steps, settings, rngs): one generator per member. build_as_told: from a card, what
    builds that model again, where `build` alone does not.
    """

    name: str
    title: str
    multitask: bool
    fill_absent: Literal["zero", "mean"]
    every_step: bool = False
    build: Callable[
        [tuple[ModalityShape, ...], tuple[Task, ...], int, TrainingSettings, Sequence[np.random.Generator]], Model
    ]
    build_as_told: Callable[[Mapping[str, Any]], Callable[..., Model]] | None = None


def outputs_of(task: Task) -> int:
    return {"binary": 2, "regression": 1, "multiclass": len(task.classes)}[task.kind]


def loss_terms(raw: Tensor, target: Tensor, task: Task, loss: str) -> Tensor:
    """Per-row losses. raw: (..., outputs) of the decoder; target: (...), NaN-free.

    Multiclass: cross-entropy. Binary: that of two outputs, which is softplus of minus the margin. loss="published"
    takes the sigmoid outputs instead, so a binary term never falls below log(1 + 1/e) = 0.3133.
    """
    if task.kind == "regression":
        return (torch.sigmoid(raw[..., 0]) - target) ** 2
    if loss == "published":
        raw = torch.sigmoid(raw)
    if task.kind == "multiclass":
        right = raw.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
        return torch.logsumexp(raw, dim=-1) - right
    # One product and one sum: the gradient of two indexings would be two tensors of zeros and their sum.
    margin = (raw * raw.new_tensor([-1.0, 1.0])).sum(dim=-1)
    return nn.functional.softplus(margin * (1.0 - 2.0 * target))


def to_prediction(raw: Tensor, task: Task, loss: str) -> Tensor:
    """(..., outputs) -> (...): P(1), or the target on the [0, 1] scale; of a multiclass task (..., C)."""
    if task.kind == "regression":
        return torch.sigmoid(raw[..., 0])
    if task.kind == "multiclass":
        if loss == "published":
            raw = torch.sigmoid(raw)
            return raw / raw.sum(dim=-1, keepdim=True)
        return torch.softmax(raw, dim=-1)
    if loss == "published":
        raw = torch.sigmoid(raw)
        return raw[..., 1] / raw.sum(dim=-1)
    return torch.sigmoid(raw[..., 1] - raw[..., 0])


class ReadOnce(Model):
    """A model that reads all evidence at once, each task at its read step. forward(batch, keep): task -> (K, B,
    outputs)."""

    task_weights: Mapping[str, float]
    loss: str

    def losses(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """(K,): each member's mean loss over the (item, task) pairs with a label."""
        raw = self(batch, keep)
        total_K, known_K = [], []
        for task in self.tasks:
            target_KB = batch.targets[task.name][:, :, task.read_step if task.per_step else 0]
            known_KB = (~torch.isnan(target_KB) & batch.real).to(target_KB.dtype)
            terms_KB = loss_terms(raw[task.name], torch.nan_to_num(target_KB), task, self.loss)
            total_K.append(self.task_weights.get(task.name, 1.0) * (terms_KB * known_KB).sum(dim=1))
            known_K.append(known_KB.sum(dim=1))
        return torch.stack(total_K).sum(dim=0) / torch.stack(known_K).sum(dim=0).clamp(min=1.0)

    def accumulate_gradients(
        self, batch: Batch, keep: Tensor | None = None, order: Sequence[str] | None = None
    ) -> Tensor:
        losses = self.losses(batch, keep)
        losses.sum().backward()
        return losses.detach()

    def read(self, batch: Batch) -> dict[str, Tensor]:
        raw = self(batch)
        return {task.name: to_prediction(raw[task.name], task, self.loss) for task in self.tasks}

    def read_every_step(self, batch: Batch) -> dict[str, Tensor]:
        return {}
