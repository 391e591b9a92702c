"""Who learns from absence? A modality goes missing in training for a reason, or for none (Swamy et al. 2023, 5.4).

Every fold, modality, rate and mechanism is a member, and all members of a model and a skip train side by side. The
published gap is confounded: its code skips an encoder for whole batches of 16, so it hardly sees that absence goes with
the label. Hence models run with both kinds of skip. A model without an encoder per modality is skipped per batch by
filling the modality of the whole batch with its mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ParamsError
from mmn.modeling.checkpoint import Checkpoint
from mmn.modeling.floors import read_target
from mmn.modeling.metrics import auroc, once
from mmn.modeling.missingness_plan import Cell, plan_cells
from mmn.modeling.missingness_settings import REMOVAL_MODELS, TESTS, MissingnessSettings
from mmn.modeling.settings import TrainingSettings
from mmn.modeling.train import train
from mmn.modeling.trained import Trained, one_thread

COLUMNS = ("modality", "mechanism", "rate", "test", "model", "skip", "fold", "auroc")
Progress = Callable[[int, int], None]


def missingness_experiment(
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    modalities: Sequence[str],
    training: Mapping[str, TrainingSettings],
    settings: MissingnessSettings,
    progress: Progress = lambda done, total: None,
    checkpoint: Callable[[str], Checkpoint | None] = lambda variant: None,
) -> pd.DataFrame:
    """COLUMNS; one row per cell of the grid and fold; `auroc` NaN where a fold's test items are of one class.

    modalities: taken away one at a time. training: of each of `settings.models`; epochs, seed, skip and presence bits
    are the experiment's own. In training and validation items lose the modality as the mechanism says; test "complete"
    is as it is, "same" loses it by the same mechanism at the same rate, "flipped" at that rate from the class that did
    not lose it by label, whatever the mechanism: so mechanisms are compared on the same test items. At rate 0 nothing
    is removed: modality and mechanism are "none", the test "complete". checkpoint: of each training, by its name.
    """
    if lacking := [model for model in settings.models if model not in training]:
        raise ParamsError(f"training: no settings for '{lacking[0]}', which missingness.models names.")
    cells = plan_cells(cohort, embeddings, task, modalities, settings)
    members = [cell.member(settings.seed) for cell in cells]
    target = read_target(cohort, task)
    epochs = {model: settings.epochs_of(model, training[model].epochs) for model in settings.models}
    total, before = sum(epochs[model] for model, _ in settings.trainings), 0
    found: list[pd.DataFrame] = []
    for model, skip in settings.trainings:
        architecture, fixed = REMOVAL_MODELS[model]
        own = dataclasses.replace(training[model], epochs=epochs[model], seed=settings.seed, skip=skip, **fixed)
        trained = train(
            cohort,
            embeddings,
            (task,),
            architecture,
            own,
            members,
            _part_of(progress, before, total),
            checkpoint(f"{model} {skip}"),
        )
        before += epochs[model]
        found += [
            _tested(trained, cells, test, cohort, embeddings, task, target).assign(model=model, skip=skip)
            for test in TESTS
        ]
    progress(total, total)
    return pd.concat(found, ignore_index=True)[list(COLUMNS)]


def _part_of(progress: Progress, before: int, total: int) -> Progress:
    return lambda epoch, epochs: progress(before + epoch, total)


def _tested(
    trained: Trained,
    cells: list[Cell],
    test: str,
    cohort: Cohort,
    embeddings: Mapping[str, Embeddings],
    task: Task,
    target: np.ndarray,
) -> pd.DataFrame:
    by_fold = {fold: cohort.rows(fold, "test") for fold in range(cohort.num_folds)}
    rows = [by_fold[cell.fold] for cell in cells]
    rows = [r[~np.isnan(target[r])] for r in rows]
    with one_thread():
        inputs = trained.inputs(embeddings, [cell.absent(test) for cell in cells])
        predicted = trained.collect(inputs, rows, trained.model.read)[task.name]
    values = [
        float(auroc(target[r], p.astype(np.float64), once(len(r)))[0]) for r, p in zip(rows, predicted, strict=True)
    ]
    plan = [(cell.modality, cell.mechanism, cell.rate, cell.fold) for cell in cells]
    frame = pd.DataFrame(plan, columns=["modality", "mechanism", "rate", "fold"]).assign(test=test, auroc=values)
    return frame if test == "complete" else frame[frame["rate"] > 0]
