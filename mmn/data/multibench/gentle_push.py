"""Gentle Push: where an object is that a robot pushes, at each of 16 steps. Files as fannypack's TrajectoriesFile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import ContractError
from mmn.data.evidence import HourEvidence
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.hdf5 import NOT_INSTALLED, installed, open_hdf5, read_array
from mmn.data.multibench.numbers import finite, pixels, series
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams

FILES = {
    "train": "gentle_push_1000.hdf5",
    "validation": "gentle_push_10.hdf5",
    "test": "gentle_push_300.hdf5",
}
NUM_STEPS = 16
# Windows begin at every 16th step from each of these.
OFFSETS = (0, NUM_STEPS // 2)
PREFIX = "trajectory"
SHORT = "trajectories shorter than 16 steps"
_POSITION = ("x", "y", "z")
_TOUCH = ("force x", "force y", "force z", "torque x", "torque y", "torque z", "contact")
NAMES = {
    "position": _POSITION,
    "sensors": _TOUCH,
    "image": pixels(32, 32),
    "control": (
        *(f"{axis} before" for axis in _POSITION),
        *(f"{axis} moved" for axis in _POSITION),
        "contact",
    ),
}
# What the released loader takes off and divides by, written down there.
MEANS = {
    "position": (0.46806443, -0.0017836, 0.88028437),
    "sensors": (0.49182904, 0.045039989, -3.2791464, -0.0033874984, 0.011552566, -0.00084817986, 0.21303751),
    "control": (0.46594709, -0.0025247163, 0.88094306, 1.293995e-4, -5.4364675e-5, -6.1112235e-4, 0.22041667),
    "target": (0.4970164, -0.00916641),
}
DEVIATIONS = {
    "position": (0.02410769, 0.02341035, 0.04018243),
    "sensors": (1.6152629, 1.666905, 1.9186896, 0.14219016, 0.14232528, 0.01675198, 0.40950698),
    "control": (0.02239027, 0.02356066, 0.0405312, 0.00054858, 0.0005754, 0.00046352, 0.41451886),
    "target": (0.0572766, 0.06118315),
}


def inspect(raw: Path) -> Inspection:
    missing = [name for name in FILES.values() if not (raw / name).is_file()]
    problem = f"{raw} lacks {', '.join(missing)}." if missing else None if installed() else NOT_INSTALLED
    return Inspection(
        version="MultiBench",
        found={} if missing else {"trajectories": ", ".join(FILES.values())},
        skipped={},
        problem=problem,
    )


def build_cohort(raw: Path, params: MultiBenchParams) -> Cohort:
    """Windows of 16 steps, those of the second offset half a window later; they overlap within a trajectory alone."""
    rows: list[dict[str, Any]] = []
    short = 0
    for split, name in FILES.items():
        for number, group, where in _trajectories(raw / name):
            place = _scaled(_array(group, "Cylinder0_pos", (None, None), where)[:, :2], "target", params)
            short += len(place) < NUM_STEPS
            rows += [
                {
                    "item": f"{split}-{number:04d}-{start:04d}",
                    "subject": f"{split}-{number:04d}",
                    "trajectory": number,
                    "start": start,
                    "split": split,
                    "x": place[start : start + NUM_STEPS, 0],
                    "y": place[start : start + NUM_STEPS, 1],
                }
                for start in _starts(len(place))
            ]
    if not rows:
        raise ContractError(f"{raw}: no trajectory has {NUM_STEPS} steps. Take the released files.")
    return published_cohort(
        pd.DataFrame(rows).assign(file=lambda frame: frame["split"]),
        params,
        tasks=("x", "y"),
        num_steps=NUM_STEPS,
        excluded={SHORT: short} if short else {},
        notes=("As published: all numbers but the image are scaled by the constants in the released loader.",)
        if params.mode == PUBLISHED
        else (),
    )


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: MultiBenchParams) -> HourEvidence:
    values = np.full((len(cohort), NUM_STEPS, len(NAMES[modality])), np.nan, dtype=np.float32)
    left_out: dict[str, int] = {}
    place = cohort.items[["file", "trajectory", "start"]].reset_index(drop=True)
    for split, name in FILES.items():
        wanted = place[place["file"] == split].groupby("trajectory")["start"]
        mine = {number: (starts.index.to_numpy(), starts.to_numpy()) for number, starts in wanted}
        for number, group, where in _trajectories(raw / name):
            if number not in mine:
                continue
            read, wrong = finite(_READ[modality](group, where))
            for reason, num in wrong.items():
                left_out[reason] = left_out.get(reason, 0) + num
            at, starts = mine.pop(number)
            if starts.max() + NUM_STEPS > len(read):
                raise ContractError(f"{where}: {modality} is shorter than the object's path. Take the released file.")
            scaled = _scaled(read, modality, params)
            values[at] = scaled[starts[:, None] + np.arange(NUM_STEPS)]
        if mine:
            raise ContractError(f"{raw / name}: trajectories of the cohort are gone. Make the cohort again.")
    return series(values, NAMES[modality], left_out)


def _trajectories(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Number, group and what to call it in an error, in the order of the numbers."""
    with open_hdf5(path) as file:
        named = {name: name.removeprefix(PREFIX) for name in file}
        if not named or not all(name.startswith(PREFIX) and rest.isdigit() for name, rest in named.items()):
            raise ContractError(f"{path}: does not hold {PREFIX}0, {PREFIX}1, ... Take the released file.")
        for name in sorted(named, key=lambda name: int(named[name])):
            yield int(named[name]), file[name], f"{path}: {name}"


