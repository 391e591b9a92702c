"""A big csv or csv.gz as a stream of Arrow record batches: in file order, on all cores, never whole in memory.

One thread inflates and cuts the text at line ends outside quotation marks; a few parse the pieces; the consumer gets
them in order. Batches put together are the same for any number of threads. Gzip checksums are verified, so a file that
was cut short is refused. Arrow's messages quote the line at fault: they are replaced. Lines are counted only where an
error has to name one.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from isal import isal_zlib  # twice as fast as zlib
from isal.igzip_lib import IsalError

from mmn.data.errors import MmnError
from mmn.data.mimic.ahead import ahead
from mmn.data.mimic.reader import cut_short, ragged, unclosed, unsound, wrong_type

PIECE_BYTES = 2 << 20  # smaller ones cost more in handing over than they gain in the cache of a core
READ_BYTES = 64 << 10
INFLATE_BYTES = 256 << 10  # at once: inflating doubles its buffer, and copies, up to this
LONGEST_CELL_BYTES = 64 << 20
Types = dict[str, pa.DataType]
_T = TypeVar("_T")
_GZIP = 16 + isal_zlib.MAX_WBITS  # a gzip header is expected
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_batches(
    path: Path,
    name: str,
    header: list[str],
    types: Types,
    made_of: Callable[[pa.RecordBatch], _T],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[_T]:
    """The columns of `types`, by their names in the file. An empty cell is null.

    name: what messages call the file. made_of: applied to each batch where it is parsed, on several threads at once.
    progress: bytes of the file read so far and in all.
    Raises RawFileError for a damaged file, ContractError for a ragged line or a cell of another type, with the line.
    """
    threads = num_threads()
    parsing: deque[tuple[Future[_T], int]] = deque()
    total = path.stat().st_size

    def parse(text: memoryview, begin: int) -> _T:
        return made_of(_parse(text, lambda: _line_at(path, name, begin), name, header, types))

    with ThreadPoolExecutor(threads) as pool:
        try:
            for text, begin, done in ahead(_pieces(path, name), depth=threads):
                parsing.append((pool.submit(parse, text, begin), done))
                if len(parsing) > 2 * threads:
                    made, done = parsing.popleft()
                    yield made.result()
                    progress(done, total)
            while parsing:
                yield parsing.popleft()[0].result()
            progress(total, total)
        finally:
            for future, _ in parsing:
                future.cancel()


def num_threads() -> int:
    """That parse. More than four would wait for the one that inflates."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def _pieces(path: Path, name: str) -> Iterator[tuple[memoryview, int, int]]:
    """(whole lines of text without the header, where in the text they begin, bytes of the file read so far)."""
    begin, done, headed = 0, 0, False
    parts: list[bytes] = [b""]  # the first one: what was left of the piece before
    for some, done in _texts(path, name):
        parts.append(some)
        if sum(map(len, parts[1:])) < max(PIECE_BYTES, len(parts[0])):
            continue
        text = b"".join(parts)
        end = _last_line_end(text)
        if not end and len(text) > LONGEST_CELL_BYTES:
            raise unclosed(name, _line_at(path, name, begin))
        after = _header_end(text) if end and not headed else 0
        headed = headed or after > 0
        if end > after:
            yield memoryview(text)[after:end], begin + after, done
        begin += end
        parts = [text[end:]]
    text = b"".join(parts)
    if _count(text, b'"') % 2:
        raise unclosed(name, _line_at(path, name, begin + _last_line_end(text)))
    after = 0 if headed else _header_end(text)
    if len(text) > after:
        # Arrow cuts what has no line end at the end at the last one, even where that is part of a cell.
        yield memoryview(text if text.endswith(b"\n") else text + b"\n")[after:], begin + after, done


def _line_at(path: Path, name: str, place: int) -> int:
    """The line, counted from 1, of this place in the text: the file is read again up to there."""
    line = 1
    for text, _ in _texts(path, name):
        line += _count(memoryview(text)[: max(place, 0)], b"\n")
        place -= len(text)
        if place <= 0:
            break
    return line


