"""Small generated worlds for the tests of models: embeddings with a known signal, and batches of any presence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.folds import subject_folds
from mmn.modeling.batch import Batch, ModalityShape
from mmn.modeling.settings import TrainingSettings

SICK = Task(name="sick", number=1, kind="binary", description="a planted signal in modality a")
NOISE = Task(name="noise", number=2, kind="binary", description="nothing tells it")
GRADE = Task(
    name="grade", number=7, kind="multiclass", description="thirds of the planted level", classes=("low", "mid", "high")
)
LEVEL = Task(name="level", number=5, kind="regression", description="a planted level", unit="°C")


def make_world(
    num_items: int = 120,
    num_steps: int = 1,
    widths: dict[str, int] | None = None,
    static: tuple[str, ...] = (),
    present_rate: float = 0.8,
    num_folds: int = 3,
    seed: int = 0,
    unlabelled: float = 0.0,
) -> tuple[Cohort, dict[str, Embeddings]]:
    """Targets `sick` (binary), `noise` (binary, independent), `level` (regression, 10 to 30), `grade` (its thirds),
    `sick_now`, `level_now` (per step). Modality `a`'s first dimension carries sick and level."""
    rng = np.random.default_rng(seed)
    widths = widths or {"a": 3, "b": 5, "c": 4}
    sick = (rng.random(num_items) < 0.5).astype(float)
    level = 20 + 4 * (sick - 0.5) + rng.standard_normal(num_items)
    items = pd.DataFrame(
        {
            "item": [f"item{n:05d}" for n in range(num_items)],
            "subject": [f"subject{n // 2:05d}" for n in range(num_items)],
            "prediction_time": pd.NaT,
        }
    )
    embeddings = {}
    for name, width in widths.items():
        steps = 1 if name in static else num_steps
        values = rng.standard_normal((num_items, steps, width)).astype(np.float32) * 3 + 50
        if name == "a":
            values[:, :, 0] += (6 * (sick - 0.5))[:, None]
        present = rng.random((num_items, steps)) < present_rate
        values = np.where(present[..., None], values, np.nan)
        embeddings[name] = Embeddings(items=items["item"].to_numpy(dtype=object), values=values[None], present=present)
    targets = {
        "sick": sick.copy(),
        "noise": (rng.random(num_items) < 0.4).astype(float),
        "level": level,
    }
    if num_steps > 1:
        targets["sick_now"] = np.repeat(sick[:, None], num_steps, axis=1)
        targets["level_now"] = level[:, None] + np.arange(num_steps)
    targets["grade"] = np.digitize(level, np.quantile(level, [1 / 3, 2 / 3])).astype(float)
    for target in targets.values():
        target[rng.random(num_items) < unlabelled] = np.nan
    folds = subject_folds(items, sick.astype(int), num_folds, 0)
    return Cohort(items=items, targets=targets, folds=folds, num_steps=num_steps), embeddings


def quick(**changes) -> TrainingSettings:
    small = {"token": 8, "blocks": 2, "heads": 2, "head_size": 4, "mlp": 8, "mlp_dropout": 0.1}
    small |= {"latents": 3, "latent_width": 6, "latent_head_size": 4, "pair_heads": 2, "latent_heads": 2}
    return TrainingSettings(
        **{"epochs": 3, "batch_size": 16, "hidden": 8, "state": 6, "device": "cpu", **small, **changes}
    )


def shapes_for(widths: dict[str, int], num_steps: int, static: tuple[str, ...] = ()) -> tuple[ModalityShape, ...]:
    return tuple(ModalityShape(name=m, width=w, num_steps=1 if m in static else num_steps) for m, w in widths.items())


def rngs(num_members: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(num_members)]


def make_batch(
    shapes: tuple[ModalityShape, ...],
    tasks: tuple[Task, ...],
    num_steps: int,
    present: np.ndarray,
    num_members: int = 1,
    seed: int = 0,
    unlabelled: float = 0.0,
) -> Batch:
    """present: (B, sum of steps) bool, the same for every member; absent inputs hold 1e6, which must not matter."""
    rng = np.random.default_rng(seed)
    num_items, x, there, first = len(present), {}, {}, 0
    for shape in shapes:
        mine = present[:, first : (first := first + shape.num_steps)]
        values = rng.standard_normal((num_members, num_items, shape.num_steps, shape.width))
        x[shape.name] = torch.from_numpy(np.where(mine[None, :, :, None], values, 1e6))
        there[shape.name] = torch.from_numpy(np.broadcast_to(mine, (num_members, *mine.shape)).copy())
    targets = {}
    for task in tasks:
        shape_of_target = (num_members, num_items, num_steps if task.per_step else 1)
        values = rng.random(shape_of_target)
        values = (values < 0.5).astype(float) if task.kind == "binary" else values
        values = np.floor(values * len(task.classes)) if task.kind == "multiclass" else values
        values[rng.random(shape_of_target) < unlabelled] = np.nan
        targets[task.name] = torch.from_numpy(values)
    real = torch.ones((num_members, num_items), dtype=torch.bool)
    return Batch(x=x, present=there, targets=targets, real=real)


def part_of(batch: Batch, items: slice | list[int]) -> Batch:
    return Batch(
        x={m: v[:, items] for m, v in batch.x.items()},
        present={m: v[:, items] for m, v in batch.present.items()},
        targets={t: v[:, items] for t, v in batch.targets.items()},
        real=batch.real[:, items],
    )