def _starts(length: int) -> list[int]:
    return [
        offset + NUM_STEPS * section for offset in OFFSETS for section in range(max(0, length - offset) // NUM_STEPS)
    ]


def _array(group: Any, name: str, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    array = read_array(group, name, shape, where).astype(np.float64)
    if len(shape) == 2 and array.shape[1] < 2:
        raise ContractError(f"{where}: {name} has {array.shape[1]} columns, expected 2 or more.")
    return array


def _contact(group: Any, where: str, num: int) -> np.ndarray:
    return _array(group, "contact", (num,), where)[:, None]


def _position(group: Any, where: str) -> np.ndarray:
    return _array(group, "eef_pos", (None, 3), where)


def _sensors(group: Any, where: str) -> np.ndarray:
    force = _array(group, "force", (None, 6), where)
    return np.concatenate([force, _contact(group, where, len(force))], axis=1)


def _image(group: Any, where: str) -> np.ndarray:
    image = _array(group, "image", (None, 32, 32), where)
    return image.reshape(len(image), -1)


def _control(group: Any, where: str) -> np.ndarray:
    """Where the hand was a step before, how far it moved since, and whether it touches."""
    position = _position(group, where)
    before = np.concatenate([position[:1], position[:-1]])
    return np.concatenate([before, position - before, _contact(group, where, len(position))], axis=1)


_READ = {"position": _position, "sensors": _sensors, "image": _image, "control": _control}


def _scaled(values: np.ndarray, name: str, params: MultiBenchParams) -> np.ndarray:
    if params.mode != PUBLISHED or name not in MEANS:
        return values
    return (values - np.array(MEANS[name])) / np.array(DEVIATIONS[name])


_DESCRIPTIONS = {
    "position": "Where the hand is.",
    "sensors": "Force, torque and contact at the hand.",
    "image": "A grey picture of 32 x 32.",
    "control": "Where the hand was a step before, how far it moved, and contact.",
}

GENTLE_PUSH = Dataset(
    name="gentle_push",
    title="Gentle Push: where a pushed object is",
    raw="gentle_push",
    sources={"trajectories": tuple(FILES.values())},
    cohort_sources=("trajectories",),
    modalities=tuple(
        Modality(name=name, description=text, sources=("trajectories",), evidence="hours", featurizer="station_hours")
        for name, text in _DESCRIPTIONS.items()
    ),
    tasks=tuple(
        Task(
            name=axis,
            number=None,
            kind="regression",
            description=f"The object's {axis} coordinate",
            per_step=True,
            read_step=NUM_STEPS - 1,
        )
        for axis in ("x", "y")
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=MultiBenchParams(),
    modes=(CLEAN, PUBLISHED),
    training_defaults={
        "batch_size": 18,
        "highmmt": {"tokens": {name: {"bands": 6} for name in _READ} | {"image": {"shape": [1, 32, 32], "bands": 6}}},
    },
    multitask={"place": ("x", "y")},
    citation="Lee et al., Multimodal Sensor Fusion with Differentiable Filters, IROS 2020; Liang et al., MultiBench, "
    "NeurIPS Datasets and Benchmarks 2021, arXiv:2107.07502",
    licence="None is stated: not redistributable, the user supplies the files.",
)
