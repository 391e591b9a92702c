"""Notes to one vector per item, by a pretrained encoder of BERT's kind.

Mode clean: every token of every note counts. A text is cut into chunks that fit the encoder, at line ends where it can
be, inside a line where it must. A note's vector is the mean of its chunks, weighted by their tokens; an item's is the
mean of its notes, which a half-life may weight towards the latest. An item without a note is absent.
Mode haim: the published behaviour, told in `text_haim.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import TextEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards
from mmn.featurizers.text_encoder import TextEncoder, load_encoder, to_bfloat16
from mmn.featurizers.text_haim import pool_like_haim
from mmn.featurizers.text_pieces import Notes, Piece, Pooled, add_to_items, embed_pieces
from mmn.featurizers.weights import BIO_CLINICALBERT, Device, Precision, Resolved, inference, resolve_text

_TEXTS_TO_JUDGE = 64
NO_TOKEN = "a note in which the tokenizer finds nothing"
NO_TIME = "a note without a time, while a half-life is set"


@dataclass(frozen=True, kw_only=True)
class TextParams:
    """weights: "minilm", "bio_clinicalbert" or a folder; weights_path: where the named weights lie, if elsewhere.

    mode: "clean", or "haim" for HAIM's treatment of notes, fault by fault.
    pooling: "auto" is what the weights were made for: mean for minilm and folders, pooler for bio_clinicalbert; haim is
    always the pooler. chunk_tokens: tokens of text per chunk; None: 254 for minilm, 510 for bio_clinicalbert, all
    positions for a folder and in haim. lowercase: None is what the weights were made for. half_life_hours: a note this
    much older than the item's latest counts half; None: all count alike; haim weights by time in its own way.
    batch_tokens: padded, per batch; None: each chunk alone on a processor, 65,536 on a GPU.
    dtype: "bfloat16" is two to three times as fast where the processor has it; it is measured against float32 on some
    of the notes first, and refused below a cosine of 0.999.
    """

    weights: str = "minilm"
    weights_path: str = ""
    allow_download: bool = False
    mode: Literal["clean", "haim"] = "clean"
    pooling: Literal["auto", "mean", "pooler"] = "auto"
    chunk_tokens: int | None = None
    lowercase: bool | None = None
    half_life_hours: float | None = None
    batch_tokens: int | None = None
    dtype: Precision = "float32"
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise ValueError(f"chunk_tokens is {self.chunk_tokens}; at least 1 is needed.")
        if self.half_life_hours is not None and not self.half_life_hours > 0:
            raise ValueError(f"half_life_hours is {self.half_life_hours}; it must be above 0, or null for none.")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ValueError(f"batch_tokens is {self.batch_tokens}; at least 1 is needed.")
        if self.mode == "haim" and (self.pooling == "mean" or self.half_life_hours is not None):
            raise ValueError(
                "mode haim takes the pooler and weights notes by their hours: leave `pooling` at auto and "
                "`half_life_hours` at null, or set `mode: clean`."
            )


def embed_texts(
    evidence: TextEvidence, cohort: Cohort, modality: str, params: TextParams, progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:  # fmt: skip
    """Raises ContractError for a note of no item (in clean mode also for one without text), WeightsError for weights
    that are missing or unfit."""
    import torch

    items = cohort.items["item"].to_numpy()
    notes = _notes(evidence.rows, items, modality, params.mode)
    resolved = resolve_text(params.weights, params.weights_path, params.allow_download)
    workers = torch.get_num_threads()
    with inference(params.device) as device:
        encoder = load_encoder(resolved, params, device, workers)
        precision = to_bfloat16(encoder, _sample(notes)) if params.dtype == "bfloat16" else {}
        pieces = embed_pieces(encoder, encoder.fingerprint(resolved), notes, shards, progress)
        if params.mode == "haim":
            pooled = pool_like_haim(encoder, pieces, notes, len(items))
        else:
            pooled = _pool(encoder, pieces, notes, len(items), params.half_life_hours)
    counts = pooled.set_aside["reason"].value_counts(sort=False)
    return Featurized(
        embeddings=embeddings_from_rows(items, pooled.values, pooled.present),
        card={
            "weights": resolved.card(),
            "mode": params.mode,
            "pooling": encoder.pooling,
            "chunk_tokens": encoder.chunk_tokens,
            "dtype": params.dtype,
            "notes": len(notes.rows),
            "different notes": notes.num_texts,
            "chunks": pooled.num_chunks,
            "quarantined": {**evidence.quarantined, **{str(reason): int(count) for reason, count in counts.items()}},
            **_asides(evidence, params, resolved, precision, pooled),
        },
        set_aside=pd.concat([evidence.set_aside, pooled.set_aside], ignore_index=True).astype("str"),
    )


def _asides(
    evidence: TextEvidence, params: TextParams, resolved: Resolved, precision: dict[str, Any], pooled: Pooled
) -> dict[str, Any]:
    """What a card says only where there is something to say."""
    said: dict[str, Any] = {"bfloat16": precision} if precision else {}
    if evidence.notes:
        said["reading"] = list(evidence.notes)
    if params.mode == "haim":
        said["haim"] = dict(pooled.remarks)
        if resolved.weights.name != "bio_clinicalbert":
            said["haim"]["weights"] = f"not HAIM's, which are {BIO_CLINICALBERT}: only the treatment of notes is HAIM's"
    if resolved.weights.has_seen:
        said["warning"] = resolved.weights.has_seen
    return said


def _notes(rows: pd.DataFrame, items: np.ndarray, modality: str, mode: str) -> Notes:
    position = pd.Index(items).get_indexer(rows["item"])
    lost = position < 0
    if mode == "clean":
        lost |= rows["text"].isna().to_numpy()
    if lost.any():
        raise ContractError(
            f"{modality}: {int(lost.sum())} of {len(rows)} notes name no item of the cohort, or have no text; the "
            "reader must leave them out and count them."
        )
    return Notes(rows, position)


def _sample(notes: Notes) -> list[str]:
    """Some of the texts, from all over, and the empty one, so that there is always something to measure."""
    return ["", *notes.texts(0, notes.num_texts, max(1, notes.num_texts // _TEXTS_TO_JUDGE))[:_TEXTS_TO_JUDGE]]


def _pool(
    encoder: TextEncoder, pieces: Iterable[Piece], notes: Notes, num_items: int, half_life: float | None
) -> Pooled:
    """The weighted mean of each item's notes; a text that an item holds twice counts twice."""
    weight = _note_weights(notes, num_items, half_life)
    untimed = (half_life is not None) & notes.rows["hours"].isna().to_numpy()
    sums_ND, readable, num_chunks = np.zeros((num_items, encoder.width)), np.zeros(len(weight), dtype=bool), 0
    for piece in pieces:
        add_to_items(sums_ND, piece, notes, weight)
        readable[notes.of(piece)] = True
        num_chunks += int(piece.num_chunks.sum())
    total = np.bincount(notes.position, weights=np.where(readable, weight, 0.0), minlength=num_items)
    present = total > 0
    left_out = [notes.left_out(untimed, NO_TIME), notes.left_out(~readable & ~untimed, NO_TOKEN)]
    return Pooled(
        values=np.divide(sums_ND, total[:, None], out=sums_ND, where=present[:, None]),
        present=present,
        num_chunks=num_chunks,
        set_aside=pd.concat(left_out, ignore_index=True),
    )


def _note_weights(notes: Notes, num_items: int, half_life: float | None) -> np.ndarray:
    """0 to 1 per note. The item's latest note has weight 1; with a half-life, one without a time has 0."""
    if half_life is None:
        return np.ones(len(notes.rows))
    hours = notes.rows["hours"].to_numpy(dtype=np.float64)
    latest = np.full(num_items, -np.inf)
    np.fmax.at(latest, notes.position, hours)
    return np.nan_to_num(0.5 ** ((latest[notes.position] - hours) / half_life), nan=0.0)


TEXT = Featurizer(name="text", evidence="texts", defaults=TextParams(), run=embed_texts)
