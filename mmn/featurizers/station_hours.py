"""Station hours: a modality's variables at each hour, in a form in which nearness of numbers is nearness of weather.

Wind direction is circular and 0 is a code for calm, so direction and speed become the two components of where the wind
comes from, plus a calm flag; rain is nearly always zero with a long tail, so it enters as log(1 + mm). All else stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError, ParamsError
from mmn.data.evidence import HourEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress

CALM_SPEED = 0.2  # m/s; at or below it the sources write direction 0
_WINDS = {"wd": ("ws", "wind"), "mwd": ("mws", "max_wind")}  # direction -> speed, prefix of the new names
_RAIN_UNIT = "mm"


@dataclass(frozen=True, kw_only=True)
class StationHoursParams:
    """mode: "clean" (see the module), or "published": raw numbers, degrees included, as the paper had them.

    static_once: the geographic modality is present at the first step only, instead of at all 24.
    """

    mode: Literal["clean", "published"] = "clean"
    static_once: bool = False


def run(
    evidence: HourEvidence, cohort: Cohort, modality: str, params: StationHoursParams, progress: Progress
) -> Featurized:
    """Embeddings (1, N, T, D). An hour is present where any of the modality's variables is known; a variable that is
    not known at a present hour is NaN. Raises ContractError where the evidence is not the cohort's."""
    if params.mode not in ("clean", "published"):
        raise ParamsError(f"station_hours: mode {params.mode!r} is unknown; known: clean, published.")
    values, names = evidence.values, evidence.names
    if values.shape != (len(cohort), cohort.num_steps, len(names)) or len(evidence.units) != len(names):
        raise ContractError(
            f"station_hours, {modality}: values of shape {values.shape} with {len(names)} names and "
            f"{len(evidence.units)} units; expected {(len(cohort), cohort.num_steps, len(names))}. Read the evidence "
            "again for this cohort."
        )
    columns = _raw(evidence) if params.mode == "published" else _clean(evidence)
    x = np.stack(list(columns.values()), axis=-1).astype(np.float32)
    present = np.asarray(~np.isnan(x).all(axis=-1))
    if params.static_once and modality == "geographic":
        present[:, 1:] = False
    progress(len(cohort), len(cohort))
    card = {
        "featurizer": STATION_HOURS.name,
        "mode": params.mode,
        "names": list(columns),
        "present_share": round(float(present.mean()), 6),
        "quarantined": dict(evidence.quarantined),
        "units": dict(zip(names, evidence.units, strict=True)),
        "unknown_share": {
            name: round(float(np.isnan(x[..., position]).mean()), 6) for position, name in enumerate(columns)
        },
    }
    embeddings = embeddings_from_rows(cohort.items["item"].to_numpy(), x, present, tuple(columns))
    return Featurized(embeddings=embeddings, card=card)


def _raw(evidence: HourEvidence) -> dict[str, np.ndarray]:
    return {name: evidence.values[..., position] for position, name in enumerate(evidence.names)}


def _clean(evidence: HourEvidence) -> dict[str, np.ndarray]:
    """Name -> (N, T). A direction without its speed cannot be read and is left out; a speed alone stays as it is."""
    raw = _raw(evidence)
    columns: dict[str, np.ndarray] = {}
    paired = {speed for direction, (speed, _) in _WINDS.items() if direction in raw and speed in raw}
    for (name, values), unit in zip(raw.items(), evidence.units, strict=True):
        if name in _WINDS:
            speed, prefix = _WINDS[name]
            if speed in raw:
                columns |= wind_components(values, raw[speed], prefix)
        elif name in paired:
            continue
        elif unit == _RAIN_UNIT:
            columns[f"log1p_{name}"] = np.log1p(np.maximum(values, 0.0))
        else:
            columns[name] = values
    if not columns:
        raise ContractError(
            f"station_hours: wind direction without a speed ({', '.join(raw)}) says nothing; map the speed."
        )
    return columns


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


STATION_HOURS = Featurizer(name="station_hours", evidence="hours", defaults=StationHoursParams(), run=run)
