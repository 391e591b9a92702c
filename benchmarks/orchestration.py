"""What orchestration costs: loading the definitions, and a run in which every step is found fresh.

    python -m benchmarks.orchestration                # EDU's tiny world: about a minute

A run of fresh steps is all overhead: a process per step, hashes looked up, checks recalled, events written. It is timed
through the real executor and, interleaved, for the same number of empty Dagster assets in one process, which is what
Dagster itself costs. CPU is of the process and its children. Medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mmn.data import load_dataset
from mmn.orchestration.demo import SEED, make_workspace

LOAD = "import sys; from mmn.orchestration import definitions; assert 'torch' not in sys.modules"
FRESH = """
import dagster as dg
from mmn.orchestration import definitions as d
with dg.DagsterInstance.get() as instance:
    tags = {d.ONLY_STALE_TAG: "true"}
    with dg.execute_job(dg.reconstructable(d.road_job), instance=instance, tags=tags) as result:
        assert result.success
"""
PLAIN = """
import sys
import dagster as dg
def make(i):
    @dg.asset(name=f"a{i}", deps=[f"a{i - 1}"] if i else [])
    def asset(): ...
    return asset
with dg.DagsterInstance.get() as instance:
    assert dg.materialize([make(i) for i in range(int(sys.argv[1]))], instance=instance).success
"""
EMPTY = "import dagster"


def timed(root: Path, code: str, *arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    before, started = os.times(), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(root), "DAGSTER_HOME": str(root / ".dagster"), "MMN_ROOT": str(root)}
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=root, env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


@contextlib.contextmanager
def walked(epochs: int = 1) -> Iterator[tuple[Path, int]]:
    """EDU's tiny world in a new workspace, walked once; and how many steps it has."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        make_workspace(root)
        dataset = load_dataset("edu")
        assert dataset.generate is not None
        dataset.generate(root / "raw" / "edu", "tiny", SEED)
        # Hardly trained, so nothing is asked of what the codes explain.
        codes = f"{{epochs: {epochs}, least_updates: 1, least_explained: -1000.0}}"
        missing = f"{{epochs: {epochs}, rates: [0.0]}}"
        (root / "params.yaml").write_text(
            f"edu: {{training: {{epochs: {epochs}}}, autoencoder: {codes}, missingness: {missing}}}\n"
        )
        run = [sys.executable, "-m", "mmn.orchestration.cli", "run"]
        subprocess.run(run, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True, capture_output=True)
        yield root, (root / "dvc.lock").read_text().count("  cmd: ")


def measure(rounds: int) -> None:
    with walked() as (root, num_steps):
        cases: dict[str, tuple[str, ...]] = {
            "import dagster": (EMPTY,),
            "load the definitions": (LOAD,),
            f"{num_steps} fresh steps, a process each": (FRESH,),
            f"{num_steps} empty assets, one process": (PLAIN, str(num_steps)),
        }
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():
                seen[name].append(timed(root, *case))
        middle = {name: [statistics.median(part) for part in zip(*times, strict=True)] for name, times in seen.items()}
        print(f"{'':<36} {'wall s':>8} {'CPU s':>8}   load {os.getloadavg()[0]:.1f}")
        for name, (wall, cpu) in middle.items():
            print(f"{name:<36} {wall:>8.2f} {cpu:>8.2f}")
        (_, load), fresh, plain = (middle[name] for name in list(cases)[1:])
        _, bare = middle["import dagster"]
        print(f"{'per fresh step, CPU':<36} {'':>8} {(fresh[1] - load) / num_steps:>8.3f}")
        print(f"{'per empty asset, CPU':<36} {'':>8} {(plain[1] - bare) / num_steps:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    measure(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
