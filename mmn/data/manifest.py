"""The manifest of a raw source: which files, their sizes, hashes and row counts. Raw bytes are never copied.

Making it reads every byte once, so a compressed file that was cut short is refused here and not halfway down the road.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmn.data.errors import RawFileError

_CHUNK_BYTES = 1 << 22
TRUTH_FILE = "GENERATED.json"


def files_of(raw: Path, patterns: Iterable[str]) -> list[Path]:
    """The files under `raw` that match any pattern, sorted by relative path."""
    found = {path for pattern in patterns for path in raw.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.relative_to(raw).as_posix())


def make_manifest(
    raw: Path,
    patterns: Iterable[str],
    *,
    version: str,
    hashes: Mapping[str, dict[str, Any]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Read every file of a source once.

    hashes: entries by relative path that are known to be current, so that they need not be read again.
    Raises RawFileError for an empty or truncated table, naming it. A broken image is the featurizer's to set aside.
    """
    files = files_of(raw, patterns)
    entries = []
    for done, path in enumerate(files):
        name = path.relative_to(raw).as_posix()
        entries.append((hashes or {}).get(name) or {"path": name, **_read_through(path)})
        progress(done + 1, len(files))
    return {
        "files": entries,
        "generated": (raw / TRUTH_FILE).exists(),
        "num_bytes": sum(entry["size"] for entry in entries),
        "num_files": len(entries),
        "version": version,
    }


def _read_through(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    table = path.name.endswith((".csv", ".csv.gz"))
    if size == 0 and table:
        raise RawFileError(f"{path}: the file is empty. Download it again, or remove it if the source is not wanted.")
    digest = hashlib.md5(usedforsecurity=False)
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if path.name.endswith(".gz") else None
    num_rows, quotes = -1, 0
    last = b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            try:
                text = _inflate_all(inflate, chunk) if inflate else chunk
            except zlib.error as error:
                raise RawFileError(
                    f"{path}: not a sound gzip file ({error}). Download it again and compare its checksum."
                ) from error
            if isinstance(text, tuple):
                text, inflate = text
            if table and text:
                rows, quotes = _count_rows(text, quotes)
                num_rows += rows
                last = text[-1:]
    if inflate is not None and not inflate.eof:
        raise RawFileError(
            f"{path}: the gzip stream ends early, at {size:,} bytes: the file was cut short. "
            "Download it again and compare its size and checksum with the publisher's."
        )
    entry: dict[str, Any] = {"md5": digest.hexdigest(), "size": size}
    if table:
        entry["rows"] = num_rows + (last not in (b"\n", b""))
    return entry


def _inflate_all(inflate: Any, chunk: bytes) -> tuple[bytes, Any]:
    """Gzip files may hold several members, one after the other."""
    parts = []
    while chunk:
        if inflate.eof:
            inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        parts.append(inflate.decompress(chunk))
        chunk = inflate.unused_data
    return b"".join(parts), inflate


def _count_rows(text: bytes, quotes: int) -> tuple[int, int]:
    """Line ends outside quotation marks. quotes: the parity so far (0 outside, 1 inside)."""
    if b'"' not in text:
        return (0 if quotes else text.count(b"\n")), quotes
    num = 0
    for part in text.split(b'"'):
        if not quotes:
            num += part.count(b"\n")
        quotes ^= 1
    return num, quotes ^ 1


def open_text(path: Path):
    """A csv or csv.gz as text, tolerant of a byte-order mark."""
    return (
        gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8-sig", newline="")
    )
