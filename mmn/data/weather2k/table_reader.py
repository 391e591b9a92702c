"""Hourly station tables (csv, csv.gz) through a column map: one clock for all stations, units and derived variables.

Derived where the table does not give them: relative humidity and vapour pressure from the dewpoint (Magnus), rain sums
from hourly rain (known only where every hour of the sum is). Calm hours get direction 0, north 360, as in Weather2K.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError, RawFileError
from mmn.data.manifest import open_text
from mmn.data.weather2k.column_maps import ColumnMap
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.units import COMPASS, COMPASS_UNIT, convert, relative_humidity, saturation_pressure
from mmn.data.weather2k.variables import BY_NAME, CALM_SPEED, COORDINATES, RAIN_HOURS, V1_ORDER, WINDS

_MAX_HOURS = 400_000  # 45 years: a wrong year would otherwise ask for terabytes
_CALM = np.float32(CALM_SPEED)
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)


def read_header(path: Path) -> tuple[str, ...]:
    try:
        with open_text(path) as stream:
            line = stream.readline()
    except BROKEN as error:
        raise RawFileError(f"{path}: not readable ({error}). Download it again and compare its checksum.") from error
    return tuple(name.strip().strip('"') for name in line.rstrip("\r\n").split(","))


def check_columns(path: Path, header: tuple[str, ...], column_map: ColumnMap) -> None:
    if missing := column_map.missing_columns(header):
        raise ContractError(
            f"{path}: column {', '.join(repr(name) for name in missing)} is missing, which the column map "
            f"'{column_map.name}' needs. There is: {', '.join(header[:30])}. Restore the column, or write a "
            "columns.yaml beside the table that names what there is."
        )


def variables_of(column_map: ColumnMap, *, with_coordinates: bool) -> tuple[str, ...]:
    """What tables of this kind give, derived variables included, in Weather2K's order."""
    names = set(column_map.variables) | (set(COORDINATES) if with_coordinates else set())
    if {"t", "dt"} <= names:
        names.add("rh")
    if "dt" in names:
        names.add("wvp")
    if "p1" in names:
        names |= set(RAIN_HOURS)
    return tuple(name for name in V1_ORDER if name in names)


