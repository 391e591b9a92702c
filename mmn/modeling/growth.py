"""Questions that the paper leaves open, put to worlds whose answer is known: how large a state must be, what series of
unequal length cost, and what more modalities cost. Each gives a table, the same one every time; `benchmarks/growth.py`
measures the seconds that the last one takes on a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.growth_settings import ARCHITECTURES
from mmn.modeling.metrics import auroc, once
from mmn.modeling.scores import estimate_with_interval
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import Training, train
from mmn.modeling.trained import one_thread

NOISE = 0.5  # of a target, against a signal of variance 1
STEP_NOISE = 2.0  # of one step of a series: one step tells little, many tell much
QUICK = TrainingSettings(
    epochs=30, batch_size=64, dropout=0.0, learning_rate=5e-3, device="cpu", blocks=2, head_size=16, mlp_dropout=0.1
)


@dataclass(frozen=True)
class World:
    """ceiling: task -> (N,), the best that can be known of the target from what is present: no model ranks better, but
    for luck. lengths: (N,) steps that are there."""

    cohort: Cohort
    embeddings: dict[str, Embeddings]
    tasks: tuple[Task, ...]
    ceiling: dict[str, np.ndarray]
    lengths: np.ndarray


def make_world(
    num_items: int = 1000,
    num_modalities: int = 4,
    num_tasks: int = 1,
    width: int = 4,
    num_steps: int = 1,
    unequal: bool = False,
    num_folds: int = 5,
    seed: int = 0,
) -> World:
    """A number per modality, its first dimension; a binary target per task, a weighted sum of them plus noise.

    The tasks' weights are orthogonal as long as there are no more tasks than modalities, so a state has to hold as many
    numbers as there are tasks, up to the number of modalities. A series shows its number at every step under fresh
    noise. unequal: of each item only the first steps are there, 1 to all of them, equally likely.
    """
    rng = np.random.default_rng(seed)
    names = [f"m{m:02d}" for m in range(num_modalities)]
    items = pd.DataFrame(
        {
            "item": [f"item{n:06d}" for n in range(num_items)],
            "subject": [f"subject{n:06d}" for n in range(num_items)],
            "prediction_time": pd.NaT,
        }
    )
    # Its own numbers: a world of unequal series is the one of whole series, cut.
    drawn = np.random.default_rng([seed, 1]).integers(1, num_steps + 1, num_items)
    lengths = drawn if unequal else np.full(num_items, num_steps)
    present = np.arange(num_steps) < lengths[:, None]
    signal = rng.standard_normal((num_items, num_modalities))
    seen = signal[:, None] + rng.standard_normal((num_items, num_steps, num_modalities)) * (
        STEP_NOISE if num_steps > 1 else 0.0
    )
    embeddings = {}
    for m, name in enumerate(names):
        values = rng.standard_normal((num_items, num_steps, width)).astype(np.float32)
        values[:, :, 0] = seen[:, :, m]
        shown = np.where(present[..., None], values, np.float32(np.nan))
        embeddings[name] = Embeddings(items=items["item"].to_numpy(dtype=object), values=shown[None], present=present)
    # Of a signal of variance 1 under noise, from n steps: the mean of the steps, drawn towards 0.
    mean = np.where(present[..., None], seen, 0.0).sum(axis=1) / lengths[:, None]
    trust = lengths / (lengths + STEP_NOISE**2) if num_steps > 1 else np.ones(num_items)
    directions = np.linalg.qr(rng.standard_normal((num_modalities, max(num_tasks, num_modalities))))[0]
    if num_tasks > num_modalities:
        directions = rng.standard_normal((num_modalities, num_tasks))
        directions /= np.linalg.norm(directions, axis=0)
    tasks = tuple(
        Task(name=f"task{t}", number=None, kind="binary", description="", read_step=num_steps - 1)
        for t in range(num_tasks)
    )
    targets, ceiling = {}, {}
    for t, task in enumerate(tasks):
        weights = directions[:, t]
        targets[task.name] = (signal @ weights + NOISE * rng.standard_normal(num_items) > 0).astype(float)
        ceiling[task.name] = (mean * trust[:, None]) @ weights
    cohort = Cohort(items=items, targets=targets, folds=_folds(items["item"], num_folds), num_steps=num_steps)
    return World(cohort, embeddings, tasks, ceiling, lengths)


def _folds(items: pd.Series, num_folds: int) -> pd.DataFrame:
    """Every item is tested once: a study wants many test items. A tenth validates."""
    places = np.arange(len(items))
    parts = []
    for fold in range(num_folds):
        test = places % num_folds == fold
        validation = ~test & (places // num_folds % 10 == 0)
        split = np.where(test, "test", np.where(validation, "validation", "train"))
        parts.append(pd.DataFrame({"item": items, "fold": np.int32(fold), "split": split}))
    return pd.concat(parts, ignore_index=True)


def state_sizes(
    modalities: Sequence[int] = (2, 8),
    tasks: Sequence[int] = (1, 4),
    states: Sequence[int] = (1, 4, 16),
    settings: TrainingSettings = QUICK,
    num_items: int = 1000,
) -> pd.DataFrame:
    """How good a multi-task MultiModN is by the size of its state.

    Columns `num_modalities`, `num_tasks`, `state`, `auroc` (mean over tasks and folds), `low`, `high` (over folds),
    `ceiling` (that of the best ranking), `parameters`.
    """
    rows: list[dict[str, Any]] = []
    for num_modalities in modalities:
        for num_tasks in tasks:
            world = make_world(num_items, num_modalities, num_tasks)
            for state in states:
                trained = train(
                    world.cohort, world.embeddings, world.tasks, "multimodn", replace(settings, state=state)
                )
                found, best = _by_fold(world, trained.predictions)
                mean, low, high, _ = estimate_with_interval(found)
                rows.append(
                    {
                        "num_modalities": num_modalities,
                        "num_tasks": num_tasks,
                        "state": state,
                        "auroc": mean,
                        "low": max(low, 0.0),
                        "high": min(high, 1.0),
                        "ceiling": float(best.mean()),
                        "parameters": trained.num_parameters,
                    }
                )
    return pd.DataFrame(rows)


def unequal_lengths(
    architectures: Sequence[str] = ARCHITECTURES,
    num_steps: int = 12,
    parts: int = 3,
    settings: TrainingSettings = QUICK,
    num_items: int = 1000,
) -> pd.DataFrame:
    """Series of 1 to `num_steps` steps, by architecture: trained on such series, or on whole ones alone.

    Columns `architecture`, `trained_on` ("unequal", "whole"), `shortest`, `longest` (steps of the test items that the
    row is about), `auroc`, `low`, `high` (over folds), `ceiling`. Test items are those of unequal length throughout.
    """
    world = make_world(num_items, num_modalities=2, num_steps=num_steps, unequal=True)
    whole = make_world(num_items, num_modalities=2, num_steps=num_steps)
    edges = np.linspace(0, num_steps, parts + 1).round().astype(int)
    rows: list[dict[str, Any]] = []
    for architecture in architectures:
        for name, learnt in (("unequal", world), ("whole", whole)):
            trained = train(learnt.cohort, learnt.embeddings, learnt.tasks, architecture, settings)
            frame = trained.predict(world.embeddings)
            for above, upto in pairwise(edges):
                found, best = _by_fold(world, frame, (world.lengths > above) & (world.lengths <= upto))
                mean, low, high, _ = estimate_with_interval(found)
                rows.append(
                    {
                        "architecture": architecture,
                        "trained_on": name,
                        "shortest": int(above) + 1,
                        "longest": int(upto),
                        "auroc": mean,
                        "low": max(low, 0.0),
                        "high": min(high, 1.0),
                        "ceiling": float(best.mean()),
                    }
                )
    return pd.DataFrame(rows)


GROWN = TrainingSettings(batch_size=64, device="cpu", blocks=2, head_size=16, epochs=1)
GROWN_WIDTH = 16


def costs(
    modalities: Sequence[int],
    architectures: Sequence[str] = ARCHITECTURES,
    num_items: int = 400,
    settings: TrainingSettings = GROWN,
) -> pd.DataFrame:
    """What one training epoch of five members takes, by number of modalities of one width and architecture: counted,
    not timed, so it is the same wherever torch is the same.

    Columns `num_modalities`, `architecture`, `parameters` (of one member), `operations` (floating-point, of matrix
    products, per item and member, forwards and backwards), `peak_bytes` (most that tensors take at once during an
    epoch, beyond parameters, inputs and the optimiser's state).
    """
    rows: list[dict[str, Any]] = []
    for number in modalities:
        world = make_world(num_items, number, width=GROWN_WIDTH)
        for architecture in architectures:
            training = Training(world.cohort, world.embeddings, world.tasks, architecture, settings, None)
            rows.append(
                {
                    "num_modalities": number,
                    "architecture": architecture,
                    "parameters": training.trained.num_parameters,
                    "operations": _operations(training) / sum(len(part) for part in training.train_rows),
                    "peak_bytes": _peak_bytes(training),
                }
            )
    return pd.DataFrame(rows)


def _operations(training: Training) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with one_thread(), FlopCounterMode(display=False) as counter:
        training.epoch(np.ones(len(training.members), dtype=bool))
    return int(counter.get_total_flops())


def _peak_bytes(training: Training) -> int:
    from torch.profiler import ProfilerActivity, profile

    with one_thread(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        training.epoch(np.ones(len(training.members), dtype=bool))
    assert watched.profiler is not None
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = np.array([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(taken.cumsum().max())


def _by_fold(world: World, frame: pd.DataFrame, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Per fold, mean over tasks: AUROC of the predictions and of the ceiling, over its test items (those `among`)."""
    cohort = world.cohort
    position = pd.Series(np.arange(len(cohort)), index=cohort.items["item"].to_numpy())
    found = np.empty((cohort.num_folds, len(world.tasks), 2))
    for fold in range(cohort.num_folds):
        rows = cohort.rows(fold, "test")
        rows = rows if among is None else rows[among[rows]]
        for t, task in enumerate(world.tasks):
            mine = frame[(frame["fold"] == fold) & (frame["task"] == task.name) & (frame["step"] == task.read_step)]
            said = np.full(len(cohort), np.nan)
            said[position[mine["item"]].to_numpy()] = mine["prediction"]
            y = cohort.targets[task.name][rows]
            for place, values in enumerate((said, world.ceiling[task.name])):
                found[fold, t, place] = auroc(y, values[rows], once(len(rows)))[0]
    return found[:, :, 0].mean(axis=1), found[:, :, 1].mean(axis=1)
