"""Scalers see training rows only. They ignore NaN when fitted, and fill it with 0 after scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ScalerKind = Literal["standard", "minmax"]


@dataclass(frozen=True)
class Scaler:
    """y = (x - shift) / scale, with shift and scale of shape (D,). A constant dimension becomes 0."""

    shift: np.ndarray
    scale: np.ndarray
    clip: bool

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: (..., D). NaN becomes 0 after scaling: the training mean (standard) or minimum (minmax)."""
        y = (x - self.shift) / self.scale
        if self.clip:
            y = np.clip(y, 0.0, 1.0)
        return np.nan_to_num(y, nan=0.0).astype(np.float32)


def fit_scaler(rows: np.ndarray, kind: ScalerKind) -> Scaler:
    """rows: (R, D) training rows, NaN = unknown. `minmax` maps the training range to [0, 1] and clips others to it."""
    rows = rows.astype(np.float64)
    known = ~np.isnan(rows)
    num = np.maximum(known.sum(axis=0), 1)
    if kind == "standard":
        shift = np.where(known, rows, 0).sum(axis=0) / num
        scale = np.sqrt(np.where(known, (rows - shift) ** 2, 0).sum(axis=0) / num)
    else:
        shift = np.where(known, rows, np.inf).min(axis=0, initial=np.inf)
        top = np.where(known, rows, -np.inf).max(axis=0, initial=-np.inf)
        shift = np.where(known.any(axis=0), shift, 0.0)
        scale = np.where(known.any(axis=0), top - shift, 0.0)
    constant = scale <= 1e-12
    # A large scale sends a constant dimension, and whatever differs from it at test time, to 0.
    return Scaler(shift=shift, scale=np.where(constant, 1e12, scale), clip=kind == "minmax")
