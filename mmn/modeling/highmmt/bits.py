"""What a model of one modality tells of the labels when it reads another, with nothing learnt: the published code's
measure of heterogeneity (V-information), beside the paper's transfers.

K members, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmn.data.dataset import Task
from mmn.modeling.floors import read_target
from mmn.modeling.highmmt.network import HIGHMMT, HighMMT
from mmn.modeling.highmmt.serialise import Declared
from mmn.modeling.inputs import Member
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import Training
from mmn.modeling.trained import Trained, one_thread

if TYPE_CHECKING:
    from mmn.modeling.highmmt.heterogeneity import Source


def usable_bits(task: Task, target: np.ndarray, learnt: np.ndarray, predicted: np.ndarray) -> float:
    """How many bits more of each label a model gives than the shares of the training labels do: the mean of
    log2 p(y | x) - log2 p(y) (V-information, as the published code compares modalities); NaN of a regression.

    target, predicted: (n,), or (n, C) probabilities of a multiclass task; NaN = no label. learnt: the training labels.
    """
    if task.kind == "regression":
        return np.nan
    known = ~np.isnan(target)
    y, p = target[known].astype(int), np.asarray(predicted, dtype=float)[known]
    p = p if p.ndim == 2 else np.stack([1.0 - p, p], axis=1)
    shares = np.bincount(learnt[~np.isnan(learnt)].astype(int), minlength=p.shape[1]) / (~np.isnan(learnt)).sum()
    least = np.finfo(np.float32).tiny  # a class that was never learnt, or that is held impossible
    said = np.log2(np.maximum(p[np.arange(len(y)), y], least)) - np.log2(np.maximum(shares[y], least))
    return float(said.mean()) if len(y) else np.nan


def bits_told(
    source: Source,
    modalities: Sequence[str],
    settings: TrainingSettings,
    members: list[Member],
    declared: tuple[Declared, ...],
    own: Trained,
) -> np.ndarray:
    """(K,): what `own`, trained on another modality (or pair) of the same data set, tells of the validation items'
    labels when it reads these; the mean over tasks with classes."""
    with one_thread():
        reading = Training(
            source.cohort,
            {name: source.embeddings[name] for name in modalities},
            source.tasks,
            dataclasses.replace(HIGHMMT, build=partial(HighMMT, declared=declared)),
            dataclasses.replace(settings, draw=source.draw),
            members,
            start=lambda model: model.load_state_dict(own.model.state_dict()) and None,
        )
        model = reading.trained.model
        said = reading.trained.collect(reading.inputs, reading.validation_rows, model.read)
    found = np.full((len(source.tasks), len(members)), np.nan)
    for n, task in enumerate(source.tasks):
        y = read_target(source.cohort, task)
        for k in range(len(members)):
            rows = reading.validation_rows[k], reading.train_rows[k]
            found[n, k] = usable_bits(task, y[rows[0]], y[rows[1]], said[task.name][k])
    counted = ~np.isnan(found)
    return np.where(counted.any(axis=0), np.nansum(found, axis=0) / np.maximum(counted.sum(axis=0), 1), np.nan)
