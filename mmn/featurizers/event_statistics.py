"""Eleven statistics of each signal's series, as HAIM defines them (mimic.md section 3.3), block by block.

`clean` describes the real series. `haim` repeats the published code: a 0 is appended to each series before anything is
computed, and what does not exist is 0. No number depends on where one block ends and the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import EventBlock, EventEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards

STATISTICS = (
    "max", "min", "mean", "variance", "meandiff", "meanabsdiff", "maxdiff", "sumabsdiff", "diff", "npeaks", "trend",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EventStatisticsParams:
    """mode: "clean", or "haim" for the published numbers: 0 appended, and an item without any value is all zeros and
    called present, as it is there."""

    mode: Literal["clean", "haim"] = "clean"


def summarise_events(
    evidence: EventEvidence,
    cohort: Cohort,
    modality: str,
    params: EventStatisticsParams,
    progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:
    """Dimension 11·signal + statistic. In clean mode a signal without values is NaN throughout.

    Nothing is kept in `shards`: the whole pass takes less time than finding the pieces of an earlier one.
    """
    num_items, num_signals = len(cohort), len(evidence.signals)
    haim = params.mode == "haim"
    statistics = np.full((num_items * num_signals, len(STATISTICS)), 0.0 if haim else np.nan, dtype=np.float32)
    present = np.full(num_items, haim)
    num_values, next_item = 0, 0
    for block in evidence.blocks():
        if not len(block.item):
            continue
        _check_block(block, next_item, num_items, num_signals, modality, in_time_order=not haim)
        series = block.item.astype(np.int64) * num_signals + block.signal
        starts = np.flatnonzero(np.r_[True, series[1:] != series[:-1]])
        sizes = np.diff(np.r_[starts, len(series)])
        values = np.insert(block.value, starts[1:], 0.0) if haim else block.value
        if haim:
            values = np.append(values, 0.0)
        statistics[series[starts]] = series_statistics(values, sizes + haim)
        present[block.item[starts]] = True
        num_values, next_item = num_values + len(series), int(block.item[-1]) + 1
        progress(next_item, num_items)
    progress(num_items, num_items)
    return Featurized(
        embeddings=embeddings_from_rows(
            cohort.items["item"].to_numpy(),
            statistics.reshape(num_items, -1),
            present,
            names=tuple(f"{signal}: {statistic}" for signal in evidence.signals for statistic in STATISTICS),
        ),
        card={
            "mode": params.mode,
            "values": num_values,
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
    if not len(sizes):
        return np.empty((0, len(STATISTICS)))
    values = values.astype(np.float64, copy=False)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    several = sizes > 1
    num_steps = np.where(several, sizes - 1, 1)

    mean = np.add.reduceat(values, starts) / sizes
    centred = values - np.repeat(mean, sizes)
    # Differences to the next value; 0 at the end of a series, so that no segment is empty.
    steps = np.zeros(len(values))
    np.subtract(values[1:], values[:-1], out=steps[:-1])
    steps[ends - 1] = 0.0
    peaks = _count_peaks(steps, starts, ends)
    np.abs(steps, out=steps)
    path = np.add.reduceat(steps, starts)
    difference = values[ends - 1] - values[starts]
    leaning = (np.arange(len(values)) - np.repeat(starts + (sizes - 1) / 2, sizes)) * centred
    squares = np.where(several, sizes * (sizes.astype(np.float64) ** 2 - 1), 1)
    np.square(centred, out=centred)

    columns = {
        "max": np.maximum.reduceat(values, starts),
        "min": np.minimum.reduceat(values, starts),
        "mean": mean,
        "variance": np.where(several, np.add.reduceat(centred, starts) / num_steps, np.nan),
        "meandiff": np.where(several, difference / num_steps, np.nan),
        "meanabsdiff": np.where(several, path / num_steps, np.nan),
        "maxdiff": np.where(several, np.maximum.reduceat(steps, starts), np.nan),
        "sumabsdiff": path,
        "diff": difference,
        "npeaks": peaks,
        "trend": np.where(several, 12 * np.add.reduceat(leaning, starts) / squares, np.nan),
    }
    return np.stack([columns[name] for name in STATISTICS], axis=1)


def _count_peaks(steps: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(G,) the number of rises that are followed, after any flat stretch, by a fall in the same series."""
    direction = (steps > 0).astype(np.int8) - (steps < 0)
    direction[ends - 1] = 2  # between two series
    moves = np.flatnonzero(direction)
    direction = direction[moves]
    rises = moves[:-1][(direction[:-1] == 1) & (direction[1:] == -1)]
    return np.diff(np.r_[np.searchsorted(rises, starts), len(rises)]).astype(np.float64)


def _check_block(
    block: EventBlock, next_item: int, num_items: int, num_signals: int, modality: str, *, in_time_order: bool
) -> None:
    """The promises of `EventBlock`. Raises ContractError with counts."""
    num = len(block.item)
    if lost := int(((block.item < 0) | (block.item >= num_items)).sum()):
        raise ContractError(f"{modality}: {lost} of {num} events name no item of the cohort.")
    if lost := int(((block.signal < 0) | (block.signal >= num_signals)).sum()):
        raise ContractError(f"{modality}: {lost} of {num} events name no signal.")
    if bad := int((~np.isfinite(block.value)).sum()):
        raise ContractError(
            f"{modality}.value: {bad} of {num} events have no finite value; the reader must set them aside and count "
            "them."
        )
    if block.item[0] < next_item:
        raise ContractError(
            f"{modality}: a block begins with item {block.item[0]}, but item {next_item - 1} was there before; the "
            "reader must give whole items, in the cohort's order."
        )
    item, signal, hours = block.item, block.signal, block.hours
    same = (item[1:] == item[:-1]) & (signal[1:] == signal[:-1])
    backwards = (item[1:] < item[:-1]) | ((item[1:] == item[:-1]) & (signal[1:] < signal[:-1]))
    if in_time_order:
        backwards |= same & ~(hours[1:] >= hours[:-1])
    if backwards.any():
        raise ContractError(
            f"{modality}.hours: {int(backwards.sum())} events lie before the one above them; the reader must sort by "
            "item, signal and time."
        )


EVENT_STATISTICS = Featurizer(
    name="event_statistics", evidence="events", defaults=EventStatisticsParams(), run=summarise_events
)
