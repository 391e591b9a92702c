"""Each different text embedded once, piece by piece, and every piece added to its items before the next is made.

Memory thus holds one piece's vectors and one sum per item, however many notes there are. A piece on disk holds vectors
and chunk counts under a name that is a hash: nothing of a text can be read from either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmn.featurizers.featurizer import Progress
from mmn.featurizers.shards import Shards, shard_key
from mmn.featurizers.text_encoder import TextEncoder, embed_chunks

# A killed run loses at most one piece: about a minute with BERT-base on one core, less than a second on a GPU.
TEXTS_PER_PIECE = {"cpu": 256, "cuda": 4_096}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Texts first .. first + S. vectors: float32 (S, D), the mean of a text's chunks, NaN where it has none;
    num_chunks: int32 (S,)."""

    first: int
    vectors: np.ndarray
    num_chunks: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One vector per item. values: (N, D); present: (N,); set_aside: as `Featurized.set_aside`; remarks: for the
    card."""

    values: np.ndarray
    present: np.ndarray
    num_chunks: int
    set_aside: pd.DataFrame
    remarks: dict[str, Any] = field(default_factory=dict)


class Notes:
    """The evidence's rows as numbers: whose note (position: the item's place in the cohort), and which text (text: its
    place among the different ones, in order of first appearance; -1: null)."""

    def __init__(self, rows: pd.DataFrame, position: np.ndarray) -> None:
        self.rows = rows
        self.position = position
        self.text, self._unique = pd.factorize(rows["text"])
        self._by_text = np.argsort(self.text, kind="stable")
        self._sorted = self.text[self._by_text]

    @property
    def num_texts(self) -> int:
        return len(self._unique)

    def texts(self, first: int, last: int, every: int = 1) -> list[str]:
        return [str(text) for text in self._unique[first:last:every]]

    def of(self, piece: Piece) -> np.ndarray:
        """Places of the rows whose text lies in the piece and has a chunk."""
        first, last = np.searchsorted(self._sorted, [piece.first, piece.first + len(piece.num_chunks)])
        places = self._by_text[first:last]
        return places[piece.num_chunks[self.text[places] - piece.first] > 0]

    def left_out(self, where: np.ndarray, reason: str) -> pd.DataFrame:
        """Rows of `set_aside`: never more than an item, a note's key and the reason."""
        rows = self.rows.loc[where, ["item", "note"]].rename(columns={"note": "source"})
        return rows.assign(reason=reason).reset_index(drop=True)


def embed_pieces(
    encoder: TextEncoder, fingerprint: dict[str, Any], notes: Notes, shards: Shards, progress: Progress
) -> Iterator[Piece]:
    """progress(done, total) in different texts."""
    size, total = TEXTS_PER_PIECE[encoder.device.type], notes.num_texts
    for first in range(0, total, size):
        texts = notes.texts(first, first + size)
        key = shard_key("texts", fingerprint, _digest(texts))
        if (kept := shards.get(key)) is not None:
            progress(first + len(texts), total)
        else:
            kept = _embed(encoder, texts, _part_of(progress, first, len(texts), total))
            shards.put(key, kept)
        yield Piece(first=first, vectors=kept["vectors"], num_chunks=kept["num_chunks"])


def add_to_items(sums_ND: np.ndarray, piece: Piece, notes: Notes, weight: np.ndarray) -> None:
    """Add each note's vector, times its weight, to its item's sum. weight: one per row of the notes."""
    from scipy.sparse import csr_array

    rows = notes.of(piece)
    items, place = np.unique(notes.position[rows], return_inverse=True)
    shape = (len(items), len(piece.vectors))
    share = csr_array((weight[rows], (place, notes.text[rows] - piece.first)), shape=shape)
    sums_ND[items] += share @ piece.vectors.astype(np.float64)


def _embed(encoder: TextEncoder, texts: Sequence[str], progress: Progress) -> dict[str, np.ndarray]:
    """`vectors` and `num_chunks` of a piece."""
    from scipy.sparse import csr_array

    chunks, owner = encoder.chunks(texts)
    if not chunks:
        progress(1, 1)
    values = embed_chunks(encoder, chunks, lambda done: progress(done, len(chunks)))
    # HAIM's chunks count alike, however short; ours by their tokens.
    tokens = np.asarray([1 if encoder.mode == "haim" else len(chunk) for chunk in chunks], dtype=np.float64)
    total = np.bincount(owner, weights=tokens, minlength=len(texts))
    share = csr_array((tokens / total[owner], (owner, np.arange(len(chunks)))), shape=(len(texts), len(chunks)))
    num_chunks = np.bincount(owner, minlength=len(texts)).astype(np.int32)
    vectors = np.where(num_chunks[:, None] > 0, share @ values.astype(np.float64), np.nan)
    return {"vectors": vectors.astype(np.float32), "num_chunks": num_chunks}


def _part_of(progress: Progress, first: int, size: int, total: int) -> Progress:
    return lambda done, of: progress(first + done * size // of, total)


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
