"""What lets many members train in one program: rows of numbers per member, its own Adam, its own dropout.

K members, P parameters of one, B batch, W numbers per item that are subject to dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress

import numpy as np
import torch
from torch import Tensor, nn

# Numbers of one member from which a parameter is a block of its own: to copy its gradient would cost more than a call.
LARGE = 8_192
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Packed:
    """All parameters of a model as few (K, P) blocks, in which a member is a row; the model's own are views of them.

    Large parameters are a block each, the others share one. Thus clipping, the best checkpoint and Adam (with a step
    counter of its own per member, for members whose batches have run out stand still) are each an operation on rows.
    Buffers (what a model remembers of its batches) are no part of a step, and are kept and put back with the rest.
    """

    def __init__(self, model: nn.Module, learning_rate: float, clip_norm: float, weight_decay: float = 0.0) -> None:
        parameters = list(model.parameters())
        K = self.num_members = parameters[0].shape[0]
        self.large = [p for p in parameters if p[0].numel() >= LARGE]
        self.small = [p for p in parameters if p[0].numel() < LARGE]
        self.values = [p.detach().reshape(K, -1).clone() for p in self.large]
        for p, block_KP in zip(self.large, self.values, strict=True):
            p.data = block_KP.view(p.shape)
        if self.small:
            shared_KP = torch.cat([p.detach().reshape(K, -1) for p in self.small], dim=1)
            parts = shared_KP.split([p[0].numel() for p in self.small], dim=1)
            for p, part in zip(self.small, parts, strict=True):
                p.data = part.view(p.shape)
            self.values.append(shared_KP)
        self.buffers = list(model.buffers())
        self.best = [block.clone() for block in (*self.values, *self.buffers)]
        self.first_moments = [torch.zeros_like(block) for block in self.values]
        self.second_moments = [torch.zeros_like(block) for block in self.values]
        # float32 as torch's own, whatever the parameters are.
        self.num_steps_K = torch.zeros(K, device=self.values[0].device)
        # Member by member, block by block: what Adam moves.
        self.rows = [_rows(blocks) for blocks in (self.values, self.first_moments, self.second_moments)]
        self.held: set[int] = set()
        self.learning_rate, self.clip_norm, self.weight_decay = learning_rate, clip_norm, weight_decay

    def hold(self, parameters: Iterable[nn.Parameter]) -> None:
        """These are not moved from now on."""
        self.held = {id(p) for p in parameters}

    def step(self, active: Sequence[bool]) -> None:
        """Clip each member's gradient by its norm and move the active members; the others keep weights and counters."""
        gradients = self._as_blocks(lambda p: torch.zeros_like(p) if p.grad is None or id(p) in self.held else p.grad)
        if self.clip_norm:
            norms = torch.stack([torch.linalg.vector_norm(block, dim=1) for block in gradients])
            norm_K = torch.linalg.vector_norm(norms, dim=0)
            shrink_K1 = (self.clip_norm / (norm_K + 1e-6)).clamp_(max=1.0)[:, None]
            # To ask a GPU would be to wait for it.
            if shrink_K1.device.type != "cpu" or bool((shrink_K1 < 1.0).any()):
                for block in gradients:
                    block.mul_(shrink_K1)
        if self.weight_decay:  # of what learns: what is held still must not shrink
            decayed = self._as_blocks(lambda p: torch.zeros_like(p) if id(p) in self.held else p.detach())
            gradients = [
                block.add(values, alpha=self.weight_decay) for block, values in zip(gradients, decayed, strict=True)
            ]
        self.num_steps_K += torch.as_tensor(np.asarray(active), device=self.num_steps_K.device)
        counters = [counter for counter in self.num_steps_K.unbind() for _ in gradients]
        moves = np.repeat(np.asarray(active, dtype=bool), len(gradients)).tolist()
        values, first, second, rows, counters = (
            list(compress(parts, moves)) for parts in (*self.rows, _rows(gradients), counters)
        )
        if rows:
            torch._fused_adam_(
                values, rows, first, second, [], counters,
                lr=self.learning_rate, beta1=BETAS[0], beta2=BETAS[1], weight_decay=0.0, eps=EPSILON,
                amsgrad=False, maximize=False,
            )  # fmt: skip
        for p in (*self.large, *self.small):
            p.grad = None

    def _as_blocks(self, of: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Something of each parameter, as `values`. A parameter that took no part has a gradient of zeros."""

        def flat(p: Tensor) -> Tensor:
            return of(p).reshape(self.num_members, -1)

        large = [flat(p).contiguous() for p in self.large]
        return [*large, torch.cat([flat(p) for p in self.small], dim=1)] if self.small else large

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the steps to come: values, best values, Adam's moments and counters."""
        named = {
            f"{name}.{number}": block
            for name in ("values", "buffers", "best", "first_moments", "second_moments")
            for number, block in enumerate(getattr(self, name))
        }
        return {**named, "num_steps": self.num_steps_K}

    def load(self, kept: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(kept[name])

    def keep_best(self, improved: np.ndarray) -> None:
        where = torch.from_numpy(np.flatnonzero(improved)).to(self.num_steps_K.device)
        for best, values in zip(self.best, (*self.values, *self.buffers), strict=True):
            best.index_copy_(0, where, values.index_select(0, where))

    def restore_best(self, which: np.ndarray | None = None) -> None:
        """which: (K,) bool; None = of all members."""
        where = torch.from_numpy(np.flatnonzero(np.ones(self.num_members, dtype=bool) if which is None else which))
        where = where.to(self.num_steps_K.device)
        for best, values in zip(self.best, (*self.values, *self.buffers), strict=True):
            values.index_copy_(0, where, best.index_select(0, where))

    def finite(self) -> np.ndarray:
        """(K,) bool: whether all of a member's weights are numbers."""
        each = torch.stack([torch.isfinite(block).all(dim=1) for block in (*self.values, *self.buffers)])
        return each.all(dim=0).cpu().numpy()


def _rows(blocks: Sequence[Tensor]) -> list[Tensor]:
    return [row for of_member in zip(*(block.unbind() for block in blocks), strict=True) for row in of_member]


class Dropout:
    """Masks of every member from its own generator: 0 with the wanted chance, else 1 / (1 - chance).

    16-bit pieces of the generator's words decide, so the chance is exact to 1/65,536; torch's own generator costs
    ten times as much per number on a CPU. A member draws for its real rows only: who else is in the batch, and how
    long their batches are, changes nothing. chance: one for all, or (W,).
    """

    def __init__(
        self,
        rngs: Sequence[np.random.Generator],
        width: int,
        chance: float | np.ndarray,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.rngs, self.width, self.chance = rngs, width, np.asarray(chance)
        self.dtype, self.device = (np.float64 if dtype == torch.float64 else np.float32), device
        self.buffers: dict[int, np.ndarray] = {}

    def draw(self, num_real: Sequence[int], batch_size: int) -> Tensor | None:
        """(K, B, W), overwritten by the next draw of the same batch size; None if nothing is ever dropped."""
        if not self.chance.any() or not self.width:
            return None
        shape = (len(self.rngs), batch_size, self.width)
        keep = self.buffers.get(batch_size)
        if keep is None:
            keep = self.buffers[batch_size] = np.ones(shape, dtype=self.dtype)
        scale = (1.0 / (1.0 - self.chance)).astype(keep.dtype)
        threshold = np.round(self.chance * 65_536).astype(np.uint16)
        for k, (rng, rows) in enumerate(zip(self.rngs, num_real, strict=True)):
            if rows:
                words = rng.bit_generator.random_raw(-(-rows * self.width // 4))
                pieces = words.view(np.uint16)[: rows * self.width].reshape(rows, self.width)
                np.multiply(pieces >= threshold, scale, out=keep[k, :rows])
        return torch.from_numpy(keep).to(self.device)
