"""What a model reads: one batch of every member, as tensors and nothing else.

K members, B items, T steps of the data, T_m steps of modality m (T, or 1 where it is static), D its width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ModalityShape:
    """What a model is built for. num_versions: fitted versions of the embeddings that it is trained on, 1 or one per
    fold; 0 where that is not known. names: (width,) what each dimension is; () where that cannot be said."""

    name: str
    width: int
    num_steps: int
    num_versions: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """x[m]: (K, B, T_m, D), scaled, finite everywhere, whatever is absent included. present[m]: (K, B, T_m) bool.

    targets[task]: (K, B, 1) if static, (K, B, T) if per step; NaN = no label; a regression's on the [0, 1] scale of
    the member's training range. real: (K, B) bool, False for the rows that only fill up a short batch. flat: (K, B, sum
    of T_m x D), all of x side by side, where they lie so; None where they do not.
    """

    x: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    real: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    flat: Tensor | None = None

    @property
    def size(self) -> int:
        return int(self.real.shape[1])
