"""The embedding table: what passes between featurizers and models, and its contract.

On disk one parquet file, one row per item (x step) (x fold): `item`, `step` for series, `fold` where the featurizer
was fitted per fold, `embedding`: fixed_size_list<float32>[D], null where the modality is absent, and `set_aside`, where
evidence was left out one piece at a time: the reasons, null where nothing of the item was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.errors import ContractError
from mmn.data.files import write_parquet

CONTRACT = "embedding/1"


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """One modality of N items over T steps (1 for static data), in D dimensions.

    items: (N,) strings in the cohort's order. present: (N, T) bool. values: float32 (F, N, T, D), F = 1 where nothing
    was fitted, else one slice per fold. A NaN element of a present row means "undefined for this item" (no video was
    touched, so no delay): models fill it from training rows. Rows that are absent hold NaN and must not be read.
    names: (D,) what each dimension is, where that can be said; () for learned embeddings.
    """

    items: np.ndarray
    values: np.ndarray
    present: np.ndarray
    names: tuple[str, ...] = ()

    @property
    def fitted_per_fold(self) -> bool:
        return self.values.shape[0] > 1

    @property
    def width(self) -> int:
        return int(self.values.shape[3])

    @property
    def num_steps(self) -> int:
        return int(self.values.shape[2])


def embeddings_from_rows(items: np.ndarray, values: np.ndarray, present: np.ndarray, names=()) -> Embeddings:
    """From unfitted values of shape (N, D) with present (N,), or (N, T, D) with present (N, T)."""
    if values.ndim == 2:
        values, present = values[:, None, :], present[:, None]
    values = np.where(present[..., None], values, np.nan).astype(np.float32)
    return Embeddings(items=np.asarray(items, dtype=object), values=values[None], present=present, names=tuple(names))


def check_embeddings(embeddings: Embeddings, items: np.ndarray, where: str, whose: str = "the cohort's") -> None:
    """The promises of `Embeddings` against these items, the cohort's or another table's. Raises ContractError."""
    if embeddings.values.ndim != 4:
        raise ContractError(
            f"{where}: values has shape {embeddings.values.shape}, expected (folds or 1, items, steps, width)."
        )
    _, num_items, num_steps, width = embeddings.values.shape
    if list(embeddings.items) != list(items):
        raise ContractError(
            f"{where}: the items are not {whose}, or not in the same order ({len(embeddings.items)} of {len(items)}). "
            "Give every item in the same place in all, absent where it has no evidence."
        )
    if num_items != len(items):
        raise ContractError(f"{where}: values of {num_items} items for {len(items)} names of items.")
    if embeddings.present.shape != (num_items, num_steps):
        raise ContractError(
            f"{where}: present has shape {embeddings.present.shape}, expected {(num_items, num_steps)}."
        )
    if not width:
        raise ContractError(f"{where}: the embedding has no dimension.")
    if embeddings.names and len(embeddings.names) != width:
        raise ContractError(f"{where}: {len(embeddings.names)} names for {width} dimensions.")
    shown = embeddings.values[:, embeddings.present]
    if (bad := np.isinf(shown).any(axis=-1)).any():
        raise ContractError(f"{where}: {int(bad.sum())} present rows hold an infinite value; the featurizer must not.")
    if shown.size and (bad := np.isnan(shown).all(axis=-1)).any():
        raise ContractError(f"{where}: {int(bad.sum())} rows are called present but hold nothing; mark them absent.")


def write_embeddings(
    path: Path, embeddings: Embeddings, provenance: dict[str, Any], set_aside: pd.DataFrame | None = None
) -> None:
    """set_aside: `item`, `reason` of each piece of evidence that was left out; see `Featurized`."""
    num_folds, num_items, num_steps, width = embeddings.values.shape
    present = np.broadcast_to(embeddings.present, (num_folds, num_items, num_steps)).reshape(-1)
    flat = pa.array(np.ascontiguousarray(embeddings.values).reshape(-1), type=pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, width, mask=pa.array(~present))
    columns: dict[str, Any] = {}
    if embeddings.fitted_per_fold:
        columns["fold"] = pa.array(np.repeat(np.arange(num_folds, dtype=np.int32), num_items * num_steps))
    columns["item"] = pa.array(np.tile(np.repeat(embeddings.items, num_steps), num_folds), type=pa.string())
    if num_steps > 1:
        columns["step"] = pa.array(np.tile(np.arange(num_steps, dtype=np.int32), num_folds * num_items))
    columns["embedding"] = column
    if set_aside is not None:
        told = set_aside.groupby("item")["reason"].agg(lambda reasons: "; ".join(sorted(set(reasons))))
        columns["set_aside"] = pa.array(
            told.reindex(columns["item"].to_pylist()).to_list(), type=pa.string(), from_pandas=True
        )
    write_parquet(path, pa.table(columns), {"contract": CONTRACT, "names": list(embeddings.names), **provenance})


def read_embeddings(path: Path) -> Embeddings:
    """Raises ContractError where the file is not a whole embedding table of this contract: every fold, item and step
    once, in this order."""
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ContractError(f"{path}: not a whole parquet file ({error}). Make the features again.") from error
    footer = json.loads((table.schema.metadata or {}).get(b"mmn", b"{}"))
    if footer.get("contract") != CONTRACT:
        raise ContractError(
            f"{path}: its footer says contract {footer.get('contract')!r}, this code reads {CONTRACT!r}."
        )
    num_folds, num_items, num_steps = shape = _check_rows(table, path)
    column = table["embedding"].combine_chunks()
    width = column.type.list_size
    present = column.is_valid().to_numpy(zero_copy_only=False).reshape(shape)
    if (present != present[0]).any():
        raise ContractError(
            f"{path}: some items are present in one fold and absent in another. Make the features again."
        )
    present = present[0]
    flat = column.values.to_numpy(zero_copy_only=False).astype(np.float32)
    values = flat.reshape(num_folds, num_items, num_steps, width).copy()
    values[:, ~present] = np.nan
    items = table["item"][: num_items * num_steps].to_numpy(zero_copy_only=False)[::num_steps]
    return Embeddings(items=items, values=values, present=present, names=tuple(footer.get("names", ())))


def _check_rows(table: pa.Table, path: Path) -> tuple[int, int, int]:
    """Folds, items and steps: a row of each, in this order. What is read by its place would else be another item's."""
    if missing := sorted({"item", "embedding"} - set(table.column_names)):
        raise ContractError(f"{path}: it has no column {', '.join(missing)}. Make the features again.")
    if not pa.types.is_fixed_size_list(table.schema.field("embedding").type):
        raise ContractError(f"{path}: its embeddings are not lists of one size. Make the features again.")
    if not len(table):
        raise ContractError(f"{path}: it has no row. Give the embeddings of one item at least.")
    num_folds, num_steps = _count(table, "fold"), _count(table, "step")
    num_items, left_over = divmod(len(table), max(num_folds, 1) * max(num_steps, 1))
    if not num_folds or not num_steps or left_over or not _in_order(table, num_folds, num_items, num_steps):
        raise ContractError(
            f"{path}: its {len(table)} rows are not every fold, item and step once, in this order: some are missing, "
            "repeated, or were sorted otherwise. Make the features again."
        )
    return num_folds, num_items, num_steps


def _count(table: pa.Table, name: str) -> int:
    """How many folds or steps there are, by the greatest number; 0 where the column does not hold such numbers."""
    if name not in table.column_names:
        return 1
    column = table[name]
    return max(0, pc.max(column).as_py() + 1) if pa.types.is_integer(column.type) and not column.null_count else 0


def _in_order(table: pa.Table, num_folds: int, num_items: int, num_steps: int) -> bool:
    item = table["item"].combine_chunks()
    first = item.take(pa.array(np.tile(np.repeat(np.arange(num_items) * num_steps, num_steps), num_folds)))
    if item.null_count or not item.equals(first):
        return False
    numbers = {
        "fold": np.repeat(np.arange(num_folds), num_items * num_steps),
        "step": np.tile(np.arange(num_steps), num_folds * num_items),
    }
    return all(
        np.array_equal(table[name].to_numpy(), expected)
        for name, expected in numbers.items()
        if name in table.column_names
    )
