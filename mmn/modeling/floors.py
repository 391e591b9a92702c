"""Floors: rules and tiny fits that a model must beat before its score means anything. All fitted on training rows only.

- the training prevalence (binary), shares (multiclass) or mean (regression);
- the presence of the modalities and nothing else (logistic or ridge regression on the presence bits);
- "X alone": logistic or ridge regression on one modality's scaled embedding, for the modalities that are named;
- "shuffled labels (linear)": ridge regression on all scaled embeddings, trained on permuted labels, over many
  permutations: what chance gives;
- each of the cohort's baselines (persistence, geography, "active this week", ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError
from mmn.data.scaling import fit_scaler

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

PRESENCE, SHUFFLED = "presence only", "shuffled labels (linear)"
NUM_SHUFFLES = 20


def floor_predictions(
    cohort: Cohort, task: Task, embeddings: Mapping[str, Embeddings], alone: Sequence[str] = ()
) -> dict[str, list[np.ndarray]]:
    """Floor -> per fold the predictions of its test items (NaN where the floor has none), in the order of `rows`.

    alone: the modalities that are a floor each. One that defines the task's labels is none: the caller leaves it out.
    Each is (n,), or (n, C) of a multiclass task; for the shuffled labels with a last axis of NUM_SHUFFLES: one shuffle
    alone is luck on a small test set.
    """
    target = read_target(cohort, task)
    constant = {"binary": "training prevalence", "multiclass": "training shares", "regression": "training mean"}[
        task.kind
    ]
    bits = presence_bits(embeddings, task.read_step)
    found: dict[str, list[np.ndarray]] = {constant: [], PRESENCE: [], SHUFFLED: []}
    found |= {alone_name(name): [] for name in alone if name in embeddings}
    for fold in range(cohort.num_folds):
        train, test = cohort.rows(fold, "train"), cohort.rows(fold, "test")
        train = train[~np.isnan(target[train])]
        guess = _constant(target[train], len(test), task)
        found[constant].append(guess)
        if len(train) < 2 or np.ptp(target[train]) == 0:
            for name in found.keys() - {constant}:
                found[name].append(guess)
            continue
        found[PRESENCE].append(_fit_presence(bits[train], target[train], bits[test], task))
        parts = scaled_inputs(embeddings, fold, train, task.read_step)
        for name in alone:
            if name in parts:
                found[alone_name(name)].append(_fit_alone(parts[name], target, train, test, task))
        x = np.concatenate(list(parts.values()), axis=1)
        labels = np.repeat(target[train][:, None], NUM_SHUFFLES, axis=1)
        shuffled = np.random.default_rng([fold, 17]).permuted(labels, axis=0)
        found[SHUFFLED].append(_fit_shuffled(x[train], shuffled, x[test], task))
    return found | baseline_predictions(cohort, task)


def baseline_predictions(cohort: Cohort, task: Task) -> dict[str, list[np.ndarray]]:
    """The cohort's own baselines for the task, fold by fold; one fitted for no fold (-1) serves all.

    Raises ContractError for one of a multiclass task: the table has a number per item, and not one per class.
    """
    rows = cohort.baselines[cohort.baselines["task"] == task.name]
    if len(rows) and task.kind == "multiclass":
        raise ContractError(
            f"{task.name}: a baseline gives one number per item, a multiclass task is scored on one per class. "
            "Leave its baselines out of the cohort."
        )
    items = cohort.items["item"].to_numpy()
    found: dict[str, list[np.ndarray]] = {}
    for name, of_name in rows.groupby("baseline", sort=True):
        per_fold = {fold: part.set_index("item")["prediction"] for fold, part in of_name.groupby("fold")}
        found[str(name)] = []
        for fold in range(cohort.num_folds):
            values = per_fold.get(fold, per_fold.get(-1, pd.Series(dtype=float)))
            found[str(name)].append(values.reindex(items[cohort.rows(fold, "test")]).to_numpy(dtype=np.float64))
    return found


def read_target(cohort: Cohort, task: Task) -> np.ndarray:
    """(N,): the target at the task's read step."""
    return cohort.targets[task.name].reshape(len(cohort), -1)[:, task.read_step if task.per_step else 0]


