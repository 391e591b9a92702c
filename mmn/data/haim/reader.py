"""A strict, streaming reader of a wide csv: block by block, so that memory does not grow with the file.

Every row must have as many cells as the header, and every number must be one. The first row that breaks this ends the
reading with its line number; the rows before it have been given by then. Nothing is skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc

from mmn.data.errors import ContractError, RawFileError

BLOCK_ROWS = 512
BLOCK_BYTES = 1 << 26
LONGEST_LINE = 1 << 22  # bytes; HAIM's lines have some 60,000
KNOWN_SOUND_ROWS = 45_050
Progress = Callable[[int, int], None]


class UnsoundRow(RawFileError):
    """A row that cannot be read. line: its place in the file, the header's is 1; rows: sound data rows before it."""

    def __init__(self, where: str, line: int, rows: int, what: str) -> None:
        self.line, self.rows, self.what = line, rows, what
        known = (
            f"The released file is known to be malformed after data row {KNOWN_SOUND_ROWS:,}: set "
            f"`nrows: {KNOWN_SOUND_ROWS}` (params.yaml, mimic_haim.cohort) to read the rows before"
        )
        other = (
            f"Download it again and compare its checksum; `nrows: {rows}` (params.yaml, mimic_haim.cohort) would use "
            "the rows before"
        )
        super().__init__(
            f"{where}, line {line:,}: {what}. {rows:,} sound data rows come before it. "
            f"{known if rows >= KNOWN_SOUND_ROWS else other}."
        )


def read_header(path: Path) -> tuple[str, ...]:
    """The column names. Raises RawFileError for an empty, cut or undecodable file."""
    with _opened(path) as (stream, _):
        return _header(path, stream)


def read_blocks(
    path: Path,
    types: Mapping[str, pa.DataType],
    nrows: int | None = None,
    progress: Progress = lambda done, total: None,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The named columns, `block_rows` rows at a time; every column of the file is counted, only these are converted.

    A blank or "nan" number is null. progress: bytes of the file read and all of them. Raises UnsoundRow after the last
    sound block, ContractError where a column is not there or twice.
    """
    total = path.stat().st_size
    with _opened(path) as (stream, position):
        header = _header(path, stream)
        _check_columns(path, header, types)
        parse = partial(_parse, header=header, types=types)
        for lines, last, fault in _blocks(stream, len(header), nrows, block_rows):
            rows = last - len(lines)
            table, sound = _sound_part(parse, [line for _, line in lines])
            if sound:
                yield table
            progress(position(), total)
            if sound < len(lines):
                what = _why(parse, lines[sound][1], header)
                raise UnsoundRow(path.name, lines[sound][0], rows + sound, what)
            if fault is not None:
                raise UnsoundRow(path.name, fault[0], last, fault[1])


Lines = list[tuple[int, bytes]]


def _blocks(
    stream: BinaryIO, num_cells: int, nrows: int | None, block_rows: int
) -> Iterator[tuple[Lines, int, tuple[int, str] | None]]:
    """(numbered lines with the right number of cells, data rows up to their end, the fault that ends the reading)."""
    lines: Lines = []
    rows = size = 0
    for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE), b""), start=2):
        if rows == nrows:
            break
        if not line.strip():
            continue
        if fault := _fault(line, num_cells):
            yield lines, rows, (number, fault)
            return
        lines.append((number, line))
        rows += 1
        size += len(line)
        if len(lines) == block_rows or size >= BLOCK_BYTES:
            yield lines, rows, None
            lines, size = [], 0
    if lines:
        yield lines, rows, None


def _fault(line: bytes, num_cells: int) -> str | None:
    """Only the number of cells is judged here. No cell of HAIM's goes over a line end."""
    if b'"' in line:
        # What lies between two quotation marks is no cell end; two in a row are a quotation mark within a cell.
        outside = line.split(b'"')[::2]
        if line.count(b'"') % 2:
            return "a quotation mark is not closed on its line"
        cells = sum(part.count(b",") for part in outside) + 1
    else:
        cells = line.count(b",") + 1
    return None if cells == num_cells else f"{cells:,} cells, the header has {num_cells:,}"


def _parse(lines: list[bytes], *, header: tuple[str, ...], types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    data = b"".join(lines)
    table = pc.read_csv(
        io.BytesIO(data),
        pc.ReadOptions(column_names=list(header), block_size=len(data) + 1),
        pc.ParseOptions(newlines_in_values=False),
        pc.ConvertOptions(column_types=dict(types), include_columns=list(types), strings_can_be_null=True),
    )
    return table.combine_chunks().to_batches()[0]


def _sound_part(parse: Callable[[list[bytes]], pa.RecordBatch], lines: list[bytes]) -> tuple[pa.RecordBatch, int]:
    """The longest sound beginning, and its number of rows; found by halving where something is wrong."""
    if not lines:
        return None, 0
    try:
        return parse(lines), len(lines)
    except pa.ArrowInvalid:
        low, high = 0, len(lines)  # the first `low` rows are sound, the first `high` are not
    table = None
    while high - low > 1:
        middle = (low + high) // 2
        try:
            table = parse(lines[:middle])
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return table, low


def _why(parse: Callable[[list[bytes]], pa.RecordBatch], line: bytes, header: tuple[str, ...]) -> str:
    """The column that cannot be read; never what stands in it."""
    try:
        parse([line])
    except pa.ArrowInvalid as error:
        if place := re.search(r"CSV column #(\d+)", str(error)):
            kind = "text (UTF-8)" if "UTF8" in str(error) else "a number"
            return f"column '{header[int(place[1])]}' is not readable as {kind}"
    return "it cannot be read as csv"


def _check_columns(path: Path, header: tuple[str, ...], wanted: Mapping[str, pa.DataType]) -> None:
    if missing := [column for column in wanted if column not in header]:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise ContractError(
            f"{path}: {len(missing)} columns are missing: {shown}. It is not HAIM's embedding file, or was cut."
        )


def _header(path: Path, stream: BinaryIO) -> tuple[str, ...]:
    try:
        line = stream.readline(LONGEST_LINE).decode("utf-8-sig")
        header = tuple(next(csv.reader([line]), []))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RawFileError(
            f"{path}: its header cannot be read ({type(error).__name__}); it is no csv. Give the file as released."
        ) from error
    if not header:
        raise RawFileError(f"{path}: the file is empty. Download it again, or remove it if it is not wanted.")
    if len(set(header)) < len(header):
        twice = len(header) - len(set(header))
        raise ContractError(f"{path}: {twice} column names occur twice. Give the released file.")
    return header


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The unpacked bytes, and how far the file has been read. Raises RawFileError where a gz file is cut or broken."""
    with path.open("rb") as file:
        unpacked = io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 20) if path.suffix == ".gz" else file
        try:
            yield unpacked, file.tell
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RawFileError(
                f"{path}: not a sound gzip file ({type(error).__name__}); it was cut short or is damaged. Download it "
                "again and compare its size and checksum with the publisher's."
            ) from error
