"""Shapley values of the modalities, beside IMC: what each is worth on average over everything that may be known first.

The game is the model's own prediction: its value for a set of modalities is what it predicts when an item has these
and no others, so no background data is needed. Exact for up to 10 modalities (2^M subsets, one forward pass each);
beyond that from random orders, each with its reverse, and the error of that is stated.
K members, B items, C subsets, M modalities, P parts whose mean is the value (1 where exact).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.modeling.batch import Batch
from mmn.modeling.interpret import tasks_of
from mmn.modeling.subsets import MOST_MODALITIES, Subset, all_subsets, read_subsets, rows_to_test
from mmn.modeling.trained import Trained, one_thread

SMALLEST_GROUP = 10
SAMPLED_ORDERS = 64


@dataclass(frozen=True)
class Contributions:
    """Of one model. shapley: task -> per member (n, P, M); alone: task -> per member (n, M), each modality's IMC of
    each item; present: task -> per member (n, M), whether the item has it up to the task's read step. Test items, in
    the order of the fold's rows; values on the model's scale: P(1), or the target as a share of the training range."""

    trained: Trained
    modalities: tuple[str, ...]
    exact: bool
    shapley: dict[str, list[np.ndarray]]
    alone: dict[str, list[np.ndarray]]
    present: dict[str, list[np.ndarray]]


def contributions(
    trained: Trained, cohort: Cohort, embeddings: Mapping[str, Embeddings], sampled_orders: int = SAMPLED_ORDERS
) -> Contributions:
    """sampled_orders: an even number; of no meaning where all subsets are read."""
    names = tuple(shape.name for shape in trained.modalities)
    subsets, weights_CPM = exact_weights(names) if len(names) <= MOST_MODALITIES else sampled_weights(
        names, sampled_orders
    )  # fmt: skip
    place = {subset: number for number, subset in enumerate(subsets)}
    alone_C1M = np.zeros((len(subsets), 1, len(names)))
    for number, name in enumerate(names):
        alone_C1M[place[(name,)], 0, number], alone_C1M[place[()], 0, number] = 1.0, -1.0
    weights = torch.from_numpy(np.concatenate([weights_CPM, alone_C1M], axis=1))
    rows_of = rows_to_test(cohort, trained)
    with one_thread():
        inputs = trained.inputs(embeddings)

        def read(batch: Batch) -> dict[str, Tensor]:
            said = read_subsets(trained, inputs, batch, subsets=subsets)
            return {
                task.name: (said[task.name].double() @ weights.flatten(1)).unflatten(-1, weights.shape[1:])
                for task in tasks_of(trained)
            }

        found = trained.collect(inputs, rows_of, read)
    return Contributions(
        trained=trained,
        modalities=names,
        exact=len(names) <= MOST_MODALITIES,
        shapley={task: [values[:, :-1] for values in of_task] for task, of_task in found.items()},
        alone={task: [values[:, -1] for values in of_task] for task, of_task in found.items()},
        present={
            task.name: [
                np.stack([embeddings[m].present[rows, : task.read_step + 1].any(axis=1) for m in names], axis=1)
                for rows in rows_of
            ]
            for task in tasks_of(trained)
        },
    )


def exact_weights(names: Sequence[str]) -> tuple[list[Subset], np.ndarray]:
    """All subsets, and what each counts in every value: (C, 1, M); a value is the weighted sum of the predictions."""
    subsets, num = all_subsets(names), len(names)
    weights = np.zeros((len(subsets), 1, num))
    for row, subset in enumerate(subsets):
        size = len(subset)
        for column, name in enumerate(names):
            if name in subset:
                weights[row, 0, column] = factorial(size - 1) * factorial(num - size) / factorial(num)
            else:
                weights[row, 0, column] = -factorial(size) * factorial(num - size - 1) / factorial(num)
    return subsets, weights


def sampled_weights(names: Sequence[str], num_orders: int, seed: int = 0) -> tuple[list[Subset], np.ndarray]:
    """The subsets met along random orders, and (C, P, M) for the P pairs of an order and its reverse."""
    rng, num = np.random.default_rng(seed), len(names)
    pairs = [rng.permutation(num) for _ in range(max(2, num_orders // 2))]
    place: dict[Subset, int] = {subset: n for n, subset in enumerate(s for k in (0, 1) for s in combinations(names, k))}
    entries: list[tuple[int, int, int, float]] = []
    for pair, forth in enumerate(pairs):
        for order in (forth, forth[::-1]):
            before = place[()]
            for length, added in enumerate(order, start=1):
                met = tuple(names[n] for n in sorted(order[:length]))
                after = place.setdefault(met, len(place))
                entries += [(after, pair, added, 0.5), (before, pair, added, -0.5)]
                before = after
    weights = np.zeros((len(place), len(pairs), num))
    for row, pair, column, weight in entries:
        weights[row, pair, column] += weight
    return list(place), weights


def shapley_table(found: Contributions) -> pd.DataFrame:
    """`task`, `modality`, `fold`, `shapley`, `abs_shapley`, `num_items`, `exact`, `error`.

    shapley, abs_shapley: mean and mean size over the fold's test items that have the modality, NaN for fewer than 10.
    error: the standard error of `shapley` that comes from sampling orders, 0 where exact; sampling also makes
    abs_shapley somewhat too large.
    """
    rows: list[dict[str, Any]] = []
    for task in tasks_of(found.trained):
        for number, modality in enumerate(found.modalities):
            for k, member in enumerate(found.trained.members):
                mine = found.shapley[task.name][k][found.present[task.name][k][:, number], :, number]  # (n, P)
                enough, parts = len(mine) >= SMALLEST_GROUP, mine.shape[1]
                error = mine.mean(axis=0).std(ddof=1) / np.sqrt(parts) if enough and parts > 1 else 0.0
                rows.append(
                    {
                        "task": task.name,
                        "modality": modality,
                        "fold": member.fold,
                        "shapley": float(mine.mean()) if enough else np.nan,
                        "abs_shapley": float(np.abs(mine.mean(axis=1)).mean()) if enough else np.nan,
                        "num_items": len(mine),
                        "exact": found.exact,
                        "error": float(error) if enough else np.nan,
                    }
                )
    return pd.DataFrame(rows)


def agreement(found: Contributions) -> pd.DataFrame:
    """How far IMC and Shapley values rank alike, by `task` and `fold` (Spearman's correlation).

    over_modalities: of the modalities' mean sizes; NaN for fewer than 3 modalities, where a rank says next to nothing.
    over_items: of the signed values of all (test item, modality that it has), `num_pairs` of them; NaN under 10.
    same_first: whether both call the same modality the strongest.
    """
    rows: list[dict[str, Any]] = []
    for task in tasks_of(found.trained):
        sizes = {measure: _sizes(found, task.name, measure) for measure in ("imc", "shapley")}
        for k, member in enumerate(found.trained.members):
            there = found.present[task.name][k]
            imc, shapley = found.alone[task.name][k][there], found.shapley[task.name][k].mean(axis=1)[there]
            one, other = sizes["imc"][k], sizes["shapley"][k]
            known = ~np.isnan(one)
            rows.append(
                {
                    "task": task.name,
                    "fold": member.fold,
                    "over_modalities": spearman(one[known], other[known]) if known.sum() >= 3 else np.nan,
                    "over_items": spearman(imc, shapley) if len(imc) >= SMALLEST_GROUP else np.nan,
                    "num_modalities": int(known.sum()),
                    "num_pairs": len(imc),
                    "same_first": bool(np.nanargmax(one) == np.nanargmax(other)) if known.any() else None,
                }
            )
    return pd.DataFrame(rows).astype({"same_first": "boolean"})


def stability(found: Contributions) -> pd.DataFrame:
    """Whether the folds' models rank the modalities alike, by `task` and `measure` (imc, shapley; mean sizes).

    rank_correlation, lowest, highest: Spearman's over the `num_pairs` pairs of folds (pairs share a fold, so they are
    not independent and there is no interval); NaN for fewer than 3 modalities. same_first: the share of folds
    whose strongest modality is the one that most folds call so, `strongest`.
    """
    rows: list[dict[str, Any]] = []
    for task in tasks_of(found.trained):
        for measure in ("imc", "shapley"):
            sizes = [one for one in _sizes(found, task.name, measure) if not np.isnan(one).all()]
            values = []
            for one, other in combinations(sizes, 2):
                known = ~np.isnan(one) & ~np.isnan(other)
                if known.sum() >= 3:
                    values.append(spearman(one[known], other[known]))
            values = [value for value in values if not np.isnan(value)]
            first = [int(np.nanargmax(one)) for one in sizes]
            most = max(sorted(set(first)), key=first.count) if first else None
            rows.append(
                {
                    "task": task.name,
                    "measure": measure,
                    "rank_correlation": float(np.mean(values)) if values else np.nan,
                    "lowest": min(values) if values else np.nan,
                    "highest": max(values) if values else np.nan,
                    "num_pairs": len(values),
                    "num_folds": len(sizes),
                    "strongest": "" if most is None else found.modalities[most],
                    "same_first": np.nan if most is None else first.count(most) / len(first),
                }
            )
    return pd.DataFrame(rows)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """NaN where one of them is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _sizes(found: Contributions, task: str, measure: str) -> list[np.ndarray]:
    """Per member (M,): the mean size over the test items that have the modality; NaN for fewer than 10."""
    sizes = []
    for k, there in enumerate(found.present[task]):
        values = found.alone[task][k] if measure == "imc" else found.shapley[task][k].mean(axis=1)
        total, num = np.where(there, np.abs(values), 0.0).sum(axis=0), there.sum(axis=0)
        sizes.append(np.divide(total, num, out=np.full(len(num), np.nan), where=num >= SMALLEST_GROUP))
    return sizes
