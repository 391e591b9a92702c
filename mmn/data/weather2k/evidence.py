"""What a modality's featurizer reads: raw values over each item's 24 input hours, nothing later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError
from mmn.data.evidence import HourEvidence
from mmn.data.weather2k.cohort import window_hours
from mmn.data.weather2k.params import Weather2kCohortParams
from mmn.data.weather2k.sources import open_series
from mmn.data.weather2k.variables import BY_NAME, names_of_group


def read_evidence(
    raw: Path,
    modality: str,
    cohort: Cohort,
    params: Weather2kCohortParams,
    prepared: Mapping[str, Path] | None = None,
) -> HourEvidence:
    """values float32 (N, 24, V), NaN = missing. Raises ContractError where no variable of the modality is there, or
    where the files are no longer those that the cohort was made from. There are no prepared tables to read."""
    series = open_series(raw)
    names = names_of_group(modality, series.variables)
    if not names:
        raise ContractError(
            f"{raw}: no variable of the modality '{modality}' is there "
            f"({', '.join(names_of_group(modality)) or 'unknown'}). "
            "Leave the modality out; `inspect` says so beforehand."
        )
    stations, hours = window_hours(cohort.items)
    names_now = np.array(series.stations, dtype=object)
    if stations.max() >= len(names_now) or (names_now[stations] != cohort.items["station"].to_numpy()).any():
        raise ContractError(f"{raw}: the stations are no longer those of the cohort. Make the cohort again.")
    if hours.max() >= series.num_hours:
        raise ContractError(f"{raw}: the series is shorter than when the cohort was made. Make the cohort again.")
    values, quarantined = series.take(stations, hours, names)
    return HourEvidence(
        values=values, names=names, units=tuple(BY_NAME[name].unit for name in names), quarantined=quarantined
    )
