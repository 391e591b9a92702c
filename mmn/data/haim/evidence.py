"""The vectors of the cohort's X-rays, modality by modality, from the prepared table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.errors import ContractError, RawFileError, StaleInputError
from mmn.data.evidence import VectorEvidence
from mmn.data.haim.columns import CODES, NOTES, VECTORS
from mmn.data.haim.params import HaimParams
from mmn.data.haim.prepared import NAME, prepare, read_footer, read_vectors
from mmn.data.haim.reader import UnsoundRow

CONSTANT = "HAIM's constant vector of a missing note"
FEWEST_STAYS, FEWEST_SHARE = 3, 0.01


def read_evidence(
    raw: Path, modality: str, cohort: Cohort, params: HaimParams, prepared: Mapping[str, Path] | None = None
) -> VectorEvidence:
    """Raises RawFileError where the file has no such vector, or is not sound up to the cohort's last row."""
    if prepared and NAME in prepared:
        return _read(prepared[NAME], modality, cohort, params)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NAME}.parquet"
        prepare(raw, NAME, path, {}, lambda done, total: None)
        return _read(path, modality, cohort, params)


def _read(path: Path, modality: str, cohort: Cohort, params: HaimParams) -> VectorEvidence:
    footer, vector = read_footer(path), VECTORS[modality]
    if modality not in footer["modalities"]:
        raise RawFileError(
            f"{footer['file']}: not all columns {vector.prefix}_0 to {vector.prefix}_{vector.width - 1} are here, so "
            f"there is no {modality}. Leave it out of `modalities:`, or give the released file."
        )
    rows = cohort.items["row"].to_numpy()
    if rows.max() >= footer["rows"]:
        if footer["unsound"] is None:
            raise _stale(path)
        raise UnsoundRow(footer["file"], footer["unsound"]["line"], footer["rows"], footer["unsound"]["what"])
    values, seen = _take(path, modality, cohort, params.nrows)
    if infinite := int(np.isinf(values).any(axis=1).sum()):
        raise ContractError(
            f"{footer['file']}: {infinite} of {len(values)} {modality} vectors hold an infinite number. Download the "
            "file again and compare its checksum."
        )

    present = ~np.isnan(values).all(axis=1)
    card = {"vectors": "made by HAIM's authors, as the file has them", "file": footer["file"]}
    quarantined = {}
    if partly := int((present & np.isnan(values).any(axis=1)).sum()):
        card["partly undefined"] = f"{partly} of {len(values)} items"
    if (constant := _constant(seen)) is not None:
        same = _digests(values) == constant
        card[CONSTANT] = f"{int(same.sum())} of {len(values)} items"
        if params.constant_is_absent:
            present &= ~same
            quarantined = {CONSTANT: int(same.sum())}
    names = vector.columns
    if modality == "demographics" and params.dummies:
        values, names = dummies(values)
    return VectorEvidence(values=values, present=present, names=names, card=card, quarantined=quarantined)


def _take(path: Path, modality: str, cohort: Cohort, nrows: int | None) -> tuple[np.ndarray, pd.DataFrame]:
    """The cohort's vectors (N, D), in its order; of a note modality also `stay` and `digest` of every vector read."""
    rows = cohort.items["row"].to_numpy()
    place = np.full(int(rows.max()) + 1, -1)
    place[rows] = np.arange(len(rows))
    values = np.empty((len(rows), VECTORS[modality].width), dtype=np.float32)
    images = np.empty(len(rows), dtype=object)
    seen, start = [], 0
    for stay, image, block in read_vectors(path, modality):
        at = place[start : start + len(block)]
        wanted = np.flatnonzero(at >= 0)
        values[at[wanted]], images[at[wanted]] = block[wanted], image[wanted]
        if modality in NOTES:
            known = np.flatnonzero(~np.isnan(block).all(axis=1))
            known = known[start + known < nrows] if nrows else known
            seen.append(pd.DataFrame({"stay": stay[known], "digest": _digests(block[known])}))
        start += len(block)
    if not np.array_equal(images, cohort.items["item"].to_numpy(dtype=object)):
        raise _stale(path)
    return values, pd.concat(seen) if seen else pd.DataFrame(columns=["stay", "digest"])


def _constant(seen: pd.DataFrame) -> np.uint64 | None:
    """The vector that occurs in the most stays of the file: of the empty text, by which HAIM says "no note".

    Counted by stay, as all X-rays of a stay share their notes' vector. One that few stays share is no constant: two
    stays of an admission may have the same notes.
    """
    stays = seen.drop_duplicates().groupby("digest").size()
    fewest = max(FEWEST_STAYS, FEWEST_SHARE * seen["stay"].nunique())
    return stays.idxmax() if len(stays) and stays.max() >= fewest else None


def _digests(values: np.ndarray) -> np.ndarray:
    """(R,) uint64: equal for equal vectors, and for others so with a chance below 1 in 10⁹."""
    factors = np.random.default_rng(0).integers(1, 2**64, values.shape[1], dtype=np.uint64)
    return (np.ascontiguousarray(values).view(np.uint32) * factors).sum(axis=1, dtype=np.uint64)


def dummies(codes: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """MultiModN's demographics from de_0 to de_5: the age, then a column per code that occurs but for the smallest.

    The width depends on who is in the cohort; the code of "missing" (-1), where it occurs, is the smallest and so has
    no column. A blank code is undefined (NaN) in all columns of its kind.
    """
    columns, names = [codes[:, 0]], ["de_0"]
    for kind in range(1, CODES + 1):
        column = codes[:, kind]
        for code in np.unique(column[~np.isnan(column)])[1:]:
            columns.append(np.where(np.isnan(column), np.nan, column == code).astype(np.float32))
            names.append(f"de_{kind}_{code:g}")
    return np.stack(columns, axis=1), tuple(names)


def _stale(path: Path) -> StaleInputError:
    return StaleInputError(
        f"{path}: its X-rays are not those of the cohort. The embedding file changed between the two; run again."
    )
