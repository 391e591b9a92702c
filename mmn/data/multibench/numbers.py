"""Arrays of a file made evidence: shapes checked, what is no number counted and left undefined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmn.data.errors import ContractError
from mmn.data.evidence import HourEvidence, VectorEvidence

NOT_A_NUMBER = "values that are no number or infinite"


def check_shape(array: np.ndarray, expected: Sequence[int | None], where: str, hint: str = "") -> None:
    """expected: None = any size. Raises ContractError; hint: what else the file may be."""
    if array.dtype.kind not in "fiub":
        raise ContractError(f"{where}: holds {array.dtype}, expected numbers. {hint or 'Take the released file.'}")
    fits = len(array.shape) == len(expected)
    if not fits or any(want not in (None, size) for size, want in zip(array.shape, expected, strict=True)):
        found = " x ".join(map(str, array.shape))
        wanted = " x ".join("any" if size is None else str(size) for size in expected)
        raise ContractError(f"{where}: shape {found}, expected {wanted}. {hint or 'Take the released file.'}")


def finite(values: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """As float32, what is not finite NaN; and how many were not."""
    values = np.asarray(values, dtype=np.float32)
    wrong = ~np.isfinite(values)
    num = int(wrong.sum())
    if num:
        values = np.where(wrong, np.float32(np.nan), values)
    return values, {NOT_A_NUMBER: num} if num else {}


def vectors(values: np.ndarray, names: Sequence[str], card: dict[str, str] | None = None) -> VectorEvidence:
    """values: (N, D). One that holds nothing is absent."""
    values, left_out = finite(values)
    present = ~np.isnan(values).all(axis=1)
    return VectorEvidence(values=values, present=present, names=tuple(names), card=card or {}, quarantined=left_out)


def series(values: np.ndarray, names: Sequence[str], left_out: dict[str, int] | None = None) -> HourEvidence:
    """values: (N, T, V), NaN where absent or undefined. No unit is known."""
    values = np.asarray(values, dtype=np.float32)
    return HourEvidence(values=values, names=tuple(names), units=("",) * len(names), quarantined=left_out or {})


def numbered(prefix: str, num: int) -> tuple[str, ...]:
    return tuple(f"{prefix} {place}" for place in range(num))


def pixels(height: int, width: int, channels: Sequence[str] = ("",)) -> tuple[str, ...]:
    """Names of a picture laid out flat, channels first, then row by row."""
    return tuple(
        f"{channel} row {row} column {column}".strip()
        for channel in channels
        for row in range(height)
        for column in range(width)
    )


def labels(values: np.ndarray, num_classes: int) -> np.ndarray:
    """(N,) float64: whole numbers from 0 to below num_classes; anything else is no label (NaN)."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isin(values, np.arange(num_classes)), values, np.nan)
