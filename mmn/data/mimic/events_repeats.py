"""Rows that are in a raw table twice, told by the table's key: a download that was put together from parts has some."""

from __future__ import annotations

import numpy as np


class SeenKeys:
    """Which keys were there before, one bit each: 20 MB for the 158 million laboratory results of MIMIC-IV 3.1."""

    def __init__(self) -> None:
        self._bits = np.zeros(1 << 16, dtype=np.uint8)

    def first(self, keys: np.ndarray) -> np.ndarray:
        """(E,) whether each key is there for the first time, in this call or an earlier one. A key below 1 is none, so
        its row repeats nothing."""
        known = keys > 0
        keys = np.where(known, keys, 0)
        place, bit = keys >> 3, np.left_shift(1, keys & 7).astype(np.uint8)
        if len(keys) and (top := int(place.max())) >= len(self._bits):
            self._bits = np.concatenate([self._bits, np.zeros(max(len(self._bits), top), dtype=np.uint8)])
        new = (self._bits[place] & bit) == 0
        ordered = np.sort(keys)
        if (ordered[1:] == ordered[:-1]).any():
            earliest = np.zeros(len(keys), dtype=bool)
            earliest[np.unique(keys, return_index=True)[1]] = True
            new &= earliest
        np.bitwise_or.at(self._bits, place, bit)
        return new | ~known
