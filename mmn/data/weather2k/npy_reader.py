"""Weather2K's array, `data.npy` (station, variable, time): opened as a memory map, never loaded, never unpickled.

v1: 23 variables, hourly (1866 x 23 x 40,896 as published). v2, the adjusted release of 2025: 13 variables, 3-hourly.
Both begin on 2017-01-01; the time zone is not stated, and nothing here depends on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.errors import ContractError, RawFileError
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.variables import V1_ORDER, V2_ORDER

START = pd.Timestamp("2017-01-01")
_LAYOUTS = {len(V1_ORDER): ("v1", V1_ORDER, 1), len(V2_ORDER): ("v2", V2_ORDER, 3)}


def open_array(path: Path) -> np.ndarray:
    """The memory map. Raises RawFileError for a file cut short, ContractError for another shape or type."""
    expected = _check_header(path)
    size = path.stat().st_size
    if size < expected:
        raise RawFileError(
            f"{path}: {size:,} bytes, but its header promises {expected:,}: the file was cut short. "
            "Download it again and compare its size with the publisher's."
        )
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_npy(path: Path, numbers_file: Path | None = None) -> StationSeries:
    """numbers_file: `idx2stat.txt`, where it is there."""
    values = open_array(path)
    layout, names, hours_per_record = _LAYOUTS[values.shape[1]]
    notes: tuple[str, ...] = ()
    if layout == "v2":
        notes = (
            "This is the 3-hourly release with 13 variables: of a window's 24 steps every third (2, 5, ... 23) is "
            "measured; dewpoint, vapour pressure, visibility and soil temperature are not in it.",
        )
    return StationSeries(
        layout=layout,
        stations=station_names(values.shape[0]),
        variables=names,
        # Record 0 of a 3-hourly series is hour 2 of the hourly clock.
        start=START - pd.Timedelta(hours=hours_per_record - 1),
        values=values,
        hours_per_record=hours_per_record,
        numbers=read_numbers(numbers_file, values.shape[0]) if numbers_file else None,
        notes=notes,
    )


def station_names(num_stations: int) -> tuple[str, ...]:
    """S0000, S0001, ...: the array knows its stations by position only."""
    return tuple(f"S{position:04d}" for position in range(num_stations))


def read_numbers(path: Path, num_stations: int) -> tuple[str, ...]:
    """The stations' numbers in the observing network, by place in the array: two columns, place and number.

    Raises ContractError where a place is missing or repeated: the file is not the array's.
    """
    words = path.read_text(encoding="utf-8-sig").replace(",", " ").replace(":", " ").split()
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    numbers = tuple(pairs.get(str(place), "") for place in range(num_stations))
    if len(words) != 2 * num_stations or not all(numbers):
        raise ContractError(
            f"{path}: {len(pairs)} pairs of place and number for {num_stations} stations, or places that are not 0 to "
            f"{num_stations - 1}. It belongs to another array; remove it, or restore the right one."
        )
    return numbers


def describe(path: Path) -> tuple[str, tuple[str, ...], int]:
    """(layout, variables, hours) from the header alone, and a line for a person as the layout's text."""
    values = open_array(path)
    layout, names, hours_per_record = _LAYOUTS[values.shape[1]]
    num_stations, num_variables, num_records = values.shape
    text = f"{layout}, {num_stations} stations x {num_variables} variables x {num_records * hours_per_record} h"
    return text, names, num_records * hours_per_record


def _check_header(path: Path) -> int:
    """Bytes the file must have."""
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        except ValueError as error:
            raise RawFileError(
                f"{path}: not a NumPy array ({error}). A Git-LFS pointer or a web page saved under this name looks "
                "like this too: open it in a text editor, then download the real file."
            ) from error
        if dtype.hasobject or dtype.kind not in "fiu":
            raise ContractError(
                f"{path}: holds {dtype}, expected plain numbers (float32 or float64). Unpickling is refused."
            )
        if len(shape) != 3 or shape[1] not in _LAYOUTS:
            raise ContractError(
                f"{path}: shape {shape}, expected (stations, 23, hours) for v1 or (stations, 13, 3-hour steps) for v2. "
                "If the axes are in another order, transpose the array and save it again."
            )
        if not shape[0] or shape[2] * _LAYOUTS[shape[1]][2] < 48:
            raise ContractError(
                f"{path}: shape {shape} holds less than 48 hours of one station, which no task can use."
            )
        return stream.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
