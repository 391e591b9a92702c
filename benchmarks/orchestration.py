"""What orchestration costs: loading the definitions, per step, per run, and what partitions would cost.

    python -m benchmarks.orchestration                # EDU's tiny world, up to a model: a minute

A run of fresh steps is all overhead: a process per step, hashes looked up, checks recalled, events written. It is timed
through the real executor, of all steps and of one; and, interleaved, for as many empty Dagster assets, or partitions of
one asset, in one process, which is what Dagster itself costs. CPU is of the process and its children. Medians of
`--rounds`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
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
import sys
import dagster as dg
from mmn.orchestration import definitions as d
with dg.DagsterInstance.get() as instance:
    tags, only = {d.ONLY_STALE_TAG: "true"}, [d.asset_key(key) for key in sys.argv[1:]] or None
    job = dg.reconstructable(d.road_job)
    with dg.execute_job(job, instance=instance, tags=tags, asset_selection=only) as result:
        assert result.success
"""
PLAIN = """
import sys
import dagster as dg
def make(i):
    @dg.asset(name=f"a{i}", deps=[f"a{i - 1}"] if i else [])
    def asset() -> None: ...
    return asset
with dg.DagsterInstance.get() as instance:
    assert dg.materialize([make(i) for i in range(int(sys.argv[1]))], instance=instance).success
"""
PARTITIONS = """
import sys
import dagster as dg
keys = [f"p{i}" for i in range(int(sys.argv[1]))]
@dg.asset(partitions_def=dg.StaticPartitionsDefinition(keys), backfill_policy=dg.BackfillPolicy.single_run())
def asset() -> None: ...
of_all = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
with dg.DagsterInstance.get() as instance:
    if sys.argv[2] == "one run":
        assert dg.materialize([asset], instance=instance, tags=of_all).success
    else:
        assert all(dg.materialize([asset], instance=instance, partition_key=key).success for key in keys)
"""
EMPTY = "import dagster"
MODEL = "models/edu/pass_course/multimodn"


def adopt() -> None:
    """Steps' processes are forked from a server whose parent does not wait for it: as ours it is counted (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def reap(seconds: float = 10) -> None:
    """Wait for what was adopted, for it is counted when it has ended."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)


def timed(root: Path, code: str, *arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process and all that it started."""
    before, started = os.times(), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(root), "DAGSTER_HOME": str(root / ".dagster"), "MMN_ROOT": str(root)}
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=root, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - started
    reap()
    after = os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


@contextlib.contextmanager
def walked(target: str, epochs: int = 1) -> Iterator[tuple[Path, list[str]]]:
    """EDU's tiny world in a new workspace, walked once up to the target; and the steps that were."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        make_workspace(root)
        dataset = load_dataset("edu")
        assert dataset.generate is not None
        dataset.generate(root / "raw" / "edu", "tiny", SEED)
        # Hardly trained, so nothing is asked of what the codes explain.
        codes = f"{{epochs: {epochs}, least_updates: 1, least_explained: -1000.0}}"
        missing = f"{{epochs: {epochs}, rates: [0.0, 0.5]}}"
        (root / "params.yaml").write_text(
            f"edu: {{training: {{epochs: {epochs}}}, autoencoder: {codes}, missingness: {missing}}}\n"
        )
        run = [sys.executable, "-m", "mmn.orchestration.cli", "run", *([target] if target else [])]
        subprocess.run(run, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True, capture_output=True)
        yield root, re.findall(r"cmd: mmn step (\S+)", (root / "dvc.lock").read_text())


def measure(target: str, rounds: int) -> None:
    adopt()
    with walked(target) as (root, keys):
        num_steps = len(keys)
        cases: dict[str, tuple[str, ...]] = {
            "import dagster": (EMPTY,),
            "load the definitions": (LOAD,),
            f"a run of {num_steps} fresh steps": (FRESH, *keys),
            "a run of one fresh model": (FRESH, MODEL),
            f"empty: {num_steps} assets, one run": (PLAIN, str(num_steps)),
            f"empty: {num_steps} partitions, one run": (PARTITIONS, str(num_steps), "one run"),
            f"empty: {num_steps} partitions, a run each": (PARTITIONS, str(num_steps), "a run each"),
        }
        timed(root, EMPTY)  # what the walk above left to be reaped is counted here, and not again
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():
                seen[name].append(timed(root, *case))
        middle = {name: [statistics.median(part) for part in zip(*times, strict=True)] for name, times in seen.items()}
        print(f"{'':<36} {'wall s':>8} {'CPU s':>8}   load {os.getloadavg()[0]:.1f}")
        for name, (wall, cpu) in middle.items():
            print(f"{name:<36} {wall:>8.2f} {cpu:>8.2f}")
        _, load, fresh, one, *empty = (cpu for _, cpu in middle.values())
        bare = middle["import dagster"][1]
        told = {"per run of one fresh model": one - load, "per further step": (fresh - one) / (num_steps - 1)}
        told |= {
            f"per {what}": (cpu - bare) / num_steps
            for what, cpu in zip(
                ("empty asset", "empty partition, one run", "empty partition, a run each"), empty, strict=True
            )
        }
        for name, cpu in told.items():
            print(f"{name:<36} {'':>8} {cpu:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", default=MODEL, help='what is walked, with all that it needs; "" is everything')
    given = parser.parse_args()
    measure(given.target, given.rounds)


if __name__ == "__main__":
    main()
