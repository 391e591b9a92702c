"""How long the audit of a workspace with many models takes, from the command line and in one process.

    python -m benchmarks.audit                  # 1,000 models, about half a minute to make and ask
    python -m benchmarks.audit --models 100

The workspace is made by hand: `dvc.lock` and `dvc.yaml` as the table of steps writes them (every step with the code of
a real model), a card, weights and predictions per model, a journal line, a Dagster event and a run of it per step, and
300 commits in each of which the journal had grown. Each question is
asked in turn, `--rounds` times, interleaved; the figures are medians. Reading the lock with PyYAML alone stands beside
it, as that is what a simple audit would begin with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from safetensors.numpy import save

from mmn.data.files import version_of, write_bytes, write_json, write_parquet
from mmn.orchestration import journal
from mmn.orchestration.audit.audit import audit, audit_all
from mmn.orchestration.audit.markdown import Pages
from mmn.orchestration.audit.snapshot import open_snapshot
from mmn.orchestration.code import PACKAGE, code_files
from mmn.orchestration.dvc_pipeline import HEADER, LOADER, code_version_from

MODULES = ("mmn.orchestration.actions.model", "mmn.modeling.multimodn")


def make_workspace(root: Path, num_models: int) -> None:
    """One raw table, one cohort, four embeddings that every model reads, and the models."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("")
    (root / "params.yaml").write_text("toy: {training: {epochs: 2}}\n")
    (root / "raw" / "toy").mkdir(parents=True)
    (root / "raw" / "toy" / "visits.csv").write_text("visit\n1\n")
    (root / "mmn").symlink_to(PACKAGE, target_is_directory=True)
    code = [_described(root, path) for path in code_files(MODULES)]
    stages: dict[str, Any] = {}
    versions: dict[str, dict[str, Any]] = {}

    def recorded(key: str, path: str, inputs: tuple[str, ...], write: Callable[[Path, dict[str, Any]], None]) -> None:
        told = {"step": key, "inputs": {k: versions[k]["md5"] for k in inputs}, "params": {}}
        write(root / path, told)
        versions[key] = _described(root, path)
        folder = [_described(root, "raw/toy")] if key.startswith("raw/") else []
        deps = sorted([*code, *folder, *(versions[k] for k in inputs)], key=lambda dep: dep["path"])
        stages[key.replace("/", "-")] = {"cmd": f"mmn step {key}", "deps": deps, "outs": [versions[key]]}

    items = pa.table({"item": [str(i) for i in range(50)]})
    raw, cohort = "raw/toy/visits", "cohorts/toy"
    recorded(raw, f"artifacts/{raw}.json", (), lambda path, told: write_json(path, {"provenance": told, "files": []}))
    recorded(
        cohort, f"artifacts/{cohort}", (raw,), lambda path, told: write_json(path / "card.json", {"provenance": told})
    )
    features = tuple(f"features/toy/m{number}" for number in range(4))
    for key in features:
        recorded(key, f"artifacts/{key}.parquet", (cohort, raw), lambda path, told: write_parquet(path, items, told))

    def write_model(path: Path, told: dict[str, Any]) -> None:
        write_json(path / "card.json", {"provenance": told, "settings": {}})
        footer = {"mmn": json.dumps(told, sort_keys=True)}
        write_bytes(path / "model.safetensors", save({"w": np.zeros(64, dtype=np.float32)}, metadata=footer))
        write_parquet(path / "predictions.parquet", items, told)

    for number in range(num_models):
        key = f"models/toy/task{number:04d}/multimodn"
        recorded(key, f"artifacts/{key}", (cohort, *features), write_model)
    text = yaml.dump({"schema": "2.0", "stages": stages}, Dumper=_Plain, sort_keys=False)
    (root / "dvc.lock").write_text(text)
    plan = {
        name: {"cmd": stage["cmd"], "deps": [d["path"] for d in stage["deps"]], "outs": [stage["outs"][0]["path"]]}
        for name, stage in stages.items()
    }
    (root / "dvc.yaml").write_text(HEADER + yaml.dump({"stages": plan}, Dumper=_Plain, sort_keys=False))
    _write_journal(root, stages)
    _write_events(root, stages)
    _write_history(root)


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _described(root: Path, path: str) -> dict[str, Any]:
    there = root / path
    files = [there] if there.is_file() else [file for file in there.rglob("*") if file.is_file()]
    entry = {"path": path, "hash": "md5", "md5": version_of(there), "size": sum(f.stat().st_size for f in files)}
    return entry if there.is_file() else entry | {"nfiles": len(files)}


def _write_journal(root: Path, stages: dict[str, Any]) -> None:
    """Many lines at once, chained as `journal.append` does it."""
    lines, last = [], journal.START
    for number, stage in enumerate(stages.values()):
        out = stage["outs"][0]
        line = {
            "did": "step", "number": number, "previous": last, "at": "2026-01-01T00:00:00+00:00", "by": "ada",
            "step": stage["cmd"].removeprefix("mmn step "), "version": out["md5"], "environment": "",
            "entry": journal.entry_digest(stage), "sha256": journal.sha256_of(root / out["path"]),
        }  # fmt: skip
        last = hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()
        lines.append(json.dumps(line | {"hash": last}, sort_keys=True, separators=(",", ":")) + "\n")
    (root / journal.FILE).write_text("".join(lines))


