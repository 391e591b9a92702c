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
from mmn.data.weather2k.units import wind_components
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards

_WINDS = {"wd": ("ws", "wind"), "mwd": ("mws", "max_wind")}  # direction -> speed, prefix of the new names
_RAIN_UNIT = "mm"


@dataclass(frozen=True, kw_only=True)
class StationHoursParams:
    """mode: "clean" (see the module), or "published": raw numbers, degrees included, as the paper had them.

    static_once: the geographic modality is present at the first step only, instead of at all 24.
    incomplete: what an hour is of which some variables are known and some are not: "present", the unknown ones NaN,
    or "absent", so that a model skips it.
    """

    mode: Literal["clean", "published"] = "clean"
    static_once: bool = False
    incomplete: Literal["present", "absent"] = "present"

    def __post_init__(self) -> None:
        for name, known in (("mode", ("clean", "published")), ("incomplete", ("present", "absent"))):
            if getattr(self, name) not in known:
                raise ParamsError(
                    f"station_hours: {name} {getattr(self, name)!r} is unknown; known: {', '.join(known)}."
                )


def run(
    evidence: HourEvidence,
    cohort: Cohort,
    modality: str,
    params: StationHoursParams,
    progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:
    """Embeddings (1, N, T, D). An hour is present where any of the modality's variables is known (see `incomplete`); a
    variable that is not known at a present hour is NaN. Raises ContractError where the evidence is not the cohort's.
    Nothing is kept in `shards`: it takes seconds."""
    values, names = evidence.values, evidence.names
    if values.shape != (len(cohort), cohort.num_steps, len(names)) or len(evidence.units) != len(names):
        raise ContractError(
            f"station_hours, {modality}: values of shape {values.shape} with {len(names)} names and "
            f"{len(evidence.units)} units; expected {(len(cohort), cohort.num_steps, len(names))}. Read the evidence "
            "again for this cohort."
        )
    columns = _raw(evidence) if params.mode == "published" else _clean(evidence)
    x = np.stack(list(columns.values()), axis=-1).astype(np.float32)
    known = ~np.isnan(x)
    partly = known.any(axis=-1) & ~known.all(axis=-1)
    present = np.asarray(known.any(axis=-1) if params.incomplete == "present" else known.all(axis=-1))
    if params.static_once and modality == "geographic":
        present[:, 1:] = False
    progress(len(cohort), len(cohort))
    card = {
        "featurizer": STATION_HOURS.name,
        "mode": params.mode,
        "names": list(columns),
        "present_share": round(float(present.mean()), 6),
        "incomplete": {"as": params.incomplete, "share of hours": round(float(partly.mean()), 6)},
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


STATION_HOURS = Featurizer(name="station_hours", evidence="hours", defaults=StationHoursParams(), run=run)
