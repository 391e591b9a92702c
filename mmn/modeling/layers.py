"""Layers of many members at once: every weight has a leading member dimension, every product is a batched one.

K members, R rows, I inputs, O outputs. K = 1 is the single model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """K linear layers: (K, R, I) -> (K, R, O).

    Each member draws its own initial values from its own generator, so they do not depend on who is trained beside it.
    Their law is torch's default for `nn.Linear`: uniform within 1/sqrt(fan_in), weights and biases alike.
    """

    def __init__(
        self, num_in: int, num_out: int, rngs: Sequence[np.random.Generator], fan_in: int | None = None
    ) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(fan_in or num_in)
        self.weight = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, (num_in, num_out))))
        self.bias = nn.Parameter(member_values(rngs, lambda rng: rng.uniform(-bound, bound, (1, num_out))))

    def forward(self, x_KRI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_KRI, self.weight)


class MemberNorm(nn.Module):
    """K layer normalisations over the last dimension: (K, ..., E) -> (K, ..., E)."""

    def __init__(self, width: int, num_members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_members, width, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(num_members, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        normal = nn.functional.layer_norm(x, x.shape[-1:])
        return normal * self.weight.view(shape) + self.bias.view(shape)


class MemberMLP(nn.Module):
    """Linear, ReLU, linear, ReLU, ..., linear; nothing after the last."""

    def __init__(self, sizes: Sequence[int], rngs: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemberLinear(i, o, rngs) for i, o in pairwise(sizes))

    def forward(self, x_KRI: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x_KRI = torch.relu_(layer(x_KRI))
        return last(x_KRI)


def member_values(rngs: Sequence[np.random.Generator], draw: Callable[[np.random.Generator], np.ndarray]) -> Tensor:
    """(K, ...) of one draw per member, float64: `Model.to` rounds it once to what the training wants."""
    return torch.from_numpy(np.stack([draw(rng) for rng in rngs]))


relu_gradient = torch.ops.aten.threshold_backward.grad_input
"""relu_gradient(gradient, made, 0.0, grad_input=out): `gradient` where the ReLU's output `made` is above 0, else 0."""


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