def read_tables(paths: Iterable[Path], column_map: ColumnMap, coordinates: Path | None) -> StationSeries:
    """All tables of one kind as one series. Raises ContractError or RawFileError, naming file and column."""
    quarantined: dict[str, int] = {}
    frames = [_read_table(path, column_map, quarantined) for path in paths]
    rows = pd.concat(frames, ignore_index=True)
    _refuse_repeated(rows, column_map)
    stations = tuple(sorted(rows["station"].unique()))
    start, end = rows["time"].min(), rows["time"].max()
    num_hours = int((end - start) / pd.Timedelta(hours=1)) + 1
    if num_hours > _MAX_HOURS:
        raise ContractError(
            f"{column_map.name}: the times run from {start} to {end}, {num_hours:,} hours; is a year wrong?"
        )
    variables = variables_of(column_map, with_coordinates=coordinates is not None)
    values = np.full((len(stations), len(variables), num_hours), np.nan, dtype=np.float32)
    at_station = pd.Categorical(rows["station"], categories=stations).codes
    at_hour = ((rows["time"] - start) // pd.Timedelta(hours=1)).to_numpy()
    for name in column_map.variables:
        values[at_station, variables.index(name), at_hour] = rows[name].to_numpy(np.float32)
    _mark_calm(values, variables)
    _derive(values, variables, set(column_map.variables))
    notes = column_map.notes
    if coordinates is not None:
        positions = _read_coordinates(coordinates, column_map, stations)
        for name in COORDINATES:
            values[:, variables.index(name), :] = positions[name].to_numpy(np.float32)[:, None]
        if lost := int(positions["lat"].isna().sum()):
            notes = (*notes, f"{lost} of {len(stations)} stations have no position in {coordinates.name}.")
    measured = [variables.index(name) for name in column_map.variables]
    observed = np.zeros((len(stations), num_hours), dtype=bool)
    for position in measured:
        observed |= ~np.isnan(values[:, position])
    return StationSeries(
        layout=f"tables ({column_map.name})", stations=stations, variables=variables, start=start, values=values,
        observed=observed, quarantined=quarantined, notes=notes,
    )  # fmt: skip


def _read_table(path: Path, column_map: ColumnMap, quarantined: dict[str, int]) -> pd.DataFrame:
    header = read_header(path)
    check_columns(path, header, column_map)
    time_columns = column_map.time_columns(header) or ()
    texts = [column_map.station] if column_map.station else []
    columns = list(dict.fromkeys([*texts, *time_columns, *(column for column, _ in column_map.variables.values())]))
    try:
        table = pd.read_csv(path, usecols=columns, dtype=dict.fromkeys(texts, "str"), encoding="utf-8-sig",
                            low_memory=False)  # fmt: skip
    except BROKEN as error:
        raise RawFileError(f"{path}: the file was cut short or is damaged ({error}). Download it again.") from error
    except pd.errors.ParserError as error:
        raise RawFileError(f"{path}: not a sound csv ({str(error).strip()}).") from error
    if table.empty:
        raise RawFileError(f"{path}: a header and no row. Download it again, or remove it.")
    rows = {"station": _stations(table, path, column_map), "time": parse_times(table, time_columns, path)}
    for name, (column, unit) in column_map.variables.items():
        rows[name] = _numbers(table[column], name, unit, f"{path}: column '{column}'", quarantined)
    return pd.DataFrame(rows)


def _stations(table: pd.DataFrame, path: Path, column_map: ColumnMap) -> pd.Series:
    if not column_map.station:
        return pd.Series(column_map.station_name, index=table.index)
    stations = table[column_map.station].str.strip()
    if nameless := int(stations.isna().sum()):
        raise ContractError(f"{path}: column '{column_map.station}' is empty in {nameless} of {len(table)} rows.")
    return stations


def parse_times(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> pd.Series:
    """Full hours; a stamp with a zone becomes UTC, one without keeps its clock."""
    if len(columns) == 1:
        times = pd.to_datetime(table[columns[0]], utc=True, errors="coerce", format="ISO8601").dt.tz_localize(None)
    else:
        parts = {
            part: pd.to_numeric(table[column], errors="coerce")
            for part, column in zip(("year", "month", "day", "hour"), columns, strict=True)
        }
        times = pd.to_datetime(pd.DataFrame(parts), errors="coerce")
    times = times.astype("datetime64[ns]")
    if unreadable := int(times.isna().sum()):
        first = int(np.flatnonzero(times.isna())[0])
        raise ContractError(
            f"{path}: {unreadable} of {len(table)} rows have no readable time in {', '.join(columns)}, the first in "
            f"row {first + 2}. Expected year, month, day, hour as numbers, or an ISO 8601 time stamp."
        )
    if off := int((times != times.dt.floor("h")).sum()):
        raise ContractError(
            f"{path}: {off} of {len(table)} times are not full hours. Give hourly rows (resample first)."
        )
    return times


def _numbers(column: pd.Series, name: str, unit: str, where: str, quarantined: dict[str, int]) -> np.ndarray:
    """A column in Weather2K's unit; text that is no number is NaN and counted."""
    if unit == COMPASS_UNIT:
        numbers = column.astype("str").str.strip().str.upper().map(COMPASS).to_numpy(np.float64)
    else:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        numbers = convert(numbers, unit, BY_NAME[name].unit, where)
    if unreadable := int((np.isnan(numbers) & column.notna().to_numpy()).sum()):
        reason = f"{name}: not readable as {unit}"
        quarantined[reason] = quarantined.get(reason, 0) + unreadable
        if unreadable == int(column.notna().sum()):
            raise ContractError(f"{where}: none of {unreadable} values can be read as {unit}. Is the unit right?")
    return numbers


def _refuse_repeated(rows: pd.DataFrame, column_map: ColumnMap) -> None:
    repeated = rows.duplicated(["station", "time"])
    if repeated.any():
        first = rows[repeated].iloc[0]
        raise ContractError(
            f"{column_map.name}: {int(repeated.sum())} of {len(rows)} rows repeat a station and hour, the first at "
            f"{first['station']}, {first['time']}. Remove the copies; if a local clock repeats an hour when summer "
            "time ends, give a time stamp with its zone."
        )


def _mark_calm(values: np.ndarray, variables: tuple[str, ...]) -> None:
    """0 for calm, and for calm alone: a wind from direction 0 comes from the north, which is 360."""
    for direction, speed in WINDS.items():
        if {direction, speed} <= set(variables):
            degrees, calm = values[:, variables.index(direction)], values[:, variables.index(speed)] <= _CALM
            degrees[(degrees == 0) & ~calm] = 360.0
            degrees[calm] = 0.0


def _derive(values: np.ndarray, variables: tuple[str, ...], given: set[str]) -> None:
    def plausible(name: str) -> np.ndarray:
        series, variable = values[:, variables.index(name)], BY_NAME[name]
        return np.where((series >= variable.low) & (series <= variable.high), series, np.nan)

    if "rh" in variables and "rh" not in given:
        values[:, variables.index("rh")] = relative_humidity(plausible("t"), plausible("dt"))
    if "wvp" in variables and "wvp" not in given:
        values[:, variables.index("wvp")] = saturation_pressure(plausible("dt"))
    if "p1" not in given:
        return
    hourly = plausible("p1").astype(np.float64)
    unknown = np.isnan(hourly)
    for name, hours in RAIN_HOURS.items():
        if name not in given:
            amount = _trailing_sum(np.where(unknown, 0.0, hourly), hours)
            gaps = _trailing_sum(unknown.astype(np.float64), hours)
            amount[gaps > 0] = np.nan
            amount[:, : hours - 1] = np.nan
            values[:, variables.index(name)] = np.round(amount, 4)


def _trailing_sum(series: np.ndarray, hours: int) -> np.ndarray:
    total = np.cumsum(series, axis=-1)
    total[:, hours:] -= total[:, :-hours].copy()
    return total


def _read_coordinates(path: Path, column_map: ColumnMap, stations: tuple[str, ...]) -> pd.DataFrame:
    said = column_map.coordinates
    assert said is not None
    header = read_header(path)
    if missing := [column for column in (said.station, said.lat, said.lon, said.alt) if column not in header]:
        raise ContractError(f"{path}: column {missing[0]!r} is missing. There is: {', '.join(header[:30])}.")
    table = pd.read_csv(path, dtype={said.station: "str"}, encoding="utf-8-sig", keep_default_na=False, na_values=[""])
    table = table[table[said.station].isin(stations)]
    if repeated := int(table[said.station].duplicated().sum()):
        raise ContractError(f"{path}: {repeated} stations have two positions. Leave one row per station.")
    positions = table.set_index(said.station).reindex(list(stations))
    return pd.DataFrame({
        "lat": pd.to_numeric(positions[said.lat], errors="coerce"),
        "lon": pd.to_numeric(positions[said.lon], errors="coerce"),
        "alt": convert(pd.to_numeric(positions[said.alt], errors="coerce").to_numpy(np.float64), said.alt_unit, "m",
                       f"{path}: column '{said.alt}'"),
    })  # fmt: skip
