"""Is a model as good for everyone: its scores by sex, age band and the like, and by what is present.

A group is read beside all others of its attribute, on the same draws of subjects. One interval in twenty leaves out 0
by chance alone, and a harder group is not a wronged one: the table says where to look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.modeling.metrics import auroc, mean_absolute_error, mean_squared_error, root_mean_squared_error
from mmn.modeling.pooled import ALL, PATTERN, Pooled, at_least, group_sizes, pool_patterns, withheld

_NUMBERS = [f"{name}{end}" for name in ("estimate", "rest", "difference") for end in ("", "_low", "_high")]

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class GroupMetric:
    """compute(y, p, fold, weights (R, n)) -> (R,). better: "higher", "lower", or "zero" (a bias)."""

    name: str
    better: str
    compute: Compute


def auroc_within_folds(y: np.ndarray, p: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of pairs in the right order, of pairs within a fold."""
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for number in np.unique(fold):
        here = fold == number
        w = weights[:, here].astype(np.float64)
        mine = w[:, y[here] == 1].sum(axis=1) * w[:, y[here] == 0].sum(axis=1)
        right += np.nan_to_num(auroc(y[here], p[here], w)) * mine
        pairs += mine
    return np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def mean_bias(y: np.ndarray, p: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Prediction minus truth."""
    total = weights.sum(axis=1)
    return np.divide(weights @ (p - y), total, out=np.full(len(weights), np.nan), where=total > 0)


def _plain(compute: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Compute:
    return lambda y, p, fold, weights: compute(y, p, weights)


METRICS: dict[str, tuple[GroupMetric, ...]] = {
    "binary": (
        GroupMetric(name="auroc", better="higher", compute=auroc_within_folds),
        GroupMetric(name="brier", better="lower", compute=_plain(mean_squared_error)),
        GroupMetric(name="bias", better="zero", compute=mean_bias),
    ),
    "regression": (
        GroupMetric(name="rmse", better="lower", compute=_plain(root_mean_squared_error)),
        GroupMetric(name="mae", better="lower", compute=_plain(mean_absolute_error)),
        GroupMetric(name="bias", better="zero", compute=mean_bias),
    ),
}


def by_subgroup(cohort: Cohort, pooled: Pooled, groups: pd.DataFrame) -> pd.DataFrame:
    """One row per attribute, group and metric: `estimate`, `rest` (all others of the attribute), `difference` (group
    minus rest), each with `_low` and `_high` (95 %, over subjects), `items_at_least`.

    groups: (N items, attributes) of names. `all items` comes first; an attribute with one group is left out. What is
    too small to be shown, or would give such a group away, is null and `withheld`.
    """
    rows: list[dict[str, Any]] = []
    for attribute in (ALL, *groups.columns):
        group = np.full(len(pooled.rows), ALL) if attribute == ALL else groups[attribute].to_numpy()[pooled.rows]
        if attribute == PATTERN:
            group = pool_patterns(pooled, group)
        sizes = group_sizes(pooled, group)
        if len(sizes) < 2 and attribute != ALL:
            continue
        hidden = withheld(sizes)
        shown = [name for name in sizes.index if name not in hidden]
        told = _measure(cohort, pooled, {name: group == name for name in shown})
        for name in sizes.index:
            rows += [
                {
                    **pooled.about,
                    "attribute": attribute,
                    "group": name,
                    "metric": metric.name,
                    "better": metric.better,
                    "unit": pooled.task.unit if pooled.task.kind == "regression" else "",
                    "withheld": name in hidden,
                    "items_at_least": None if name in hidden else at_least(int(sizes.loc[name, "items"])),
                    **told.get((name, metric.name), {}),
                }
                for metric in METRICS[pooled.task.kind]
            ]
    # Where every group is withheld, the columns are there all the same.
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*rows[0], *_NUMBERS])) if rows else None)
    return table.astype({"items_at_least": "Int64"}) if len(table) else table


def _measure(cohort: Cohort, pooled: Pooled, chosen: dict[str, np.ndarray]) -> dict[tuple[str, str], dict[str, float]]:
    metrics = METRICS[pooled.task.kind]
    keys = [(name, metric.name) for name in chosen for metric in metrics]

    def values(weights: np.ndarray) -> np.ndarray:
        """(R, groups x metrics, 2): of the group, of all others."""
        found = []
        for here in chosen.values():
            for metric in metrics:
                sides = (
                    metric.compute(pooled.y[side], pooled.p[side], pooled.fold[side], weights[:, side])
                    for side in (here, ~here)
                )
                found.append(np.stack(list(sides), axis=1))
        return np.stack(found, axis=1)

    if not keys:
        return {}
    plain = values(np.ones((1, len(pooled.y))))[0]
    drawn = np.concatenate([values(weights) for weights in pooled.draws(cohort)])
    told: dict[tuple[str, str], dict[str, float]] = {}
    for place, key in enumerate(keys):
        told[key] = {}
        for name, value, draws in (
            ("estimate", plain[place, 0], drawn[:, place, 0]),
            ("rest", plain[place, 1], drawn[:, place, 1]),
            ("difference", plain[place, 0] - plain[place, 1], drawn[:, place, 0] - drawn[:, place, 1]),
        ):
            known = draws[~np.isnan(draws)]
            low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
            told[key] |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return told
