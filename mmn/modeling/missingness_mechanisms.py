"""Who loses the modality: at random, because of what else is known, because of the label, or because of its own value.

All choose among the items of one side of a fold (train, validation, test) that have the modality, `rate` of the items
concerned, rounded; a higher rate takes the same items and more:

- "mcar": of each class alike, at random. Absence says nothing.
- "mar": of all, those whose score, read from another modality (the driver), is most severe. The driver stays, so that
  absence says nothing that is not known anyway.
- "mnar_label": of one class, at random; of the other none.
- "mnar_severity": of all, those whose score, read from the modality itself, is most severe: a clinical rule (too ill
  for the test; or with the other `removed_class`, not ill enough for it to be ordered). The value that decided is gone.

The score is a ridge regression of the label on the standardised embedding up to the task's read step, penalty 1 per
training row, fitted on the fold's labelled training items. A training item gets it from the other four of five parts
of them (whole subjects), so that no item's own label takes part in whether it loses the modality: given the embedding,
"mar" and "mnar_severity" do not depend on the label.
"""

from __future__ import annotations

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.dataset import Task
from mmn.data.embeddings import Embeddings
from mmn.modeling.floors import read_target, scaled_inputs

NUM_PARTS = 5


def severity(cohort: Cohort, task: Task, embeddings: Embeddings, fold: int, seed: int) -> np.ndarray:
    """(N,): how much one modality speaks for class 1; the mean where an item does not have it. See above."""
    from sklearn.linear_model import Ridge

    target = read_target(cohort, task)
    train = cohort.rows(fold, "train")
    train = train[~np.isnan(target[train]) & embeddings.present[train].any(axis=1)]
    if len(train) < 2:
        return np.zeros(len(cohort))
    x = scaled_inputs({"it": embeddings}, fold, train, task.read_step)["it"].astype(np.float64)

    def fit(rows: np.ndarray) -> Ridge:
        return Ridge(alpha=float(len(rows))).fit(x[rows], target[rows])

    score = fit(train).predict(x)
    _, subject = np.unique(cohort.items["subject"].to_numpy(dtype=str)[train], return_inverse=True)
    part = np.random.default_rng([seed, fold, 29]).permutation(subject.max() + 1)[subject] % NUM_PARTS
    for number in range(NUM_PARTS):
        others = train[part != number]
        if (part == number).any() and len(others):
            score[train[part == number]] = fit(others).predict(x[train[part == number]])
    return score


def choose_by_class(
    rows: np.ndarray, target: np.ndarray, classes: tuple[int, ...], rate: float, seed: list[int], num_items: int
) -> np.ndarray:
    """(N,) bool: `rate` of the rows of each of the classes, at random."""
    chosen = np.zeros(num_items, dtype=bool)
    for number in classes:
        order = np.random.default_rng([*seed, number]).permutation(rows[target[rows] == number])
        chosen[order[: round(rate * len(order))]] = True
    return chosen


def choose_by_score(rows: np.ndarray, score: np.ndarray, rate: float, seed: list[int], num_items: int) -> np.ndarray:
    """(N,) bool: the `rate` of the rows with the highest score; between equal ones chance decides."""
    chosen = np.zeros(num_items, dtype=bool)
    order = np.random.default_rng(seed).permutation(rows)
    order = order[np.argsort(-score[order], kind="stable")]
    chosen[order[: round(rate * len(order))]] = True
    return chosen
