"""Eleven statistics of each signal's series, as HAIM defines them (mimic.md section 3.3), over all items at once.

`clean` describes the real series. `haim` repeats the published code: a 0 is appended to each series before anything is
computed, and what does not exist is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import EventEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress

STATISTICS = (
    "max", "min", "mean", "variance", "meandiff", "meanabsdiff", "maxdiff", "sumabsdiff", "diff", "npeaks", "trend",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EventStatisticsParams:
    """mode: "clean", or "haim" for the published numbers: 0 appended, and an item without any value is all zeros and
    called present, as it is there."""

    mode: Literal["clean", "haim"] = "clean"


def summarise_events(
    evidence: EventEvidence, cohort: Cohort, modality: str, params: EventStatisticsParams, progress: Progress
) -> Featurized:
    """Dimension 11·signal + statistic. In clean mode a signal without values is NaN throughout."""
    items = cohort.items["item"].to_numpy()
    signals = [str(name) for name in evidence.rows["signal"].cat.categories]
    series, values = _by_series(evidence.rows, items, len(signals), modality)
    num_series = len(items) * len(signals)
    sizes = np.bincount(series, minlength=num_series)
    if params.mode == "haim":
        # One more element per series, the last, which is 0.
        padded = np.zeros(len(values) + num_series)
        padded[np.arange(len(values)) + series] = values
        statistics = series_statistics(padded, sizes + 1)
        statistics[sizes == 0] = 0.0
        present = np.full(len(items), True)
    else:
        statistics = np.full((num_series, len(STATISTICS)), np.nan)
        statistics[sizes > 0] = series_statistics(values, sizes[sizes > 0])
        present = sizes.reshape(len(items), -1).sum(axis=1) > 0
    progress(1, 1)
    return Featurized(
        embeddings=embeddings_from_rows(
            items,
            statistics.reshape(len(items), -1),
            present,
            names=tuple(f"{signal}: {statistic}" for signal in signals for statistic in STATISTICS),
        ),
        card={
            "mode": params.mode,
            "values": len(values),
            "units": dict(evidence.units),
            "quarantined": dict(evidence.quarantined),
        },
    )


def series_statistics(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """float64 (G, 11) of G series that lie one after the other in `values`; each size is at least 1.

    variance: ddof 1. maxdiff: of absolute differences. npeaks: strict interior maxima, a flat top counts once (the
    default of scipy's find_peaks). trend: slope of the least-squares line against the index, not against time.
    Of a single value, variance, meandiff, meanabsdiff, maxdiff and trend are undefined: NaN.
    """
    statistics = np.full((len(sizes), len(STATISTICS)), np.nan)
    if not len(sizes):
        return statistics
    values = values.astype(np.float64)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    series = np.repeat(np.arange(len(sizes)), sizes)
    several = sizes > 1
    num_steps = np.where(several, sizes - 1, 1)

    mean = np.add.reduceat(values, starts) / sizes
    centred = values - mean[series]
    # Differences to the next value; 0 at the end of a series, so that no segment is empty.
    steps = np.zeros(len(values))
    steps[:-1] = np.abs(np.diff(values))
    steps[ends - 1] = 0.0
    path = np.add.reduceat(steps, starts)
    difference = values[ends - 1] - values[starts]
    index = np.arange(len(values)) - starts[series] - (sizes[series] - 1) / 2
    squares = np.where(several, sizes * (sizes.astype(np.float64) ** 2 - 1), 1)

    columns = {
        "max": np.maximum.reduceat(values, starts),
        "min": np.minimum.reduceat(values, starts),
        "mean": mean,
        "variance": np.where(several, np.add.reduceat(centred**2, starts) / num_steps, np.nan),
        "meandiff": np.where(several, difference / num_steps, np.nan),
        "meanabsdiff": np.where(several, path / num_steps, np.nan),
        "maxdiff": np.where(several, np.maximum.reduceat(steps, starts), np.nan),
        "sumabsdiff": path,
        "diff": difference,
        "npeaks": _count_peaks(values, starts, series),
        "trend": np.where(several, 12 * np.add.reduceat(index * centred, starts) / squares, np.nan),
    }
    return np.stack([columns[name] for name in STATISTICS], axis=1)


def _count_peaks(values: np.ndarray, starts: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Runs of equal values that have a lower run before and after them in the same series; (G,) counts."""
    begins = np.ones(len(values), dtype=bool)
    begins[1:] = values[1:] != values[:-1]
    begins[starts] = True
    level, of = values[begins], series[begins]
    middle = (of[:-2] == of[1:-1]) & (of[1:-1] == of[2:])
    peak = middle & (level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])
    return np.bincount(of[1:-1][peak], minlength=len(starts)).astype(np.float64)


def _by_series(rows: pd.DataFrame, items: np.ndarray, num_signals: int, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """(number of the series, item·signals + signal, ascending; value) of every row, in time order within a series."""
    position = pd.Index(items).get_indexer(rows["item"])
    code = rows["signal"].cat.codes.to_numpy().astype(np.int64)
    if (lost := (position < 0) | (code < 0)).any():
        raise ContractError(
            f"{modality}: {int(lost.sum())} of {len(rows)} events name no item of the cohort, or no signal."
        )
    values = rows["value"].to_numpy(dtype=np.float64)
    if (bad := ~np.isfinite(values)).any():
        raise ContractError(
            f"{modality}.value: {int(bad.sum())} of {len(rows)} events have no finite value; the reader must set them "
            "aside and count them."
        )
    series = position * num_signals + code
    order = np.argsort(series, kind="stable")
    series = series[order]
    hours = rows["hours"].to_numpy(dtype=np.float64)[order]
    backwards = (series[1:] == series[:-1]) & (hours[1:] < hours[:-1])
    if backwards.any():
        raise ContractError(
            f"{modality}.hours: {int(backwards.sum())} events lie before the one above them in their series; the "
            "reader must sort by item, signal and time."
        )
    return series, values[order]


EVENT_STATISTICS = Featurizer(
    name="event_statistics", evidence="events", defaults=EventStatisticsParams(), run=summarise_events
)
