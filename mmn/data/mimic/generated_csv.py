"""Writing a generated table as MIMIC has it: csv or csv.gz by the name, the same bytes for the same rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from mmn.data.mimic.contracts import RawTable, check_table


def write_table(path: Path, frame: pd.DataFrame, contract: type[RawTable] | None = None) -> None:
    """The frame must keep its contract, under the file's own column names. Raises ContractError where it does not."""
    if contract is not None:
        names = {(c.metadata or {}).get("also"): name for name, c in contract.to_schema().columns.items()}
        promised = frame.rename(columns={old: new for old, new in names.items() if old and new not in frame})
        for name, column in contract.to_schema().columns.items():
            if "datetime64" in str(column.dtype) and not pd.api.types.is_datetime64_any_dtype(promised[name]):
                # HAIM's times with a zone are text in the file; the reader drops the zone.
                promised[name] = pd.to_datetime(promised[name], utc=True).dt.tz_localize(None)
            if str(column.dtype).startswith("float"):
                promised[name] = promised[name].astype("float64")
        check_table(promised, contract, path.name)
    text = frame.to_csv(index=False, lineterminator="\n", date_format="%Y-%m-%d %H:%M:%S")
    path.parent.mkdir(parents=True, exist_ok=True)
    # No time stamp in the header: the same rows give the same file.
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(text.encode(), compresslevel=5, mtime=0) if packed else text.encode())
