"""HAIM's vector of an item's notes, fault by fault (mimic.md sections 0.6 and 3.4), to meet its published numbers.

An item's vector is the mean of all chunks of all its notes, each weighted by the hours from admission to its note, as
they are: 0, negative, summing to 0 (the vector is then zeros). An item without notes gets the vector of the empty text
and counts as present; so does one with a note that the published code fails on: a null text, or a line of more than 510
tokens that another line follows.

One thing differs, because a row that holds nothing must not be called present: where a note without a time makes HAIM's
vector NaN, the item is absent and counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mmn.featurizers.text_encoder import TextEncoder, embed_chunks
from mmn.featurizers.text_pieces import Notes, Piece, Pooled, add_to_items

UNTIMED = "a note without a time, which makes HAIM's vector undefined"
# Below this share of its terms a sum may be 0 but for the order in which it was added up.
_DOUBTFUL = 1e-9


def pool_like_haim(encoder: TextEncoder, pieces: Iterable[Piece], notes: Notes, num_items: int) -> Pooled:
    hours = notes.rows["hours"].to_numpy(dtype=np.float64)
    sums_ND = np.zeros((num_items, encoder.width))
    num_chunks = np.zeros(notes.num_texts, dtype=np.int64)
    for piece in pieces:
        num_chunks[piece.first : piece.first + len(piece.num_chunks)] = piece.num_chunks
        each_chunk_counts = piece.vectors.astype(np.float64) * piece.num_chunks[:, None]
        add_to_items(sums_ND, replace(piece, vectors=each_chunk_counts), notes, hours)

    chunks_of_row = np.append(num_chunks, 0)[notes.text]  # text -1, a null, finds the last
    noted, failed, untimed = np.zeros((3, num_items), dtype=bool)
    noted[notes.position] = True
    failed[notes.position[chunks_of_row == 0]] = True
    untimed[notes.position[np.isnan(hours)]] = True
    untimed &= ~failed
    total = _total_weights(hours, chunks_of_row, notes.position, num_items)

    zeros = noted & ~failed & (total == 0)
    empty = ~noted | failed
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.divide(sums_ND, total[:, None], out=sums_ND)
    values[zeros] = 0.0
    values[empty] = embed_chunks(encoder, [np.zeros(0, dtype=np.int64)])[0]
    return Pooled(
        values=values,
        present=~untimed,
        num_chunks=int(num_chunks.sum()),
        set_aside=notes.left_out(untimed[notes.position] & np.isnan(hours), UNTIMED),
        remarks={
            "items without a note: the empty text's vector": int((~noted).sum()),
            "items with a note that the published code fails on: the empty text's vector": int(failed.sum()),
            "items whose weights sum to 0: zeros": int(zeros.sum()),
            "items with a note without a time: absent (HAIM: NaN)": int(untimed.sum()),
        },
    )


def _total_weights(hours: np.ndarray, num_chunks: np.ndarray, position: np.ndarray, num_items: int) -> np.ndarray:
    """(N,) the sum of an item's chunk weights. Where it nearly cancels it is added up chunk by chunk in the order of
    the notes, as numpy's average does: whether it is 0 decides what becomes of the item."""
    weight = hours * num_chunks
    total = np.bincount(position, weights=weight, minlength=num_items)
    terms = np.bincount(position, weights=np.abs(weight), minlength=num_items)
    order = np.argsort(position, kind="stable")
    bounds = np.searchsorted(position[order], np.arange(num_items + 1))
    for item in np.flatnonzero(np.abs(total) <= _DOUBTFUL * terms):
        rows = order[bounds[item] : bounds[item + 1]]
        total[item] = np.sum(np.repeat(hours[rows], num_chunks[rows]))
    return total
