"""`sbatch`, `squeue` and `scancel` without daemons: two nodes, one with one GPU. Jobs are processes of this machine.

Called as `fake.py COMMAND ARGUMENT...`; its state lies in the folder that FAKE_SLURM names.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ.get("FAKE_SLURM", "."))


def sbatch(arguments: list[str]) -> None:
    options = dict(a.lstrip("-").partition("=")[::2] for a in arguments)
    unknown = set(options) - {
        "parsable", "job-name", "no-requeue", "export", "chdir", "output", "cpus-per-task", "mem", "time", "gres",
        "licenses",
    }  # fmt: skip
    assert not unknown, unknown
    number = len(list(STATE.glob("*.json"))) + 1
    script = STATE / f"{number}.sh"
    script.write_text(sys.stdin.read())
    (STATE / f"{number}.json").write_text(json.dumps(options))
    subprocess.Popen(
        [sys.executable, __file__, "run", str(number)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    print(number)


def run(number: str) -> None:
    """The node daemon's part: wait for the GPU if one is asked for, run, keep how it ended."""
    options = json.loads((STATE / f"{number}.json").read_text())
    gpu = "gres" in options or "licenses" in options
    with (STATE / "gpu.lock").open("w") as lock:
        if gpu:
            fcntl.flock(lock, fcntl.LOCK_EX)
        with Path(options["output"]).open("w") as log:
            process = subprocess.Popen(
                ["bash", str(STATE / f"{number}.sh")], cwd=options["chdir"], stdout=log, stderr=log,
                env={"SLURMD_NODENAME": "gpu1" if gpu else "cpu1"},
            )  # fmt: skip
            (STATE / f"{number}.pid").write_text(str(process.pid))
            code = process.wait()
    (STATE / f"{number}.end").write_text("COMPLETED" if code == 0 else "CANCELLED" if code == -15 else "FAILED")


def squeue(arguments: list[str]) -> None:
    for number in numbers(arguments):
        end = STATE / f"{number}.end"
        print(end.read_text() if end.exists() else "RUNNING" if (STATE / f"{number}.pid").exists() else "PENDING")


def scancel(arguments: list[str]) -> None:
    for number in numbers(arguments):
        pid = STATE / f"{number}.pid"
        if pid.exists() and not (STATE / f"{number}.end").exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)


def numbers(arguments: list[str]) -> list[str]:
    wanted = next(a.partition("=")[2] for a in arguments if a.startswith("--name="))
    rows = sorted(STATE.glob("*.json"), key=lambda path: int(path.stem))
    return [path.stem for path in rows if json.loads(path.read_text())["job-name"] == wanted]


def install(folder: Path) -> None:
    """Put the three commands into a folder, for a PATH."""
    folder.mkdir(parents=True)
    for name in ("sbatch", "squeue", "scancel"):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        command.chmod(0o755)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        time.sleep(0.05)
        run(sys.argv[2])
    else:
        {"sbatch": sbatch, "squeue": squeue, "scancel": scancel}[sys.argv[1]](sys.argv[2:])