_TABLES = """
CREATE TABLE event_logs (id INTEGER PRIMARY KEY, run_id, event, dagster_event_type, asset_key);
CREATE INDEX by_key ON event_logs (asset_key, dagster_event_type);
CREATE TABLE asset_keys (asset_key, last_materialization);
CREATE TABLE asset_event_tags (event_id, asset_key, key, value);
"""
_EVENT = "INSERT INTO event_logs (run_id, event, dagster_event_type, asset_key) VALUES (?, ?, ?, ?)"


def _write_events(root: Path, stages: dict[str, Any]) -> None:
    """The columns of Dagster's event log that hold materialisations; a run of its own for each step, the worst case."""
    folder = root / ".dagster" / "history" / "runs"
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "index.db") as index:
        index.executescript(_TABLES)
        for number, stage in enumerate(stages.values(), 1):
            name = json.dumps(stage["cmd"].removeprefix("mmn step ").split("/"))
            code = {dep["path"]: dep["md5"] for dep in stage["deps"] if dep["path"].endswith(".py")}
            version = stage["outs"][0]["md5"]
            tags = {"dagster/data_version": version, "dagster/code_version": code_version_from(code, {})}
            event = json.dumps({"dagster_event": {"event_specific_data": {"materialization": {"tags": tags}}}})
            row = (f"run{number}", event, "ASSET_MATERIALIZATION", name)
            index.execute(_EVENT, row)
            index.execute("INSERT INTO asset_keys VALUES (?, ?)", (name, event))
            tagged = (number, name, "dagster/data_version", version)
            index.execute("INSERT INTO asset_event_tags VALUES (?, ?, ?, ?)", tagged)
            run = sqlite3.connect(folder / f"run{number}.db")
            run.executescript(f"PRAGMA synchronous = OFF; {_TABLES}")
            run.execute(_EVENT, row)
            run.commit()
            run.close()
    index.close()


def _write_history(root: Path, num_commits: int = 300) -> None:
    """A commit of the lock and the journal after every few runs, as `git fast-import` makes them."""
    rows = (root / journal.FILE).read_bytes().splitlines(keepends=True)
    told = []
    for number in range(1, num_commits + 1):
        data = b"".join(rows[: len(rows) * number // num_commits])
        told.append(b"commit refs/heads/main\ncommitter Ada <ada@example.org> %d +0000\ndata 1\nx\n" % number)
        told += [b"M 644 inline %b\ndata %d\n%b\n" % (journal.FILE.encode(), len(data), data)]
    for name in ("dvc.lock", "dvc.yaml"):
        data = (root / name).read_bytes()
        told.append(b"M 644 inline %b\ndata %d\n%b\n" % (name.encode(), len(data), data))
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=b"".join(told), check=True)


def measure(root: Path, num_models: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Question -> median wall and CPU seconds. Command lines count their start; the rest is in one process."""
    model = f"models/toy/task{num_models // 2:04d}/multimodn"

    def in_process(key: str, *, verify: bool = False) -> Callable[[], bool]:
        if not key:
            return lambda: audit_all(open_snapshot(root), verify=verify).sound
        return lambda: audit(open_snapshot(root), key, verify=verify).sound

    def command(*arguments: str) -> Callable[[], bool]:
        call = [sys.executable, "-m", "mmn.orchestration.audit", *arguments]
        environment = os.environ | {"MMN_ROOT": str(root)}
        return lambda: not subprocess.run(call, env=environment, capture_output=True, check=False).returncode

    def plain_yaml() -> bool:
        return bool(yaml.load((root / "dvc.lock").read_text(), Loader=LOADER))

    def pages() -> bool:
        """What the definitions add when they are loaded."""
        found = Pages(root)
        return all(found.sources(key) for key in open_snapshot(root).entries if key.startswith("models/")) and bool(
            found.readers("features/toy/m0")
        )

    questions = {
        "mmn audit model (command)": command("model", model),
        "mmn audit model --verify (command)": command("model", model, "--verify"),
        "mmn audit embedding (command)": command("embedding", "features/toy/m0", "--json"),
        "mmn audit all --verify (command)": command("all", "--verify", "--json"),
        "audit model": in_process(model),
        "audit model, verify": in_process(model, verify=True),
        "audit all": in_process(""),
        "audit all, verify": in_process("", verify=True),
        "pages of Dagster's UI, all models": pages,
        "PyYAML reads dvc.lock": plain_yaml,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in questions}
    for _ in range(rounds):
        for name, ask in questions.items():
            wall, cpu = time.perf_counter(), _cpu()
            if not ask():
                raise AssertionError(f"{name}: the audit found a fault in a sound workspace")
            taken[name].append((time.perf_counter() - wall, _cpu() - cpu))
    return {
        name: (statistics.median(w for w, _ in times), statistics.median(c for _, c in times))
        for name, times in taken.items()
    }


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        make_workspace(root, arguments.models)
        lock = (root / "dvc.lock").read_text()
        print(f"{arguments.models} models; dvc.lock has {lock.count(chr(10)):,} lines, {len(lock) / 1e6:.1f} MB")
        print(f"{'question':<36} {'wall s':>8} {'CPU s':>8}")
        for name, (wall, cpu) in measure(root, arguments.models, arguments.rounds).items():
            print(f"{name:<36} {wall:>8.2f} {cpu:>8.2f}")


if __name__ == "__main__":
    main()
