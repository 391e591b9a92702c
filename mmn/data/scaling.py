"""Scalers see training rows only. What is unknown is ignored when they are fitted, and holds the training mean after
scaling, whichever the scaler: a value that says neither high nor low. Models and autoencoders do as `Scaler` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ScalerKind = Literal["standard", "minmax"]


@dataclass(frozen=True)
class Scaler:
    """y = (x - shift) / scale, clipped to [0, 1] if `clip`; all of shape (D,). A constant dimension becomes 0.

    mean: that of the known training elements after scaling; 0 but for rounding with "standard".
    """

    shift: np.ndarray
    scale: np.ndarray
    clip: bool
    mean: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: (..., D). float32; NaN becomes the training mean: 0 exactly with "standard", `mean` with "minmax"."""
        y = _scaled(x, self.shift, self.scale, self.clip)
        if self.clip:
            y = np.where(np.isnan(y), self.mean, y)
        return np.nan_to_num(y, nan=0.0).astype(np.float32)


def fit_scaler(rows: np.ndarray, kind: ScalerKind) -> Scaler:
    """rows: (R, D) training rows, NaN = unknown. `minmax` maps the training range to [0, 1] and clips others to it."""
    rows = rows.astype(np.float64)
    known = ~np.isnan(rows)
    num = np.maximum(known.sum(axis=0), 1)
    clip = kind == "minmax"
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
    scale = np.where(constant, 1e12, scale)
    # Of the float32 values that the scaler gives.
    scaled = np.nan_to_num(_scaled(rows, shift, scale, clip), nan=0.0).astype(np.float32)
    return Scaler(shift=shift, scale=scale, clip=clip, mean=scaled.sum(axis=0, dtype=np.float64) / num)


def _scaled(x: np.ndarray, shift: np.ndarray, scale: np.ndarray, clip: bool) -> np.ndarray:
    y = (x - shift) / scale
    return np.clip(y, 0.0, 1.0) if clip else y
