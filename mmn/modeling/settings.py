"""What a person may set: how models are trained, and how experiments are run. Defaults are here."""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmn.modeling.encoder_settings import encoder_settings
from mmn.modeling.highmmt.tokens import token_layout


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Adam on one task set. Each data set puts the paper's values (Table 3) over these.

    weight_decay: of Adam, added to the gradient (L2), as in the paper of HighMMT; 0 in the others.
    patience: epochs without a better validation score after which a member stops; 0 = never.
    scaler: of the embeddings, fitted per member on the present rows of its training items.
    skip: "item" leaves the state of each item without the modality as it was; "batch" skips the encoder for the whole
        batch as soon as one item lacks it, as the published code does (for comparison only).
    loss: "logits" is cross-entropy on logits; "published" applies it to sigmoid outputs.
    normalise: "terms" is the mean over the (item, state, task) terms that exist; "published" divides by all of them.
    shuffle: a new order of the training items every epoch; False as published.
    draw: "once" is every training item once an epoch; "classes" draws as many with replacement, each class of the first
        task equally often, as the released loader of ENRICO does.
    shuffle_order: MultiModN meets the modalities in a new random order at every optimiser step.
    select_by: what picks the best epoch on validation, at each task's read step, summed over tasks; "auto" is balanced
        accuracy + AUROC (macro) for a binary or multiclass task and mean squared error for a regression, which has no
        other. "mse" of the former is their Brier score.
    select_task: where it is among the tasks, it alone picks the epoch.
    task_weights: task -> what its loss terms are multiplied by; 1 where none is given. One of 0 is not learnt and picks
        no epoch; a model of that task alone learns it all the same.
    state_change_penalty: MultiModN's, times 0.01 times the mean squared change of the state by an encoder is added to
        the loss; 0 as in all published runs.
    encoders: modality -> MultiModN's encoder of it, a block such as {kind: gru} (see `encoder_settings.py`); mlp where
        none is given.
    mask_bits: P-Fusion also reads which modalities are present (a model that learns from absence on purpose).
    token, blocks, heads, head_size, mlp, mlp_dropout: of the P-Fusion Transformer: width of a token, number of blocks,
        heads and width of a head, the hidden layer and its own dropout (`dropout` is the blocks').
    latents, latent_width, latent_head_size, cross_heads, pair_heads, latent_heads, cross_depth: of HighMMT: number and
        width of latents, width of a head, heads of the encoder's and the pairs' cross-attention and of self-attention,
        blocks per pair. pairs_of_absent: what stands for pairs with an absent modality: zeros, or the mean of the
        others. mode: where HighMMT's paper and its published code differ, which is followed (`highmmt/network.py`).
        marks: of which modality a token is, one-hot or ten numbers that its encoder learns.
        tokens: modality -> in what tokens it is read, such as {shape: [1, 28, 28], patch: [4, 4]} (`TokenLayout`).
        encoder_groups, pair_groups: modality (pair: "a+b", in alphabetical order) -> number of the encoder
        (block) that it shares; all share 0. without: an ablation: no modality marks, no encoder (pairs read tokens), no
        pairs (the heads read all latents).
    """

    epochs: int = 100
    batch_size: int = 64
    dropout: float = 0.1
    hidden: int = 32
    state: int = 20
    learning_rate: float = 1e-3
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0
    patience: int = 0
    scaler: Literal["standard", "minmax"] = "standard"
    skip: Literal["item", "batch"] = "item"
    loss: Literal["logits", "published"] = "logits"
    normalise: Literal["terms", "published"] = "terms"
    shuffle: bool = True
    draw: Literal["once", "classes"] = "once"
    shuffle_order: bool = False
    select_by: Literal["auto", "bac+auroc", "accuracy", "mse"] = "auto"
    select_task: str = ""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    state_change_penalty: float = 0.0
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mask_bits: bool = False
    token: int = 32
    blocks: int = 4
    heads: int = 4
    head_size: int = 256
    mlp: int = 128
    mlp_dropout: float = 0.4
    latents: int = 16
    latent_width: int = 32
    latent_head_size: int = 32
    cross_heads: int = 1
    pair_heads: int = 4
    latent_heads: int = 6
    cross_depth: int = 1
    pairs_of_absent: Literal["zero", "mean"] = "zero"
    mode: Literal["paper", "published"] = "paper"
    marks: Literal["one_hot", "learnt"] = "one_hot"
    tokens: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encoder_groups: Mapping[str, int] = field(default_factory=dict)
    pair_groups: Mapping[str, int] = field(default_factory=dict)
    without: Literal["nothing", "marks", "encoder", "pairs"] = "nothing"
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        self._check_kinds()
        sizes = (
            "latents", "latent_width", "latent_head_size", "cross_heads", "pair_heads", "latent_heads", "cross_depth",
        )  # fmt: skip
        for name in ("epochs", "batch_size", "hidden", "state", "token", "blocks", "heads", "head_size", "mlp", *sizes):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("dropout", "mlp_dropout"):
            # Drawn in 16 bits: what rounds to all of them would be none.
            if not 0.0 <= getattr(self, name) <= 65_535 / 65_536:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be at least 0 and below 1 (at most 65535/65536)."
                )
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        for name, weight in self.task_weights.items():
            if not _is_number(weight) or weight < 0:
                raise ValueError(f"task_weights.{name} is {weight!r}; it must be a number of at least 0.")
        plain: dict[str, dict[str, Any]] = {}
        for name, given in self.encoders.items():
            try:
                encoder_settings(given)
            except ValueError as error:
                raise ValueError(f"encoders.{name}: {error}") from error
            # As it is read back from a card: a list where a caller wrote a tuple.
            plain[name] = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        object.__setattr__(self, "encoders", plain)
        object.__setattr__(self, "tokens", self._plain_tokens())
        for name in ("clip_norm", "weight_decay", "patience", "seed", "state_change_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative (0 turns it off).")

    def _check_kinds(self) -> None:
        """params.yaml is checked as it is read; here is what Python gives."""
        for name, kind in _kinds().items():
            value = getattr(self, name)
            if choices := typing.get_args(kind) if typing.get_origin(kind) is Literal else ():
                if value not in choices:
                    raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
            elif kind is float:
                if not _is_number(value):
                    raise ValueError(f"{name} is {value!r}; it must be a number.")
            elif not isinstance(value, typing.get_origin(kind) or kind) or (kind is int and isinstance(value, bool)):
                words = {int: "a whole number", bool: "True or False", str: "a word"}.get(kind, "a block of settings")
                raise ValueError(f"{name} is {value!r}; it must be {words}.")

    def _plain_tokens(self) -> dict[str, dict[str, Any]]:
        """As it is read back from a card."""
        plain = {}
        for name, given in self.tokens.items():
            try:
                token_layout(given)
            except (TypeError, ValueError) as error:
                raise ValueError(f"tokens.{name}: {error}") from error
            plain[name] = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        return plain


@functools.cache
def _kinds() -> dict[str, Any]:
    return typing.get_type_hints(TrainingSettings)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class InterpretabilitySettings:
    """What is shown of single items, and how Shapley values are had.

    items: test items shown one by one, by name; of real data, naming them says that they may be seen. num_items: how
    many are chosen where none is named; None = 4 of generated data and none of real data.
    sampled_orders: how many random orders stand for all where there are more than 10 modalities.
    """

    items: tuple[str, ...] = ()
    num_items: int | None = None
    sampled_orders: int = 64

    def __post_init__(self) -> None:
        if not all(isinstance(item, str) for item in self.items):
            raise ValueError("items must be names, each in quotes.")
        if self.num_items is not None and self.num_items < 0:
            raise ValueError(f"num_items is {self.num_items}; it must not be negative.")
        if self.sampled_orders < 4 or self.sampled_orders % 2:
            raise ValueError(f"sampled_orders is {self.sampled_orders}; it must be even and at least 4.")


@dataclass(frozen=True, kw_only=True)
class SubsetsSettings:
    """Inference with subsets and in other orders.

    num_orders: of the modalities; all of them where there are no more. shuffled: also train one MultiModN that meets
    the modalities in random orders. epochs: of that; 0 = as many as in training.
    """

    num_orders: int = 24
    shuffled: bool = True
    epochs: int = 0

    def __post_init__(self) -> None:
        if self.num_orders < 2 or self.epochs < 0:
            raise ValueError("num_orders must be at least 2, and epochs not negative.")


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How two models are compared (`comparisons.py`).

    margin: metric -> the difference within which two models count as equal; of rmse and mae as a share of the range of
    the training targets. What is given here stands over the defaults one by one. level: of the intervals; tests are at
    1 - level.
    """

    margin: Mapping[str, float] = field(default_factory=dict)
    level: float = 0.95

    def __post_init__(self) -> None:
        known = {"auroc": 0.05, "macro_auroc": 0.05, "bac": 0.05, "rmse": 0.02, "mse_normalised": 0.01}
        if unknown := sorted(set(self.margin) - set(known)):
            raise ValueError(f"margin names {', '.join(unknown)}; the metrics compared are {', '.join(known)}.")
        for name, value in self.margin.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"margin.{name} is {value!r}; it must be a number above 0.")
        if not 0.5 < self.level < 1.0:
            raise ValueError(f"level is {self.level}; it must lie between 0.5 and 1.")
        object.__setattr__(self, "margin", {**known, **self.margin})
