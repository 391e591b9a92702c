"""Events waiting to be sorted: parted by item as they come, in memory up to a limit, beyond it in a temporary file.

A part holds all events of some consecutive items, in file order, so that one part at a time is sorted in memory however
the raw table is ordered. The file has no name in the file system: it goes with the process, even one that is killed.
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from mmn.data.mimic.reader import no_room

Arrays = dict[str, np.ndarray]


@dataclass
class Spool:
    """memory_bytes: what may wait in memory, all parts together. spilled_bytes: what went to the file so far."""

    num_parts: int
    memory_bytes: int
    spilled_bytes: int = 0
    _held: list[list[Arrays]] = field(init=False)
    _held_bytes: int = field(init=False, default=0)
    # Of each part: where its pieces lie in the file, with how many rows.
    _spilled: list[list[tuple[int, int]]] = field(init=False)
    _layout: list[tuple[str, np.dtype]] = field(default_factory=list)
    _file: IO[bytes] | None = None

    def __post_init__(self) -> None:
        self._held = [[] for _ in range(self.num_parts)]
        self._spilled = [[] for _ in range(self.num_parts)]

    def add(self, part: np.ndarray, rows: Arrays) -> None:
        """part: the part of each row. All calls bring the same columns, which are the spool's from then on."""
        if not len(part):
            return
        self._layout = self._layout or [(name, column.dtype) for name, column in rows.items()]
        if (part[1:] < part[:-1]).any():
            order = np.argsort(part, kind="stable")
            part, rows = part[order], {name: column[order] for name, column in rows.items()}
        starts = np.flatnonzero(np.r_[True, part[1:] != part[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(part)], strict=True):
            self._held[part[start]].append({name: column[start:end] for name, column in rows.items()})
        self._held_bytes += sum(column.nbytes for column in rows.values())
        if self._held_bytes > self.memory_bytes:
            self._spill()

    def part(self, number: int) -> Arrays | None:
        """All rows of one part, in the order in which they came; None where there are none."""
        pieces = [self._read(*piece) for piece in self._spilled[number]] + self._held[number]
        if not pieces:
            return None
        return {name: np.concatenate([piece[name] for piece in pieces]) for name, _ in self._layout}

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mmn-events-")  # noqa: SIM115 - as long as the spool
            position = self._file.seek(0, 2)
            for number, pieces in enumerate(self._held):
                if not pieces:
                    continue
                num_rows = sum(len(piece[self._layout[0][0]]) for piece in pieces)
                self._spilled[number].append((position, num_rows))
                for name, _ in self._layout:
                    for piece in pieces:
                        position += self._file.write(piece[name].data)
                pieces.clear()
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise no_room(f"{tempfile.gettempdir()} ({self.spilled_bytes + self._held_bytes:,} bytes so far)") from None
        self.spilled_bytes = position
        self._held_bytes = 0

    def _read(self, position: int, num_rows: int) -> Arrays:
        """Without a common file position: two passes may read at the same time."""
        assert self._file is not None
        arrays: Arrays = {}
        for name, kind in self._layout:
            data = b""
            while missing := num_rows * kind.itemsize - len(data):
                data += os.pread(self._file.fileno(), missing, position + len(data))
            position += len(data)
            arrays[name] = np.frombuffer(data, dtype=kind)
        return arrays