def presence_bits(embeddings: Mapping[str, Embeddings], read_step: int) -> np.ndarray:
    """(N, bits): of every modality and step up to the read step."""
    return np.concatenate([e.present[:, : read_step + 1] for e in embeddings.values()], axis=1).astype(np.float64)


def alone_name(modality: str) -> str:
    return f"{modality} alone"


def scaled_inputs(
    embeddings: Mapping[str, Embeddings], fold: int, train: np.ndarray, read_step: int
) -> dict[str, np.ndarray]:
    """Modality -> (N, W) float32: its embedding up to the read step, standardised on the fold's present training rows;
    absent = 0."""
    parts = {}
    for name, e in embeddings.items():
        values = e.values[fold if e.fitted_per_fold else 0][:, : read_step + 1]
        present = e.present[:, : read_step + 1]
        scaler = fit_scaler(values[train][present[train]], "standard")
        parts[name] = np.where(present[..., None], scaler(values), np.float32(0.0)).reshape(len(values), -1)
    return parts


def _fit_alone(x: np.ndarray, target: np.ndarray, train: np.ndarray, test: np.ndarray, task: Task) -> np.ndarray:
    """x: (N, W). The penalty is a prior under which a standardised item's score varies by 1, however wide the embedding
    is: 1 / W per weight."""
    varies = np.ptp(x[train], axis=0) > 0
    if not varies.any():
        return _constant(target[train], len(test), task)
    x_train, x_test, penalty = x[train][:, varies], x[test][:, varies], float(varies.sum())
    if task.kind == "regression":
        from sklearn.linear_model import Ridge

        return Ridge(alpha=penalty).fit(x_train, target[train]).predict(x_test).astype(np.float64)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1 / penalty, max_iter=300).fit(x_train.astype(np.float64), target[train])
    return _probabilities(fitted, x_test, task)


def _fit_presence(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, task: Task) -> np.ndarray:
    varies = np.ptp(x_train, axis=0) > 0
    if not varies.any():
        return _constant(y_train, len(x_test), task)
    x_train, x_test = x_train[:, varies], x_test[:, varies]
    if task.kind == "regression":
        return _fit_ridge(x_train, y_train, x_test, task)
    from sklearn.linear_model import LogisticRegression

    return _probabilities(LogisticRegression(max_iter=1000).fit(x_train, y_train), x_test, task)


def _constant(y: np.ndarray, num: int, task: Task) -> np.ndarray:
    """The same for every item, (num,) or (num, C); NaN without a training item."""
    if task.kind == "multiclass":
        shares = np.bincount(y.astype(int), minlength=len(task.classes)) / len(y) if len(y) else np.nan
        return np.tile(np.broadcast_to(shares, len(task.classes)), (num, 1))
    return np.full(num, y.mean() if len(y) else np.nan)


def _probabilities(fitted: LogisticRegression, x: np.ndarray, task: Task) -> np.ndarray:
    """P(1), (n,); of a multiclass task of every class, 0 for those that no training item has, (n, C)."""
    found = fitted.predict_proba(x)
    if task.kind != "multiclass":
        return found[:, 1]
    every = np.zeros((len(x), len(task.classes)))
    every[:, fitted.classes_.astype(int)] = found
    return every


def _fit_shuffled(x_train: np.ndarray, labels: np.ndarray, x_test: np.ndarray, task: Task) -> np.ndarray:
    """labels: (n_train, shuffles). A multiclass task's class is one linear probability each, made to sum to 1."""
    if task.kind != "multiclass":
        return _fit_ridge(x_train, labels, x_test, task)
    each = labels[:, :, None] == np.arange(len(task.classes))
    found = _fit_ridge(x_train, each.reshape(len(labels), -1).astype(np.float64), x_test, task)
    found = found.reshape(len(x_test), *each.shape[1:]) + np.finfo(np.float64).tiny
    return np.moveaxis(found / found.sum(axis=2, keepdims=True), 1, 2)


def _fit_ridge(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, task: Task) -> np.ndarray:
    """Ridge regression, penalty 1 per training row; of a binary task it is a linear probability, cut at 0 and 1."""
    from sklearn.linear_model import Ridge

    predicted = Ridge(alpha=float(len(x_train))).fit(x_train, y_train).predict(x_test).astype(np.float64)
    return predicted if task.kind == "regression" else np.clip(predicted, 0.0, 1.0)
