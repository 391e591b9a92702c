"""Do predicted probabilities mean what they say: by presence pattern, before and after recalibration.

Recalibration is fitted on each fold's validation items and applied to its test items: `platt`, a logistic regression on
the log odds with Platt's smoothed labels (Platt 1999), and `isotonic`, a monotone step function. The validation items
have also chosen the epoch, so what they say of calibration is a little too good; the test items had no say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.modeling.floors import read_target
from mmn.modeling.pooled import ALL, SMALLEST, Pooled, at_least, group_sizes, pool_patterns, withheld

NUM_BINS = 10
NONE, PLATT, ISOTONIC = "none", "platt", "isotonic"
_EDGE = 1e-6  # log odds are taken no nearer to 0 and 1
_SIMULATED = 200
_NUMBERS = ("items_at_least", "mean_prediction", "observed", "brier", "ece", "ece_if_calibrated",
            "intercept", "intercept_low", "intercept_high", "slope", "slope_low", "slope_high",
            "brier_change", "brier_change_low", "brier_change_high")  # fmt: skip
_Z = 1.959963984540054


def recalibrate(pooled: Pooled, cohort: Cohort, validation: pd.DataFrame) -> Pooled:
    """With `after`. validation: the members' predictions of their validation items. A fold whose labelled validation
    items are of one class keeps NaN."""
    task = pooled.task
    mine = validation[(validation["task"] == task.name) & (validation["step"] == task.read_step)]
    labels = pd.Series(read_target(cohort, task), index=cohort.items["item"].to_numpy())
    after = {name: np.full(len(pooled.p), np.nan) for name in (PLATT, ISOTONIC)}
    for fold, part in mine.groupby("fold"):
        y, p = labels.reindex(part["item"]).to_numpy(), part["prediction"].to_numpy()
        known, here = ~np.isnan(y) & ~np.isnan(p), pooled.fold == fold
        if len(np.unique(y[known])) < 2:
            continue
        after[PLATT][here] = platt(y[known], p[known], pooled.p[here])
        after[ISOTONIC][here] = isotonic(y[known], p[known], pooled.p[here])
    return replace(pooled, after={name: values for name, values in after.items() if not np.isnan(values).all()})


def platt(y: np.ndarray, p: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Fitted on (y, p), applied to `wanted`."""
    positive, negative = (y == 1).sum(), (y == 0).sum()
    smoothed = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    intercept, slope = logistic_fit(log_odds(p), smoothed)
    return 1 / (1 + np.exp(-(intercept + slope * log_odds(wanted))))


