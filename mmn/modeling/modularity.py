"""How modular a MultiModN is (Swamy et al. 2023, appendix B): Newman's Q of its graph, one community per modality.

A modality's community holds its encoder, the state that it makes and all |T| decoders that read this state: |T| + 1
edges within it. The state is handed from each modality to the next: |M| - 1 edges between communities. That is
m = |M|(|T| + 2) - 1 edges in all. G is the matrix of shares of edges between communities; an edge between two counts
half on either side of the diagonal, so that G sums to 1. Q = tr(G) - ||G^2||, where ||.|| is the sum of all elements.

It is a property of the graph, so of the modalities and tasks alone: training does not change it. With one modality it
is 0; it grows with modalities and tasks, and tends to 1 as both do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmn.data.errors import ParamsError
from mmn.modeling.multimodn import MultiModN
from mmn.modeling.trained import Trained


def modularity_score(num_modalities: int, num_tasks: int) -> float:
    """Q. Raises ParamsError without a modality or a task."""
    G = edge_shares(num_modalities, num_tasks)
    return float(np.trace(G) - (G @ G).sum())


def modularity(trained: Trained) -> pd.DataFrame:
    """A row per modality, in the order of encoding: `modality`, `within` (the share of edges inside its community),
    `expected` (the share if its edges' ends were joined at random), `contribution` (the difference). The contributions
    sum to `modularity_score`. Raises ParamsError for a model that is not MultiModN: it is one community.
    """
    if not isinstance(trained.model, MultiModN):
        raise ParamsError(f"{trained.architecture.title} has no modules to tell apart; the score is MultiModN's.")
    G = edge_shares(len(trained.modalities), len(trained.tasks))
    within, expected = np.diag(G), G.sum(axis=1) ** 2
    names = [shape.name for shape in trained.modalities]
    return pd.DataFrame({"modality": names, "within": within, "expected": expected, "contribution": within - expected})


def edge_shares(num_modalities: int, num_tasks: int) -> np.ndarray:
    """G, (M, M)."""
    if num_modalities < 1 or num_tasks < 1:
        raise ParamsError(f"{num_modalities} modalities and {num_tasks} tasks; a model has at least one of each.")
    num_edges = num_modalities * (num_tasks + 2) - 1
    handed_on = np.eye(num_modalities, k=1) + np.eye(num_modalities, k=-1)
    return ((num_tasks + 1) * np.eye(num_modalities) + handed_on / 2) / num_edges
