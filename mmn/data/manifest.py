"""The manifest of a raw source: which files, their sizes, hashes and row counts. Raw bytes are never copied.

Making it reads every byte once, so a compressed file that was cut short is refused here and not halfway down the road;
and where the publisher's SHA256SUMS.txt lies in the tree, a file that it lists must have the hash that it says.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from mmn.data.errors import RawFileError

_CHUNK_BYTES = 1 << 20
# Of a compressed file at a time, however well it is compressed.
_INFLATED_BYTES = 1 << 24
# Files that a thread takes at a time: a tiny file costs less than handing it over.
_BATCH = 256
_LEVELS = 5
TRUTH_FILE = "GENERATED.json"
SUMS_FILE = "SHA256SUMS.txt"
_SUM_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")
_SHARD = re.compile(r"p\d\d")


def files_of(raw: Path, patterns: Iterable[str]) -> list[Path]:
    """The files under `raw` that match any pattern, sorted by relative path."""
    return [raw / name for name in _names(raw, patterns)]


def make_manifest(
    raw: Path,
    patterns: Iterable[str],
    *,
    version: str,
    hashes: Mapping[str, dict[str, Any]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    keep: Callable[[list[dict[str, Any]]], None] = lambda entries: None,
) -> dict[str, Any]:
    """Read every file of a source once.

    hashes: entries by relative path that are known to be current, so that they need not be read again (but for one
    that the publisher lists and that was never compared). `num_checked`: how many were, and agreed; a listed file that
    is not there is no error. keep: is given the entries of files that were read, as they come, so that an interruption
    loses little. Raises RawFileError for an empty or truncated table or a hash that is not the
    publisher's, naming it. A broken image is the featurizer's to set aside.
    """
    names = _names(raw, patterns)
    published = _published(raw, names)
    known = {
        name: entry
        for name in names
        if (entry := (hashes or {}).get(name)) and (name not in published or "sha256" in entry)
    }

    def read(batch: list[str]) -> list[dict[str, Any]]:
        return [
            known.get(name) or {"path": name, **_read_through(raw / name, with_sha256=name in published)}
            for name in batch
        ]

    entries: list[dict[str, Any]] = []
    # Images by the batch, tables one by one: a table may be gigabytes.
    size = _BATCH if names and not _is_table(names[0]) else 1
    batches = [names[at : at + size] for at in range(0, len(names), size)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for done in pool.map(read, batches):
            entries += done
            if fresh := [entry for entry in done if entry["path"] not in known]:
                keep(fresh)
            progress(len(entries), len(names))
    _compare(raw, entries, published)
    entries = [
        {key: value for key, value in entry.items() if key != "sha256" or entry["path"] in published}
        for entry in entries
    ]
    return {
        "files": entries,
        "generated": (raw / TRUTH_FILE).exists(),
        "num_bytes": sum(entry["size"] for entry in entries),
        "num_checked": len(published),
        "num_files": len(entries),
        "version": version,
    }


# Finding


def _names(raw: Path, patterns: Iterable[str]) -> list[str]:
    """Relative paths, sorted; one walk for all patterns, into folders that may lead to a match and no others.

    A `*` that stands for a whole folder enters neither hidden folders nor the shards of an image tree (files/p10, ...),
    or else each pattern of a table would look through the folders of 227,835 studies.
    """
    wanted = {tuple(pattern.split("/")) for pattern in patterns}
    return sorted(_walk(str(raw), "", wanted)) if raw.is_dir() else []


def _walk(folder: str, prefix: str, wanted: set[tuple[str, ...]]) -> Iterator[str]:
    in_images = prefix.endswith("files/")
    try:
        entries = list(os.scandir(folder))
    except PermissionError as error:
        raise RawFileError(
            f"{folder}: the folder may not be read. Allow it, or move it away if it is not part of the source."
        ) from error
    for entry in entries:
        name = entry.name
        matches = [parts for parts in wanted if _matches(parts[0], name)]
        if any(len(parts) == 1 for parts in matches) and entry.is_file():
            yield prefix + name
        below = {
            parts[1:]
            for parts in matches
            if len(parts) > 1 and not (parts[0] == "*" and in_images and _SHARD.fullmatch(name))
        }
        if below and entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{name}/", below)


def _matches(part: str, name: str) -> bool:
    if part == name:
        return True
    return bool(_compiled(part).match(name)) and (not name.startswith(".") or part.startswith("."))


@cache
def _compiled(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))


def _published(raw: Path, names: list[str]) -> dict[str, str]:
    """The publisher's SHA-256 of each of these files, where a SHA256SUMS.txt above it lists it; the nearest holds.

    Raises RawFileError for a list that is none (a page that asks for a password, saved under its name).
    """
    listed: dict[str, str] = {}
    wanted = set(names)
    for sums in sorted(_names(raw, ["*/" * level + SUMS_FILE for level in range(_LEVELS)]), key=lambda s: s.count("/")):
        below = sums.removesuffix(SUMS_FILE)
        if not any(name.startswith(below) for name in names):
            continue
        with (raw / sums).open(encoding="utf-8-sig", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                match = _SUM_LINE.fullmatch(line.rstrip("\r\n"))
                if not match:
                    raise RawFileError(
                        f"{raw / sums} line {number}: not a SHA-256 and a file's name. Download the list again; a page "
                        "saved under its name is no list."
                    )
                name = below + match[2].removeprefix("./")
                if name in wanted:
                    listed[name] = match[1].lower()
    return listed


def _compare(raw: Path, entries: list[dict[str, Any]], published: Mapping[str, str]) -> None:
    """Raises RawFileError for what differs: all of it at once, so that it can be fetched at once."""
    wrong = [e for e in entries if e["path"] in published and e["sha256"] != published[e["path"]]]
    if not wrong:
        return
    first = wrong[0]
    more = ", ".join(entry["path"] for entry in wrong[1:10])
    raise RawFileError(
        f"{raw / first['path']}: its SHA-256 begins with {first['sha256'][:12]}, the publisher's {SUMS_FILE} says "
        f"{published[first['path']][:12]}: it was damaged, changed, or is of another version. Download it again."
        + (f" So are {len(wrong) - 1} more of {len(published)}: {more}." if more else "")
    )


# Reading


def _is_table(name: str) -> bool:
    return name.endswith((".csv", ".csv.gz"))


def _read_through(path: Path, *, with_sha256: bool) -> dict[str, Any]:
    table, packed = _is_table(path.name), path.name.endswith(".gz")
    digests = [hashlib.md5(usedforsecurity=False), *([hashlib.sha256()] if with_sha256 else [])]
    inflater = _Inflater(path) if packed else None
    size, num_rows, quotes, last = 0, -1, 0, b""
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            for digest in digests:
                digest.update(chunk)
            for text in inflater.pieces(chunk) if inflater else (chunk,):
                if table and text:
                    rows, quotes = _count_rows(text, quotes)
                    num_rows += rows
                    last = text[-1:]
    if size == 0 and table:
        raise RawFileError(f"{path}: the file is empty. Download it again, or remove it if the source is not wanted.")
    if inflater and not inflater.whole:
        raise RawFileError(
            f"{path}: the gzip stream ends early, at {size:,} bytes: the file was cut short. "
            "Download it again and compare its size and checksum with the publisher's."
        )
    if quotes:
        # An unpacked table that was cut inside a note; DuckDB would leave out the note and say nothing.
        raise RawFileError(
            f"{path}: a quotation mark is never closed: the file was cut short or edited. Download it again."
        )
    entry: dict[str, Any] = {"md5": digests[0].hexdigest(), "size": size}
    if with_sha256:
        entry["sha256"] = digests[1].hexdigest()
    if table:
        entry["rows"] = num_rows + (last not in (b"\n", b""))
    return entry


class _Inflater:
    """A gzip file's text, piece by piece. Such files may hold several members, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._member = self._new()

    @staticmethod
    def _new() -> Any:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def whole(self) -> bool:
        return self._member.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            more = False
            while chunk or more:
                if self._member.eof:
                    self._member = self._new()
                piece = self._member.decompress(chunk, _INFLATED_BYTES)
                chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
                # All of the chunk may be taken in and not all of its text be out.
                more = len(piece) == _INFLATED_BYTES and not self._member.eof
                yield piece
        except zlib.error as error:
            raise RawFileError(
                f"{self._path}: not a sound gzip file ({error}). Download it again and compare its checksum."
            ) from error


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


def open_text(path: Path, errors: str = "strict"):
    """A csv or csv.gz as text, tolerant of a byte-order mark. errors: what to do with bytes that are no UTF-8."""
    return (
        gzip.open(path, "rt", encoding="utf-8-sig", newline="", errors=errors)
        if path.suffix == ".gz"
        else path.open(encoding="utf-8-sig", newline="", errors=errors)
    )
