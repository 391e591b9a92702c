"""Notes to one vector per item, by a pretrained encoder of BERT's kind.

Every token of every note counts: a text is cut into chunks that fit the encoder, at line ends where it can be, inside a
line where it must. A note's vector is the mean of its chunks, weighted by their tokens; an item's is the mean of its
notes, which a half-life may weight towards the latest. An item without a note is absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import TextEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.weights import Device, Precision, Resolved, WeightsError, inference, resolve_text

if TYPE_CHECKING:
    import torch

_TEXTS_AT_ONCE = 512
NO_TOKEN = "a note in which the tokenizer finds nothing"
NO_TIME = "a note without a time, while a half-life is set"


@dataclass(frozen=True, kw_only=True)
class TextParams:
    """weights: "minilm", "bio_clinicalbert" or a folder; weights_path: where the named weights lie, if elsewhere.

    pooling: "auto" is what the weights were made for: mean for minilm and folders, pooler for bio_clinicalbert.
    chunk_tokens: tokens of text per chunk; None: 254 for minilm, 510 for bio_clinicalbert, all positions for a folder.
    lowercase: None is what the weights were made for. half_life_hours: a note this much older than the item's latest
    counts half; None: all count alike. batch_tokens: padded, per batch; None: 2,048 on a processor, 65,536 on a GPU.
    dtype: "bfloat16" is up to three times as fast where the processor has it (cosine to float32 above 0.999).
    """

    weights: str = "minilm"
    weights_path: str = ""
    allow_download: bool = False
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


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """A tokenizer and a network, ready to run. chunk_tokens: tokens of text that one chunk may hold."""

    tokenizer: Any
    network: Any
    pooling: Literal["mean", "pooler"]
    unit_length: bool
    chunk_tokens: int
    batch_tokens: int
    device: torch.device

    @property
    def width(self) -> int:
        return int(self.network.config.hidden_size)


def embed_texts(
    evidence: TextEvidence, cohort: Cohort, modality: str, params: TextParams, progress: Progress
) -> Featurized:
    items = cohort.items["item"].to_numpy()
    rows = evidence.rows
    position = pd.Index(items).get_indexer(rows["item"])
    if (lost := (position < 0) | rows["text"].isna().to_numpy()).any():
        raise ContractError(
            f"{modality}: {int(lost.sum())} of {len(rows)} notes name no item of the cohort, or have no text; the "
            "reader must leave them out and count them."
        )
    weight, quarantined = _note_weights(rows, position, len(items), params.half_life_hours)
    code, unique = pd.factorize(rows["text"])
    resolved = resolve_text(params.weights, params.weights_path, params.allow_download)
    with inference(params.device) as device:
        encoder = load_encoder(resolved, params, device)
        chunks, owner = chunk_texts(encoder, unique)
        vectors = _mean_by_owner(embed_chunks(encoder, chunks, progress), chunks, owner, len(unique))
    readable = np.isin(np.arange(len(unique)), owner)[code]
    if not readable.all():
        quarantined[NO_TOKEN] = int((~readable).sum())
    values, present = _mean_by_item(vectors, code, position, np.where(readable, weight, 0.0), len(items))
    return Featurized(
        embeddings=embeddings_from_rows(items, values, present),
        card={
            "weights": resolved.card(),
            "pooling": encoder.pooling,
            "chunk_tokens": encoder.chunk_tokens,
            "dtype": params.dtype,
            "notes": len(rows),
            "different notes": len(unique),
            "chunks": len(chunks),
            "quarantined": {**evidence.quarantined, **quarantined},
            **({"warning": resolved.weights.has_seen} if resolved.weights.has_seen else {}),
        },
    )


def load_encoder(resolved: Resolved, params: TextParams, device: torch.device) -> TextEncoder:
    """From local files only. Raises WeightsError where a layer that is needed has no weights, or no chunk would fit."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    weights = resolved.weights
    pooling = weights.pooling if params.pooling == "auto" else params.pooling
    lowercase = weights.lowercase if params.lowercase is None else params.lowercase
    spelling = {} if lowercase is None else {"do_lower_case": lowercase}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.folder, local_files_only=True, **spelling)
        network, loading = AutoModel.from_pretrained(
            resolved.folder,
            local_files_only=True,
            use_safetensors=resolved.file.suffix == ".safetensors",
            weights_only=True,
            dtype=getattr(torch, params.dtype),
            output_loading_info=True,
        )
    except OSError as error:
        raise WeightsError(
            f"{resolved.folder}: config.json or the tokenizer's files cannot be read. Give a complete folder."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = [key for key in loading["missing_keys"] if pooling == "pooler" or not key.startswith("pooler.")]
    if missing:
        raise WeightsError(
            f"{resolved.file}: has no weights for {len(missing)} tensors of the network, as {sorted(missing)[0]}; "
            "they would be random. Give the right file, or set `pooling: mean` if only the pooler is missing."
        )
    if not tokenizer.is_fast or tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise WeightsError(
            f"{resolved.folder}: not a tokenizer of BERT's kind (fast, with [CLS] and [SEP]). Give another model."
        )
    most = network.config.max_position_embeddings - 2
    wanted = params.chunk_tokens or weights.chunk_tokens or most
    if wanted > most:
        raise WeightsError(
            f"chunk_tokens is {wanted}; '{weights.name}' has positions for {most} besides [CLS] and [SEP]. Set fewer."
        )
    return TextEncoder(
        tokenizer=tokenizer, network=network.to(device).eval(), pooling=pooling, unit_length=weights.unit_length,
        chunk_tokens=wanted, device=device,
        batch_tokens=params.batch_tokens or (65_536 if device.type == "cuda" else 2_048),
    )  # fmt: skip


def chunk_texts(encoder: TextEncoder, texts: pd.Index | list[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """(token ids of each chunk, without [CLS] and [SEP]; the text each belongs to, ascending). Nothing is dropped."""
    chunks: list[np.ndarray] = []
    owner: list[int] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        block = [str(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
        read = encoder.tokenizer(block, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for number, (text, ids, offsets) in enumerate(
            zip(block, read["input_ids"], read["offset_mapping"], strict=True), start
        ):
            bounds = _chunk_bounds(text, offsets, encoder.chunk_tokens)
            chunks += [np.asarray(ids[low:high], dtype=np.int64) for low, high in bounds]
            owner += [number] * len(bounds)
    return chunks, np.asarray(owner, dtype=np.int64)


def _chunk_bounds(text: str, offsets: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Whole lines while they fit; a line that is too long for a chunk is cut between tokens."""
    if len(offsets) <= most:
        return [(0, len(offsets))] if offsets else []
    line_ends = np.flatnonzero(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) == ord("\n"))
    line = np.searchsorted(line_ends, np.asarray(offsets)[:, 0])
    ends = [*(np.flatnonzero(np.diff(line)) + 1).tolist(), len(offsets)]
    bounds, start, last = [], 0, 0
    for end in ends:
        if end - start > most and last > start:
            bounds.append((start, last))
            start = last
        while end - start > most:
            bounds.append((start, start + most))
            start += most
        last = end
    return [*bounds, (start, len(offsets))] if start < len(offsets) else bounds


def embed_chunks(encoder: TextEncoder, chunks: list[np.ndarray], progress: Progress) -> np.ndarray:
    """float32 (C, D). Chunks of like length share a batch, so that little is padding."""
    import torch

    values = np.empty((len(chunks), encoder.width), dtype=np.float32)
    tokenizer, done = encoder.tokenizer, 0
    for batch in _batches([len(chunk) + 2 for chunk in chunks], encoder.batch_tokens):
        longest = max(len(chunks[i]) for i in batch) + 2
        ids_BL = np.full((len(batch), longest), tokenizer.pad_token_id or 0, dtype=np.int64)
        mask_BL = np.zeros((len(batch), longest), dtype=np.int64)
        for row, i in enumerate(batch):
            length = len(chunks[i]) + 2
            ids_BL[row, :length] = [tokenizer.cls_token_id, *chunks[i], tokenizer.sep_token_id]
            mask_BL[row, :length] = 1
        ids, mask = torch.from_numpy(ids_BL).to(encoder.device), torch.from_numpy(mask_BL).to(encoder.device)
        output = encoder.network(input_ids=ids, attention_mask=mask)
        if encoder.pooling == "pooler":
            vector = output.pooler_output.float()
        else:
            vector = (output.last_hidden_state.float() * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        if encoder.unit_length:
            vector = torch.nn.functional.normalize(vector, dim=1)
        values[batch] = vector.cpu().numpy()
        done += len(batch)
        progress(done, len(chunks))
    return values


def _batches(lengths: list[int], budget: int) -> Iterator[np.ndarray]:
    """Shortest first; a batch's padded size stays within the budget, or it is a single chunk."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or lengths[order[stop]] * (stop + 1 - start) > budget:
            yield order[start:stop]
            start = stop


def _note_weights(
    rows: pd.DataFrame, position: np.ndarray, num_items: int, half_life: float | None
) -> tuple[np.ndarray, dict[str, int]]:
    """(0 to 1 per note; what was left out). The item's latest note has weight 1."""
    if half_life is None:
        return np.ones(len(rows)), {}
    hours = rows["hours"].to_numpy(dtype=np.float64)
    latest = np.full(num_items, -np.inf)
    np.fmax.at(latest, position, hours)
    weight = np.nan_to_num(0.5 ** ((latest[position] - hours) / half_life), nan=0.0)
    untimed = int(np.isnan(hours).sum())
    return weight, {NO_TIME: untimed} if untimed else {}


def _mean_by_owner(values: np.ndarray, chunks: list[np.ndarray], owner: np.ndarray, num_texts: int) -> np.ndarray:
    """Chunk vectors (C, D) to text vectors (U, D), weighted by tokens; 0 for a text without a chunk."""
    from scipy.sparse import csr_array

    tokens = np.asarray([len(chunk) for chunk in chunks], dtype=np.float64)
    total = np.bincount(owner, weights=tokens, minlength=num_texts)
    share = csr_array((tokens / total[owner], (owner, np.arange(len(chunks)))), shape=(num_texts, len(chunks)))
    return share @ values


def _mean_by_item(
    vectors: np.ndarray, code: np.ndarray, position: np.ndarray, weight: np.ndarray, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Text vectors (U, D) to item vectors (N, D) and who is present; a text that an item holds twice counts twice."""
    from scipy.sparse import csr_array

    total = np.bincount(position, weights=weight, minlength=num_items)
    present = total > 0
    share = np.divide(weight, total[position], out=np.zeros_like(weight), where=present[position])
    return csr_array((share, (position, code)), shape=(num_items, len(vectors))) @ vectors, present


TEXT = Featurizer(name="text", evidence="texts", defaults=TextParams(), run=embed_texts)
