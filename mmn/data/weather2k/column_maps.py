"""Column maps: how the columns of an hourly station table become Weather2K's variables.

Two published tables are recognised by their header; any other is described by a `columns.yaml` in the raw folder:

    name: my stations
    station: site                 # the column that says which station; or `station_name: Oslo` for one per folder
    time: [year, month, day, hour]  # or one column with a time stamp: `time: [observed_at]`
    variables:                    # Weather2K's name -> column and the unit it is in
      t: {column: air_temp, unit: "°F"}
      ws: {column: wind, unit: "m/s"}
    coordinates: {file: sites.csv, station: id, lat: lat, lon: lon, alt: elevation, alt_unit: m}   # optional
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mmn.data.errors import ContractError
from mmn.data.weather2k.variables import BY_NAME, V1_ORDER

CUSTOM_FILE = "columns.yaml"


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """A table of positions: one row per station. `file` is a name, looked for beside or above the station tables."""

    file: str
    station: str
    lat: str = "lat"
    lon: str = "lon"
    alt: str = "alt"
    alt_unit: str = "m"


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """One kind of station table.

    time: one column with a time stamp, or four (year, month, day, hour); the first alternative whose columns are all
    in the header is taken. variables: Weather2K's name -> (column, unit). Every column named here must be there.
    signature: columns that make a table recognisable as this kind even if another one is missing.
    """

    name: str
    station: str
    time: tuple[tuple[str, ...], ...]
    variables: dict[str, tuple[str, str]]
    signature: tuple[str, ...] = ()
    station_name: str = ""
    coordinates: Coordinates | None = None
    notes: tuple[str, ...] = field(default=())

    def recognises(self, header: tuple[str, ...]) -> bool:
        return set(self.signature) <= set(header)

    def time_columns(self, header: tuple[str, ...]) -> tuple[str, ...] | None:
        return next((columns for columns in self.time if set(columns) <= set(header)), None)

    def missing_columns(self, header: tuple[str, ...]) -> list[str]:
        wanted = [column for column, _ in self.variables.values()] + ([self.station] if self.station else [])
        missing = sorted({column for column in wanted if column not in header})
        return missing if self.time_columns(header) else [*missing, " and ".join(self.time[-1])]


CALENDAR = ("year", "month", "day", "hour")

PRSA_BEIJING = ColumnMap(
    name="prsa-beijing",
    station="station",
    time=(CALENDAR,),
    signature=("station", "WSPM"),
    variables={
        "ap": ("PRES", "hPa"),
        "t": ("TEMP", "°C"),
        "dt": ("DEWP", "°C"),
        "p1": ("RAIN", "mm"),
        "wd": ("wd", "16 points"),
        "ws": ("WSPM", "m/s"),
    },
    # Not part of the data set: whoever knows the positions may lay this table beside the others.
    coordinates=Coordinates(file="coordinates.csv", station="station"),
    notes=("Beijing's sites take their weather from the nearest weather station; several share one.",),
)
NYCFLIGHTS = ColumnMap(
    name="nycflights13",
    station="origin",
    # `time_hour` first: the local calendar repeats an hour when summer time ends.
    time=(("time_hour",), CALENDAR),
    signature=("origin", "dewp", "visib"),
    variables={
        "ap": ("pressure", "hPa"),
        "t": ("temp", "°F"),
        "dt": ("dewp", "°F"),
        "rh": ("humid", "%"),
        "p1": ("precip", "inch"),
        "wd": ("wind_dir", "°"),
        "ws": ("wind_speed", "mph"),
        "mws": ("wind_gust", "mph"),
        "hv2": ("visib", "mile"),
    },
    coordinates=Coordinates(file="airports.csv", station="faa", alt_unit="ft"),
    notes=("Pressure is reduced to sea level at these airports; visibility ends at 10 miles.",),
)
BUILT_IN = (PRSA_BEIJING, NYCFLIGHTS)


def read_column_map(path: Path) -> ColumnMap:
    """A custom map. Raises ContractError naming the key that is missing or unknown and the nearest known one."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ContractError(f"{path}: not readable as YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(said, dict):
        raise ContractError(f"{path}: expected keys `station`, `time`, `variables`; found no mapping.")
    known = ("name", "station", "station_name", "time", "variables", "coordinates")
    _refuse_unknown(path, said, known)
    for key in ("time", "variables"):
        if key not in said:
            raise ContractError(f"{path}: key `{key}` is missing. Needed: station (or station_name), time, variables.")
    if ("station" in said) == ("station_name" in said):
        raise ContractError(f"{path}: give either `station` (a column) or `station_name` (one station per folder).")
    columns = said["time"] if isinstance(said["time"], list) else [said["time"]]
    if len(columns) not in (1, 4):
        raise ContractError(
            f"{path}: `time` names {len(columns)} columns; expected one time stamp, or year, month, day, hour."
        )
    variables = _variables(path, said["variables"])
    coordinates = said.get("coordinates")
    if coordinates is not None:
        _refuse_unknown(path, coordinates, tuple(Coordinates.__dataclass_fields__))
        if not {"file", "station"} <= set(coordinates):
            raise ContractError(f"{path}: `coordinates` needs `file` and `station`.")
    station = str(said.get("station", ""))
    return ColumnMap(
        name=str(said.get("name", path.parent.name)),
        station=station,
        station_name=str(said.get("station_name", "")),
        time=(tuple(str(column) for column in columns),),
        variables=variables,
        signature=(station,) if station else (variables["t"][0],),
        coordinates=Coordinates(**{key: str(value) for key, value in coordinates.items()}) if coordinates else None,
    )


def _variables(path: Path, said: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(said, dict) or not said:
        raise ContractError(
            f"{path}: `variables` must map Weather2K's names to columns, as in t: {{column: temp, unit: °C}}."
        )
    _refuse_unknown(path, said, V1_ORDER)
    if "t" not in said:
        raise ContractError(f"{path}: `variables` has no `t` (air temperature), which every task but two predicts.")
    variables = {}
    for name, entry in said.items():
        entry = {"column": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or "column" not in entry:
            raise ContractError(f"{path}: variables.{name} needs a `column`.")
        _refuse_unknown(path, entry, ("column", "unit"))
        variables[name] = (str(entry["column"]), str(entry.get("unit", BY_NAME[name].unit)))
    return variables


def _refuse_unknown(path: Path, said: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in said:
        if key not in known:
            nearest = get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise ContractError(f"{path}: unknown key {key!r}; the nearest known one is {nearest[0]!r}.")
