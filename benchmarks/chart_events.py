"""Chart events, from csv.gz to statistics: rows per second, peak memory as rows grow, and the way HAIM's code does it.

    python -m benchmarks.chart_events                                # 2 and 4 million rows, under a minute
    python -m benchmarks.chart_events --rows 20e6 50e6 100e6 200e6   # the curve; 1.4 GB of csv.gz for 200 million rows

Each number is of a fresh process, its imports not counted. `convert` is the csv.gz to the narrow table, in rows of the
csv.gz; `statistics` is the narrow table to all eleven statistics of nine signals per stay, in rows of the narrow table;
little of what waits to be sorted is kept in memory, the rest goes to disk. `unspilled` is the same with memory for all
of it: its result must be the same to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from scipy.signal import find_peaks

from benchmarks.generated_chart_events import make_chart_world
from mmn.data.cohort import Cohort
from mmn.data.mimic import events
from mmn.data.mimic.contracts import DItems, check_table
from mmn.data.mimic.events_spool import Spool
from mmn.data.mimic.narrow import prepare, read_counts
from mmn.data.mimic.signals import CHART_SIGNALS
from mmn.featurizers.event_statistics import EventStatisticsParams, summarise_events

MUCH_MEMORY_BYTES = 64 << 30
MIMIC_3_1_ROWS = 432_997_491
SCANNED_STAYS = 20
MOST_SCANNED_ROWS = 20_000_000  # the scan holds the whole table in memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, nargs="+", default=[2e6, 4e6], help="rows of chartevents.csv.gz")
    parser.add_argument("--repeats", type=int, default=2, help="of each step; the fastest counts")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; they are removed at the end")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(measure(arguments.step, arguments.world)))
        return
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before it began")
    print(
        f"{'rows':>12} {'step':>10} {'rows read':>12} {'wall s':>8} {'CPU s':>8} {'Mrow/s':>8} {'/CPU s':>8} "
        f"{'peak MB':>8}  notes"
    )
    last: dict[str, dict[str, Any]] = {}
    for number, rows in enumerate(sorted(map(int, arguments.rows))):
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="mmn-benchmark-") as folder:
            last |= measure_size(
                Path(folder), rows, arguments.repeats, with_scan=number == 0 and rows <= MOST_SCANNED_ROWS
            )
    _extrapolate(last)


def measure_size(world: Path, rows: int, repeats: int, *, with_scan: bool) -> dict[str, dict[str, Any]]:
    """Make a world of this size and measure each step on it, one after the other, `repeats` times."""
    made = make_chart_world(world, rows)
    made.items.to_parquet(world / "items.parquet")
    steps = ["convert", "statistics", "unspilled"] + ["scan"] * with_scan
    best: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        for step in steps:
            if step == "scan" and step in best:
                continue  # minutes, if it were done for all stays
            found = in_fresh_process(step, world)
            if step not in best or found["wall"] < best[step]["wall"]:
                best[step] = found
    for step, found in best.items():
        rate, cpu_rate = (found["rows"] / found[clock] / 1e6 for clock in ("wall", "cpu"))
        print(
            f"{made.num_rows:>12,} {step:>10} {found['rows']:>12,} {found['wall']:>8.2f} {found['cpu']:>8.2f} "
            f"{rate:>8.3g} {cpu_rate:>8.3g} {found['peak_mb']:>8.0f}  {found['notes']}",
            flush=True,
        )
    assert best["statistics"]["hash"] == best["unspilled"]["hash"], "spilling must not change the result"
    if with_scan:
        wall, cpu = (best["scan"][c] / (best["convert"][c] + best["statistics"][c]) for c in ("wall", "cpu"))
        print(
            f"{'':>12} per-stay scan : convert + statistics = {wall:.0f} : 1 in wall time, {cpu:.0f} : 1 in CPU time; "
            "it grows with rows times stays"
        )
    return best


def in_fresh_process(step: str, world: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.chart_events", "--step", step, "--world", str(world)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)


def measure(step: str, world: Path) -> dict[str, Any]:
    _load_pandera()
    begun = _now()
    found = STEPS[step](world)
    wall, cpu = (_now() - begun).tolist()
    return {"wall": wall, "cpu": cpu, "peak_mb": _peak_mb(), **found}


def _load_pandera() -> None:
    """It imports most of itself at its first check: a quarter of a second, at any number of rows."""
    check_table(pd.DataFrame({"itemid": [1], "label": ["none"], "linksto": ["none"]}), DItems, "nothing")


def _convert(world: Path) -> dict[str, Any]:
    prepare(world, "chartevents", world / "narrow.parquet", {}, lambda done, total: None)
    size = (world / "narrow.parquet").stat().st_size
    return {"rows": read_counts(world / "narrow.parquet").rows, "notes": f"{size / 1e6:.0f} MB of parquet"}


def _statistics(world: Path, memory_bytes: int | None = None) -> dict[str, Any]:
    items = pd.read_parquet(world / "items.parquet")
    narrow = world / "narrow.parquet"
    spools: list[Spool] = []

    def watched(*arguments: Any) -> Spool:
        spools.append(Spool(*arguments))
        return spools[-1]

    with mock.patch.object(events, "Spool", watched):
        evidence = events.read_events(
            world, items, "chart", belongs=events.OF_STAY, mode="clean", narrow=narrow,
            memory_bytes=memory_bytes or events.MEMORY_BYTES,
        )  # fmt: skip
    cohort = Cohort(items=items, targets={}, folds=pd.DataFrame())
    made = summarise_events(evidence, cohort, "chart_events", EventStatisticsParams(), lambda done, total: None)
    spilled = sum(spool.spilled_bytes for spool in spools)
    return {
        "rows": sum(read_counts(narrow).numbers.values()),
        "hash": hashlib.sha256(made.embeddings.values.tobytes()).hexdigest(),
        "notes": f"{made.card['values']:,} values of {len(items):,} stays, {spilled / 1e6:.1f} MB spilled",
    }


def _unspilled(world: Path) -> dict[str, Any]:
    return _statistics(world, MUCH_MEMORY_BYTES)


def _scan(world: Path) -> dict[str, Any]:
    """The published code's way: the table in memory, a boolean mask over all of it per stay, a loop per signal."""
    begun = _now()
    columns = ["subject_id", "hadm_id", "stay_id", "charttime", "itemid", "valuenum"]
    table = pd.read_csv(world / "icu/chartevents.csv.gz", usecols=columns, parse_dates=["charttime"])
    table = table.merge(pd.read_csv(world / "icu/d_items.csv.gz", usecols=["itemid", "label"]), on="itemid", how="left")
    loaded = _now() - begun
    items = pd.read_parquet(world / "items.parquet")
    some = items.iloc[np.linspace(0, len(items) - 1, min(SCANNED_STAYS, len(items))).astype(int)]
    begun = _now()
    for item in some.itertuples():
        own = table[
            (table["subject_id"] == item.subject_id)
            & (table["hadm_id"] == item.hadm_id)
            & (table["stay_id"] == item.stay_id)
        ]
        own = own[own["charttime"] <= item.prediction_time]
        for signal in CHART_SIGNALS:
            series = own.loc[own["label"] == signal.label, "valuenum"].dropna().to_numpy()
            if len(series) > 1:
                steps = np.diff(series)
                _ = (series.max(), series.min(), series.mean(), series.var(ddof=1), steps.mean(), np.abs(steps).mean())
                _ = (np.abs(steps).max(), np.abs(steps).sum(), series[-1] - series[0], len(find_peaks(series)[0]))
                _ = np.polyfit(np.arange(len(series)), series, 1)[0]
    per_stay = (_now() - begun) / len(some)
    wall, cpu = loaded + per_stay * len(items)
    return {
        "rows": len(table),
        "wall": wall,
        "cpu": cpu,
        "notes": f"{loaded[0]:.1f} s to read, then {per_stay[0] * 1e3:.1f} ms per stay, measured on {len(some)} stays "
        f"and scaled to {len(items):,}",
    }


def _now() -> np.ndarray:
    """(wall s, CPU s of this process)."""
    return np.array([time.perf_counter(), time.process_time()])


STEPS = {"convert": _convert, "statistics": _statistics, "unspilled": _unspilled, "scan": _scan}


def _extrapolate(last: dict[str, dict[str, Any]]) -> None:
    scale = MIMIC_3_1_ROWS / last["convert"]["rows"]
    wall, cpu = ([last[step][clock] * scale for step in ("convert", "statistics")] for clock in ("wall", "cpu"))
    print(
        f"Extrapolated, linearly from the last size, not measured: the {MIMIC_3_1_ROWS:,} rows of MIMIC-IV 3.1 take "
        f"{wall[0]:.0f} s to convert, once ({cpu[0]:.0f} s of CPU), then {wall[1]:.0f} s for the statistics "
        f"({cpu[1]:.0f} s of CPU)."
    )


def _peak_mb() -> float:
    """Of this process alone: unlike getrusage's, not inherited from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
