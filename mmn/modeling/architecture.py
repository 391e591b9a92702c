"""What an architecture is: the one interface between the models and whatever trains, stores and reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.settings import TrainingSettings


class Model(nn.Module, ABC):
    """K members of one architecture. It knows no file, no config system, no logger."""

    modalities: tuple[ModalityShape, ...]
    tasks: tuple[Task, ...]
    dropout_width: int
    """How many numbers per item are subject to dropout; `keep` is (K, B, dropout_width): 0, or 1 / (1 - p)."""
    dropout_chances: np.ndarray | None = None
    """(dropout_width,): the chance of each, where they differ; None = `TrainingSettings.dropout` for all."""

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
        """task -> (K, B): the prediction at the task's read step: P(1), or the [0, 1]-scaled target."""

    @abstractmethod
    def read_every_step(self, batch: Batch) -> dict[str, Tensor]:
        """task -> (K, B, T) for the tasks that the model can read at every step; the others are left out."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An architecture as a value.

    multitask: whether one model may have several tasks. fill_absent: what an absent modality's input holds: 0 after
    scaling where it is never read, the training mean where it is.
    build(modalities, tasks, num_steps, settings, rngs): one generator per member.
    """

    name: str
    title: str
    multitask: bool
    fill_absent: Literal["zero", "mean"]
    build: Callable[
        [tuple[ModalityShape, ...], tuple[Task, ...], int, TrainingSettings, Sequence[np.random.Generator]], Model
    ]


def outputs_of(task: Task) -> int:
    return 2 if task.kind == "binary" else 1


def loss_terms(raw: Tensor, target: Tensor, task: Task, loss: str) -> Tensor:
    """Per-row losses. raw: (..., outputs) of the decoder; target: (...), NaN-free.

    Binary: cross-entropy of two outputs, which is softplus of minus the margin. loss="published" takes the margin of
    the sigmoid outputs instead, so a term never falls below log(1 + 1/e) = 0.3133.
    """
    if task.kind == "regression":
        return (torch.sigmoid(raw[..., 0]) - target) ** 2
    if loss == "published":
        raw = torch.sigmoid(raw)
    # One product and one sum: the gradient of two indexings would be two tensors of zeros and their sum.
    margin = (raw * raw.new_tensor([-1.0, 1.0])).sum(dim=-1)
    return nn.functional.softplus(margin * (1.0 - 2.0 * target))


def to_prediction(raw: Tensor, task: Task, loss: str) -> Tensor:
    """(..., outputs) -> (...): P(1), or the target on the [0, 1] scale."""
    if task.kind == "regression":
        return torch.sigmoid(raw[..., 0])
    if loss == "published":
        raw = torch.sigmoid(raw)
        return raw[..., 1] / raw.sum(dim=-1)
    return torch.sigmoid(raw[..., 1] - raw[..., 0])
