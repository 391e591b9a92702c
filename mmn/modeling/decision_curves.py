"""Would acting on a prediction do more good than treating all or none? Net benefit (Vickers and Elkin 2006).

At a threshold t a false alarm counts t / (1 - t) of a case found. Treating none has net benefit 0; treating all is what
a model must beat where one would rather act than miss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.modeling.calibration import NONE, PLATT
from mmn.modeling.pooled import ALL, SMALLEST, Pooled, group_sizes, withheld

THRESHOLDS = (0.01, 0.02, 0.05, *(round(0.1 * n, 1) for n in range(1, 10)), 0.95)


def net_benefit(y: np.ndarray, p: np.ndarray, weights: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(R, thresholds) of R weightings of n items, (R, n): true positives minus odds(t) x false positives, per item."""
    flagged = (p[:, None] >= thresholds).astype(np.float64)
    odds = thresholds / (1 - thresholds)
    value = flagged * np.where(y[:, None] == 1, 1.0, -odds)
    return weights @ value / weights.sum(axis=1, keepdims=True)


def decision_curve(cohort: Cohort, pooled: Pooled) -> pd.DataFrame:
    """One row per threshold, before and after Platt's recalibration: `net_benefit`, `low`, `high` (95 %, over
    subjects), `treat_all`, and `gain` over the better of treating all and none, with `gain_low`, `gain_high`.

    Null and `withheld` where fewer than 10 (but some) items are on one side of the threshold; all of it where the task
    has fewer than 10 positives or negatives, whose number the curve of treating all would tell.
    """
    thresholds = np.array(THRESHOLDS)
    hidden = bool(withheld(group_sizes(pooled, np.full(len(pooled.p), ALL))))
    rows: list[dict[str, Any]] = []
    for way in (NONE, PLATT):
        p = pooled.p if way == NONE else pooled.after.get(way)
        if p is None:
            continue
        known = ~np.isnan(p)
        above = (p[known][:, None] >= thresholds).sum(axis=0)
        small = [0 < side < SMALLEST for side in above], [0 < side < SMALLEST for side in known.sum() - above]
        told = _with_intervals(cohort, pooled, p, known, thresholds)
        for place, threshold in enumerate(THRESHOLDS):
            secret = hidden or small[0][place] or small[1][place]
            rows.append(
                {
                    **pooled.about,
                    "recalibration": way,
                    "threshold": threshold,
                    "withheld": secret,
                    **{name: np.nan if secret else float(values[place]) for name, values in told.items()},
                }
            )
    return pd.DataFrame(rows)


def _with_intervals(
    cohort: Cohort, pooled: Pooled, p: np.ndarray, known: np.ndarray, thresholds: np.ndarray
) -> dict[str, np.ndarray]:
    y, p = pooled.y[known], p[known]
    everyone = np.ones_like(p)

    def both(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return net_benefit(y, p, weights, thresholds), net_benefit(y, everyone, weights, thresholds)

    benefit, treat_all = both(np.ones((1, len(y))))
    drawn = [both(weights[:, known]) for weights in pooled.draws(cohort)]
    benefits, alls = (np.concatenate(side) for side in zip(*drawn, strict=True))
    gains = benefits - np.maximum(alls, 0.0)
    low, high = np.nanpercentile(benefits, [2.5, 97.5], axis=0)
    gain_low, gain_high = np.nanpercentile(gains, [2.5, 97.5], axis=0)
    return {
        "net_benefit": benefit[0],
        "low": low,
        "high": high,
        "treat_all": treat_all[0],
        "gain": benefit[0] - np.maximum(treat_all[0], 0.0),
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
