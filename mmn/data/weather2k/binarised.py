"""The binarised tasks (paper, App. C): is the target above a threshold? Judged by the AUROC of the regression's
prediction at the read-out; no model is trained for them.

Clean: the threshold is the mean of the fold's training targets, so of training stations (and training hours) alone.
Published: 0.3 (temperature), 0.75 (humidity) and 0.25 (visibility) of the range over the first 1,000 hours of all
stations, test stations among them; the same for every fold.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import FORECASTS
from mmn.data.weather2k.variables import BY_NAME

PUBLISHED_SHARES = {"t": 0.3, "rh": 0.75, "hv2": 0.25}
PUBLISHED_HOURS = 1_000
# Outside it, an AUROC rests on a handful of items.
USUAL_PREVALENCE = (0.05, 0.95)
_COLUMN = "published_threshold_"


def thresholds(cohort: Cohort) -> pd.DataFrame:
    """One row per task and fold: `task`, `fold`, `threshold` (in the target's unit), `unit`, `rule`,
    `prevalence_train`, `prevalence_test` (shares of known labels above it at the read-out), `unusual` (either outside
    5-95 %)."""
    rows = []
    for task, target in cohort.targets.items():
        unit = BY_NAME[FORECASTS[task].variable].unit
        published = cohort.items[_COLUMN + task].iloc[0] if _COLUMN + task in cohort.items else None
        for fold in range(cohort.num_folds):
            train, test = cohort.rows(fold, "train"), cohort.rows(fold, "test")
            known = target[train][~np.isnan(target[train])]
            threshold = published if published is not None else known.mean() if known.size else np.nan
            shares = [_prevalence(at_read_out(target)[rows], threshold) for rows in (train, test)]
            rows.append({
                "task": task, "fold": fold, "threshold": float(threshold), "unit": unit,
                "rule": "mean of the training targets" if published is None else "published",
                "prevalence_train": shares[0], "prevalence_test": shares[1],
                "unusual": not all(USUAL_PREVALENCE[0] <= share <= USUAL_PREVALENCE[1] for share in shares),
            })  # fmt: skip
    return pd.DataFrame(rows)


def binarise(cohort: Cohort, task: str, fold: int) -> np.ndarray:
    """(N,) 1 where the target at the read-out is above the fold's threshold, 0 where not, NaN without a label."""
    if task not in cohort.targets:
        raise ContractError(f"task '{task}': the cohort has {', '.join(sorted(cohort.targets))}.")
    table = thresholds(cohort).set_index(["task", "fold"])
    target = at_read_out(cohort.targets[task])
    return np.where(np.isnan(target), np.nan, (target > table.loc[(task, fold), "threshold"]).astype(np.float64))


def published_thresholds(series: StationSeries, tasks: Iterable[str]) -> dict[str, float]:
    """Column of `items` -> threshold in physical units, from the first 1,000 hours of all stations."""
    hours = np.arange(min(PUBLISHED_HOURS, series.num_hours))
    stations = np.arange(len(series.stations))
    found: dict[str, float] = {}
    for task in tasks:
        variable = FORECASTS[task].variable
        values, _ = series.take(stations, np.broadcast_to(hours, (len(stations), len(hours))), (variable,))
        if not np.isnan(values).all():
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            found[_COLUMN + task] = low + PUBLISHED_SHARES[variable] * (high - low)
    return found


def say(cohort: Cohort) -> tuple[str, ...]:
    """What a reader of the results must know of the thresholds."""
    table = thresholds(cohort)
    parts = []
    for task, of_task in table.groupby("task", sort=False):
        low, high = of_task["threshold"].min(), of_task["threshold"].max()
        parts.append(f"{task} above {low:.4g} to {high:.4g} {of_task['unit'].iloc[0]}")
    notes = [f"Binarised ({table['rule'].iloc[0]}, by fold): {'; '.join(parts)}."]
    if table["rule"].iloc[0] == "published":
        notes.append("The published thresholds were picked on all stations, test stations among them.")
    for task, of_task in table[table["unusual"]].groupby("task", sort=False):
        notes.append(
            f"Binarised {task}: in {len(of_task)} of {cohort.num_folds} folds the share above the threshold lies "
            "outside 5-95 %; its AUROC says little."
        )
    return tuple(notes)


def at_read_out(target: np.ndarray) -> np.ndarray:
    return target[:, -1] if target.ndim == 2 else target


def _prevalence(values: np.ndarray, threshold: float) -> float:
    known = values[~np.isnan(values)]
    return float((known > threshold).mean()) if known.size else float("nan")
