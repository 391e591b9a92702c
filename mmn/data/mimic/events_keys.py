"""Which events belong to which items, and how an item's series are put together from the events of its group.

A group is the events that share an item's key: its stay, its admission or its patient. Several items may share a group
(the X-rays of one admission); each of them takes the group's events up to its own prediction time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

NO_TIME = np.iinfo(np.int64).min  # how numpy writes a missing time
NO_ID = -1


@dataclass(frozen=True)
class Groups:
    """The cohort's items by key.

    keys: the columns that make the key. of_item: (N,) the item's group, -1 where its key is not known. last: (G,) the
    latest prediction time in the group. Groups are numbered by their first item.
    """

    keys: tuple[str, ...]
    of_item: np.ndarray
    last: np.ndarray
    _levels: tuple[np.ndarray, ...]
    _codes: np.ndarray
    _group_of_code: np.ndarray

    def of_events(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """(E,) the group of each event, -1 where it is nobody's. Neighbours mostly share a key, looked up once."""
        num = len(columns[self.keys[0]])
        if not num:
            return np.empty(0, dtype=np.int32)
        new = np.zeros(num, dtype=bool)
        new[0] = True
        for key in self.keys:
            new[1:] |= columns[key][1:] != columns[key][:-1]
        starts = np.flatnonzero(new)
        groups = self._look_up([columns[key][starts] for key in self.keys])
        return np.repeat(groups, np.diff(np.r_[starts, num]))

    def _look_up(self, ids: list[np.ndarray]) -> np.ndarray:
        code, known = _encode(ids, self._levels)
        place = np.minimum(np.searchsorted(self._codes, code), len(self._codes) - 1)
        return np.where(known & (self._codes[place] == code), self._group_of_code[place], -1).astype(np.int32)


def group_items(items: pd.DataFrame, keys: tuple[str, ...]) -> Groups:
    ids = [items[key].astype("Int64").fillna(NO_ID).to_numpy(dtype=np.int64) for key in keys]
    whole = np.all([column != NO_ID for column in ids], axis=0)
    levels = tuple(np.unique(column[whole]) if whole.any() else np.array([NO_ID]) for column in ids)
    code, _ = _encode(ids, levels)
    numbers, names = pd.factorize(np.where(whole, code, -1))
    if not whole.all():  # the group of those without a key is no group
        lost = int(np.flatnonzero(names == -1)[0])
        numbers = np.where(numbers == lost, -1, numbers - (numbers > lost))
        names = np.delete(names, lost)
    last = np.full(len(names), NO_TIME)
    np.maximum.at(last, numbers[whole], moments(items["prediction_time"])[whole])
    order = np.argsort(names)
    return Groups(
        keys=keys,
        of_item=numbers.astype(np.int32),
        last=last,
        _levels=levels,
        _codes=names[order] if len(names) else np.array([-1]),
        _group_of_code=order if len(names) else np.array([-1]),
    )


def _encode(ids: list[np.ndarray], levels: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(one number per combination of ids, whether each id is a known one)."""
    code = np.zeros(len(ids[0]), dtype=np.int64)
    known = np.ones(len(ids[0]), dtype=bool)
    for column, level in zip(ids, levels, strict=True):
        place = np.minimum(np.searchsorted(level, column), len(level) - 1)
        known &= level[place] == column
        code = code * len(level) + place
    return code, known


def moments(times: pd.Series) -> np.ndarray:
    """Microseconds as int64; NO_TIME where null."""
    return times.to_numpy(dtype="datetime64[us]").astype(np.int64)


def order_of_series(series: np.ndarray, time: np.ndarray, storetime: np.ndarray) -> np.ndarray:
    """The order by series, time, storetime (null last) and place; series: below 2^32.

    Raw tables are mostly in time order already, so the series are brought together by counting, and only those that are
    found out of order are sorted.
    """
    order = np.argsort((series & 0xFFFF).astype(np.uint16), kind="stable")
    if len(series) and int(series.max()) > 0xFFFF:
        order = order[np.argsort((series.take(order) >> 16).astype(np.uint16), kind="stable")]
    of, at, entered = series.take(order), time.take(order), storetime.take(order)
    same = of[1:] == of[:-1]
    late = same & ((at[1:] < at[:-1]) | ((at[1:] == at[:-1]) & (entered[1:] < entered[:-1])))
    if late.any():
        unsorted = np.flatnonzero(np.isin(of, np.unique(of[1:][late])))
        order[unsorted] = order[unsorted][np.lexsort((entered[unsorted], at[unsorted], of[unsorted]))]
    return order


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers start, start + 1, ... of each range, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
