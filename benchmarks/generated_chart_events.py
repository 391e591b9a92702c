"""A MIMIC-shaped chartevents.csv.gz of any number of rows, made about as fast as gzip can write it.

Two hundred made-up stays are written as text once; each stay of the file is one of them under ids of its own. Header
and order (by patient and time; the ids of admissions and stays follow none) are those of MIMIC-IV 2.2. Some 4,000 rows
per stay, 22 of them charted at one time, 30 % of the nine signals, 9 % without a number. One gzip member per 24 stays.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.mimic.generated_events import make_dictionaries
from mmn.data.mimic.signals import CHART_SIGNALS

HEADER = "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valuenum,valueuom,warning\n"
ROWS_PER_STAY = 4_000
STAYS_PER_MEMBER = 24
TEMPLATES = 200
_IDS = "\n11111111,22222222,33333333,"
_FIRST_SUBJECT, _FIRST_ADMISSION, _FIRST_STAY = 10_000_000, 20_000_000, 30_000_000
# What nobody reads: 14 numbers and 2 texts at each time.
_OTHER = tuple(range(227_100, 227_114))
_TEXTS = (
    (227_900, "Occasional PVC's"), (227_901, '"Warm, dry"'), (227_902, "SR (Sinus Rhythm)"),
    (227_903, "No response-ETT"),
)  # fmt: skip


@dataclass(frozen=True)
class ChartWorld:
    """raw: the folder. items: one per stay, predicted when it ends, as `read_events` takes them: all events count."""

    raw: Path
    items: pd.DataFrame
    num_rows: int


def make_chart_world(raw: Path, num_rows: int, seed: int = 0) -> ChartWorld:
    """Write icu/chartevents.csv.gz, icustays and d_items under `raw`: `num_rows` rows and the rest of the last stay."""
    (raw / "icu").mkdir(parents=True, exist_ok=True)
    _write_dictionary(raw / "icu/d_items.csv.gz")
    rng = np.random.default_rng(seed)
    num_templates = min(TEMPLATES, max(1, num_rows // ROWS_PER_STAY))
    templates = [_template(rng) for _ in range(num_templates)]
    sizes = np.array([text.count("\n") for text, _ in templates])
    chosen, total = [], 0
    while total < num_rows:
        chosen.append(int(rng.integers(num_templates)))
        total += int(sizes[chosen[-1]])
    # The ids of real admissions and stays follow no order; patients do.
    subjects = _FIRST_SUBJECT + np.arange(len(chosen)) // 2 * 7
    order = rng.permutation(len(chosen))
    admissions, stays = _FIRST_ADMISSION + order, _FIRST_STAY + order

    def member(begin: int) -> bytes:
        texts = [
            templates[chosen[n]][0].replace(_IDS, f"\n{subjects[n]},{admissions[n]},{stays[n]},")
            for n in range(begin, min(begin + STAYS_PER_MEMBER, len(chosen)))
        ]
        # A template begins with a line end, for the ids to be found, and has none after its last row.
        return _gzip("".join(texts)[1:] + "\n")

    with (raw / "icu/chartevents.csv.gz").open("wb") as file:
        file.write(_gzip(HEADER))
        for data in _in_order(member, range(0, len(chosen), STAYS_PER_MEMBER)):
            file.write(data)
    starts = pd.Series([templates[n][1] for n in chosen])
    hours = pd.Series(sizes[chosen] / 22.5)
    items = pd.DataFrame(
        {
            "item": stays.astype(str),
            "subject": subjects.astype(str),
            "prediction_time": starts + pd.to_timedelta(np.ceil(hours) + 24, unit="h"),
            "subject_id": subjects,
            "hadm_id": admissions,
            "stay_id": stays,
            "start_time": starts,
        }
    )
    stay = items[["subject_id", "hadm_id", "stay_id"]].assign(intime=starts, outtime=items["prediction_time"])
    stay.to_csv(raw / "icu/icustays.csv.gz", index=False, date_format="%Y-%m-%d %H:%M:%S")
    return ChartWorld(raw=raw, items=items, num_rows=total)


def _template(rng: np.random.Generator) -> tuple[str, pd.Timestamp]:
    """The rows of one stay as text, each after a line end, and when it begins."""
    num_hours = int(np.clip(rng.lognormal(np.log(ROWS_PER_STAY / 22.5) - 0.18, 0.6), 12, 1_500))
    start = pd.Timestamp("2150-01-01") + pd.Timedelta(minutes=int(rng.integers(50 * 525_600)))
    vitals, coma = CHART_SIGNALS[:6], CHART_SIGNALS[6:]
    level = rng.normal([86, 122, 66, 82, 19, 96], [8, 10, 6, 7, 2, 1])
    numbers = np.round(level + rng.normal(size=(num_hours, 6)) * [7, 9, 7, 7, 3, 1.2])
    numbers = np.clip(numbers, [s.low + 1 for s in vitals], [s.high for s in vitals])
    points = rng.integers(1, 5, size=(num_hours, len(coma)))
    others = np.round(rng.lognormal(3, 1, size=(num_hours, len(_OTHER))), 1)
    lines = []
    for hour in range(num_hours):
        time = start + pd.Timedelta(hours=hour)
        late = int(rng.integers(1, 90))
        entered = time + pd.Timedelta(minutes=late)
        stamp = f"{_IDS}{10_000 + hour % 97},{time:%Y-%m-%d %H:%M:%S},{entered:%Y-%m-%d %H:%M:%S},"
        for signal, number in zip(vitals, numbers[hour], strict=True):
            lines.append(f"{stamp}{signal.itemids[0]},{number:g},{number:g},{signal.unit},0")
        if hour % 4 == 0:
            for signal, number in zip(coma, points[hour], strict=True):
                lines.append(f"{stamp}{signal.itemids[0]},To Pain,{number},,0")
        for itemid, number in zip(_OTHER, others[hour], strict=True):
            lines.append(f"{stamp}{itemid},{number:g},{number:g},mmHg,0")
        for itemid, text in (_TEXTS[hour % 4], _TEXTS[(hour + 1) % 4]):
            lines.append(f"{stamp}{itemid},{text},,,0")
    return "".join(lines), start


def _write_dictionary(path: Path) -> None:
    items, _ = make_dictionaries()
    other = pd.DataFrame({"itemid": [*_OTHER, *(itemid for itemid, _ in _TEXTS)]})
    other = other.assign(label="Other " + other["itemid"].astype(str), linksto="chartevents")
    text = pd.concat([items, other]).to_csv(index=False, lineterminator="\n")
    path.write_bytes(_gzip(text))


def _gzip(text: str) -> bytes:
    """One gzip member without a time stamp."""
    stream = zlib.compressobj(6, wbits=16 + zlib.MAX_WBITS)
    return stream.compress(text.encode()) + stream.flush()


def _in_order(make: Callable[[int], bytes], begins: range) -> Iterator[bytes]:
    """The pieces in order, two made at a time (zlib releases Python's lock); few wait in memory."""
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for begin in begins:
            waiting.append(pool.submit(make, begin))
            if len(waiting) > 4:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
