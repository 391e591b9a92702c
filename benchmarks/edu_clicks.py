"""EDU, from csv to weekly features: students x weeks per second, peak memory by size, and the loop others go through.

    python -m benchmarks.edu_clicks                                         # 500 and 1,000 students, under a minute
    python -m benchmarks.edu_clicks --students 25000 100000 --restless 4  # up to 50 million clicks

Each row is a fresh process. `prepare` reads the csv files and sorts them into the prepared table; `cohort`, `video` and
`problem` are that table to the cohort and to a modality's features (compat mode, all 45). `loop` is the same 45
features by pandas, one student and week at a time, over a few students; the ratio is of seconds of CPU per student and
week, measured side by side in one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.edu_plain import frame_of, plain_features
from mmn.data.cohort import read_cohort, write_cohort
from mmn.data.edu import EDU
from mmn.data.edu.generator import write_world
from mmn.data.edu.params import EduCohortParams
from mmn.data.edu.prepared import prepare
from mmn.data.evidence import ClickEvidence
from mmn.featurizers.weekly_clicks import WEEKLY_CLICKS, WeeklyClicksParams
from mmn.featurizers.weekly_clicks.export import published_features

PARAMS = EduCohortParams(mode="compat", filter="none")
LOOPED_STUDENTS = 40
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, nargs="+", default=[500, 1_000])
    parser.add_argument("--restless", type=float, default=1.0, help="player actions per video, times the usual number")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; they are removed at the end")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(measure(arguments.step, arguments.world)))
        return
    print(f"{'students':>9} {'clicks':>12} {'step':>9} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}  notes")
    for number, students in enumerate(arguments.students):
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="mmn-benchmark-") as folder:
            write_world(Path(folder) / "raw", students, 0, restless=arguments.restless, plain=True)
            steps = ["prepare", "cohort", "video", "problem", *(["loop"] if number == 0 else [])]
            for step in steps:
                found = _fresh(step, Path(folder))
                print(
                    f"{students:>9} {found['clicks']:>12,} {step:>9} {found['wall']:>8.1f} {found['cpu']:>8.1f} "
                    f"{found['peak_mb']:>8.0f}  {found['note']}",
                    flush=True,
                )


def measure(step: str, world: Path) -> dict[str, Any]:
    """Run one step in this process: its seconds and the process's peak memory."""
    truth = json.loads((world / "raw" / "GENERATED.json").read_text())
    wall, cpu = time.perf_counter(), time.process_time()
    note = STEPS[step](world)
    return {
        "clicks": sum(truth["num_events"].values()),
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
        "note": note,
    }


def _peak_mb() -> float:
    """Of this program alone: `ru_maxrss` would begin at what its parent held when it started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _fresh(step: str, world: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.edu_clicks", "--step", step, "--world", str(world)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _cohort(world: Path) -> str:
    cohort = EDU.build_cohort(world / "raw", PARAMS, {"events": world / "events.parquet"})
    write_cohort(world / "cohort", cohort, {})
    return f"{len(cohort):,} students x {cohort.num_steps} weeks"


def _prepare(world: Path) -> str:
    prepare(world / "raw", "events", world / "events.parquet", {}, lambda done, total: None)
    return f"{(world / 'events.parquet').stat().st_size / 1e6:,.0f} MB of parquet"


def _features(modality: str, world: Path) -> str:
    cohort = read_cohort(world / "cohort")
    evidence = EDU.read_evidence(world / "raw", modality, cohort, PARAMS, {"events": world / "events.parquet"})
    begin = time.process_time()
    params = WeeklyClicksParams(mode="compat", leaky=True)
    made = WEEKLY_CLICKS.run(evidence, cohort, modality, params, lambda done, total: None)
    cells = len(cohort) * cohort.num_steps
    width = made.embeddings.width
    return f"{width} features, {cells / (time.process_time() - begin):,.0f} students x weeks per second of CPU"


def _loop(world: Path) -> str:
    """Both ways over the same students' clicks, which are in memory, by turns; the fastest turn of each counts."""
    cohort = read_cohort(world / "cohort")
    whole = EDU.read_evidence(world / "raw", "video", cohort, PARAMS, {"events": world / "events.parquet"})
    blocks = list(whole.blocks())
    evidence = ClickEvidence(blocks=lambda: iter(blocks), schedule=whole.schedule, num_weeks=whole.num_weeks)
    log = frame_of(evidence)
    some = log[log["item"].isin(log["item"].unique()[:LOOPED_STUDENTS])]
    ours, theirs = [], []
    for _ in range(REPEATS):
        begin = time.process_time()
        published_features(evidence, len(cohort))
        ours.append((time.process_time() - begin) / (len(cohort) * cohort.num_steps))
        begin = time.process_time()
        num = sum(1 for _ in plain_features(some, evidence.schedule, evidence.num_weeks))
        theirs.append((time.process_time() - begin) / num)
    ratio = min(theirs) / min(ours)
    return f"{1 / min(theirs):,.0f} students x weeks per second of CPU against {1 / min(ours):,.0f}: {ratio:,.0f}x"


STEPS = {
    "prepare": _prepare,
    "cohort": _cohort,
    "video": lambda world: _features("video", world),
    "problem": lambda world: _features("problem", world),
    "loop": _loop,
}

if __name__ == "__main__":
    main()
