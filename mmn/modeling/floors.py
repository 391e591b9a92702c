"""Floors: rules and tiny fits that a model must beat before its score means anything. All fitted on training rows only.

- the training prevalence (binary) or mean (regression);
- the presence of the modalities and nothing else (logistic or ridge regression on the presence bits);
- "X alone": logistic or ridge regression on one modality's scaled embedding, for the modalities that are named;
- "shuffled labels (linear)": ridge regression on all scaled embeddings, trained on permuted labels, over many
  permutations: what chance gives;
- each of the cohort's baselines (persistence, geography, "active this week", ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.data.scaling import fit_scaler

PRESENCE, SHUFFLED = "presence only", "shuffled labels (linear)"
NUM_SHUFFLES = 20


def floor_predictions(
    cohort: Cohort, task: Task, embeddings: Mapping[str, Embeddings], alone: Sequence[str] = ()
) -> dict[str, list[np.ndarray]]:
    """Floor -> per fold the predictions of its test items (NaN where the floor has none), in the order of `rows`.

    alone: the modalities that are a floor each. One that defines the task's labels is none: the caller leaves it out.
    Each is (n,), or (n, NUM_SHUFFLES) for the shuffled labels: one shuffle alone is luck on a small test set.
    """
    target = read_target(cohort, task)
    constant = "training prevalence" if task.kind == "binary" else "training mean"
    bits = presence_bits(embeddings, task.read_step)
    found: dict[str, list[np.ndarray]] = {constant: [], PRESENCE: [], SHUFFLED: []}
    found |= {alone_name(name): [] for name in alone if name in embeddings}
    for fold in range(cohort.num_folds):
        train, test = cohort.rows(fold, "train"), cohort.rows(fold, "test")
        train = train[~np.isnan(target[train])]
        mean = target[train].mean() if len(train) else np.nan
        found[constant].append(np.full(len(test), mean))
        if len(train) < 2 or np.ptp(target[train]) == 0:
            for name in found.keys() - {constant}:
                found[name].append(np.full(len(test), mean))
            continue
        found[PRESENCE].append(_fit_presence(bits[train], target[train], bits[test], task))
        parts = scaled_inputs(embeddings, fold, train, task.read_step)
        for name in alone:
            if name in parts:
                found[alone_name(name)].append(_fit_alone(parts[name], target, train, test, task))
        x = np.concatenate(list(parts.values()), axis=1)
        labels = np.repeat(target[train][:, None], NUM_SHUFFLES, axis=1)
        shuffled = np.random.default_rng([fold, 17]).permuted(labels, axis=0)
        found[SHUFFLED].append(_fit_ridge(x[train], shuffled, x[test], task))
    return found | baseline_predictions(cohort, task)


def baseline_predictions(cohort: Cohort, task: Task) -> dict[str, list[np.ndarray]]:
    """The cohort's own baselines for the task, fold by fold; one fitted for no fold (-1) serves all."""
    rows = cohort.baselines[cohort.baselines["task"] == task.name]
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
        return np.full(len(test), target[train].mean())
    x_train, x_test, penalty = x[train][:, varies], x[test][:, varies], float(varies.sum())
    if task.kind == "regression":
        from sklearn.linear_model import Ridge

        return Ridge(alpha=penalty).fit(x_train, target[train]).predict(x_test).astype(np.float64)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1 / penalty, max_iter=300).fit(x_train.astype(np.float64), target[train])
    return fitted.predict_proba(x_test)[:, 1]


def _fit_presence(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, task: Task) -> np.ndarray:
    varies = np.ptp(x_train, axis=0) > 0
    if not varies.any():
        return np.full(len(x_test), y_train.mean())
    x_train, x_test = x_train[:, varies], x_test[:, varies]
    if task.kind == "regression":
        return _fit_ridge(x_train, y_train, x_test, task)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(x_train, y_train).predict_proba(x_test)[:, 1]


def _fit_ridge(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, task: Task) -> np.ndarray:
    """Ridge regression, penalty 1 per training row; of a binary task it is a linear probability, cut at 0 and 1."""
    from sklearn.linear_model import Ridge

    predicted = Ridge(alpha=float(len(x_train))).fit(x_train, y_train).predict(x_test).astype(np.float64)
    return np.clip(predicted, 0.0, 1.0) if task.kind == "binary" else predicted
