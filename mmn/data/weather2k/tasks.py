"""The five tasks of Weather2k, and which of them a set of variables and hours allows; numbered as in the paper."""

from __future__ import annotations

from dataclasses import dataclass

from mmn.data.dataset import Task
from mmn.data.weather2k.variables import BY_NAME

INPUT_HOURS = 24
READ_STEP = INPUT_HOURS - 1


@dataclass(frozen=True)
class Forecast:
    """A task's target: `variable`, `lead_hours` after each input hour (per step) or after the last one (static)."""

    variable: str
    lead_hours: int
    per_step: bool


FORECASTS: dict[str, Forecast] = {
    "temperature_1d": Forecast("t", 24, True),
    "temperature_3d": Forecast("t", 72, True),
    "temperature_30d": Forecast("t", 720, True),
    "humidity_1d": Forecast("rh", 24, False),
    "visibility_1d": Forecast("hv2", 24, False),
}
_PUBLISHED = {  # normalised MSE, single task, from the paper's Table 1
    "temperature_1d": ("0.03±0.01", "0.02±0.01"),
    "temperature_3d": ("0.03±0.01", "0.03±0.01"),
    "temperature_30d": ("0.03±0.01", "0.02±0.01"),
    "humidity_1d": ("0.02±0.01", "0.03±0.01"),
    "visibility_1d": ("0.10±0.01", "0.08±0.02"),
}
_DESCRIPTIONS = {
    "temperature_1d": "air temperature 24 h after each input hour",
    "temperature_3d": "air temperature 72 h after each input hour",
    "temperature_30d": "air temperature 720 h after each input hour",
    "humidity_1d": "relative humidity 24 h after the last input hour",
    "visibility_1d": "horizontal visibility (10-minute mean) 24 h after the last input hour",
}

TASKS: tuple[Task, ...] = tuple(
    Task(
        name=name,
        number=6 + position,
        kind="regression",
        description=_DESCRIPTIONS[name],
        per_step=forecast.per_step,
        read_step=READ_STEP,
        unit=BY_NAME[forecast.variable].unit,
        published=dict(zip(("multimodn", "p_fusion"), _PUBLISHED[name], strict=True)),
    )
    for position, (name, forecast) in enumerate(FORECASTS.items())
)


def target_index(forecast: Forecast) -> int:
    """The hour of a window (0-based) that the read-out after step 23 is about: 47, 95, 743."""
    return READ_STEP + forecast.lead_hours


def possible_tasks(variables: tuple[str, ...], num_hours: int | None = None) -> tuple[str, ...]:
    """Tasks whose variable is there and whose last target hour lies within `num_hours` (None: long enough)."""
    return tuple(
        name
        for name, forecast in FORECASTS.items()
        if forecast.variable in variables and (num_hours is None or target_index(forecast) < num_hours)
    )


def why_impossible(name: str, variables: tuple[str, ...], num_hours: int | None) -> str:
    forecast = FORECASTS[name]
    if forecast.variable not in variables:
        variable = BY_NAME[forecast.variable]
        return f"needs '{forecast.variable}' ({variable.meaning}), which the files do not hold; Weather2K v1 does"
    return f"needs {target_index(forecast) + 1} hours in a row, the file holds {num_hours}"
