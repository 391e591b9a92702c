"""A course's csv tables, block by block, each checked by its contract. Others read raw tables through here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from mmn.data.edu.contracts import TABLES, check_key, check_table, columns_of
from mmn.data.edu.layout import CourseFiles
from mmn.data.errors import ContractError, RawFileError

_BLOCK_BYTES = 1 << 22
_NULLS = ["", "NaN", "nan", "NULL"]


def read_whole(files: CourseFiles, table: str) -> pd.DataFrame:
    """A small table, checked, its key too."""
    frame = pd.concat(list(read_blocks(files, table)), ignore_index=True)
    where = str(files.files[table])
    check_key(frame, table, where)
    if frame.empty:
        raise ContractError(f"{where}: the table has a header and no row. Download it again.")
    return frame


def read_blocks(files: CourseFiles, table: str) -> Iterator[pd.DataFrame]:
    """Checked blocks of a table, at least one; their index counts the file's data rows from 0. Raises RawFileError for
    unsound bytes, ContractError for the rest."""
    path, contract = files.files[table], TABLES[table]
    wanted = columns_of(contract)
    header = [_plain(name) for name in _reading(path, table, lambda: pc.open_csv(path).schema.names)]
    if missing := [name for name, (_, required) in wanted.items() if required and name not in header]:
        raise ContractError(
            f"{path}: column {', '.join(map(repr, missing))} missing; the table {table} must have "
            f"{', '.join(name for name, (_, required) in wanted.items() if required)}."
        )
    if repeated := sorted({name for name in wanted if header.count(name) > 1}):
        raise ContractError(f"{path}: column {', '.join(map(repr, repeated))} is there twice. Remove one of them.")
    present = [name for name in wanted if name in header]
    options = pc.ConvertOptions(
        include_columns=present,
        column_types={name: pa.string() if wanted[name][0] else pa.float64() for name in present},
        null_values=_NULLS,
        strings_can_be_null=True,
    )
    parse = pc.ParseOptions(newlines_in_values=True)
    how = pc.ReadOptions(block_size=_BLOCK_BYTES, column_names=header, skip_rows=1)
    reader = _reading(
        path, table, lambda: pc.open_csv(path, read_options=how, parse_options=parse, convert_options=options)
    )
    first_row, empty = 0, True
    while (batch := _reading(path, table, lambda: next(reader, None))) is not None:
        _refuse_line_ends(batch, path, first_row)
        frame = pa.Table.from_batches([batch]).to_pandas()
        for name in present:
            if wanted[name][0]:
                frame[name] = frame[name].astype("str")
            if name.endswith("id"):
                frame[name] = _whole_numbers(frame[name])
        check_table(frame, contract, str(path), first_row)
        frame.index = pd.RangeIndex(first_row, first_row + len(frame))
        first_row += len(frame)
        empty = False
        yield frame
    if empty:
        dtypes = {name: "str" if wanted[name][0] else "float64" for name in present}
        yield pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})


def read_dates(texts: pd.Series, path: Path, column: str) -> pd.Series:
    """Naive UTC. Raises ContractError for a date that cannot be read."""
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    if (bad := dates.isna() & texts.notna()).any():
        raise ContractError(
            f"{path}: column '{column}': {int(bad.sum())} of {len(texts)} dates are unreadable, the first in data row "
            f"{int(bad.to_numpy().argmax()) + 1}. Write YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS (UTC)."
        )
    return dates.astype("datetime64[us]")


def _reading(path: Path, table: str, action: Callable[[], Any]) -> Any:
    """Run one reading step; Arrow's errors become ours, without the value that they quote."""
    try:
        return action()
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        text = str(error)
        if "Empty CSV" in text:
            raise RawFileError(f"{path}: the file is empty. Download it again.") from None
        if found := re.search(r"In CSV column #(\d+):.*? CSV conversion error to (\w+)", text, re.DOTALL):
            names = pc.open_csv(path).schema.names
            raise ContractError(
                f"{path}: column '{names[int(found[1])]}' of {table} holds something that is no {found[2]}. "
                "Mend the file: numbers only, empty where unknown."
            ) from None
        if found := re.search(r"Expected (\d+) columns, got (\d+)", text):
            raise RawFileError(
                f"{path}: a row has {found[2]} fields where the header has {found[1]}; the file is cut short or "
                "damaged, or of another version than its header. Download it again."
            ) from None
        if "straddling object" in text:
            raise RawFileError(
                f"{path}: a cell or row is longer than {_BLOCK_BYTES:,} bytes: a quotation mark is probably open. "
                "Mend the file or download it again."
            ) from None
        raise RawFileError(f"{path}: not readable as csv. Download it again.") from None
    except OSError as error:
        raise RawFileError(
            f"{path}: unreadable or cut short ({type(error).__name__}: {_first_words(error)}). "
            "Download it again and compare its checksum."
        ) from error


def _refuse_line_ends(batch: pa.RecordBatch, path: Path, first_row: int) -> None:
    """A line end in a cell that is read is an open quotation mark that swallows rows."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        row = compute.index(compute.match_substring(column, "\n"), True).as_py()
        if row >= 0:
            raise RawFileError(
                f"{path}: column '{name}' goes over a line end in data row {first_row + row + 1}: a quotation mark is "
                "open there. Mend the file or download it again."
            )


def _plain(name: str) -> str:
    """A header's name without the byte-order mark and blanks that some exports put around it."""
    return name.removeprefix("\ufeff").strip()


def _first_words(error: Exception) -> str:
    return str(error).split(".")[0][:80]


def _whole_numbers(ids: pd.Series) -> pd.Series:
    """Repair: pandas writes an id column that has a missing value as 12.0; the schedule calls it 12. It applies only
    where every known id of the block has that form."""
    known = ids.dropna()
    if not len(known) or not known.iloc[0].endswith(".0"):
        return ids
    return ids.str.removesuffix(".0") if known.str.fullmatch(r"\d+\.0").all() else ids
