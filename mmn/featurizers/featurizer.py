"""The one interface of every featurizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mmn.data.embeddings import Embeddings

Progress = Callable[[int, int], None]
# Settings of featurizers that say where or how fast, never what: they are no part of what an embedding is.
MACHINE_SETTINGS = frozenset({"weights_path", "device", "batch_size", "batch_tokens", "allow_download"})


@dataclass(frozen=True, kw_only=True)
class Featurized:
    """An embedding table and its card: weights (name, SHA-256, licence), parameters, quarantined rows by reason.

    set_aside: one row per piece of evidence that was left out: `item`, `source` (a relative path or a key of the raw
    table; never content), `reason`; None where the kind of evidence is judged by counts alone.
    """

    embeddings: Embeddings
    card: dict[str, Any] = field(default_factory=dict)
    set_aside: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Featurizer:
    """A featurizer as a value.

    evidence: the kind it reads (`mmn.data.dataset.EvidenceKind`). defaults: its frozen dataclass of parameters, which
    `params.yaml` overrides per modality. run(evidence, cohort, modality,
    params, progress, shards): `modality` is the modality's name (weekly clicks and station hours pick their columns by
    it); progress(done, total) is called as it goes; `shards` keeps the pieces of a long computation.
    """

    name: str
    evidence: str
    defaults: Any
    run: Callable[..., Featurized]
