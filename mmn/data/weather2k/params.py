"""What a person may choose of the Weather2k cohort, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import pandas as pd

from mmn.data.errors import ParamsError
from mmn.data.weather2k.series import StationSeries
from mmn.data.weather2k.splits import IN_TIME, PROTOCOLS
from mmn.data.weather2k.variables import COORDINATES

CELL_DEGREES = 2.0
# Weather2K's own span: three years to train, one to validate, eight months to test.
OWN_BORDERS = ("2020-01-01", "2021-01-01")
OWN_LAYOUTS = ("v1", "v1-s", "v2")
_ENOUGH_STATIONS = 30  # each of five test sets then holds three stations or more


@dataclass(frozen=True, kw_only=True)
class Weather2kCohortParams:
    """mode: "clean", or "published": the paper's protocol and its thresholds, which were picked on all stations.

    protocol: "stations" (the paper's), "blocked", "chronological", "both" (see `splits.py`), or "auto": the paper's for
    Weather2K's own array with 30 stations or more and in mode "published", "both" otherwise.
    start_hour: of a station's first window. stride_hours: between a station's windows.
    windows_per_station: 0 = one where all stations share their hours (the paper's), all where time is held out; more =
    so many (in each part of time, evenly spaced). max_items: where time is held out, windows are thinned out evenly
    beyond it.
    train_until, validation_until: fractions of the hours at which training and validation end; validation_from,
    test_from: dates, which stand over them (Weather2K's own span has 2020-01-01 and 2021-01-01 where the fractions are
    not changed). embargo_hours: between a window's last input hour and the end of its part of time (the longest lead
    at least).
    block_degrees: the side of the cells that "blocked" holds out (0: 2 degrees); over 0, "both" holds out cells instead
    of stations.
    gradient_boosting: fit that baseline, which takes most of the cohort's time.
    """

    mode: Literal["clean", "published"] = "clean"
    protocol: str = "auto"
    num_folds: int = 5
    seed: int = 0
    start_hour: int = 0
    windows_per_station: int = 0
    stride_hours: int = 24
    max_items: int = 4000
    train_until: float = 0.65
    validation_until: float = 0.85
    validation_from: str = ""
    test_from: str = ""
    embargo_hours: int = 720
    block_degrees: float = 0.0
    gradient_boosting: bool = True


def choose_protocol(params: Weather2kCohortParams, series: StationSeries) -> str:
    if params.protocol != "auto":
        return params.protocol
    if params.mode == "published":
        return "stations"
    own = series.layout in OWN_LAYOUTS and len(series.stations) >= _ENOUGH_STATIONS
    return "stations" if own else "both"


def check_params(params: Weather2kCohortParams, series: StationSeries) -> None:
    """Raises ParamsError for what is impossible, or means nothing for these files."""
    known = ("auto", *PROTOCOLS)
    if params.protocol not in known:
        nearest = get_close_matches(str(params.protocol), known, n=1, cutoff=0.0)[0]
        raise ParamsError(
            f"protocol {params.protocol!r} is unknown; did you mean {nearest!r}? Known: {', '.join(known)}."
        )
    if params.mode not in ("clean", "published"):
        raise ParamsError(f"mode {params.mode!r} is unknown; known: clean, published.")
    if params.mode == "published" and params.protocol not in ("auto", "stations"):
        raise ParamsError(
            f"mode 'published' is the paper's protocol 'stations', not {params.protocol!r}; set mode to 'clean'."
        )
    if not 0 < params.train_until < params.validation_until < 1:
        raise ParamsError(
            f"train_until {params.train_until} and validation_until {params.validation_until} must rise within 0 and 1."
        )
    for name, least in (("num_folds", 2), ("windows_per_station", 0), ("stride_hours", 1), ("max_items", 1),
                        ("start_hour", 0), ("embargo_hours", 0), ("block_degrees", 0)):  # fmt: skip
        if getattr(params, name) < least:
            raise ParamsError(f"{name} is {getattr(params, name)}; it must be at least {least}.")
    if params.start_hour % series.hours_per_record or params.stride_hours % series.hours_per_record:
        raise ParamsError(
            f"start_hour {params.start_hour} and stride_hours {params.stride_hours} must be multiples of "
            f"{series.hours_per_record}: the series has a record every {series.hours_per_record} hours."
        )
    protocol = choose_protocol(params, series)
    if (protocol == "blocked" or params.block_degrees) and not set(COORDINATES) <= set(series.variables):
        raise ParamsError(
            "holding out cells of the map needs the stations' positions, which these files do not hold. Name a table "
            "of positions (coordinates.csv beside the tables of prsa-beijing, else `coordinates` in columns.yaml), or "
            "use another protocol with block_degrees 0."
        )
    if params.block_degrees and protocol in ("stations", "chronological"):
        raise ParamsError(
            f"block_degrees {params.block_degrees:g} means nothing in protocol '{protocol}'; use 'blocked' or 'both'."
        )
    if (params.validation_from or params.test_from) and protocol not in IN_TIME:
        raise ParamsError(f"validation_from and test_from mean nothing in protocol '{protocol}', which holds no time.")


def fixed_borders(params: Weather2kCohortParams, series: StationSeries) -> tuple[int | None, int | None]:
    """Hours of the dates at which validation and test begin; None where fractions decide. Raises ParamsError."""
    dates = [params.validation_from, params.test_from]
    defaults = Weather2kCohortParams()
    moved = (params.train_until, params.validation_until) != (defaults.train_until, defaults.validation_until)
    if not any(dates) and not moved and series.layout in OWN_LAYOUTS:
        hours = [_hour(date, series) for date in OWN_BORDERS]
        # Not of a shorter excerpt: a year of tests is what the dates are for.
        if hours[1] + 24 * 28 < series.num_hours:
            return hours[0], hours[1]
    found: list[int | None] = []
    for name, date in zip(("validation_from", "test_from"), dates, strict=True):
        if not date:
            found.append(None)
            continue
        hour = _hour(date, series, name)
        if not 0 < hour < series.num_hours:
            end = series.start + pd.Timedelta(hours=series.num_hours)
            raise ParamsError(f"{name} {date} lies outside the series, {series.start:%Y-%m-%d} to {end:%Y-%m-%d}.")
        found.append(hour)
    return found[0], found[1]


def _hour(date: str, series: StationSeries, name: str = "") -> int:
    try:
        return int((pd.Timestamp(date) - series.start) / pd.Timedelta(hours=1))
    except (ValueError, TypeError) as error:
        raise ParamsError(f"{name} {date!r} is no date; write it as 2020-01-01.") from error