def _texts(path: Path, name: str) -> Iterator[tuple[bytes, int]]:
    """(some of the text, bytes of the file read so far), without a byte-order mark. The gzip checksums are checked."""
    done, first = 0, True
    at_once = min(PIECE_BYTES, INFLATE_BYTES)
    inflate = isal_zlib.decompressobj(_GZIP) if path.suffix == ".gz" else None
    with path.open("rb") as stream:
        while data := stream.read(READ_BYTES if inflate else PIECE_BYTES):
            done += len(data)
            while data:
                text = data
                if inflate:
                    if inflate.eof:  # a file may hold several gzip members
                        inflate = isal_zlib.decompressobj(_GZIP)
                    try:
                        text = inflate.decompress(data, at_once)
                    except IsalError:  # type: ignore[misc]  # its stub tells no class
                        raise cut_short(name) from None
                data = (inflate.unconsumed_tail or inflate.unused_data) if inflate else b""
                if first and text:
                    text, first = text.removeprefix(_BYTE_ORDER_MARK), False
                if text:
                    yield text, done
    if inflate and not inflate.eof:
        raise cut_short(name)


def _last_line_end(text: bytes) -> int:
    """Where the last line ends that ends outside quotation marks; 0 where none does. The text begins outside."""
    end = text.rfind(b"\n") + 1
    while end and _count(memoryview(text)[:end], b'"') % 2:
        end = text.rfind(b"\n", 0, text.rfind(b'"', 0, end)) + 1
    return end


def _header_end(text: bytes) -> int:
    end = text.find(b"\n") + 1
    while end and text.count(b'"', 0, end) % 2:
        end = text.find(b"\n", end) + 1
    return end or len(text)


def _count(text: bytes | memoryview, character: bytes) -> int:
    """As bytes.count, which is several times slower where there are many."""
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord(character)))


def _parse(text: memoryview, line_at: Callable[[], int], name: str, header: list[str], types: Types) -> pa.RecordBatch:
    """line_at: finds the number of the text's first line."""
    try:
        table = _convert(text, header, types)
    except pa.ArrowInvalid as error:
        try:
            # A table with nulls that went through pandas has its whole numbers written as 123.0.
            as_floats = {column: pa.float64() if pa.types.is_integer(kind) else kind for column, kind in types.items()}
            table = _convert(text, header, as_floats).cast(pa.schema(list(types.items())))
        except pa.ArrowInvalid:
            # `from None`: the original message quotes a line of the file.
            raise _mendable(str(error), text, line_at(), name, header) from None
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else table.schema.empty_table().combine_chunks().to_batches()[0]


def _convert(text: memoryview, header: list[str], types: Types) -> pa.Table:
    """The text is one block that ends outside quotation marks, so its line ends need not be told apart beforehand:
    `newlines_in_values` stays off, though values may hold some."""
    return arrow_csv.read_csv(
        pa.BufferReader(text),
        read_options=arrow_csv.ReadOptions(column_names=header, block_size=len(text) + 1, use_threads=False),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=True
        ),
    )


def _mendable(message: str, text: memoryview, first_line: int, name: str, header: list[str]) -> MmnError:
    row = re.search(r"Row #(\d+)", message)
    line = _line_of_row(text, int(row[1])) + first_line - 1 if row else first_line
    if column := re.search(r"In CSV column #(\d+)", message):
        if "UTF8" in message:
            return unsound(name, line, "encoding (UTF-8)")
        return wrong_type(name, line, header[int(column[1])])
    if "Expected" in message and "columns" in message:
        return ragged(name, line)
    return unsound(name, line, "form")


def _line_of_row(text: memoryview, row: int) -> int:
    """The line, counted from 1, on which the row of this number (from 1) begins: cells may hold line ends."""
    reader = csv.reader(io.StringIO(bytes(text).decode("utf-8", errors="replace"), newline=""))
    before = 0
    for cells in reader:
        row -= bool(cells)
        if not row:
            break
        before = reader.line_num
    return before + 1
