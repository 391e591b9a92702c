"""Units in, Weather2K's units out; humidity from dewpoint; wind as a vector. What cannot be converted is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmn.data.errors import ContractError
from mmn.data.weather2k.variables import CALM_SPEED

_CONVERSIONS: dict[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("°F", "°C"): lambda x: (x - 32.0) / 1.8,
    ("K", "°C"): lambda x: x - 273.15,
    ("mph", "m/s"): lambda x: x * 0.44704,
    ("km/h", "m/s"): lambda x: x / 3.6,
    ("kn", "m/s"): lambda x: x * 1852.0 / 3600.0,
    ("inch", "mm"): lambda x: x * 25.4,
    ("mile", "m"): lambda x: x * 1609.344,
    ("km", "m"): lambda x: x * 1000.0,
    ("ft", "m"): lambda x: x * 0.3048,
    ("Pa", "hPa"): lambda x: x / 100.0,
    ("kPa", "hPa"): lambda x: x * 10.0,
    ("1", "%"): lambda x: x * 100.0,
}
# 16 points of the compass, clockwise from north; north is 360 because 0 is the code for calm.
COMPASS = {
    point: 22.5 * (position or 16)
    for position, point in enumerate(
        ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]
    )
}
COMPASS_UNIT = "16 points"


def convert(values: np.ndarray, unit: str, wanted: str, where: str) -> np.ndarray:
    """values in `unit` -> in `wanted`. Raises ContractError for a pair that is not known."""
    if unit == wanted:
        return values
    if (conversion := _CONVERSIONS.get((unit, wanted))) is None:
        known = sorted({source for source, target in _CONVERSIONS if target == wanted} | {wanted})
        raise ContractError(f"{where}: unit {unit!r} cannot be turned into {wanted!r}. Known here: {', '.join(known)}.")
    return conversion(values)


def saturation_pressure(temperature: np.ndarray) -> np.ndarray:
    """Magnus formula over water (WMO-No. 8): °C -> hPa. At the dewpoint it gives the vapour pressure."""
    return 6.112 * np.exp(17.62 * temperature / (243.12 + temperature))


def relative_humidity(temperature: np.ndarray, dewpoint: np.ndarray) -> np.ndarray:
    """°C, °C -> %. A dewpoint up to 0.2 °C above the temperature is rounding and gives 100; beyond that NaN."""
    humidity = np.minimum(100.0 * saturation_pressure(dewpoint) / saturation_pressure(temperature), 100.0)
    return np.where(dewpoint > temperature + 0.2, np.nan, humidity)


def wind_components(direction: np.ndarray, speed: np.ndarray, prefix: str) -> dict[str, np.ndarray]:
    """degrees, m/s -> components of where the wind comes from (north wind of 5: 0 from east, 5 from north), calm.

    Calm needs no direction. A wind of unknown direction has unknown components, and is known not to be calm.
    """
    calm = speed <= np.float32(CALM_SPEED)
    angle = np.radians(direction.astype(np.float64))
    return {
        f"{prefix}_from_east": np.where(calm, 0.0, speed * np.sin(angle)),
        f"{prefix}_from_north": np.where(calm, 0.0, speed * np.cos(angle)),
        f"{prefix}_calm": np.where(np.isnan(speed), np.nan, calm.astype(np.float64)),
    }
