"""Writing and versioning bytes: one atomic writer, deterministic parquet, and DVC's version of a file or folder.

Nothing is half-written: bytes go to a temporary sibling, are flushed to disk, and replace the old ones in one rename.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

PROVENANCE_KEY = b"mmn"
# In the footer of a prepared table, besides: reason -> how many raw rows were left out, as JSON.
LEFT_OUT_KEY = b"mmn_left_out"
# Likewise: why it has no row, where that is as it should be.
EMPTY_KEY = b"mmn_empty"
_CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on leaving without an error it takes `path`'s place in one step.

    Write a file at the yielded path, or make a folder there: both work. On an error the old bytes stay as they were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(temporary)
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.exists():
            _exchange(temporary, path)
        else:
            temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        _remove(temporary)


def sweep(folder: Path) -> int:
    """Remove what killed processes left half-written below `folder`; the number of such files and folders."""
    left = [path for path in folder.rglob(".*.tmp") if not alive(path.name.split(".")[-2])]
    for path in left:
        _remove(path)
    return len(left)


def alive(pid: str) -> bool:
    """Whether the process is there and can still write; what is no number is left alone.

    A killed process whose parent never asks after it stays in the system's list as a zombie: it writes no more.
    """
    if not pid.isdigit():
        return True
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Stable bytes: sorted keys, two spaces, a final newline."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_parquet(path: Path, table: pa.Table, provenance: dict[str, Any] | None = None) -> None:
    """The same table gives the same bytes: fixed format version, codec and row-group size, no time stamps.

    `provenance` goes into the footer under the key `mmn`, as JSON.
    """
    metadata = {PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode()} if provenance is not None else {}
    table = table.replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, version="2.6", compression="zstd", row_group_size=65_536, store_schema=True)


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What the artifact says of itself: a parquet footer, or the `card.json` of a folder. None where there is none."""
    if path.is_dir():
        card = path / "card.json"
        return read_json(card).get("provenance") if card.exists() else None
    if path.suffix == ".parquet":
        # Of the file, not of its schema: a writer that streams adds to it when it closes.
        footer = (pq.read_metadata(path).metadata or {}).get(PROVENANCE_KEY)
        return json.loads(footer) if footer else None
    if path.suffix == ".json":
        return read_json(path).get("provenance")
    return None


def md5_of_file(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def version_of(path: Path) -> str:
    """The version DVC 3 gives these bytes: a file's MD5; for a folder the MD5 of its sorted listing, with `.dir`.

    Raises FileNotFoundError where nothing is there.
    """
    if path.is_file():
        return md5_of_file(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    return version_of_listing(
        {file.relative_to(path).as_posix(): md5_of_file(file) for file in path.rglob("*") if file.is_file()}
    )


def version_of_listing(md5s: Mapping[str, str]) -> str:
    """The version of a folder from its files' MD5s by relative path."""
    rows = [{"md5": md5, "relpath": name} for name, md5 in sorted(md5s.items())]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if path.is_dir():
        _flush_folder(path)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step where the system can (Linux), in two renames elsewhere."""
    at_cwd, exchange = -100, 2
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None and renameat2(at_cwd, bytes(new), at_cwd, bytes(old), exchange) == 0:
        return
    aside = old.with_name(f".{old.name}.{os.getpid()}.old")
    old.rename(aside)
    new.rename(old)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
