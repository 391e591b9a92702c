"""The seconds and the memory that more modalities cost: MultiModN, P-Fusion and the Transformer side by side.

    python -m benchmarks.growth                     # the cost from 2 to 32 modalities, about a minute
    python -m benchmarks.growth --modalities 2 4 8  # other numbers of modalities

Cost: CPU time of one training epoch per member and item, and of one prediction per item, one thread, five members side
by side, the median of rounds that take the architectures and sizes in turn in one process. Memory is the peak of one
epoch in a fresh process, beyond what lay there before it (Linux). Every modality is 16 wide, batch 64,
hidden 32, state 20; the Transformer has 2 blocks of 4 heads of size 16 and tokens 32 wide, one token per modality.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.modeling.growth import ARCHITECTURES, GROWN, GROWN_WIDTH, World, make_world
from mmn.modeling.train import Training
from mmn.modeling.trained import one_thread


def world_of(num_modalities: int, num_items: int) -> World:
    return make_world(num_items, num_modalities, width=GROWN_WIDTH, num_folds=5)


def cost(modalities: list[int], num_items: int, rounds: int) -> pd.DataFrame:
    """A row per number of modalities and architecture: µs of CPU per item, and parameters of one member."""
    ready = {}
    for number in modalities:
        world = world_of(number, num_items)
        for name in ARCHITECTURES:
            ready[number, name] = Training(world.cohort, world.embeddings, world.tasks, name, GROWN, None)
    trained: dict[tuple[int, str], list[float]] = {key: [] for key in ready}
    read: dict[tuple[int, str], list[float]] = {key: [] for key in ready}
    with one_thread():
        for _ in range(rounds):
            for key, training in ready.items():
                everyone = np.ones(len(training.members), dtype=bool)
                start = time.process_time()
                training.epoch(everyone)
                middle = time.process_time()
                training.trained.collect(training.inputs, training.train_rows, training.trained.model.read)
                end = time.process_time()
                items = sum(len(rows) for rows in training.train_rows)
                trained[key].append(1e6 * (middle - start) / items)
                read[key].append(1e6 * (end - middle) / items)
    return pd.DataFrame(
        [
            {
                "modalities": number,
                "model": name,
                "train_us": statistics.median(trained[number, name]),
                "read_us": statistics.median(read[number, name]),
                "parameters": ready[number, name].trained.num_parameters,
            }
            for number, name in ready
        ]
    )


def peak(number: int, name: str, num_items: int) -> float:
    """MiB that an epoch takes at most, in a fresh process, beyond what lies there before it."""
    command = [sys.executable, "-m", "benchmarks.growth", "--peak", str(number), name, "--items", str(num_items)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(number: int, name: str, num_items: int) -> None:
    world = world_of(number, num_items)
    training = Training(world.cohort, world.embeddings, world.tasks, name, GROWN, None, None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    with one_thread():
        training.epoch(np.ones(len(training.members), dtype=bool))
    print((_status("VmHWM") - before) / 1024)


def _status(name: str) -> float:
    """KiB, as Linux says it of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modalities", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print_peak(int(given.peak[0]), given.peak[1], given.items)
        return
    table = cost(given.modalities, given.items, given.rounds)
    table["peak_mib"] = [peak(row.modalities, row.model, given.items) for row in table.itertuples()]
    table["train_x"] = table["train_us"] / table.groupby("model")["train_us"].transform("first")
    print(f"Cost as modalities grow, {given.items} items, five members; train_x: times that of the fewest modalities.")
    print(table.round({"train_us": 1, "read_us": 2, "peak_mib": 1, "train_x": 2}).to_string(index=False))


if __name__ == "__main__":
    main()
