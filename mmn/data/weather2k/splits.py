"""The two protocols: which windows there are, and who sits on which side of a fold.

`stations` is the paper's: every station once, at the same hours, stations split at random. It is interpolation in
space: the training stations supply the weather of the very target hours. `chronological` is a forecast: in each fold
other stations *and* later hours are held out, so nothing about the target hours is known from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.cohort import SPLITS
from mmn.data.errors import CohortError
from mmn.data.weather2k.tasks import INPUT_HOURS


@dataclass(frozen=True)
class Borders:
    """Hours at which validation and test begin. A window lies in a part with all it reads and predicts."""

    validation: int
    test: int
    gap_hours: int

    def part(self, starts: np.ndarray) -> np.ndarray:
        """(N,) 'train', 'validation', 'test', or '' for a window that comes too near to a border.

        gap_hours, at least the longest lead, lie between a window's last input hour and the next border, so no target
        hour of one part is an hour of the next.
        """
        reach = starts + INPUT_HOURS + self.gap_hours
        part = np.full(len(starts), "", dtype=object)
        part[reach <= self.validation] = "train"
        part[(starts >= self.validation) & (reach <= self.test)] = "validation"
        part[starts >= self.test] = "test"
        return part


def find_borders(
    observed: np.ndarray | None, num_hours: int, fractions: tuple[float, float], gap_hours: int
) -> Borders:
    """Borders at these fractions of the hours that any station reports: years without data do not count.

    Raises CohortError where a part is shorter than one window.
    """
    hours = np.arange(num_hours) if observed is None else np.flatnonzero(observed.any(axis=0))
    first, second = (int(hours[min(int(fraction * len(hours)), len(hours) - 1)]) for fraction in fractions)
    shortest, needed = min(first, second - first), INPUT_HOURS + gap_hours
    if shortest < needed:
        raise CohortError(
            f"chronological protocol: of {num_hours} hours, training has {first} and validation {second - first}; a "
            f"window with its longest lead and embargo needs {needed}. Give more hours, move train_until and "
            "validation_until, or use protocol 'stations'."
        )
    return Borders(validation=first, test=second, gap_hours=gap_hours)


def thin_out(stations: np.ndarray, starts: np.ndarray, max_items: int) -> np.ndarray:
    """(N,) bool, at most max_items true: evenly spaced starts of each station, the stations staggered, so that every
    station and every season stays in. Deterministic."""
    _, rank = np.unique(starts, return_inverse=True)
    place = rank + stations
    share = max_items / len(starts)
    while share > 0:
        kept = np.floor((place + 1) * share) > np.floor(place * share)
        if kept.sum() <= max_items:
            return kept
        share *= 0.995
    raise AssertionError("unreachable: a smaller share keeps fewer windows")


def chronological_folds(
    items: pd.DataFrame, part: np.ndarray, num_folds: int, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns `item`, `fold`, `split`, and notes. part: (N,) each window's part of time.

    An item takes part in a fold where its station's side is its own part of time. Stations without windows in the
    later parts only ever train. With few stations there are fewer folds, or larger held-out shares; a note says so.
    """
    later = {name: set(items["subject"][part == name]) for name in SPLITS}
    for name, subjects in later.items():
        if not subjects:
            counts = {split: int((part == split).sum()) for split in SPLITS}
            raise CohortError(
                f"chronological protocol: no {name} window is left ({counts}). The series is too short for its "
                "longest lead and embargo; give more hours, lower `embargo_hours`, or use protocol 'stations'."
            )
    notes: tuple[str, ...] = ()
    everyone = set(items["subject"])
    many = sorted(later["validation"] | later["test"])
    if len(many) >= 2 * num_folds:
        # A station may lack windows in one of the later parts: it serves in the folds where it can.
        sides = _split_many(many, num_folds, seed)
    else:
        sides, notes = _split_few(sorted(later["validation"] & later["test"]), len(everyone), num_folds, seed)
    frames = []
    for fold, side in enumerate(sides):
        split = items["subject"].map(side).fillna("train").to_numpy()
        takes_part = split == part
        frames.append(
            pd.DataFrame({"item": items["item"].to_numpy()[takes_part], "fold": fold, "split": split[takes_part]})
        )
        for name in SPLITS:
            if name not in set(split[takes_part]):
                raise CohortError(
                    f"chronological protocol: fold {fold} has no {name} window ({len(everyone)} distinct stations). "
                    "Give more stations or hours, or set fewer folds."
                )
    return pd.concat(frames, ignore_index=True), notes


def _split_many(subjects: list[str], num_folds: int, seed: int) -> list[dict[str, str]]:
    from mmn.data.folds import subject_folds  # scikit-learn takes seconds to import

    table = pd.DataFrame({"item": subjects, "subject": subjects})
    folds = subject_folds(table, np.zeros(len(table), dtype=int), num_folds, seed)
    return [dict(zip(fold["item"], fold["split"], strict=True)) for _, fold in folds.groupby("fold")]


def _split_few(
    subjects: list[str], num_subjects: int, num_folds: int, seed: int
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Each station is tested once; the next fold's test stations are validated on."""
    num_parts = min(num_folds, len(subjects))
    if num_parts < 2 or num_subjects < 3:
        raise CohortError(
            f"chronological protocol: {num_subjects} distinct stations, {len(subjects)} of them with windows in "
            "validation and test; at least 3 distinct stations are needed, one for each side of a fold. Add station "
            "tables."
        )
    shuffled = np.random.default_rng(seed).permutation(subjects)
    parts = [list(part) for part in np.array_split(shuffled, num_parts)]
    sides = [
        {**dict.fromkeys(parts[(fold + 1) % num_parts], "validation"), **dict.fromkeys(parts[fold], "test")}
        for fold in range(num_parts)
    ]
    return sides, (
        f"{num_subjects} distinct stations give {num_parts} folds; of the stations, {len(parts[0])} are tested and "
        f"{len(parts[-1])} or more validated on in each, the others train.",
    )


def strata(values: np.ndarray, num_subjects: int, num_folds: int) -> np.ndarray:
    """(N,) integers: deciles of a continuous target, fewer where one could not be spread over the folds."""
    num_bins = int(np.clip(num_subjects // (2 * num_folds), 1, 10))
    known = values[~np.isnan(values)]
    if not known.size:
        return np.zeros(len(values), dtype=int)
    edges = np.quantile(known, np.linspace(0, 1, num_bins + 1)[1:-1])
    return np.searchsorted(edges, np.nan_to_num(values, nan=float(known.min())), side="right")
