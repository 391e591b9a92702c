"""Reading MIMIC's csv and csv.gz files with DuckDB: by column name, typed by contract, never whole in memory.

Tables are scanned once, streaming; sorts and joins spill to a private temporary folder that is removed at the end. The
big tables of events have a faster way (`events_csv.py`), with the same messages.
DuckDB's own messages quote the line at fault, so they are replaced: a message here names file, line and column alone.
"""

from __future__ import annotations

import glob
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from mmn.data.errors import ContractError, MmnError, RawFileError
from mmn.data.mimic.contracts import RawTable, check_table, columns_in, table_name
from mmn.data.mimic.layout import Layout, read_header

MEMORY_LIMIT = "2GB"


class Tables:
    """A layout opened for reading. Use `open_tables`."""

    def __init__(self, layout: Layout, connection: duckdb.DuckDBPyConnection) -> None:
        self.layout = layout
        self.connection = connection

    def scan(self, contract: type[RawTable]) -> str:
        """The table as an SQL expression that gives the promised columns, typed, under the contract's names.

        Raises RawFileError where the file is not there or cannot be read, ContractError where a column is missing.
        """
        path = self.layout.file(table_name(contract))
        header = read_header(path)
        wanted = {in_file: (name, kind) for name, in_file, kind in columns_in(contract, header, self.name(path))}
        types = ", ".join(f"{_text(name)}: '{wanted.get(name, ('', 'VARCHAR'))[1]}'" for name in header)
        # A path is a pattern to DuckDB, so what means something in a pattern is escaped.
        return (
            f"(SELECT {', '.join(f'{_quoted(old)} AS {_quoted(new)}' for old, (new, _) in wanted.items())} "
            f"FROM read_csv({_text(glob.escape(str(path)))}, auto_detect=false, header=true, delim=',', quote='\"', "
            f"escape='\"', nullstr='', parallel=false, columns={{{types}}}))"
        )

    def frame(self, contract: type[RawTable]) -> pd.DataFrame:
        """A table small enough to hold, checked against its contract, in file order."""
        scan = self.scan(contract)
        with self.readable():
            frame = self.connection.execute(f"SELECT * FROM {scan}").df()
        return check_table(frame, contract, self.name(self.layout.file(table_name(contract))))

    def put(self, name: str, frame: pd.DataFrame) -> None:
        """Make a frame a table of the connection; NaN and NA become null."""
        self.connection.register(f"{name}_arrow", pa.Table.from_pandas(frame, preserve_index=False))
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name}_arrow")
        self.connection.unregister(f"{name}_arrow")

    def name(self, path: Path) -> str:
        return path.relative_to(self.layout.raw).as_posix()

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Turn DuckDB's complaints about a file into ours, without the line that it quotes."""
        try:
            yield
        except MmnError:
            raise
        except duckdb.Error as error:
            # `from None`: the original message quotes a line of the file.
            raise self._mendable(str(error)) from None

    def _mendable(self, message: str) -> MmnError:
        path = next(
            (p for p in self.layout.files.values() if str(p) in message or glob.escape(str(p)) in message), None
        )
        file = self.name(path) if path else "a raw file"
        line = int(match[1]) if (match := re.search(r"on Line: (\d+)", message)) else None
        if "GZIP" in message or "gzip" in message:
            return cut_short(file)
        if column := re.search(r'converting column "([^"]+)"', message):
            return wrong_type(file, line, column[1])
        if "Expected Number of Columns" in message:
            return ragged(file, line)
        if "quote" in message.lower() and "CSV Error" in message:
            return unclosed(file, line)
        if "Out of Memory" in message or "No space left" in message:
            return no_room(str(self.layout.raw))
        kind = "encoding (UTF-8)" if "utf-8" in message.lower() or "unicode" in message.lower() else "form"
        return unsound(file, line, kind)


# What may be wrong with a csv file, in the words of every reader: file, line and column, never the line itself.


def cut_short(file: str) -> RawFileError:
    return RawFileError(
        f"{file}: the gzip stream ends early or is damaged: the file was cut short. Download it again and compare its "
        "size and checksum with the publisher's."
    )


def wrong_type(file: str, line: int | None, column: str) -> ContractError:
    return ContractError(
        f"{_at(file, line)}, column '{column}': the value is not of the promised type. Check that the file is the "
        "original one; a cell opened and saved in a spreadsheet often loses its form."
    )


def ragged(file: str, line: int | None) -> ContractError:
    return ContractError(
        f"{_at(file, line)}: more or fewer cells than the header names. The file is damaged or was edited; download it "
        "again."
    )


def unclosed(file: str, line: int | None) -> ContractError:
    return ContractError(
        f"{_at(file, line)}: a quotation mark is never closed. The file is damaged; download it again."
    )


def unsound(file: str, line: int | None, kind: str) -> RawFileError:
    return RawFileError(f"{_at(file, line)}: the file cannot be read, its {kind} is not sound. Download it again.")


def no_room(where: str) -> RawFileError:
    return RawFileError(f"{where}: no room left to sort the events. Set TMPDIR to a protected folder with more space.")


def _at(file: str, line: int | None) -> str:
    return file if line is None else f"{file} line {line}"


@contextmanager
def open_tables(layout: Layout) -> Iterator[Tables]:
    with tempfile.TemporaryDirectory(prefix="mmn-mimic-") as spill:
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": spill,
                "preserve_insertion_order": "true",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            yield Tables(layout, connection)
        finally:
            connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
