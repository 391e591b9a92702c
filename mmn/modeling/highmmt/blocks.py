"""The Perceiver block of HighMMT, for many members at once (paper, appendix B; the published code's exact form).

K members, R sequences, L latents of width d, t tokens of width E.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmn.modeling.layers import MemberLinear, MemberNorm, member_values

FEED_FORWARD = 4


class MemberProduct(nn.Module):
    """K linear layers without a bias: (K, R, I) -> (K, R, O); torch's own law of initial values."""

    def __init__(self, num_in: int, num_out: int, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        bound = num_in**-0.5
        self.weight = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, (num_in, num_out))))

    def forward(self, x_KRI: Tensor) -> Tensor:
        return torch.bmm(x_KRI, self.weight)


class Attention(nn.Module):
    """Pre-norm attention; what it gives is added by the caller. context_width: None = the sequence attends to itself,
    under one norm."""

    def __init__(
        self, width: int, context_width: int | None, heads: int, head_size: int, rngs: Sequence[np.random.Generator]
    ) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        self.norm = MemberNorm(width, len(rngs))
        self.context_norm = MemberNorm(context_width, len(rngs)) if context_width is not None else None
        self.query = MemberProduct(width, heads * head_size, rngs)
        self.key_value = MemberProduct(context_width or width, 2 * heads * head_size, rngs)
        self.gather = MemberLinear(heads * head_size, width, rngs)

    def forward(self, x_KRLd: Tensor, context_KRtE: Tensor | None = None, seen_KRt: Tensor | None = None) -> Tensor:
        """seen: which tokens of the context exist; None = all. A sequence of which none does gives NaN: the caller
        must not use it."""
        x = self.norm(x_KRLd)
        context = x if context_KRtE is None or self.context_norm is None else self.context_norm(context_KRtE)
        K, R, L, _ = x.shape
        t = context.shape[2]
        query = self.query(x.reshape(K, R * L, -1)).view(K * R, L, self.heads, self.head_size).transpose(1, 2)
        both = self.key_value(context.reshape(K, R * t, -1)).view(K * R, t, 2, self.heads, self.head_size)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if seen_KRt is None else seen_KRt.reshape(K * R, 1, 1, t)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.gather(mixed.transpose(1, 2).reshape(K, R * L, -1)).view(K, R, L, -1)


class FeedForward(nn.Module):
    """Pre-norm GEGLU of four times the width."""

    def __init__(self, width: int, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.norm = MemberNorm(width, len(rngs))
        self.widen = MemberLinear(width, 2 * FEED_FORWARD * width, rngs)
        self.narrow = MemberLinear(FEED_FORWARD * width, width, rngs)

    def forward(self, x_KRLd: Tensor) -> Tensor:
        K, R, L, d = x_KRLd.shape
        value, gate = self.widen(self.norm(x_KRLd).reshape(K, R * L, d)).chunk(2, dim=-1)
        return self.narrow(value * nn.functional.gelu(gate)).view(K, R, L, d)


class PerceiverBlock(nn.Module):
    """Cross-attention, feed-forward, self-attention, feed-forward. doubled: the published code adds the result of the
    second half to its input once more although that half has its own residuals; False leaves that out."""

    def __init__(
        self,
        width: int,
        context_width: int,
        cross_heads: int,
        self_heads: int,
        head_size: int,
        rngs: Sequence[np.random.Generator],
        doubled: bool = True,
    ) -> None:
        super().__init__()
        self.doubled = doubled
        self.cross = Attention(width, context_width, cross_heads, head_size, rngs)
        self.cross_forward = FeedForward(width, rngs)
        self.latent = Attention(width, None, self_heads, head_size, rngs)
        self.latent_forward = FeedForward(width, rngs)

    def forward(self, x_KRLd: Tensor, context_KRtE: Tensor, seen_KRt: Tensor | None = None) -> Tensor:
        x = x_KRLd + self.cross(x_KRLd, context_KRtE, seen_KRt)
        x = x + self.cross_forward(x)
        y = x + self.latent(x)
        y = y + self.latent_forward(y)
        return x + y if self.doubled else y
