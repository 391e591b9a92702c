"""Weather2K: hourly weather of Chinese stations, and any other hourly station tables through the same road.

A station's window of 24 hours is an item; each hour is a step; the modalities are groups of instruments.
"""

from __future__ import annotations

from mmn.data.dataset import Dataset, Modality
from mmn.data.weather2k.cohort import build_cohort
from mmn.data.weather2k.evidence import read_evidence
from mmn.data.weather2k.generator import generate
from mmn.data.weather2k.params import Weather2kCohortParams
from mmn.data.weather2k.sources import STATION_PATTERNS, inspect
from mmn.data.weather2k.tasks import TASKS
from mmn.data.weather2k.variables import GROUPS

_DESCRIPTIONS = {
    "geographic": "latitude, longitude and altitude of the station, repeated every hour",
    "air": "pressure, temperatures, dewpoint, humidity, vapour pressure and visibility",
    "wind": "direction and speed of the mean and of the hour's strongest wind",
    "rain": "precipitation sums of the last 1, 3, 6, 12 and 24 hours",
    "land": "temperature of the bare soil's surface",
}

WEATHER2K = Dataset(
    name="weather2k",
    title="Weather2K: hourly station weather",
    raw="weather2k",
    sources={"stations": STATION_PATTERNS},
    cohort_sources=("stations",),
    modalities=tuple(
        Modality(
            name=group,
            description=_DESCRIPTIONS[group],
            sources=("stations",),
            evidence="hours",
            featurizer="station_hours",
        )
        for group in GROUPS
    ),
    tasks=TASKS,
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    modes=("clean", "published"),
    cohort_defaults=Weather2kCohortParams(),
    training_defaults={
        "batch_size": 128,
        "dropout": 0.1,
        "hidden": 32,
        "state": 20,
        # An epoch of a few stations is one to eight updates, and MultiModN stays at the mean for the first few hundred.
        "epochs": 300,
        "scaler": "minmax",
        "select_task": "temperature_1d",
        # Swamy et al. 2023, E.4; blocks, heads and the hidden layer are the defaults.
        "fusion_transformer": {"batch_size": 64, "dropout": 0.25, "epochs": 50},
    },
    multitask={"multitask": tuple(task.name for task in TASKS)},
    autoencoded=True,
    # The missingness experiment removes a modality in one class; no task here has classes.
    missingness=None,
    binarise="mmn.data.weather2k.binarised:binarise",
    generate=generate,
    citation="Zhu et al., Weather2K: A Multivariate Spatio-Temporal Benchmark Dataset for Meteorological "
    "Forecasting Based on Real-Time Observation Data from Ground Weather Stations, AISTATS 2023 (PMLR 206).",
    licence="No licence is stated by the publisher: not redistributable, the user supplies the file.",
)
