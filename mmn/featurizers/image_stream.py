"""Many picture files through a network: read ahead in bounded memory, kept in shards, the same bytes however it ran.

Each thread reads a batch and encodes it, one core per thread, so that reading and encoding share the cores by
themselves; on a GPU the threads take turns. Batches never cross a shard, so a shard's bytes do not depend on what was
kept, on the number of threads or on a kill.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmn.data.pictures import digest_of
from mmn.featurizers.featurizer import Progress
from mmn.featurizers.shards import Shards, shard_key

PICTURES_PER_SHARD = 256

In = TypeVar("In")
Out = TypeVar("Out")
Made = tuple[np.ndarray, np.ndarray]  # features float32 (B, width), reasons (B,) strings


@dataclass(frozen=True, kw_only=True)
class PictureStream:
    """How files become features.

    read(file): uint8 (size, size), or the reason why it is set aside. encode: uint8 (B, size, size) to float32
    (B, width). fingerprint: all that decides a picture's features besides the file's bytes, as JSON can hold it.
    threads: None = one per core that this process may use.
    """

    read: Callable[[Path], np.ndarray | str]
    encode: Callable[[np.ndarray], np.ndarray]
    width: int
    batch_size: int
    fingerprint: Any
    shards: Shards
    threads: int | None = None

    def run(self, files: list[Path], progress: Progress) -> Made:
        """float32 (P, width), 0 where set aside; (P,) reasons, "" where sound.

        A shard is known by its files' bytes: hashing costs a twelfth of decoding, and a tree that was copied, under
        other names or times, is still the same pictures.
        """
        features = np.zeros((len(files), self.width), dtype=np.float32)
        reasons = np.full(len(files), "", dtype=object)
        threads = self.threads or num_cores()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
        try:
            batches = self._batches(files, pool, threads)
            for batch, made in _in_order(pool, self._embed, batches, ahead=2 * threads):
                features[batch.start : batch.stop], reasons[batch.start : batch.stop] = made
                if batch.stop == batch.shard.stop and batch.kept is None:
                    whole = slice(batch.shard.start, batch.shard.stop)
                    self.shards.put(batch.shard.key, _packed(features[whole], reasons[whole]))
                progress(batch.stop, len(files))
        finally:
            pool.shutdown(cancel_futures=True)
        return features, reasons

    def key_of(self, files: list[Path]) -> str:
        """Of the shard that these files make; reads all their bytes, unless nothing is kept."""
        if self.shards.folder is None:
            return ""
        return shard_key("picture features", self.fingerprint, [digest_of(file) for file in files])

    def _batches(self, files: list[Path], pool: ThreadPoolExecutor, threads: int) -> Iterator[_Batch]:
        """A kept shard as one batch that is made already, another in batches of `batch_size`."""
        starts = range(0, len(files), PICTURES_PER_SHARD)
        for start, key in _in_order(pool, lambda i: self.key_of(files[i : i + PICTURES_PER_SHARD]), starts, threads):
            shard = _Shard(key, start, min(start + PICTURES_PER_SHARD, len(files)))
            if (kept := _unpacked(self.shards.get(key), shard.stop - start, self.width)) is not None:
                yield _Batch(shard, start, shard.stop, [], kept)
                continue
            for low in range(start, shard.stop, self.batch_size):
                high = min(low + self.batch_size, shard.stop)
                yield _Batch(shard, low, high, files[low:high])

    def _embed(self, batch: _Batch) -> Made:
        if batch.kept is not None:
            return batch.kept
        read = [self.read(file) for file in batch.files]
        sound = [number for number, picture in enumerate(read) if not isinstance(picture, str)]
        features = np.zeros((len(read), self.width), dtype=np.float32)
        if sound:
            features[sound] = self.encode(np.stack([read[number] for number in sound]))
        reasons = np.asarray([picture if isinstance(picture, str) else "" for picture in read], dtype=object)
        return features, reasons


@dataclass(frozen=True)
class _Shard:
    key: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Batch:
    """Files start to stop of all. kept: what a shard held; then `files` is empty."""

    shard: _Shard
    start: int
    stop: int
    files: list[Path]
    kept: Made | None = None


def first_shard(files: list[Path]) -> list[Path]:
    return files[:PICTURES_PER_SHARD]


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[In], Out], inputs: Iterable[In], ahead: int
) -> Iterator[tuple[In, Out]]:
    """Each input with its result, in order; at most `ahead` inputs are under way or waiting to be taken."""
    waiting: deque[tuple[In, Future[Out]]] = deque()
    for value in inputs:
        waiting.append((value, pool.submit(work, value)))
        if len(waiting) >= ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _packed(features: np.ndarray, reasons: np.ndarray) -> dict[str, np.ndarray]:
    """safetensors hold no strings: the reasons as UTF-8, one a line."""
    text = "".join(f"{reason}\n" for reason in reasons)
    return {"features": features, "reasons": np.frombuffer(text.encode(), dtype=np.uint8)}


def _unpacked(arrays: dict[str, np.ndarray] | None, num: int, width: int) -> Made | None:
    """None where nothing was kept, or another thing than was asked for."""
    if arrays is None or set(arrays) != {"features", "reasons"} or arrays["features"].shape != (num, width):
        return None
    reasons = arrays["reasons"].tobytes().decode().splitlines()
    return (arrays["features"], np.asarray(reasons, dtype=object)) if len(reasons) == num else None
