"""Better, worse, or not to be told apart: a score against its floor, and two models over the same folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmn.orchestration.report.numbers import metric_of

Standing = Literal["beats", "unclear", "loses", "none", "undefined"]


@dataclass(frozen=True)
class Difference:
    """first minus second, with a 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        return self.low > 0 or self.high < 0


def standing(row: Any) -> Standing:
    """Of one row of the scores against its best floor.

    beats: better, and the floor lies outside the interval over folds. unclear: better, but not by that much.
    loses: worse than, or no better than, the floor. none: no floor to compare with. undefined: no estimate.
    """
    if not math.isfinite(row.estimate):
        return "undefined"
    if not math.isfinite(row.best_floor) or row.beats_floor is None or row.beats_floor != row.beats_floor:
        return "none"
    better = row.estimate > row.best_floor if metric_of(row.metric).higher_is_better else row.estimate < row.best_floor
    if not better:
        return "loses"
    # Without an interval (one fold with both classes, say) nothing is clear.
    clear = math.isfinite(row.low) and math.isfinite(row.high) and not row.low <= row.best_floor <= row.high
    return "beats" if row.beats_floor and clear else "unclear"


def t_interval(values: Sequence[float] | np.ndarray, correction: float = 0.0) -> Difference | None:
    """Mean of fold values with its t-interval (95 %); None for fewer than two. NaN folds are left out.

    correction: test items per training item (Nadeau and Bengio 2003). Folds share most of their training rows, so the
    difference of two models over them varies more than 1/k says.
    """
    from scipy.stats import t

    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return None
    half = float(t.ppf(0.975, len(known) - 1)) * known.std(ddof=1) * math.sqrt(1 / len(known) + correction)
    mean = float(known.mean())
    return Difference(mean, mean - half, mean + half)


def paired(first: Sequence[float], second: Sequence[float], test_ratio: float) -> Difference | None:
    """first minus second, fold by fold, with the corrected interval; None where under 3 folds can be paired."""
    if len(first) != len(second):
        return None
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return t_interval(difference, test_ratio) if (~np.isnan(difference)).sum() >= 3 else None
