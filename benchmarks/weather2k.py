"""Weather2K at any size: how long the cohort, the evidence and the featurizer take, and how much memory.

python -m benchmarks.weather2k [--stations 200] [--hours 17520] [--protocols stations chronological] [--max-items 4000]
                               [--folder PATH] [--scan] [--anchors RAW]
python -m benchmarks.weather2k --stations 1866 --hours 40896 --folder PATH     # the published shape: 7 GB of disk

The array is written block by block (16 stations at a time) and removed at the end. Each stage runs in a process of its
own, so that its peak RSS is its own; "anonymous" leaves out the pages of the file that the system may drop at will.
`--scan` also counts the faults of every hour.

python -m benchmarks.weather2k --anchors RAW                       # errors of simple rules at every hour
python -m benchmarks.weather2k --baselines RAW --protocols both    # errors of a cohort's baselines, in physical units
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmn.data.cohort import read_cohort, write_cohort
from mmn.data.weather2k import WEATHER2K, generator
from mmn.data.weather2k.anchors import baseline_errors, rule_errors
from mmn.data.weather2k.quality import count_faults
from mmn.data.weather2k.sources import open_series
from mmn.featurizers.station_hours import STATION_HOURS


def write_array(raw: Path, num_stations: int, num_hours: int) -> str:
    generator.SIZES["benchmark"] = (num_stations, num_hours)
    generator.generate(raw, "benchmark", 0)
    return f"{(raw / 'Weather2K-R' / 'data.npy').stat().st_size / 1e9:.2f} GB"


def build_cohort(raw: Path, protocol: str, max_items: int, boosting: bool, kept: Path) -> str:
    params = replace(WEATHER2K.cohort_defaults, protocol=protocol, max_items=max_items, gradient_boosting=boosting)
    cohort = WEATHER2K.build_cohort(raw, params)
    write_cohort(kept, cohort, {})
    return f"{len(cohort):,} items, {cohort.num_folds} folds, {len(cohort.baselines):,} baseline predictions"


def read_and_featurize(raw: Path, kept: Path) -> str:
    cohort, shapes = read_cohort(kept), []
    for modality in WEATHER2K.modalities:
        evidence = WEATHER2K.read_evidence(raw, modality.name, cohort, WEATHER2K.cohort_defaults, {})
        made = STATION_HOURS.run(evidence, cohort, modality.name, STATION_HOURS.defaults, lambda done, total: None)
        shapes.append(str(made.embeddings.values.shape[-1]))
    return f"{len(shapes)} modalities of {', '.join(shapes)} columns"


def scan(raw: Path) -> str:
    table = count_faults(open_series(raw))
    return f"{int(table['hours'].sum()):,} faults of {table['station'].nunique():,} stations"


def measured(run: Callable[..., str], *args: Any) -> dict[str, Any]:
    """In a fresh process: wall and CPU seconds, peak RSS, peak anonymous memory (sampled), what it says."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, run, args))
    process.start()
    send.close()
    try:
        said = receive.recv()
    except EOFError:
        said = {"what": "failed", "wall": float("nan"), "cpu": float("nan"), "rss": 0, "anonymous": 0}
    process.join()
    return said


def _child(send: Any, run: Callable[..., str], args: tuple[Any, ...]) -> None:
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], _anonymous())

    before = _anonymous()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    what = run(*args)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    done.set()
    watcher.join()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    send.send({"what": what, **took, "rss": rss, "anonymous": max(peak[0], before)})


