"""Pieces of a long computation kept on disk, so that a killed run goes on where it stopped.

A piece is found by a key that its maker derives from everything that decides its content; a piece that is there is
never computed again. Pieces are a cache: they are in no artifact's version, and removing them costs time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmn.data.files import atomic_path
from mmn.data.files import sweep as sweep_half_written

KEPT_DAYS = 14
_CHECKSUM = "sha256"


@dataclass(frozen=True)
class Shards:
    """folder: where the pieces lie; None: nothing is kept."""

    folder: Path | None = None

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under a key; None where there are none, or where the file is damaged: it is then removed."""
        if self.folder is None or not (file := self._file(key)).is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="numpy") as stored:
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
                promised = (stored.metadata() or {}).get(_CHECKSUM)
            os.utime(file)
        except (SafetensorError, OSError):
            promised = None
        if promised is None or promised != _checksum(arrays):
            file.unlink(missing_ok=True)
            return None
        return arrays

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        if self.folder is None:
            return
        from safetensors.numpy import save_file

        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with atomic_path(self._file(key)) as temporary:
            save_file(whole, temporary, metadata={_CHECKSUM: _checksum(whole)})

    def sweep(self, now: float | None = None) -> int:
        """Remove pieces that nobody asked for in the last KEPT_DAYS days, and what a killed run left half-written; how
        many pieces."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        sweep_half_written(self.folder)
        oldest = (time.time() if now is None else now) - KEPT_DAYS * 86_400
        old = [file for file in self.folder.rglob("*.safetensors") if file.stat().st_mtime < oldest]
        for file in old:
            file.unlink(missing_ok=True)
        return len(old)

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """The format tells a file cut short; it does not tell a changed byte."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


NOWHERE = Shards()


def shard_key(*parts: Any) -> str:
    """SHA-256 of the parts as JSON: weights' hash, settings, code version, and what the piece is made of, by hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
