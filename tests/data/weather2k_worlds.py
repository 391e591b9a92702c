"""Small Weather2K arrays and station tables, each number known, for the tests of `mmn.data.weather2k`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.weather2k.variables import V1_ORDER, V2_ORDER

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
PRSA = SHARED / "prsa-beijing"
NYCFLIGHTS = SHARED / "nycflights13-weather"


def write_array(raw: Path, values: np.ndarray) -> Path:
    path = raw / "Weather2K-R" / "data.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def plain_array(num_stations: int = 40, num_hours: int = 800, order: tuple[str, ...] = V1_ORDER) -> np.ndarray:
    """(S, V, H): temperature is station / 10 + record / 100, humidity 38 + station / 10 + record / 100, the rest
    plausible.
    """
    rng = np.random.default_rng(0)
    station, hour = np.arange(num_stations)[:, None], np.arange(num_hours)[None, :]
    temperature = station / 10 + hour / 100
    columns = {
        "lat": 20 + station / 2, "lon": 90 + station / 2, "alt": 10.0 * station, "ap": 1000 + rng.random(1),
        "t": temperature, "mxt": temperature + 0.1, "mnt": temperature - 0.1, "dt": temperature - 13,
        "rh": 38 + station / 10 + hour / 100, "wvp": 8.0, "wd": 90.0, "ws": 2.0, "mwd": 90.0, "mws": 3.0, "st":
        temperature, "hv1": 9000.0, "hv2": 9000.0 + hour, "vv": 2000.0,
    }  # fmt: skip
    values = np.zeros((num_stations, len(order), num_hours), dtype=np.float32)
    for position, name in enumerate(order):
        values[:, position] = columns.get(name, 0.0)
    return values


def plain_v2() -> np.ndarray:
    return plain_array(40, 300, V2_ORDER)


def prsa_table(station: str, num_hours: int = 3000, start: str = "2014-01-01", seed: int = 0) -> pd.DataFrame:
    """One site in the layout of prsa-beijing."""
    rng = np.random.default_rng(seed)
    time = pd.date_range(start, periods=num_hours, freq="h")
    temperature = (10 + 8 * np.sin(np.arange(num_hours) * 2 * np.pi / 24) + rng.normal(0, 1, num_hours)).round(1)
    return pd.DataFrame({
        "No": np.arange(1, num_hours + 1), "year": time.year, "month": time.month, "day": time.day, "hour": time.hour,
        "PM2.5": 10, "TEMP": temperature, "PRES": (1010 + rng.normal(0, 1, num_hours)).round(1),
        "DEWP": (temperature - 5).round(1), "RAIN": 0.0, "wd": "NNW", "WSPM": 1.5, "station": station,
    })  # fmt: skip


def write_tables(raw: Path, *tables: pd.DataFrame) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for position, table in enumerate(tables):
        table.to_csv(raw / f"PRSA_Data_{position}.csv.gz", index=False)
