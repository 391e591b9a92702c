"""How far apart modalities, and pairs of them, lie in one trained model: the cheap signal that measured heterogeneity
must beat (paper, table 5, feature distance).

Items of two data sets are not the same ones, so the distance is the mean over independently drawn items, the same rule
within a data set and across: E|a|^2 + E|b|^2 - 2 E a · E b, over the numbers of a vector, of the validation items.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint
from mmn.modeling.highmmt.network import HighMMT, pair_name
from mmn.modeling.inputs import padded
from mmn.modeling.trained import one_thread

_ITEMS_AT_ONCE = 256


def feature_distances(joint: Joint, sources: Mapping[str, Source]) -> tuple[np.ndarray, np.ndarray]:
    """(M, M) between the encoder's outputs of all modalities, (P, P) between the vectors of all pairs of one data set,
    both in the order of `sources`; the mean over members."""
    modalities: list[tuple[np.ndarray, np.ndarray]] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    with one_thread():
        for name, source in sources.items():
            of_modality, of_pair = _moments(joint, name, source)
            names = list(source.embeddings)
            modalities += [of_modality[m] for m in names]
            pairs += [of_pair[pair_name(*pair)] for pair in combinations(names, 2)]
    return _distances(modalities), _distances(pairs)


class _Sum:
    """Of vectors and of their squared lengths, by member."""

    def __init__(self) -> None:
        self.vector_KW: Tensor | float = 0.0
        self.square_K: Tensor | float = 0.0
        self.count_K: Tensor | float = 0.0

    def add(self, vector_KBW: Tensor, there_KB: Tensor) -> None:
        kept = torch.where(there_KB[..., None], vector_KBW, 0.0).double()
        self.vector_KW = self.vector_KW + kept.sum(dim=1)
        self.square_K = self.square_K + (kept**2).sum(dim=(1, 2))
        self.count_K = self.count_K + there_KB.sum(dim=1)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        count_K = torch.as_tensor(self.count_K).clamp(min=1)
        vector_KW, square_K = cast(Tensor, self.vector_KW), cast(Tensor, self.square_K)
        return (vector_KW / count_K[:, None]).cpu().numpy(), (square_K / count_K).cpu().numpy()


def _moments(joint: Joint, name: str, source: Source):
    """Name of each modality, and of each pair -> ((K, W) mean vector, (K,) mean squared length)."""
    trained = joint.trained[name]
    model = cast(HighMMT, trained.model).eval()
    of_modality = {m: _Sum() for m in model.names}
    of_pair = {pair_name(*pair): _Sum() for pair in combinations(model.names, 2)}
    inputs = trained.inputs(source.embeddings)
    matrix, real = padded([source.cohort.rows(member.fold, "validation") for member in trained.members])
    with torch.inference_mode():
        for first in range(0, matrix.shape[1], _ITEMS_AT_ONCE):
            part = slice(first, first + _ITEMS_AT_ONCE)
            batch = inputs.gather(matrix[:, part], real[:, part], with_targets=False)
            latents, present, seen = model.encoded(batch, model.read_steps[-1])
            for m, total in of_modality.items():
                total.add(latents[m].flatten(2), present[m] & batch.real)
            if not model.pairs:
                continue
            pair_KPBd, there_KPB = model.pair_vectors(latents, present, seen)
            place = {pair: number for number, pair in enumerate(model.pairs)}
            for i, j in combinations(sorted(model.names), 2):
                both = [place[i, j], place[j, i]]
                vector = torch.cat([pair_KPBd[:, p] for p in both], dim=-1)
                of_pair[pair_name(i, j)].add(vector, there_KPB[:, both[0]] & there_KPB[:, both[1]] & batch.real)
    return tuple({key: total.means() for key, total in totals.items()} for totals in (of_modality, of_pair))


def _distances(moments: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(M, M), 0 on the diagonal."""
    if not moments:
        return np.zeros((0, 0))
    mean_MKW, square_MK = (np.stack(part) for part in zip(*moments, strict=True))
    inner_MM = np.einsum("mkw,nkw->mn", mean_MKW, mean_MKW) / mean_MKW.shape[1]
    square_M = square_MK.mean(axis=1)
    found = (square_M[:, None] + square_M[None] - 2 * inner_MM) / mean_MKW.shape[2]
    np.fill_diagonal(found, 0.0)
    return np.maximum((found + found.T) / 2, 0.0)
