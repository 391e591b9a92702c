"""Better, worse, or not to be told apart: a score against its floor, and two models over the same folds."""

from __future__ import annotations

import math
from typing import Any, Literal

from mmn.modeling.differences import Difference, paired, t_interval
from mmn.orchestration.report.numbers import metric_of

__all__ = ["Difference", "Standing", "paired", "standing", "t_interval"]

Standing = Literal["beats", "unclear", "loses", "none", "undefined"]


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
