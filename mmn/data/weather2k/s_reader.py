"""Weather2K-S: one csv per station, named by the station's place in the array (`1201.csv`), hourly, 23 variables.

The header is not documented. Read are: columns named as the variables are (any case, any order, an index or time column
beside them), or 23 columns of numbers without names, in the array's order. Anything else is refused, and a
`columns.yaml` says what the columns are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError, RawFileError
from mmn.data.weather2k.npy_reader import START
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.table_reader import BROKEN, parse_times, read_header
from mmn.data.weather2k.variables import V1_ORDER

_TIMES = ("time", "date", "datetime", "timestamp")
_INDEX = ("", "unnamed: 0", "index", "hour", "station", "id")


@dataclass(frozen=True)
class Columns:
    """Where the variables stand in a file: position -> name; time: the position of a time stamp, if any."""

    names: dict[int, str]
    time: int | None
    with_header: bool

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(name for name in V1_ORDER if name in self.names.values())


def is_station_file(path: Path) -> bool:
    """`79.csv`, and not a table of something else."""
    return path.name.split(".")[0].isdigit() and path.name.endswith((".csv", ".csv.gz"))


def find_columns(path: Path) -> Columns:
    """From the first line alone. Raises ContractError where the columns cannot be told."""
    header = tuple(name.lower() for name in read_header(path))
    if len(header) > 10 * len(V1_ORDER):
        raise ContractError(
            f"{path}: {len(header)} columns; one column per variable and one row per hour is expected. Transpose it."
        )
    names = {position: name for position, name in enumerate(header) if name in V1_ORDER}
    if names:
        strange = [name for name in header if name not in (*V1_ORDER, *_TIMES, *_INDEX)]
        if strange or len(set(names.values())) < len(names) or "t" not in names.values():
            raise ContractError(
                f"{path}: columns {', '.join(header[:30])}; expected {', '.join(V1_ORDER)}, each once at most, 't' "
                "among them, with a time or an index column at most beside them. Write a columns.yaml that says what "
                "they are."
            )
        return Columns(names, next((i for i, name in enumerate(header) if name in _TIMES), None), True)
    if all(_is_number(name) for name in header) and len(header) == len(V1_ORDER):
        return Columns(dict(enumerate(V1_ORDER)), None, False)
    raise ContractError(
        f"{path}: {len(header)} columns ({', '.join(header[:30])}); expected names among {', '.join(V1_ORDER)}, or "
        f"{len(V1_ORDER)} columns of numbers without a header. Write a columns.yaml that says what they are."
    )


def read_station_files(paths: Sequence[Path]) -> StationSeries:
    """All files as one series; they must have the same columns and the same hours."""
    ordered = sorted(paths, key=lambda path: int(path.name.split(".")[0]))
    columns = find_columns(ordered[0])
    quarantined: dict[str, int] = {}
    parts: list[np.ndarray] = []
    starts: list[pd.Timestamp] = []
    for path in ordered:
        if find_columns(path) != columns:
            raise ContractError(f"{path}: other columns than {ordered[0].name}. All stations need the same ones.")
        values, start = _read(path, columns, quarantined)
        if parts and (values.shape != parts[0].shape or start != starts[0]):
            raise ContractError(
                f"{path}: {values.shape[1]} hours from {start}, where {ordered[0].name} has {parts[0].shape[1]} from "
                f"{starts[0]}. All stations need the same hours; is a file cut short?"
            )
        parts.append(values)
        starts.append(start)
    notes = () if columns.with_header else ("The station files have no header: 23 columns in the array's order.",)
    return StationSeries(
        layout="v1-s",
        stations=tuple(f"S{int(path.name.split('.')[0]):04d}" for path in ordered),
        variables=columns.variables,
        start=starts[0],
        values=np.stack(parts),
        quarantined=quarantined,
        notes=notes,
    )


def _read(path: Path, columns: Columns, quarantined: dict[str, int]) -> tuple[np.ndarray, pd.Timestamp]:
    """float32 (V, H) and the time of the first hour."""
    used = [*columns.names, *([columns.time] if columns.time is not None else [])]
    try:
        table = pd.read_csv(path, header=0 if columns.with_header else None, usecols=used, encoding="utf-8-sig",
                            low_memory=False)  # fmt: skip
    except BROKEN as error:
        raise RawFileError(f"{path}: the file was cut short or is damaged ({error}). Download it again.") from error
    except pd.errors.ParserError as error:
        raise RawFileError(f"{path}: not a sound csv ({str(error).strip()}).") from error
    if table.empty:
        raise RawFileError(f"{path}: a header and no row. Download it again, or remove it.")
    by_position = dict(zip(sorted(used), table.columns, strict=True))
    by_name = {name: table[by_position[position]] for position, name in columns.names.items()}
    values = np.empty((len(columns.variables), len(table)), dtype=np.float32)
    for row, name in enumerate(columns.variables):
        numbers = pd.to_numeric(by_name[name], errors="coerce").to_numpy(np.float64)
        if unreadable := int((np.isnan(numbers) & by_name[name].notna().to_numpy()).sum()):
            reason = f"{name}: not readable as a number"
            quarantined[reason] = quarantined.get(reason, 0) + unreadable
        values[row] = numbers
    start = START
    if columns.time is not None:
        times = parse_times(table, (str(by_position[columns.time]),), path)
        steps = times.diff().iloc[1:]
        if len(steps) and not (steps == pd.Timedelta(hours=1)).all():
            raise ContractError(
                f"{path}: {int((steps != pd.Timedelta(hours=1)).sum())} of {len(steps)} rows do not follow the one "
                "before by an hour. Sort the rows and fill gaps with empty ones."
            )
        start = times.iloc[0]
    return values, start


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("", "nan", "na")
    return True
