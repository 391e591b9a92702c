"""Embeddings that somebody else made: taken as they are, checked, float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import VectorEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards


@dataclass(frozen=True, kw_only=True)
class GivenParams:
    """There is nothing to set."""


def take_vectors(
    evidence: VectorEvidence,
    cohort: Cohort,
    modality: str,
    params: GivenParams,
    progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:
    """A NaN in a present vector is undefined for that item; models fill it from training rows.

    Raises ContractError where the vectors are not one per item, not float32, hold an infinite number, or where a
    present one holds nothing.
    """
    values, present = evidence.values, evidence.present
    if values.ndim != 2 or len(values) != len(cohort) or present.shape != (len(cohort),):
        raise ContractError(
            f"{modality}: vectors of shape {values.shape} and presence of shape {present.shape} for {len(cohort)} "
            "items; the reader must give one of each per item, in order."
        )
    if values.dtype != np.float32 or present.dtype != bool:
        raise ContractError(
            f"{modality}: {values.dtype} vectors and {present.dtype} presence; the reader must give float32 and bool."
        )
    if len(evidence.names) != values.shape[1]:
        raise ContractError(f"{modality}: {len(evidence.names)} names for {values.shape[1]} dimensions.")
    shown = values[present]
    if infinite := int(np.isinf(shown).any(axis=1).sum()):
        raise ContractError(f"{modality}: {infinite} of {len(values)} vectors hold an infinite number; mend the file.")
    if empty := int(np.isnan(shown).all(axis=1).sum()):
        raise ContractError(f"{modality}: {empty} present vectors hold nothing; the reader must call them absent.")
    progress(1, 1)
    return Featurized(
        embeddings=embeddings_from_rows(cohort.items["item"].to_numpy(), values, present, names=evidence.names),
        card={**evidence.card, "quarantined": dict(evidence.quarantined)},
    )


GIVEN = Featurizer(name="given", evidence="vectors", defaults=GivenParams(), run=take_vectors)
