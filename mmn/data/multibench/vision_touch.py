"""Vision & Touch: whether a robot's hand touches something at the next step. Files *_1000.h5, one per trajectory.

A picture of 128 x 128 in 147,000 items is more than memory holds, so pictures are shrunk; `image_size` says to what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.errors import CohortError, ContractError, ParamsError
from mmn.data.evidence import VectorEvidence
from mmn.data.manifest import files_of
from mmn.data.multibench.cohorts import published_cohort
from mmn.data.multibench.hdf5 import NOT_INSTALLED, installed, open_hdf5, read_array
from mmn.data.multibench.numbers import numbered, pixels, vectors
from mmn.data.multibench.params import CLEAN, PUBLISHED, MultiBenchParams
from mmn.data.multibench.pictures import rgb_names, shrink
from mmn.data.multibench.vision_touch_split import ENDING, clean_sides, published_sides

PATTERNS = (f"*{ENDING}", f"*/*{ENDING}")
SIDE, READINGS = 128, 32
AXES = ("force x", "force y", "force z", "torque x", "torque y", "torque z")
# The released loader's `ee_yaw_next`: the first four numbers of the hand's state, a step later.
HAND = {
    "hand_x_next": "Where the hand is a step later, x",
    "hand_y_next": "Where the hand is a step later, y",
    "hand_z_next": "Where the hand is a step later, z",
    "hand_yaw_next": "How the hand is turned a step later",
}
# Of a validation step, once more as a test step, in mode published.
AGAIN = "/again"


@dataclass(frozen=True, kw_only=True)
class VisionTouchParams(MultiBenchParams):
    """image_size: to how many pixels a side pictures and depth are shrunk, by the mean of blocks; 128 = as they are.

    seed: of the split; the published one has none.
    """

    image_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size < 1 or SIDE % self.image_size:
            raise ParamsError(f"image_size is {self.image_size}; it must divide {SIDE}, as 32 and 64 do.")


def inspect(raw: Path) -> Inspection:
    num = len(files_of(raw, PATTERNS))
    problem = None if num else f"{raw} holds no *{ENDING}: the unpacked trajectories of Vision & Touch are expected."
    return Inspection(
        version="MultiBench",
        found={"trajectories": f"{num:,} files"} if num else {},
        skipped={},
        problem=problem if problem or installed() else NOT_INSTALLED,
    )


def build_cohort(raw: Path, params: VisionTouchParams) -> Cohort:
    """An item per step that has a next one."""
    paths = {path.relative_to(raw).as_posix(): path for path in files_of(raw, PATTERNS)}
    if len(paths) < 3:
        raise CohortError(f"{raw}: {len(paths)} trajectories are too few to split. Give the released files.")
    published = params.mode == PUBLISHED
    sides, notes = (published_sides if published else clean_sides)(tuple(paths), params.seed)
    excluded: dict[str, int] = {}
    frames: list[pd.DataFrame] = []
    for name, path in paths.items():
        with open_hdf5(path) as file:
            touches = np.any(read_array(file, "contact", (None, None), str(path)) > 0, axis=1)
            hand = _proprio(file, str(path), params)[:, : len(HAND)].astype(np.float64)
            hand[~np.isfinite(hand)] = np.nan
        if len(hand) < len(touches):
            raise ContractError(f"{path}: proprio is shorter than the contacts. Take the released file.")
        steps = np.arange(len(touches) - 1)
        if sides[name] is None:
            excluded["lost by the published draw"] = excluded.get("lost by the published draw", 0) + len(steps)
            continue
        frames.append(
            pd.DataFrame(
                {
                    "item": [f"{name.removesuffix(ENDING)}/{step:02d}" for step in steps],
                    "subject": name,
                    "step": _repeated(steps, params.seed, len(frames)) if published else steps,
                    "split": sides[name],
                }
            ).assign(
                contact_next=lambda frame, touches=touches: touches[frame["step"] + 1].astype(float),
                **{task: lambda frame, place=hand[:, axis]: place[frame["step"] + 1] for axis, task in enumerate(HAND)},
            )
        )
    rows = pd.concat(frames, ignore_index=True)
    if published:
        again = rows[rows["split"] == "validation"]
        rows = pd.concat([rows, again.assign(item=again["item"] + AGAIN, split="test")], ignore_index=True)
    if params.image_size < SIDE:
        notes = (*notes, f"Pictures are shrunk from {SIDE} to {params.image_size} pixels a side (`image_size`).")
    return published_cohort(rows, params, tasks=("contact_next", *HAND), excluded=excluded, notes=notes)


def read_evidence(raw: Path, modality: str, cohort: Cohort, params: VisionTouchParams) -> VectorEvidence:
    values: np.ndarray | None = None
    place = cohort.items[["subject", "step"]].reset_index(drop=True)
    for name, steps in place.groupby("subject", sort=False)["step"]:
        path = raw / str(name)
        with open_hdf5(path) as file:
            read = _READ[modality](file, str(path), params)
        if steps.max() >= len(read):
            raise ContractError(f"{path}: {modality} is shorter than the contacts. Take the released file.")
        if values is None:
            values = np.full((len(cohort), read.shape[1]), np.nan, dtype=np.float32)
        values[steps.index.to_numpy()] = read[steps.to_numpy()]
    assert values is not None
    return vectors(values, _names(modality, params.image_size), {"layout": _layout(modality, params.image_size)})


def _repeated(steps: np.ndarray, seed: int, number: int) -> np.ndarray:
    """The released loader gives another step of the trajectory, drawn anew each time, for the last; here once."""
    drawn = np.random.default_rng([seed, number]).integers(0, max(1, len(steps) - 1))
    return np.append(steps[:-1], drawn)


def _image(file: Any, where: str, params: VisionTouchParams) -> np.ndarray:
    held = read_array(file, "image", (None, None, None, None), where)
    if held.shape[1:] == (3, SIDE, SIDE):
        # Channels, columns, rows: turned as the released loader turns it.
        held = held.transpose(0, 3, 2, 1)
    if held.shape[1:] != (SIDE, SIDE, 3):
        raise ContractError(f"{where}: image has pictures of {held.shape[1:]}, expected ({SIDE}, {SIDE}, 3).")
    return _flat(held.transpose(0, 3, 1, 2) / np.float32(255), params)


def _depth(file: Any, where: str, params: VisionTouchParams) -> np.ndarray:
    flat = getattr(file.get("depth_data"), "ndim", 4) == 3
    held = read_array(file, "depth_data", (None, SIDE, SIDE) if flat else (None, SIDE, SIDE, 1), where)
    return _flat(held.reshape(len(held), 1, SIDE, SIDE).astype(np.float32), params)


def _flat(pictures: np.ndarray, params: VisionTouchParams) -> np.ndarray:
    small = shrink(pictures, params.image_size)
    return small.reshape(len(small), -1)


def _force(file: Any, where: str, params: VisionTouchParams) -> np.ndarray:
    """The last 32 readings, squashed by tanh as published; axis by axis."""
    held = read_array(file, "ee_forces_continuous", (None, None, len(AXES)), where)
    if held.shape[1] < READINGS:
        raise ContractError(f"{where}: {held.shape[1]} force readings per step, expected {READINGS} or more.")
    return np.tanh(held[:, -READINGS:].astype(np.float32)).transpose(0, 2, 1).reshape(len(held), -1)


def _proprio(file: Any, where: str, params: VisionTouchParams) -> np.ndarray:
    return read_array(file, "proprio", (None, 8), where)


def _action(file: Any, where: str, params: VisionTouchParams) -> np.ndarray:
    """What the robot does at the next step."""
    return read_array(file, "action", (None, 4), where)[1:]


_READ = {"image": _image, "force": _force, "proprio": _proprio, "depth": _depth, "action": _action}


def _names(modality: str, size: int) -> tuple[str, ...]:
    return {
        "image": rgb_names(size, size),
        "depth": pixels(size, size),
        "force": tuple(f"{axis} {reading}" for axis in AXES for reading in range(READINGS)),
        "proprio": numbered("proprio", 8),
        "action": numbered("action", 4),
    }[modality]


def _layout(modality: str, size: int) -> str:
    return {
        "image": f"3 x {size} x {size}: channels, rows, columns",
        "depth": f"1 x {size} x {size}: channels, rows, columns",
        "force": f"{len(AXES)} x {READINGS}: axes, readings",
    }.get(modality, "numbers")


_DESCRIPTIONS: Mapping[str, str] = {
    "image": "The camera's picture, RGB.",
    "force": "Force and torque at the hand, the last 32 readings.",
    "proprio": "The hand's place, direction and speed, 8 numbers.",
    "depth": "The depth camera's picture.",
    "action": "What the robot does next, 4 numbers.",
}

VISION_TOUCH = Dataset(
    name="vision_touch",
    title="Vision & Touch: contact at the next step",
    raw="vision_touch",
    sources={"trajectories": PATTERNS},
    cohort_sources=("trajectories",),
    modalities=tuple(
        Modality(name=name, description=text, sources=("trajectories",), evidence="vectors", featurizer="given")
        for name, text in _DESCRIPTIONS.items()
    ),
    tasks=(
        Task(name="contact_next", number=None, kind="binary", description="The hand touches something a step later"),
        *(Task(name=name, number=None, kind="regression", description=text) for name, text in HAND.items()),
    ),
    inspect=inspect,
    build_cohort=build_cohort,
    read_evidence=read_evidence,
    cohort_defaults=VisionTouchParams(),
    multitask={"hand_next": tuple(HAND)},
    modes=(CLEAN, PUBLISHED),
    training_defaults={
        "batch_size": 64,
        "highmmt": {
            "tokens": {
                "image": {"shape": [3, 32, 32]},
                "depth": {"shape": [1, 32, 32]},
                "force": {"chunk": READINGS},
                "proprio": {"chunk": 8},
                "action": {"chunk": 4},
            }
        },
    },
    citation="Lee et al., Making Sense of Vision and Touch, ICRA 2019; Liang et al., MultiBench, NeurIPS Datasets and "
    "Benchmarks 2021, arXiv:2107.07502",
    licence="None is stated for the data: not redistributable, the user supplies the files.",
)
