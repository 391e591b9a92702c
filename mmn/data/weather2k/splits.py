"""The protocols: which windows there are, and who sits on which side of a fold.

`stations` is the paper's: stations split at random, all at the same hours. It is interpolation in space: the training
stations supply the weather of the very target hours. `blocked` holds out whole cells of the map at the same hours, so
that no neighbour next door tells. `chronological` is a forecast for known stations: later hours are held out, with an
embargo. `both` holds out other stations (or cells) *and* later hours, so nothing about the target hours is known from
anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.cohort import SPLITS
from mmn.data.errors import CohortError
from mmn.data.weather2k.tasks import INPUT_HOURS

PROTOCOLS = ("stations", "blocked", "chronological", "both")
IN_TIME = ("chronological", "both")
_ENOUGH_SUBJECTS = 10  # two for each of five folds: one to validate and one to test on


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
    observed: np.ndarray | None, num_hours: int, fractions: tuple[float, float], gap_hours: int,
    fixed: tuple[int | None, int | None] = (None, None),
) -> Borders:  # fmt: skip
    """Borders at these hours, or, where one is None, at these fractions of the hours that any station reports: years
    without data do not count. Raises CohortError where a part is shorter than one window."""
    hours = np.arange(num_hours) if observed is None else np.flatnonzero(observed.any(axis=0))
    first, second = (
        int(hours[min(int(fraction * len(hours)), len(hours) - 1)]) if hour is None else hour
        for fraction, hour in zip(fractions, fixed, strict=True)
    )
    shortest, needed = min(first, second - first), INPUT_HOURS + gap_hours
    if shortest < needed or second >= num_hours:
        raise CohortError(
            f"chronological protocol: of {num_hours} hours, training has {first} and validation {second - first}; a "
            f"window with its longest lead and embargo needs {needed} in each, and test the rest. Give more hours, "
            "move the borders (train_until and validation_until, or validation_from and test_from), or use protocol "
            "'stations'."
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


def at_most_per_station(stations: np.ndarray, part: np.ndarray, num: int) -> np.ndarray:
    """(N,) bool: of each station's windows in each part of time `num` at most, evenly spaced."""
    keys = pd.DataFrame({"station": stations, "part": part})
    place = keys.groupby(["station", "part"]).cumcount().to_numpy()
    size = keys.groupby(["station", "part"])["station"].transform("size").to_numpy()
    return (size <= num) | ((place + 1) * num // size > place * num // size)


def station_folds(
    items: pd.DataFrame, stratum: np.ndarray, num_folds: int, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns `item`, `fold`, `split` by subject, whatever the hour, and notes. With few subjects there are fewer folds
    or larger held-out shares; a note says so."""
    from mmn.data.folds import subject_folds  # scikit-learn takes seconds to import

    subjects = sorted(set(items["subject"]))
    if len(subjects) >= _ENOUGH_SUBJECTS:
        return subject_folds(items, stratum, num_folds, seed), ()
    sides, notes = _split_few(subjects, len(subjects), num_folds, seed)
    frames = [
        pd.DataFrame({
            "item": items["item"].to_numpy(), "fold": fold,
            "split": items["subject"].map(side).fillna("train").to_numpy(),
        })
        for fold, side in enumerate(sides)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True), notes


def time_folds(
    items: pd.DataFrame, part: np.ndarray, num_folds: int, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Folds of protocol `chronological`: every fold trains and validates on all stations' early and middle hours; the
    stations' late hours are shared out among the folds' test sets, a subject's to one fold."""
    _refuse_empty_part(items, part)
    tested = np.random.default_rng(seed).permutation(sorted(set(items["subject"][part == "test"])))
    groups = np.array_split(tested, min(num_folds, len(tested)))
    frames = []
    for fold, group in enumerate(groups):
        takes_part = np.isin(part, ("train", "validation")) | ((part == "test") & items["subject"].isin(group))
        frames.append(
            pd.DataFrame({"item": items["item"].to_numpy()[takes_part], "fold": fold, "split": part[takes_part]})
        )
    return pd.concat(frames, ignore_index=True), (
        f"Folds are grouped by `station_in_period`: a station trains with its early hours and is tested on its late "
        f"ones. All {len(groups)} folds share the training hours and differ in the stations tested, so an interval "
        "over folds speaks of stations and of the models' chance, not of other years.",
    )


def time_and_station_folds(
    items: pd.DataFrame, part: np.ndarray, num_folds: int, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Folds of protocol `both`. An item takes part in a fold where its station's side is its own part of time.

    Stations without windows in the later parts only ever train. With few stations there are fewer folds, or larger
    held-out shares; a note says so.
    """
    later = _refuse_empty_part(items, part)
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
                    f"protocol 'both': fold {fold} has no {name} window ({len(everyone)} distinct stations). "
                    "Give more stations or hours, set fewer folds, or use protocol 'chronological'."
                )
    return pd.concat(frames, ignore_index=True), notes


def _refuse_empty_part(items: pd.DataFrame, part: np.ndarray) -> dict[str, set[str]]:
    """Part of time -> the subjects that have a window in it."""
    subjects = {name: set(items["subject"][part == name]) for name in SPLITS}
    for name, found in subjects.items():
        if not found:
            counts = {split: int((part == split).sum()) for split in SPLITS}
            raise CohortError(
                f"chronological protocol: no {name} window is left ({counts}). The series is too short for its "
                "longest lead and embargo; give more hours, lower `embargo_hours`, or use protocol 'stations'."
            )
    return subjects


def _split_many(subjects: list[str], num_folds: int, seed: int) -> list[dict[str, str]]:
    from mmn.data.folds import subject_folds  # scikit-learn takes seconds to import

    table = pd.DataFrame({"item": subjects, "subject": subjects})
    folds = subject_folds(table, np.zeros(len(table), dtype=int), num_folds, seed)
    return [dict(zip(fold["item"], fold["split"], strict=True)) for _, fold in folds.groupby("fold")]


def _split_few(
    subjects: list[str], num_subjects: int, num_folds: int, seed: int
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Each subject is tested once; the next fold's test subjects are validated on."""
    num_parts = min(num_folds, len(subjects))
    if num_parts < 2 or num_subjects < 3:
        raise CohortError(
            f"holding out stations: {num_subjects} distinct stations or cells, {len(subjects)} of them with windows "
            "to validate and test on; at least 3 distinct stations are needed, one for each side of a fold. Add "
            "station tables, make block_degrees smaller if it is set, or use protocol 'chronological'."
        )
    if num_subjects == len(subjects):
        num_parts = max(num_parts, 3)  # else nobody would be left to train
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
