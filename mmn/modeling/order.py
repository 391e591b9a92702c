"""Does it matter in which order a MultiModN model meets the modalities? It is trained in one order; here it reads all.

Within a time step the modalities are met in the order given; the steps stay where they are. K members, B items,
O orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.modeling.batch import Batch
from mmn.modeling.differences import FEWEST_FOLDS, t_interval
from mmn.modeling.interpret import multimodn_of
from mmn.modeling.subsets import rows_to_test, score_row
from mmn.modeling.trained import Trained, one_thread

NUM_ORDERS = 24
FIXED, SHUFFLED = "trained in one order", "trained in random orders"

Order = tuple[str, ...]


def orders_of(names: Sequence[str], most: int = NUM_ORDERS, seed: int = 0) -> list[Order]:
    """The order of training first, then the others: all, or `most` - 1 by chance where there are more than `most`."""
    if factorial(len(names)) <= most:
        return list(permutations(names))
    rng, found = np.random.default_rng(seed), {tuple(names): None}
    while len(found) < most:
        found[tuple(names[n] for n in rng.permutation(len(names)))] = None
    return list(found)


def order_scores(
    trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings], most: int = NUM_ORDERS
) -> pd.DataFrame:
    """One row per task and order: the primary metric over the test items of each fold.

    Columns `task`, `order` (names joined by " > "), `first` (the order of the embeddings, which that of training is),
    `metric`, `unit`, `estimate`, `low`, `high` (over folds), `num_folds`, `num_items`, `fold_values`, `moved`: how far
    a prediction lies from the one in the first order, mean size over items on the model's scale (P(1), or the share of
    the training range). Raises ParamsError for a model without states.
    """
    model, rows_of = multimodn_of(trained), rows_to_test(cohort, trained)
    orders = orders_of([shape.name for shape in trained.modalities], most)

    def read(batch: Batch) -> dict[str, Tensor]:
        said = [model.read(batch, order) for order in orders]
        return {task.name: torch.stack([one[task.name] for one in said], dim=-1) for task in trained.tasks}

    with one_thread():
        found = trained.collect(trained.inputs(embeddings), rows_of, read)
    rows: list[dict[str, Any]] = []
    for task in trained.tasks:
        values, in_unit = found[task.name], [trained.to_unit(task, k, v) for k, v in enumerate(found[task.name])]
        for place, order in enumerate(orders):
            moved = np.concatenate([np.abs(v[..., place].astype(np.float64) - v[..., 0]).ravel() for v in values])
            rows.append(
                {
                    "task": task.name,
                    "order": " > ".join(order),
                    "first": place == 0,
                    **score_row(cohort, task, rows_of, [v[..., place] for v in in_unit]),
                    "moved": float(moved.mean()) if len(moved) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def order_sensitivity(scores: pd.DataFrame, num_modalities: int, test_ratio: float) -> pd.DataFrame:
    """What the orders of one model come to, by task: whether another order than that of training costs something.

    scores: as `order_scores` gives it. test_ratio: test items per training item. Columns `task`, `metric`,
    `num_orders`, `all_orders` (none was left to chance), `in_order` (estimate in the first order), `other` (mean over
    the others), `difference` = other - in_order with its `low` and `high` (t over folds, corrected for folds that share
    training items after Nadeau and Bengio), `spread` (standard deviation of a fold's score over all orders, mean
    over folds), `lowest`, `highest` (estimates of the worst and best order by value), `moved`.
    """
    rows: list[dict[str, Any]] = []
    for task, mine in scores.groupby("task", sort=False):
        table = np.array(mine["fold_values"].tolist(), dtype=np.float64)  # (O, folds)
        first, others = table[0], table[1:]
        difference = others.mean(axis=0) - first if len(others) else np.full(len(first), np.nan)
        known = difference[~np.isnan(difference)]
        apart = t_interval(known, test_ratio) if len(known) >= FEWEST_FOLDS else None
        spread = table.std(axis=0)
        rows.append(
            {
                "task": task,
                "metric": mine["metric"].iloc[0],
                "num_orders": len(mine),
                "all_orders": len(mine) == factorial(num_modalities),
                "in_order": mine["estimate"].iloc[0],
                "other": mine["estimate"].iloc[1:].mean(),
                "difference": float(known.mean()) if len(known) else np.nan,
                "low": apart.low if apart else np.nan,
                "high": apart.high if apart else np.nan,
                "spread": float(spread[~np.isnan(spread)].mean()) if (~np.isnan(spread)).any() else np.nan,
                "lowest": mine["estimate"].min(),
                "highest": mine["estimate"].max(),
                "moved": mine["moved"].iloc[1:].mean(),
            }
        )
    return pd.DataFrame(rows)


def ratio_of_test_items(cohort: Cohort) -> float:
    """Test items per training item, mean over folds."""
    sizes = cohort.folds.groupby(["fold", "split"]).size().unstack(fill_value=0)
    return float((sizes["test"] / sizes["train"]).mean())
