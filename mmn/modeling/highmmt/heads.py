"""What turns the vectors of a HighMMT's pairs into a task's output: a norm and a linear layer (paper, appendix B.4).

K members, B items, H features. The paper's norm is batch normalisation; the published code has LayerNorm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmn.modeling.layers import MemberLinear, MemberNorm

MOMENTUM, EPSILON = 0.1, 1e-5


class MemberBatchNorm(nn.Module):
    """K batch normalisations, each over its member's own items: (K, B, H) -> (K, B, H), as torch's BatchNorm1d.

    Rows that only fill up a batch are not counted. In training with gradients the batch's own mean and variance are
    used and remembered; else the remembered ones, so that an item is predicted alone as in a batch. A member with fewer
    than two items in a batch uses what it remembers, for a variance needs two.
    """

    mean_KH: Tensor
    variance_KH: Tensor

    def __init__(self, width: int, num_members: int) -> None:
        super().__init__()
        shape = (num_members, width)
        self.weight = nn.Parameter(torch.ones(shape, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("mean_KH", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance_KH", torch.ones(shape, dtype=torch.float64))

    def forward(self, x_KBH: Tensor, real_KB: Tensor) -> Tensor:
        mean_KH, variance_KH = self.mean_KH, self.variance_KH
        if self.training and torch.is_grad_enabled():
            mean_KH, variance_KH = self._of_batch(x_KBH, real_KB)
        scale_KH = self.weight * torch.rsqrt(variance_KH + EPSILON)
        return (x_KBH - mean_KH[:, None]) * scale_KH[:, None] + self.bias[:, None]

    def _of_batch(self, x_KBH: Tensor, real_KB: Tensor) -> tuple[Tensor, Tensor]:
        real_KB1 = real_KB[..., None].to(x_KBH.dtype)
        num_K1 = real_KB1.sum(dim=1)
        enough_K1 = num_K1 > 1
        num_K1 = num_K1.clamp(min=2.0)
        mean_KH = (x_KBH * real_KB1).sum(dim=1) / num_K1
        variance_KH = ((x_KBH - mean_KH[:, None]) ** 2 * real_KB1).sum(dim=1) / num_K1
        with torch.no_grad():
            share_KH = (MOMENTUM * enough_K1).to(x_KBH.dtype).expand_as(mean_KH)
            unbiased_KH = variance_KH * num_K1 / (num_K1 - 1)
            before = self.mean_KH.clone(), self.variance_KH.clone()
            self.mean_KH.lerp_(mean_KH, share_KH)
            self.variance_KH.lerp_(unbiased_KH, share_KH)
        return torch.where(enough_K1, mean_KH, before[0]), torch.where(enough_K1, variance_KH, before[1])


class Head(nn.Module):
    """(K, B, H) -> (K, B, outputs). over_batch: the paper's batch normalisation; else the published LayerNorm."""

    def __init__(self, width: int, outputs: int, rngs: Sequence[np.random.Generator], over_batch: bool) -> None:
        super().__init__()
        kind = MemberBatchNorm if over_batch else MemberNorm
        self.norm: MemberBatchNorm | MemberNorm = kind(width, len(rngs))
        self.linear = MemberLinear(width, outputs, rngs)

    def forward(self, x_KBH: Tensor, real_KB: Tensor) -> Tensor:
        normal = self.norm(x_KBH, real_KB) if isinstance(self.norm, MemberBatchNorm) else self.norm(x_KBH)
        return self.linear(normal)
