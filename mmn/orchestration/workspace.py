"""The workspace: the folder that holds `params.yaml`, `dvc.yaml`, `artifacts/` and, under `raw/`, the raw data.

A clone of the repository is one. `raw/<name>` is a folder or a link to one: the raw bytes stay where they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmn.data.errors import MmnError, RawFileError, StaleInputError
from mmn.data.files import md5_of_file, version_of_listing
from mmn.orchestration.code import PACKAGE
from mmn.orchestration.params import load_params

ROOT_VARIABLE = "MMN_ROOT"


@dataclass(frozen=True)
class Workspace:
    root: Path

    @cached_property
    def params(self) -> dict[str, Any]:
        return load_params(self.root)

    @cached_property
    def hashes(self) -> HashCache:
        return HashCache(self.root / ".mmn" / "hashes.sqlite")

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def progress(self) -> Path:
        return self.root / ".mmn" / "progress"

    @property
    def shards(self) -> Path:
        """Finished pieces of long featurizations, so that a killed one goes on. A cache: removing it costs time."""
        return self.root / ".mmn" / "shards"

    @property
    def checkpoints(self) -> Path:
        """The state of trainings that are under way."""
        return self.root / ".mmn" / "checkpoints"

    @property
    def checks(self) -> Path:
        """What was checked of each step's version."""
        return self.root / ".mmn" / "checks"

    @property
    def dagster_home(self) -> Path:
        return self.root / ".dagster"

    def raw(self, name: str) -> Path:
        return self.root / "raw" / name

    def linked(self, name: str) -> bool:
        """Whether `raw/<name>` is there, be it a link to a folder that is gone."""
        return self.raw(name).is_symlink() or self.raw(name).exists()

    def link_raw(self, name: str, target: Path) -> None:
        """Make `raw/<name>` point at a person's folder. A generated world or an old link gives way."""
        target = target.expanduser().resolve()
        if not target.is_dir():
            raise RawFileError(f"{target}: no such folder. Give the folder that holds the raw {name} files.")
        link = self.raw(name)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.resolve() == target:
            return
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            if not (link / "GENERATED.json").exists():
                raise RawFileError(
                    f"{link}: holds files that were not generated; move them away before linking {target}."
                )
            aside = link.with_name(f"{name}.generated")
            if aside.exists():
                raise RawFileError(
                    f"{link}: a generated world is in the way and {aside} exists too; remove one of them."
                )
            link.rename(aside)
        link.symlink_to(target, target_is_directory=True)

    def prepare(self) -> None:
        """Set Dagster's home, and link the code where a clone of a study lacks it. Called before anything opens the
        instance."""
        code = self.root / PACKAGE.name
        if not code.exists():
            link = code.with_name(f".{code.name}.{os.getpid()}.tmp")
            link.unlink(missing_ok=True)
            link.symlink_to(PACKAGE, target_is_directory=True)
            link.replace(code)  # also where it was a link to code that is gone
        from mmn.orchestration.storage import write_settings

        self.dagster_home.mkdir(exist_ok=True)
        write_settings(self.root, self.dagster_home)
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
        os.environ[ROOT_VARIABLE] = str(self.root)
        os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def find_workspace(start: Path | None = None) -> Workspace:
    """The nearest folder upwards with a `params.yaml` and a `.dvc` folder; `MMN_ROOT` names it outright.

    Inside `dvc repro` and `dvc exp run` the current folder decides, as DVC's copies live elsewhere.
    """
    if start is None and (named := os.environ.get(ROOT_VARIABLE)) and not os.environ.get("DVC_STAGE"):
        return Workspace(Path(named).resolve())
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").exists() and (folder / ".dvc").is_dir():
            return Workspace(folder)
    raise MmnError(
        f"{here}: not inside a workspace (a folder with params.yaml and .dvc). Change into your clone, or `mmn init`."
    )


class HashCache:
    """MD5 by (path, size, modification time, inode), so that unchanged bytes are read once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._open() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS entry (path TEXT PRIMARY KEY, stamp TEXT, value TEXT)")

    def known(self, files: Iterable[Path]) -> dict[Path, dict[str, Any]]:
        """What is recorded of those files whose stamp is still the same: at least `md5`."""
        names = {str(file): file for file in files}
        ordered, found = list(names), {}
        with self._open() as connection:
            for first in range(0, len(names), 500):
                block = ordered[first : first + 500]
                marks = ",".join("?" * len(block))
                rows = connection.execute(f"SELECT path, stamp, value FROM entry WHERE path IN ({marks})", block)
                for name, stamp, value in rows:
                    if stamp == _stamp(names[name]):
                        found[names[name]] = json.loads(value)
        return found

    def remember(self, entries: Mapping[Path, dict[str, Any]]) -> None:
        rows = [(str(file), _stamp(file), json.dumps(value)) for file, value in entries.items()]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)

    def md5_of(self, files: Iterable[Path]) -> dict[Path, str]:
        files = list(files)
        known = self.known(files)
        fresh = {}
        for file in files:
            if file not in known:
                before = _stamp(file)
                fresh[file] = {"md5": md5_of_file(file)}
                if _stamp(file) != before:
                    raise StaleInputError(
                        f"{file}: changed while it was read. Wait until it is written, and run again."
                    )
        if fresh:
            self.remember(fresh)
        return {file: (known.get(file) or fresh[file])["md5"] for file in files}

    def version_of(self, path: Path) -> str:
        """As `mmn.data.files.version_of`, reading only what changed."""
        if path.is_file():
            return self.md5_of([path])[path]
        if not path.is_dir():
            raise FileNotFoundError(path)
        md5s = self.md5_of(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        return version_of_listing({file.relative_to(path).as_posix(): md5 for file, md5 in md5s.items()})

    @contextlib.contextmanager
    def _open(self):
        connection = sqlite3.connect(self._path, timeout=60)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


def _stamp(file: Path) -> str:
    stat = file.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"
