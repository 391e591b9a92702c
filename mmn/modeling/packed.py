"""What lets many members train in one program: one row of numbers per member, its own Adam, its own dropout.

K members, P parameters of one, B batch, W numbers per item that are subject to dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Packed:
    """All parameters of a model as one (K, P) matrix; the model's own are views of it. Gradients are gathered likewise.

    Thus a member is a row: clipping, the best checkpoint and Adam (with a step counter of its own, for members whose
    batches have run out stand still) are each one operation on rows.
    """

    def __init__(self, model: nn.Module, learning_rate: float, clip_norm: float) -> None:
        self.parameters = list(model.parameters())
        num_members = self.parameters[0].shape[0]
        self.values_KP = torch.cat([p.detach().reshape(num_members, -1) for p in self.parameters], dim=1)
        self.gradients_KP = torch.zeros_like(self.values_KP)
        first = 0
        for p in self.parameters:
            p.data = self.values_KP[:, first : (first := first + p[0].numel())].view(p.shape)
        self.rows = [nn.Parameter(row) for row in self.values_KP]
        self.adam = torch.optim.Adam(self.rows, lr=learning_rate, fused=True)
        self.clip_norm = clip_norm
        self.best_KP = self.values_KP.clone()

    def step(self, active: Sequence[bool]) -> None:
        """Clip each member's gradient by its norm and move the active members; the others keep weights and counters."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        torch.cat([g.flatten(1) for g in gradients], dim=1, out=self.gradients_KP)
        if self.clip_norm:
            norm_K1 = torch.linalg.vector_norm(self.gradients_KP, dim=1, keepdim=True)
            self.gradients_KP.mul_((self.clip_norm / (norm_K1 + 1e-6)).clamp_(max=1.0))
        for k, row in enumerate(self.rows):
            row.grad = self.gradients_KP[k] if active[k] else None
        self.adam.step()
        for p in self.parameters:
            p.grad = None

    def keep_best(self, improved: np.ndarray) -> None:
        where = torch.from_numpy(np.flatnonzero(improved)).to(self.values_KP.device)
        self.best_KP.index_copy_(0, where, self.values_KP.index_select(0, where))

    def restore_best(self) -> None:
        self.values_KP.copy_(self.best_KP)


class Dropout:
    """Masks of every member from its own generator: 0 with the wanted chance, else 1 / (1 - chance).

    16-bit pieces of the generator's words decide, so the chance is exact to 1/65,536; torch's own generator costs
    ten times as much per number on a CPU. A member draws for its real rows only: who else is in the batch, and how
    long their batches are, changes nothing.
    """

    def __init__(
        self, rngs: Sequence[np.random.Generator], width: int, chance: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rngs, self.width, self.chance = rngs, width, chance
        self.dtype, self.device = (np.float64 if dtype == torch.float64 else np.float32), device
        self.buffers: dict[int, np.ndarray] = {}

    def draw(self, num_real: Sequence[int], batch_size: int) -> Tensor | None:
        """(K, B, W), overwritten by the next draw of the same batch size; None if nothing is ever dropped."""
        if not self.chance or not self.width:
            return None
        shape = (len(self.rngs), batch_size, self.width)
        keep = self.buffers.setdefault(batch_size, np.ones(shape, dtype=self.dtype))
        scale, threshold = keep.dtype.type(1.0 / (1.0 - self.chance)), np.uint16(round(self.chance * 65_536))
        for k, (rng, rows) in enumerate(zip(self.rngs, num_real, strict=True)):
            if rows:
                words = rng.bit_generator.random_raw(-(-rows * self.width // 4))
                pieces = words.view(np.uint16)[: rows * self.width].reshape(rows, self.width)
                np.multiply(pieces >= threshold, scale, out=keep[k, :rows])
        return torch.from_numpy(keep).to(self.device)
