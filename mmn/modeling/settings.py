"""What a person may set: how models are trained, and how the missingness experiment is run. Defaults are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Adam on one task set. Each data set puts the paper's values (Table 3) over these.

    patience: epochs without a better validation score after which a member stops; 0 = never.
    scaler: of the embeddings, fitted per member on the present rows of its training items.
    skip: "item" leaves the state of each item without the modality as it was; "batch" skips the encoder for the whole
        batch as soon as one item lacks it, as the published code does (for comparison only).
    loss: "logits" is cross-entropy on logits; "published" applies it to sigmoid outputs.
    normalise: "terms" is the mean over the (item, state, task) terms that exist; "published" divides by all of them.
    shuffle: a new order of the training items every epoch; False as published.
    shuffle_order: MultiModN meets the modalities in a new random order at every optimiser step.
    select_by: what picks the best epoch on validation, at each task's read step, summed over tasks; "auto" is balanced
        accuracy + AUROC for a binary task and mean squared error for a regression, which has no other. "mse" of a
        binary task is its Brier score.
    select_task: where it is among the tasks, it alone picks the epoch.
    task_weights: task -> what its loss terms are multiplied by; 1 where none is given.
    state_change_penalty: MultiModN's, times 0.01 times the mean squared change of the state by an encoder is added to
        the loss; 0 as in all published runs.
    mask_bits: P-Fusion also reads which modalities are present (a model that learns from absence on purpose).
    token, blocks, heads, head_size, mlp, mlp_dropout: of the P-Fusion Transformer: width of a token, number of blocks,
        heads and width of a head, the hidden layer and its own dropout (`dropout` is the blocks').
    """

    epochs: int = 100
    batch_size: int = 64
    dropout: float = 0.1
    hidden: int = 32
    state: int = 20
    learning_rate: float = 1e-3
    clip_norm: float = 1.0
    seed: int = 0
    patience: int = 0
    scaler: Literal["standard", "minmax"] = "standard"
    skip: Literal["item", "batch"] = "item"
    loss: Literal["logits", "published"] = "logits"
    normalise: Literal["terms", "published"] = "terms"
    shuffle: bool = True
    shuffle_order: bool = False
    select_by: Literal["auto", "bac+auroc", "accuracy", "mse"] = "auto"
    select_task: str = ""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    state_change_penalty: float = 0.0
    mask_bits: bool = False
    token: int = 32
    blocks: int = 4
    heads: int = 4
    head_size: int = 256
    mlp: int = 128
    mlp_dropout: float = 0.4
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "hidden", "state", "token", "blocks", "heads", "head_size", "mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("dropout", "mlp_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        for name, weight in self.task_weights.items():
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not weight >= 0:
                raise ValueError(f"task_weights.{name} is {weight!r}; it must be a number of at least 0.")
        for name in ("clip_norm", "patience", "seed", "state_change_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative (0 turns it off).")


@dataclass(frozen=True, kw_only=True)
class MissingnessSettings:
    """The experiment of `missingness.py`.

    rates: shares of the items that lose the modality. epochs: of every model in it; 0 = as many as in training.
    """

    rates: tuple[float, ...] = (0.0, 0.1, 0.5, 0.8)
    epochs: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rates or not all(0.0 <= rate < 1.0 for rate in self.rates):
            raise ValueError(f"rates are {self.rates}; each must be at least 0 and below 1.")
        if self.epochs < 0 or self.seed < 0:
            raise ValueError("epochs and seed must not be negative.")
