"""The one interface of every featurizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Featurized:
    """An embedding table and its card: weights (name, SHA-256, licence), parameters, quarantined rows by reason."""

    embeddings: Embeddings
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Featurizer:
    """A featurizer as a value.

    evidence: the kind it reads (`mmn.data.dataset.EvidenceKind`). defaults: its frozen dataclass of parameters, which
    `params.yaml` overrides per modality. run(evidence, cohort, modality,
    params, progress): `modality` is the modality's name (weekly clicks and station hours pick their columns by it);
    progress(done, total) is called as it goes.
    """

    name: str
    evidence: str
    defaults: Any
    run: Callable[[Any, Cohort, str, Any, Progress], Featurized]
