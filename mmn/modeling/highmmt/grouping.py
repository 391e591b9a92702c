"""Who shares with whom: from transfers to distances, from distances to groups (paper, section 3.2 and appendix A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from mmn.data.errors import ParamsError


def distance(transfer: np.ndarray, standard_error: np.ndarray | None = None) -> np.ndarray:
    """transfer: (M, M), source by target: how much worse the target is for having started from the source (0 on the
    diagonal, NaN where it was not measured). Gives max(T_ij, 0) + max(T_ji, 0), symmetric, 0 on the diagonal.

    standard_error: a transfer within one of it of 0 counts as 0.
    """
    kept = np.array(transfer, dtype=float)
    np.fill_diagonal(kept, 0.0)
    if standard_error is not None:
        kept[np.abs(kept) <= standard_error] = 0.0
    worse = np.where(np.isnan(kept), np.nan, np.maximum(kept, 0.0))
    return worse + worse.T


def groups(distances: np.ndarray, num_groups: int) -> list[int]:
    """(M,): a group's number for each, from 0 in the order of appearance; average linkage, cut at `num_groups`, which
    there are even where distances are equal (then the order of the nodes decides)."""
    size = len(distances)
    if not 1 <= num_groups <= size:
        raise ParamsError(f"{num_groups} groups of {size}: give a number from 1 to {size}.")
    if np.isnan(distances).any():
        raise ParamsError("some distances were not measured; complete them first (`complete`).")
    if size == 1:
        return [0]
    tree = linkage(squareform(distances, checks=False), method="average")
    found = cut_tree(tree, n_clusters=num_groups).ravel()
    order = list(dict.fromkeys(found.tolist()))
    return [order.index(group) for group in found]


def random_groups(size: int, sizes: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Groups of the given sizes, by lot: what learnt groups must beat."""
    if sum(sizes) != size:
        raise ParamsError(f"groups of {list(sizes)} do not make up {size}.")
    found = np.empty(size, dtype=int)
    found[rng.permutation(size)] = np.repeat(np.arange(len(sizes)), sizes)
    order = list(dict.fromkeys(found.tolist()))
    return [order.index(group) for group in found.tolist()]


def complete(distances: np.ndarray, rank: int = 3, rounds: int = 500) -> np.ndarray:
    """Fill what was not measured (NaN) by a matrix of low rank: begin with the mean, cut the spectrum, put the known
    entries back, again. Symmetric, not below 0, 0 on the diagonal."""
    known = ~np.isnan(distances)
    np.fill_diagonal(known, True)
    given = np.where(known, np.nan_to_num(distances), 0.0)
    np.fill_diagonal(given, 0.0)
    measured = known & ~np.eye(len(distances), dtype=bool)
    if not measured.any():
        raise ParamsError("no distance was measured; nothing can be completed from nothing.")
    filled = np.where(known, given, given[measured].mean())
    for _ in range(rounds):
        values, vectors = np.linalg.eigh(filled)
        strongest = np.argsort(-np.abs(values))[:rank]
        low = (vectors[:, strongest] * values[strongest]) @ vectors[:, strongest].T
        before, filled = filled, np.where(known, given, np.maximum((low + low.T) / 2, 0.0))
        if np.abs(filled - before).max() < 1e-9:
            break
    return filled


def triangle_share(distances: np.ndarray, factor: float = 1.0, *, distinct: bool = True) -> float:
    """Share of triples with d(i, k) <= factor (d(i, j) + d(j, k)); distinct=False also counts those with equal members,
    as the paper does."""
    size = range(len(distances))
    triples = permutations(size, 3) if distinct else ((i, j, k) for i in size for j in size for k in size)
    held = [distances[i, k] <= factor * (distances[i, j] + distances[j, k]) + 1e-12 for i, j, k in triples]
    return float(np.mean(held))


def hidden_error(distances: np.ndarray, share: float, rank: int = 3, draws: int = 50, seed: int = 0) -> pd.DataFrame:
    """How well `complete` would do: of the measured distances a share is kept, by lot, and the rest completed.

    A row per draw: `completed`, `mean_filled` (mean absolute error on what was hidden, by completion and by the mean of
    what was kept), `rand` (agreement of three groups from the completed matrix with those from the full one; NaN where
    distances are not all measured)."""
    size = len(distances)
    every = [(i, j) for i, j in combinations(range(size), 2) if not np.isnan(distances[i, j])]
    full = len(every) == size * (size - 1) // 2
    kept = max(1, round(share * len(every)))
    if size < 4 or kept == len(every):
        return pd.DataFrame(columns=["draw", "completed", "mean_filled", "rand"])
    rng, rows = np.random.default_rng(seed), []
    for draw in range(draws):
        order = rng.permutation(len(every))
        seen, hidden = ([every[n] for n in part] for part in (order[:kept], order[kept:]))
        partial = np.full_like(distances, np.nan)
        np.fill_diagonal(partial, 0.0)
        for i, j in seen:
            partial[i, j] = partial[j, i] = distances[i, j]
        filled = complete(partial, rank)
        truth = np.array([distances[i, j] for i, j in hidden])
        guess = np.array([filled[i, j] for i, j in hidden])
        mean = np.mean([distances[i, j] for i, j in seen])
        rows.append(
            {
                "draw": draw,
                "completed": float(np.abs(guess - truth).mean()),
                "mean_filled": float(np.abs(mean - truth).mean()),
                "rand": adjusted_rand(groups(filled, 3), groups(distances, 3)) if full else np.nan,
            }
        )
    return pd.DataFrame(rows)


def spectrum_share(distances: np.ndarray, rank: int = 3) -> float:
    """Share of the sum of singular values that the first ones have."""
    values = np.linalg.svd(distances, compute_uv=False)
    return float(values[:rank].sum() / values.sum())


def adjusted_rand(a: Sequence[int], b: Sequence[int]) -> float:
    """Agreement of two groupings: 1 equal, 0 as by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(a, b))


def pairs_of(names: Sequence[str]) -> list[tuple[str, str]]:
    return list(combinations(names, 2))
