"""Which itemids a signal is read from, and what can be believed: units, ranges, stays, and what is set aside."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError
from mmn.data.mimic.contracts import RawTable, table_name
from mmn.data.mimic.events_keys import NO_ID, NO_TIME
from mmn.data.mimic.events_spool import Arrays
from mmn.data.mimic.narrow import Counts
from mmn.data.mimic.signals import Signal

DICTIONARY_AGREEMENT = 0.999
HOME_AGREEMENT = 0.999
MOST_IMPLAUSIBLE = 0.5
FEWEST_TO_JUDGE = 20
NO_UNIT = ("", "none")
_SOUND, _NO_TIME, _UNKNOWN_UNIT, _OUTSIDE = range(4)


def wanted_itemids(
    dictionary: pd.DataFrame, contract: type[RawTable], signals: tuple[Signal, ...], counts: Counts, mode: str
) -> tuple[dict[int, int], dict[str, int]]:
    """(itemid -> place of its signal, what was set aside).

    clean: the signals' own itemids, if the dictionary has them under the signal's label and, of labs, as blood; one
    that means something else in this version (some do in 1.0) is not read. haim: every itemid with exactly that label.
    Raises ContractError where the events' itemids are not the dictionary's, or where a signal has none.
    """
    name = table_name(contract)
    known = set(dictionary["itemid"].tolist())
    rows = {itemid: counts.numbers.get(itemid, 0) + n for itemid, n in counts.no_number.items()} | {
        itemid: n + counts.no_number.get(itemid, 0) for itemid, n in counts.numbers.items()
    }
    total, unknown = sum(rows.values()), sum(n for itemid, n in rows.items() if itemid not in known)
    if unknown > (1 - DICTIONARY_AGREEMENT) * total:
        raise ContractError(
            f"{counts.file}.itemid: {unknown} of the {total} rows name an itemid that is not in {name}; at most "
            f"{1 - DICTIONARY_AGREEMENT:.1%} may. Events and dictionary are of different tables or versions; take "
            "both from one."
        )
    facts = dictionary.set_index("itemid")
    aside = 0
    wanted: dict[int, int] = {}
    for code, signal in enumerate(signals):
        if mode == "haim":
            found = facts.index[facts["label"].eq(signal.label)].tolist()
        else:
            there = facts.loc[facts.index.isin(signal.itemids)]
            same = there["label"].str.strip().str.lower().eq(signal.label.lower())
            if "fluid" in there:
                same &= there["fluid"].str.strip().str.lower().eq("blood")
            found = there.index[same].tolist()
            aside += int((there["label"].notna() & ~same).sum())
        wanted |= dict.fromkeys(found, code)
    if lost := [signal.label for code, signal in enumerate(signals) if code not in wanted.values()]:
        raise ContractError(
            f"{name}: no itemid of {', '.join(lost)} is there under that label. The dictionary is not MIMIC-IV's or "
            "was cut; download it again, or correct the itemids in mmn/data/mimic/signals.py and cite the version."
        )
    return wanted, {"itemids that mean something else in this version": aside} if aside else {}


class Homes:
    """Counts the events whose stay (or admission) is in no table. An event that names none is not counted: a laboratory
    result drawn outside an admission has none.

    key: stay_id or hadm_id. known: (K,) all that are there, sorted; None: the table is not there, nothing is counted.
    table: where they are from; file: the events'.
    """

    def __init__(self, key: str, known: np.ndarray | None, table: str, file: str) -> None:
        self.key = key
        self._known = np.array([NO_ID]) if known is not None and not len(known) else known
        self._table = table
        self._file = file
        self._num = self._num_lost = 0

    def count(self, ids: np.ndarray) -> None:
        """ids: (E,) of each event, NO_ID where it names none. Neighbours mostly share one, looked up once."""
        if self._known is None or not len(ids):
            return
        starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
        lengths, ids = np.diff(np.r_[starts, len(ids)]), ids[starts]
        named = ids != NO_ID
        lost = named & (self._known[np.minimum(np.searchsorted(self._known, ids), len(self._known) - 1)] != ids)
        self._num += int(lengths[named].sum())
        self._num_lost += int(lengths[lost].sum())

    def refuse_other_version(self) -> None:
        """Raises ContractError where more than a few events belong to nothing: they would be lost without a word."""
        if self._num_lost > (1 - HOME_AGREEMENT) * self._num:
            raise ContractError(
                f"{self._file}.{self.key}: {self._num_lost} of {self._num} events of the wanted itemids name a "
                f"{self.key} that is not in {self._table}; at most {1 - HOME_AGREEMENT:.1%} may. Events and stays are "
                "of different versions; take both from one."
            )

    def faults(self) -> dict[str, int]:
        return {f"{self.key} that is not in {self._table}": self._num_lost} if self._num_lost else {}


class Judge:
    """Converts values to the signals' units and counts those that cannot be believed, each once."""

    def __init__(self, signals: tuple[Signal, ...], file: str) -> None:
        self.signals = signals
        self.file = file
        self._low = np.array([signal.low for signal in signals])
        self._high = np.array([signal.high for signal in signals])
        self._counts = np.zeros((len(signals), 4), dtype=np.int64)
        self._bad_units: Counter[tuple[int, str]] = Counter()
        self._factors: dict[tuple[str, ...], np.ndarray] = {}  # of the units of a batch: (signals, units)

    def convert(self, rows: Arrays, unit: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """`value` becomes one in the signal's unit. (which rows are sound, which came without a unit.)

        unit: (E,) place in `names`, units as spelled in the table.
        """
        units = [name.strip().casefold() for name in names]
        signal, num_units = rows["signal"], len(units)
        if tuple(units) not in self._factors:
            table = [[_factor(signal, unit) for unit in units] for signal in self.signals]
            self._factors[tuple(units)] = np.array(table).reshape(len(self.signals), len(units))
        factors = self._factors[tuple(units)]
        kind = signal.astype(np.int32) * np.int32(num_units) + unit
        rows["value"] = value = rows["value"] * factors.ravel().take(kind)
        sound = (value >= self._low.take(signal)) & (value <= self._high.take(signal)) & (rows["time"] != NO_TIME)
        num = np.bincount(kind, minlength=factors.size).reshape(factors.shape).sum(axis=1)
        bad = np.flatnonzero(~sound)  # few: what is wrong with them is found out one after the other
        fault = np.full(len(bad), _OUTSIDE, dtype=np.int64)
        fault[np.isnan(value[bad])] = _UNKNOWN_UNIT
        fault[rows["time"][bad] == NO_TIME] = _NO_TIME
        counts = np.bincount(signal[bad] * 4 + fault, minlength=self._counts.size).reshape(-1, 4)
        counts[:, _SOUND] = num - counts.sum(axis=1)
        self._counts += counts
        for place, count in Counter(kind[bad[fault != _NO_TIME]].tolist()).items():
            self._bad_units[place // num_units, units[place % num_units]] += count
        return sound, np.isin(np.array(units), NO_UNIT).take(unit)

    def refuse_other_units(self) -> None:
        """A signal most of whose values are implausible is in another unit as a whole: it is refused, not thinned out.

        Raises ContractError.
        """
        for code, signal in enumerate(self.signals):
            total, bad = int(self._counts[code].sum()), int(self._counts[code, [_UNKNOWN_UNIT, _OUTSIDE]].sum())
            if total >= FEWEST_TO_JUDGE and bad > MOST_IMPLAUSIBLE * total:
                units = {unit: count for (of, unit), count in self._bad_units.items() if of == code}
                unit = min(units, key=lambda unit: (-units[unit], unit))
                raise ContractError(
                    f"{self.file}: {signal.label}: {bad} of {total} values lie outside [{signal.low:g}, "
                    f"{signal.high:g}] {signal.unit} or have an unknown unit (most often '{unit or 'none given'}'). If "
                    "the source changed its unit, add the conversion to mmn/data/mimic/signals.py; if the range is "
                    "wrong, widen it there and cite why."
                )

    def faults(self) -> dict[str, int]:
        """Signal and reason -> number of events set aside."""
        return {
            f"{signal.label}: {reason}": int(count)
            for signal, counts in zip(self.signals, self._counts, strict=True)
            for reason, count in (
                ("no time", counts[_NO_TIME]),
                (f"outside [{signal.low:g}, {signal.high:g}] {signal.unit}", counts[_OUTSIDE]),
                ("unit not known", counts[_UNKNOWN_UNIT]),
            )
            if count
        }


def _factor(signal: Signal, unit: str) -> float:
    """What to multiply a value in this unit by; NaN where the unit is not known. unit: case-folded, which makes one of
    the two signs that are in use for micro."""
    known = {name.casefold(): factor for name, factor in signal.known_units.items()}
    return 1.0 if unit in NO_UNIT else known.get(unit, np.nan)
