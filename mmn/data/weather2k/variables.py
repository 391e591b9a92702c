"""The 23 variables of Weather2K v1: order, meaning, unit, group and what a station can plausibly report.

Source: the data set's README (commit dff4e93 for the physical descriptions). The groups are named in the MultiModN
paper but not defined there; ours follow the instruments: visibility is measured in the air, bare-soil temperature on
the land.
Ranges are ours: wider than any Chinese station's record, so what lies outside is an error and not weather;
positions may be anywhere, as other countries' station tables take the same road.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One variable as every reader gives it: in `unit`, within [low, high], NaN = not known.

    median_low, median_high: where the median over many station hours must lie. A whole column outside it is in another
    unit (km for m, a fraction for %), though each value alone could be weather.
    """

    name: str
    meaning: str
    unit: str
    group: str
    low: float
    high: float
    median_low: float
    median_high: float


VARIABLES: tuple[Variable, ...] = (
    Variable("lat", "latitude", "°", "geographic", -90, 90, -90, 90),
    Variable("lon", "longitude", "°", "geographic", -180, 180, -180, 180),
    Variable("alt", "altitude of the pressure sensor", "m", "geographic", -450, 6000, -450, 6000),
    Variable("ap", "air pressure", "hPa", "air", 450, 1080, 500, 1060),
    Variable("t", "air temperature", "°C", "air", -55, 52, -40, 40),
    Variable("mxt", "highest temperature of the last hour", "°C", "air", -55, 52, -40, 40),
    Variable("mnt", "lowest temperature of the last hour", "°C", "air", -55, 52, -40, 40),
    Variable("dt", "dewpoint", "°C", "air", -70, 40, -55, 32),
    Variable("rh", "relative humidity", "%", "air", 0, 100, 3, 100),
    Variable("wvp", "water vapour pressure", "hPa", "air", 0, 60, 0, 40),
    Variable("p1", "precipitation of the last hour", "mm", "rain", 0, 250, 0, 20),
    Variable("p2", "precipitation of the last 3 hours", "mm", "rain", 0, 800, 0, 60),
    Variable("p3", "precipitation of the last 6 hours", "mm", "rain", 0, 800, 0, 100),
    Variable("p4", "precipitation of the last 12 hours", "mm", "rain", 0, 800, 0, 150),
    Variable("p5", "precipitation of the last 24 hours", "mm", "rain", 0, 800, 0, 200),
    Variable("wd", "wind direction; 0 = calm, north = 360", "°", "wind", 0, 360, 0, 360),
    Variable("ws", "10-minute mean wind speed", "m/s", "wind", 0, 60, 0, 25),
    Variable("mwd", "direction of the hour's strongest wind", "°", "wind", 0, 360, 0, 360),
    Variable("mws", "speed of the hour's strongest wind", "m/s", "wind", 0, 90, 0, 35),
    Variable("st", "temperature of the bare soil's surface", "°C", "land", -60, 85, -45, 60),
    Variable("hv1", "1-minute mean horizontal visibility", "m", "air", 0, 60_000, 200, 60_000),
    Variable("hv2", "10-minute mean horizontal visibility", "m", "air", 0, 60_000, 200, 60_000),
    Variable("vv", "vertical visibility", "m", "air", 0, 30_000, 0, 30_000),
)
BY_NAME = {variable.name: variable for variable in VARIABLES}
GROUPS = ("geographic", "air", "wind", "rain", "land")
COORDINATES = ("lat", "lon", "alt")
RAIN_HOURS = {"p1": 1, "p2": 3, "p3": 6, "p4": 12, "p5": 24}

V1_ORDER = tuple(variable.name for variable in VARIABLES)
# The adjusted open release of 2025: 3-hourly, without dewpoint, vapour pressure, visibility and soil temperature.
V2_ORDER = ("lat", "lon", "alt", "ap", "t", "mxt", "mnt", "rh", "p3", "wd", "ws", "mwd", "mws")

# Undocumented in Weather2K. The archive's codes (China's; 999990 is a trace of rain) are codes wherever they stand,
# also within the range of visibility; the habits of others only where a value lies outside its range.
ARCHIVE_CODES = (32744.0, 32766.0, 999990.0, 999998.0, 999999.0)
MISSING_CODES = (*ARCHIVE_CODES, -999.0, -9999.0, -99999.0, 9999.0, 99999.0)
CALM_SPEED = 0.2  # m/s; at or below it Weather2K writes direction 0
WINDS = {"wd": "ws", "mwd": "mws"}  # direction -> speed


def names_of_group(group: str, available: tuple[str, ...] = V1_ORDER) -> tuple[str, ...]:
    """The group's variables among those available, in Weather2K's order."""
    return tuple(v.name for v in VARIABLES if v.group == group and v.name in available)
