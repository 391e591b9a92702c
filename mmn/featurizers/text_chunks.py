"""Texts to chunks that fit the encoder: token ids, without [CLS] and [SEP].

`clean_bounds` drops nothing. `haim_bounds` repeats the published code, which loses a long note's end and trips over a
long line (mimic.md section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Offsets = Sequence[tuple[int, int]]
Bounds = list[tuple[int, int]]


def chunk_texts(tokenizer: Any, texts: Sequence[str], most: int, mode: str) -> tuple[list[np.ndarray], np.ndarray]:
    """(token ids of each chunk; the text each belongs to, ascending). A text without a chunk cannot be embedded: in
    clean mode the tokenizer finds nothing in it, in haim mode the published code fails on it."""
    chunks: list[np.ndarray] = []
    owner: list[int] = []
    if not texts:
        return chunks, np.zeros(0, dtype=np.int64)
    read = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for number, (text, ids, offsets) in enumerate(zip(texts, read["input_ids"], read["offset_mapping"], strict=True)):
        bounds = haim_bounds(text, offsets, most) if mode == "haim" else clean_bounds(text, offsets, most)
        chunks += [np.asarray(ids[low:high], dtype=np.int64) for low, high in bounds or []]
        owner += [number] * len(bounds or [])
    return chunks, np.asarray(owner, dtype=np.int64)


def clean_bounds(text: str, offsets: Offsets, most: int) -> Bounds:
    """Whole lines while they fit; a line that is too long for a chunk is cut between tokens."""
    if len(offsets) <= most:
        return [(0, len(offsets))] if offsets else []
    line, _ = _lines(text, offsets)
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


def haim_bounds(text: str, offsets: Offsets, most: int) -> Bounds | None:
    """None where the published code fails: a line of more than `most` tokens that another line follows.

    A long text's lines are gathered while they fit; what is gathered when the text ends is lost, and a first line that
    is too long leaves an empty chunk before it.
    """
    if len(offsets) <= most:
        return [(0, len(offsets))]
    line, num_lines = _lines(text, offsets)
    upto = np.concatenate([[0], np.cumsum(np.bincount(line, minlength=num_lines))]).tolist()
    bounds, first = [], 0
    for number in range(num_lines):
        if upto[number + 1] - upto[first] > most:
            bounds.append((upto[first], upto[number]))
            first = number
    return None if any(high - low > most for low, high in bounds) else bounds


def _lines(text: str, offsets: Offsets) -> tuple[np.ndarray, int]:
    """(the line of each token, the number of lines)."""
    line_ends = np.flatnonzero(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) == ord("\n"))
    return np.searchsorted(line_ends, np.asarray(offsets)[:, 0]), len(line_ends) + 1
