"""A generated Weather2K: `Weather2K-R/data.npy` in v1's format, with weather simple enough to know what can be learnt.

Planted: temperature falls with latitude and altitude, follows the sun, the season and fronts that travel east, so the
west's weather now is the east's later; humidity follows the fronts' moisture; rain falls from moist air; visibility
falls with humidity and rain; soil swings more than air; calm hours have direction 0 and north is 360; rain sums are
nested; one station copies another's weather; a few values are 999999, some are NaN, some stations fall silent for
hours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmn.data.errors import ParamsError
from mmn.data.files import write_bytes, write_json
from mmn.data.manifest import TRUTH_FILE
from mmn.data.weather2k.npy_reader import station_names
from mmn.data.weather2k.units import saturation_pressure
from mmn.data.weather2k.variables import BY_NAME, CALM_SPEED, RAIN_HOURS, V1_ORDER

# (stations, hours). medium: two years, enough for a forecast in time.
SIZES = {"tiny": (40, 800), "demo": (200, 1_000), "medium": (100, 17_520)}
MISSING_CODE = 999_999.0
_BLOCK = 16  # stations in memory at once
_SPIN_UP_HOURS = 300
_HOURS_PER_DEGREE_EAST = 1.6  # a front crosses the country in four days
_NUM_WAVES = 4


def generate(raw: Path, size: str, seed: int) -> None:
    """Write under `raw`. The same size and seed give the same bytes; memory does not grow with the stations."""
    if size not in SIZES:
        raise ParamsError(f"size {size!r} is unknown; known: {', '.join(SIZES)}.")
    num_stations, num_hours = SIZES[size]
    folder = raw / "Weather2K-R"
    folder.mkdir(parents=True, exist_ok=True)
    world = np.random.default_rng([seed, 0])
    positions = _positions(world, num_stations)
    fronts, moisture = (_waves(world, num_hours) for _ in range(2))
    # A temporary name until all is written: a file cut short must not look whole.
    unfinished = folder / ".data.npy.tmp"
    values = np.lib.format.open_memmap(
        unfinished, mode="w+", dtype=np.float32, shape=(num_stations, len(V1_ORDER), num_hours)
    )
    for begin in range(0, num_stations, _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, num_stations))
        block = _weather(np.random.default_rng([seed, 1, begin]), positions[rows], fronts, moisture, num_hours)
        values[rows] = _with_faults(np.random.default_rng([seed, 2, begin]), block)
    first_weather = V1_ORDER.index("ap")
    values[-1, first_weather:] = values[0, first_weather:]
    values.flush()
    del values
    unfinished.replace(folder / "data.npy")
    write_bytes(raw / "idx2stat.txt", "".join(f"{i} {50_000 + 7 * i}\n" for i in range(num_stations)).encode())
    write_json(
        raw / TRUTH_FILE,
        {
            "generated": True,
            "dataset": "weather2k",
            "size": size,
            "seed": seed,
            "num_stations": num_stations,
            "num_hours": num_hours,
            "duplicated_stations": [station_names(num_stations)[0], station_names(num_stations)[-1]],
            "missing_code": MISSING_CODE,
            "planted": {
                "geography": "temperature falls 1.2 °C per degree north and 6 °C per km",
                "fronts": f"weather moves east, {_HOURS_PER_DEGREE_EAST} h per degree",
                "humidity": "from the fronts' moisture; rh, dt and wvp agree with t by Magnus",
                "visibility": "falls with humidity and rain",
            },
        },
    )


def _positions(rng: np.random.Generator, num: int) -> np.ndarray:
    """(S, 3): latitude, longitude, altitude; high in the west. The last station stands beside the first."""
    lat, lon = rng.uniform(19, 51, num), rng.uniform(76, 133, num)
    alt = np.clip(4200 - 75 * (lon - 76), 5, None) * rng.uniform(0.05, 1.0, num)
    positions = np.stack([lat, lon, alt], axis=1)
    positions[-1] = positions[0] + (0.06, 0.04, 3.0)
    return positions.round(2)


def _filtered(noise: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Autoregressive series along the last axis. SciPy's filters take a while to import: only where they are used."""
    from scipy.signal import lfilter

    return lfilter([1.0], memory, noise, axis=-1)


def _waves(rng: np.random.Generator, num_hours: int) -> np.ndarray:
    """(waves, spin-up + hours), unit variance: slow and smooth, with a memory of about two days."""
    noise = rng.standard_normal((_NUM_WAVES, 200 + _SPIN_UP_HOURS + num_hours))
    waves = _filtered(noise, np.convolve([1.0, -0.975], [1.0, -0.8]))[:, 200:]
    return waves / waves.std(axis=1, keepdims=True)


def _passing(waves: np.ndarray, lat: np.ndarray, lon: np.ndarray, num_hours: int) -> np.ndarray:
    """(S, H): what of the waves is over each station; the mixture changes slowly from south to north."""
    lag = np.round((lon - 70) * _HOURS_PER_DEGREE_EAST).astype(int)
    hours = _SPIN_UP_HOURS - lag + np.arange(num_hours)[None, :]
    weight = np.exp(-0.5 * ((lat - np.linspace(18, 52, _NUM_WAVES)) / 9.0) ** 2)
    weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
    return np.einsum("sw,wsh->sh", weight, waves[:, hours])