def _anonymous() -> int:
    """Bytes of memory that are no file's; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next((line for line in status.read_text().splitlines() if line.startswith("RssAnon")), "RssAnon: 0 kB")
    return int(line.split()[1]) * 1024


# Of the first measurement, whose recipe was not written down; see docs/weather2k.md.
PRINTED_RIDGE = {24: (2.31, 2.98), 72: (2.67, 3.39), 168: (2.73, 3.45), 336: (2.76, 3.50), 720: (2.67, 3.39)}


def print_anchors(raw: Path) -> None:
    series = open_series(raw)
    with pd.option_context("display.width", 160):
        for every in (1, 6):
            table = rule_errors(series, "t", (24, 72, 168, 336, 720), "2016-03-01", ridge_every_hours=every)
            print(f"\ntemperature, °C; ridge fitted on every {every}. hour")
            print(table.pivot(index="lead_hours", columns="rule", values=["mae", "rmse", "mse_normalised"]).round(4).T)
        print("\nridge with the year and the day of the year as numbers beside what was first printed, MAE/RMSE in °C")
        table = rule_errors(series, "t", tuple(PRINTED_RIDGE), "2016-03-01", ridge_trend=True).set_index(
            ["lead_hours", "rule"]
        )
        for lead, printed in PRINTED_RIDGE.items():
            found = table.loc[(lead, "ridge on 24 h"), ["mae", "rmse"]].astype(float).to_numpy()
            same = sum(f"{one:.2f}" == f"{other:.2f}" for one, other in zip(found, printed, strict=True))
            both = "  ".join(f"{mae:.2f}/{rmse:.2f}" for mae, rmse in (found, printed))
            print(f"{lead:>4} h  {both}  {same} of 2 to the digit")
        print("\nrelative humidity, %")
        print(rule_errors(series, "rh", (24,), "2016-03-01").round(3).to_string(index=False))


def print_baselines(raw: Path, protocols: list[str], max_items: int, change: dict[str, Any]) -> None:
    for protocol in protocols:
        params = replace(WEATHER2K.cohort_defaults, protocol=protocol, max_items=max_items, **change)
        cohort = WEATHER2K.build_cohort(raw, params)
        print(f"\n{protocol}: {len(cohort):,} items, {cohort.num_folds} folds; RMSE at the read-out")
        table = baseline_errors(cohort)
        table["task"] += " (" + table["unit"] + ")"
        print(table.pivot(index="baseline", columns="task", values="rmse").round(2).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=100)
    parser.add_argument("--hours", type=int, default=17_520)
    parser.add_argument("--protocols", nargs="+", default=["stations", "chronological"])
    parser.add_argument("--max-items", type=int, default=4_000)
    parser.add_argument("--boosting", action="store_true", help="fit that baseline, too")
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the array is written, for a while")
    parser.add_argument("--anchors", type=Path, help="a folder of hourly station tables over March 2013-February 2017")
    parser.add_argument("--baselines", type=Path, help="a folder that the data set reads")
    parser.add_argument("--windows-per-station", type=int, default=0)
    parser.add_argument("--stride-hours", type=int, default=24)
    parser.add_argument("--block-degrees", type=float, default=0.0)
    args = parser.parse_args()
    if args.anchors:
        print_anchors(args.anchors)
        return
    if args.baselines:
        names = ("windows_per_station", "stride_hours", "block_degrees")
        change = {name: getattr(args, name) for name in names}
        print_baselines(args.baselines, args.protocols, args.max_items, change)
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {args.stations:,} x 23 x {args.hours:,}, float32\n")
    print(f"{'':34} wall s   CPU s   peak RSS  anonymous")
    with tempfile.TemporaryDirectory(prefix="mmn-weather2k-", dir=args.folder) as folder:
        raw, kept = Path(folder) / "raw", Path(folder) / "cohort"
        stages: list[tuple[str, Callable[..., str], tuple[Any, ...]]] = [
            ("write the array", write_array, (raw, args.stations, args.hours))
        ]
        for protocol in args.protocols:
            folder_of = kept / protocol
            stages.append((f"cohort, {protocol}", build_cohort,
                           (raw, protocol, args.max_items, args.boosting, folder_of)))  # fmt: skip
            stages.append((f"evidence and features, {protocol}", read_and_featurize, (raw, folder_of)))
        if args.scan:
            stages.append(("faults of every hour", scan, (raw,)))
        for name, run, given in stages:
            took = measured(run, *given)
            print(f"{name:34} {took['wall']:6.1f}  {took['cpu']:6.1f}  {took['rss'] / 1e6:6,.0f} MB  "
                  f"{took['anonymous'] / 1e6:6,.0f} MB  {took['what']}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
