"""The P-Fusion Transformer (Swamy et al. 2023, appendix E.4): a token per modality and step, all attend to all.

The paper gives the sizes alone (blocks, heads, head size, MLP, two dropout rates); they are those of the time-series
Transformer in the Keras documentation, whose form is taken: pre-norm blocks with a feed-forward part of width 4, mean
pooling, one hidden layer. A token's place is learnt. Dropout falls on what each sub-layer adds and on the hidden layer,
not on the attention weights. An absent modality's token holds the training mean, as in P-Fusion.

K members, B items, L tokens, E width of a token, H heads, A width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mmn.data.dataset import Task
from mmn.data.errors import ContractError
from mmn.modeling.architecture import Architecture, ReadOnce, outputs_of
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.layers import MemberLinear, MemberNorm, member_values
from mmn.modeling.settings import TrainingSettings

FEED_FORWARD = 4


class Block(nn.Module):
    def __init__(self, token: int, heads: int, head_size: int, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_forward = MemberNorm(token, len(rngs)), MemberNorm(token, len(rngs))
        self.query_key_value = MemberLinear(token, 3 * heads * head_size, rngs)
        self.gather = MemberLinear(heads * head_size, token, rngs)
        self.widen, self.narrow = MemberLinear(token, FEED_FORWARD, rngs), MemberLinear(FEED_FORWARD, token, rngs)

    def forward(self, x_KBLE: Tensor, keep: Iterator[Tensor] | None) -> Tensor:
        attended = self._attend(self.before_attention(x_KBLE))
        x_KBLE = x_KBLE + (attended * next(keep) if keep else attended)
        K, B, L, E = x_KBLE.shape
        hidden = torch.relu_(self.widen(self.before_forward(x_KBLE).reshape(K, B * L, E)))
        added = self.narrow(hidden).view(K, B, L, E)
        return x_KBLE + (added * next(keep) if keep else added)

    def _attend(self, x_KBLE: Tensor) -> Tensor:
        K, B, L, E = x_KBLE.shape
        both = self.query_key_value(x_KBLE.reshape(K, B * L, E)).view(K * B, L, 3, self.heads, -1)
        query, key, value = both.permute(2, 0, 3, 1, 4).unbind(0)  # (K·B, H, L, A) each
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.gather(mixed.transpose(1, 2).reshape(K, B * L, -1)).view(K, B, L, E)


class FusionTransformer(ReadOnce):
    """Several tasks share all but their last layer. A task sees the tokens up to its read step and no later one."""

    def __init__(
        self,
        modalities: tuple[ModalityShape, ...],
        tasks: tuple[Task, ...],
        num_steps: int,
        settings: TrainingSettings,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        super().__init__()
        self.modalities, self.tasks, self.loss = modalities, tasks, settings.loss
        self.task_weights = dict(settings.task_weights)
        self.mask_bits, self.num_members, self.width = settings.mask_bits, len(rngs), settings.token
        extra = 1 if settings.mask_bits else 0
        self.embed = nn.ModuleDict({m.name: MemberLinear(m.width + extra, settings.token, rngs) for m in modalities})
        # Tokens lie step by step, so that those up to a read step are a prefix.
        self.tokens = [(step, m.name) for step in range(num_steps) for m in modalities if step < m.num_steps]
        self.place_K1LE = nn.Parameter(
            member_values(rngs, lambda rng: 0.02 * rng.standard_normal((1, len(self.tokens), settings.token)))
        )
        self.blocks = nn.ModuleList(
            Block(settings.token, settings.heads, settings.head_size, rngs) for _ in range(settings.blocks)
        )
        self.last_norm = MemberNorm(settings.token, len(rngs))
        self.hidden = MemberLinear(settings.token, settings.mlp, rngs)
        self.heads = nn.ModuleDict({task.name: MemberLinear(settings.mlp, outputs_of(task), rngs) for task in tasks})
        self.read_steps = sorted({task.read_step for task in tasks})
        self.lengths = {r: sum(step <= r for step, _ in self.tokens) for r in self.read_steps}
        # One set of masks per read step: what each sub-layer of each block adds, then the hidden layer.
        self.mask_sizes = [
            size
            for read_step in self.read_steps
            for size in [*[self.lengths[read_step] * settings.token] * (2 * settings.blocks), settings.mlp]
        ]
        self.dropout_width = sum(self.mask_sizes)
        chances = [settings.dropout] * (2 * settings.blocks) + [settings.mlp_dropout]
        self.dropout_chances = np.repeat(np.tile(chances, len(self.read_steps)), self.mask_sizes)

    def forward(self, batch: Batch, keep_KBW: Tensor | None = None) -> dict[str, Tensor]:
        """task -> (K, B, outputs)."""
        masks = iter(keep_KBW.split(self.mask_sizes, dim=-1)) if keep_KBW is not None else None
        tokens_KBLE = self._tokens(batch)
        found: dict[str, Tensor] = {}
        for read_step in self.read_steps:
            x_KBLE = tokens_KBLE[:, :, : self.lengths[read_step]]
            keep = (mask.view_as(x_KBLE) for mask in masks) if masks is not None else None
            for block in self.blocks:
                x_KBLE = block(x_KBLE, keep)
            pooled_KBE = self.last_norm(x_KBLE).mean(dim=2)
            hidden_KBH = torch.relu_(self.hidden(pooled_KBE))
            if masks is not None:
                hidden_KBH = hidden_KBH * next(masks)
            for task in self.tasks:
                if task.read_step == read_step:
                    found[task.name] = self.heads[task.name](hidden_KBH)
        return found

    def _tokens(self, batch: Batch) -> Tensor:
        """(K, B, L, E)."""
        embedded: dict[str, Tensor] = {}
        for m in self.modalities:
            x_KBTD = batch.x[m.name]
            if x_KBTD.shape[2:] != (m.num_steps, m.width):
                raise ContractError(
                    f"modality '{m.name}': inputs of {tuple(x_KBTD.shape[2:])} (steps, width), "
                    f"the model was built for {(m.num_steps, m.width)}."
                )
            if self.mask_bits:
                x_KBTD = torch.cat([x_KBTD, batch.present[m.name][..., None].to(x_KBTD.dtype)], dim=-1)
            K, B, T, D = x_KBTD.shape
            embed = cast(MemberLinear, self.embed[m.name])
            embedded[m.name] = embed(x_KBTD.reshape(K, B * T, D)).view(K, B, T, self.width)
        stacked = torch.stack([embedded[name][:, :, step] for step, name in self.tokens], dim=2)
        return stacked + self.place_K1LE


FUSION_TRANSFORMER = Architecture(
    name="fusion_transformer", title="P-Fusion Transformer", multitask=True, fill_absent="mean", build=FusionTransformer
)