def _weather(
    rng: np.random.Generator, positions: np.ndarray, fronts: np.ndarray, moisture: np.ndarray, num_hours: int
) -> np.ndarray:
    """(S, 23, H) float64, faultless."""
    lat, lon, alt = (column[:, None] for column in positions.T)
    shape = (len(positions), num_hours)
    hours = np.arange(num_hours)[None, :]
    front, moist = _passing(fronts, lat, lon, num_hours), _passing(moisture, lat, lon, num_hours)

    def noise(scale: float) -> np.ndarray:
        return _filtered(rng.normal(0.0, scale, shape), np.array([1.0, -0.8]))

    sun = np.cos(2 * np.pi * (hours + (lon - 120) / 15 - 14) / 24)
    season = (1 - np.cos(2 * np.pi * (hours / 24 - 15) / 365.25)) / 2
    spread = 4.0 - 1.2 * moist.clip(-1.5, 1.5)  # dry, clear days are warmer, their nights colder
    t = 17 - 1.2 * (lat - 20) - 0.006 * alt + (6 + 0.8 * (lat - 20)) * season + spread * sun + 4.0 * front + noise(0.25)
    dt = t - np.exp(1.7 - 0.8 * moist + 0.25 * sun + noise(0.05))
    out = dict(zip(("lat", "lon", "alt"), (np.broadcast_to(column, shape) for column in (lat, lon, alt)), strict=True))
    out["t"] = t = np.clip(t, -50, 48).round(1)
    out["dt"] = dt = np.clip(np.minimum(dt, t), -65, 35).round(1)
    out["rh"] = rh = (100 * saturation_pressure(dt) / saturation_pressure(t)).round(0)
    out["wvp"] = saturation_pressure(dt).round(1)
    out["mxt"], out["mnt"] = (
        t + np.abs(rng.normal(0, 0.4, shape)).round(1),
        t - np.abs(rng.normal(0, 0.4, shape)).round(1),
    )
    out["ap"] = (1016 * np.exp(-alt / 8000) - 5 * front + noise(0.2)).round(1)
    wet = (moist > 1.1) & (rh > 80) & (rng.random(shape) < 0.5)
    out["p1"] = hourly = np.where(wet, rng.gamma(0.7, 1.5, shape), 0.0).round(1)
    total = np.cumsum(hourly, axis=1)
    for name, span in RAIN_HOURS.items():
        out[name] = (total - np.pad(total, ((0, 0), (span, 0)))[:, :num_hours]).round(1)
    ws = np.maximum(2.4 + 1.3 * np.gradient(front, axis=1) * 6 + 0.6 * sun + noise(0.6), 0.0).round(1)
    wd = _degrees(250 + 80 * front + 20 * noise(0.5))
    out["ws"], out["wd"] = ws, np.where(ws <= CALM_SPEED, 0.0, wd)
    mws = (1.4 * ws + np.abs(rng.normal(0, 0.5, shape))).round(1)
    out["mws"], out["mwd"] = mws, np.where(mws <= CALM_SPEED, 0.0, _degrees(wd + rng.normal(0, 12, shape)))
    out["st"] = (t + 6 * sun.clip(0) - 1.5 * (sun < 0) + noise(0.2)).round(1)
    clear = 300 + 29_700 * (1 - (rh / 100) ** 3) * np.exp(-0.4 * hourly) * np.exp(noise(0.06))
    out["hv2"] = clear.clip(50, 30_000).round(0)
    out["hv1"] = (clear * np.exp(rng.normal(0, 0.05, shape))).clip(50, 30_000).round(0)
    out["vv"] = (0.5 * clear).clip(30, 12_000).round(0)
    return np.stack([np.broadcast_to(out[name], shape) for name in V1_ORDER], axis=1)


def _degrees(angle: np.ndarray) -> np.ndarray:
    """Whole degrees in 1..360: north is 360, as 0 means calm."""
    return (np.round(angle) - 1) % 360 + 1


def _with_faults(rng: np.random.Generator, block: np.ndarray) -> np.ndarray:
    """float32, with codes (0.02 %), gaps (0.2 %) and, at every eighth station, six silent hours of a day."""
    num_stations, _, num_hours = block.shape
    faulty = block.astype(np.float32)
    weather = np.array([BY_NAME[name].group != "geographic" for name in V1_ORDER])
    chance = rng.random(block.shape, dtype=np.float32)
    faulty[(chance < 0.0002) & weather[None, :, None]] = MISSING_CODE
    faulty[(chance > 0.998) & weather[None, :, None]] = np.nan
    for station in np.flatnonzero(rng.random(num_stations) < 0.125).tolist():
        begin = int(rng.integers(0, num_hours - 6))
        faulty[station, np.flatnonzero(weather)[:, None], np.arange(begin, begin + 6)] = np.nan
    return faulty