def isotonic(y: np.ndarray, p: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(p, y).predict(wanted)


def log_odds(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return np.log(clipped) - np.log1p(-clipped)


def logistic_fit(x: np.ndarray, y: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """(intercept, slope) by Newton's method; with an offset the intercept alone, (1,). NaN where it runs away (labels
    that x separates)."""
    design = np.stack([np.ones_like(x), x], axis=1) if offset is None else np.ones((len(y), 1))
    shift = np.zeros(len(y)) if offset is None else offset
    found = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ found + shift, -500, 500)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e12:
            return np.full(len(found), np.nan)
        step = np.linalg.solve(information, design.T @ (y - p))
        # Never a leap: from far away Newton's own would overshoot.
        found = found + step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-10:
            return found
    return np.full(len(found), np.nan)


def clustered_error(
    x: np.ndarray, y: np.ndarray, found: np.ndarray, subject: np.ndarray, offset: np.ndarray | None = None
) -> np.ndarray:
    """Standard errors of `logistic_fit`'s, robust to items of one subject going together."""
    design = np.stack([np.ones_like(x), x], axis=1) if offset is None else np.ones((len(y), 1))
    p = 1 / (1 + np.exp(-(design @ found + (0.0 if offset is None else offset))))
    bread = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    scores = design * (y - p)[:, None]
    _, place = np.unique(subject, return_inverse=True)
    summed = np.zeros((place.max() + 1, design.shape[1]))
    np.add.at(summed, place, scores)
    return np.sqrt(np.diag(bread @ (summed.T @ summed) @ bread))


def bin_of(p: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """(n,): the bin of each prediction, of about as many items each; equal predictions share one."""
    edges = np.percentile(p, np.linspace(0, 100, num_bins + 1))
    return np.searchsorted(edges[1:-1], p)


def expected_calibration_error(y: np.ndarray, p: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Mean over items of |mean prediction - share of positives| of their bin."""
    bins = bin_of(p, num_bins)
    return float(np.abs(np.bincount(bins, p) - np.bincount(bins, y)).sum() / len(y))


def ece_if_calibrated(p: np.ndarray, seed: int = 0, num_bins: int = NUM_BINS) -> float:
    """What `expected_calibration_error` would be by chance if every p were right: with few items it is not near 0."""
    bins = bin_of(p, num_bins)
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(bins[order]) != 0])
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(_SIMULATED):
        gap = (rng.random(len(p)) < p) - p
        total += np.abs(np.add.reduceat(gap[order], starts)).sum()
    return float(total / len(p) / _SIMULATED)


def calibration_tables(cohort: Cohort, pooled: Pooled, pattern: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(calibration, reliability) of a binary task, before and after recalibration.

    calibration: a row per group (all items, presence patterns) and way: `items_at_least`, `mean_prediction`,
    `observed`, `brier`, `ece`, `ece_if_calibrated`, `intercept` (of the log odds at slope 1: above 0 = predictions are
    too low), `slope` (below 1 = too extreme) with `_low` and `_high`, and the change of the Brier score by
    recalibration with its interval over subjects. reliability: a row per bin: `mean_prediction`, `observed`, `low`,
    `high` (Wilson), `items_at_least`. What rests on fewer than 10 items, subjects, positives or negatives is withheld.
    """
    group = pool_patterns(pooled, pattern[pooled.rows])
    names = [ALL, *sorted(set(group))] if len(set(group)) > 1 else [ALL]
    hidden = withheld(group_sizes(pooled, group)) if len(names) > 1 else set()
    hidden |= withheld(group_sizes(pooled, np.full(len(group), ALL)))
    hidden = set(names) if ALL in hidden else hidden
    chosen = {name: (np.ones(len(group), bool) if name == ALL else group == name) for name in names}
    changes = _brier_changes(cohort, pooled, chosen)
    rows: list[dict[str, Any]] = []
    bins: list[dict[str, Any]] = []
    for name, here in chosen.items():
        for way, p in {NONE: pooled.p, **pooled.after}.items():
            there = here & ~np.isnan(p)
            about = {**pooled.about, "recalibration": way, "group": name, "withheld": name in hidden}
            if name in hidden or not there.any():
                rows.append(about)
                continue
            y, q, subject = pooled.y[there], p[there], pooled.subject[there]
            rows.append({**about, **_summary(y, q, subject), **changes.get((name, way), {})})
            bins += [{**about, **entry} for entry in _bins(y, q)]
    # Where every group is withheld, the columns are there all the same.
    table = pd.DataFrame(rows, columns=[*pooled.about, "recalibration", "group", "withheld", *_NUMBERS])
    return table.astype({"withheld": "bool"}), pd.DataFrame(bins).drop(columns="withheld", errors="ignore")


def _summary(y: np.ndarray, p: np.ndarray, subject: np.ndarray) -> dict[str, Any]:
    x = log_odds(p)
    told: dict[str, Any] = {
        "items_at_least": at_least(len(y)),
        "mean_prediction": float(p.mean()),
        "observed": float(y.mean()),
        "brier": float(((p - y) ** 2).mean()),
        "ece": expected_calibration_error(y, p),
        "ece_if_calibrated": ece_if_calibrated(p),
    }
    for name, offset, place in (("intercept", x, 0), ("slope", None, 1)):
        found = error = np.full(2, np.nan)
        if 0 < y.mean() < 1 and (offset is not None or np.ptp(x) > 1e-9):
            found = logistic_fit(x, y, offset)
            if not np.isnan(found).any():
                error = clustered_error(x, y, found, subject, offset)
        value, spread = float(found[place]), float(error[place])
        told |= {name: value, f"{name}_low": value - _Z * spread, f"{name}_high": value + _Z * spread}
    return told


def _brier_changes(
    cohort: Cohort, pooled: Pooled, chosen: dict[str, np.ndarray]
) -> dict[tuple[str, str], dict[str, float]]:
    """Brier after minus before, with a 95 % interval over subjects; on the items that have both."""
    gains = {way: (p - pooled.y) ** 2 - (pooled.p - pooled.y) ** 2 for way, p in pooled.after.items()}
    keys = [(name, way) for name in chosen for way in gains]
    if not keys:
        return {}
    use = np.stack([chosen[name] & ~np.isnan(gains[way]) for name, way in keys], axis=1).astype(np.float64)
    value = np.stack([np.nan_to_num(gains[way]) for _, way in keys], axis=1) * use
    drawn = np.concatenate([_ratio(weights @ value, weights @ use) for weights in pooled.draws(cohort)])
    plain = _ratio(value.sum(axis=0), use.sum(axis=0))
    found = {}
    for place, key in enumerate(keys):
        known = drawn[:, place][~np.isnan(drawn[:, place])]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        found[key] = {
            "brier_change": float(plain[place]),
            "brier_change_low": float(low),
            "brier_change_high": float(high),
        }
    return found


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _bins(y: np.ndarray, p: np.ndarray) -> Iterator[dict[str, Any]]:
    """Bins of about as many items, joined until none gives a small count away; none at all where that fails."""
    bins = bin_of(p)
    items = np.bincount(bins)
    there = np.flatnonzero(items)
    positive, total = np.bincount(bins, y)[there], np.bincount(bins, p)[there]
    parts = [[n] for n in range(len(there))]

    def fine(part: list[int]) -> bool:
        yes, num = positive[part].sum(), items[there][part].sum()
        return num >= SMALLEST and not (0 < yes < SMALLEST) and not (0 < num - yes < SMALLEST)

    joined: list[list[int]] = []
    for part in parts:
        if joined and not fine(joined[-1]):
            joined[-1] += part
        else:
            joined.append(part)
    while len(joined) > 1 and not fine(joined[-1]):
        joined[-2:] = [joined[-2] + joined[-1]]
    if not joined or not fine(joined[-1]):
        return
    for number, part in enumerate(joined):
        num = int(items[there][part].sum())
        observed = float(positive[part].sum() / num)
        low, high = wilson(observed, num)
        yield {
            "bin": number,
            "mean_prediction": float(total[part].sum() / num),
            "observed": observed,
            "low": low,
            "high": high,
            "items_at_least": at_least(num),
        }


def wilson(share: float, num: int) -> tuple[float, float]:
    """95 % interval of a share of `num` items (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * num)) / (1 + _Z**2 / num)
    half = _Z / (1 + _Z**2 / num) * np.sqrt(share * (1 - share) / num + _Z**2 / (4 * num**2))
    return float(middle - half), float(middle + half)
