"""Embeddings to a file with HAIM's columns, in its order: what `reader.py` reads, and what HAIM's own scripts read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc

from mmn.data.embeddings import Embeddings
from mmn.data.errors import ContractError
from mmn.data.files import atomic_path
from mmn.data.haim.columns import AFTER, BEFORE, IMAGE, VECTORS, all_columns
from mmn.data.haim.reader import BLOCK_ROWS

ITEM = "item"


def write_haim_csv(path: Path, columns: pd.DataFrame, embeddings: Mapping[str, Embeddings]) -> None:
    """One row per row of `columns`, in its order; the vectors of the modalities that `embeddings` names.

    columns: HAIM's other columns (`haim.columns.BEFORE` and `AFTER`), null = blank; and `item`, the key of the
    embeddings, where that is not the `img_id` (an X-ray occurs once per stay). An absent vector and an undefined
    element are blank cells; every other number is the shortest text that reads back as the same float32. demographics:
    HAIM's six codes, not their one-hot columns. Raises ContractError where an item or a column is missing, a vector has
    another width than HAIM's, varies by fold or step, or is infinite. Written in one step, or not at all; readable
    by its owner alone.
    """
    if missing := [column for column in (*BEFORE, *AFTER) if column not in columns]:
        raise ContractError(f"{path.name}: columns {', '.join(missing)} are missing; give them, null where not known.")
    if unknown := sorted(set(embeddings) - set(VECTORS)):
        raise ContractError(f"{path.name}: HAIM's file has no {', '.join(unknown)}; it has {', '.join(VECTORS)}.")
    keys = columns[ITEM if ITEM in columns else IMAGE].astype(str)
    vectors = {name: embeddings[name] for name in VECTORS if name in embeddings}
    places = {name: _places(name, vector, keys) for name, vector in vectors.items()}
    plain = {name: _plain(columns[name]) for name in (*BEFORE, *AFTER)}
    names = all_columns(vectors)
    with atomic_path(path) as temporary, _private(temporary) as stream:
        stream.write((",".join(names) + "\n").encode())
        for start in range(0, len(columns), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            arrays: list[Any] = [plain[name][block] for name in BEFORE]
            for name, vector in vectors.items():
                arrays += _cells(vector, places[name][block])
            arrays += [plain[name][block] for name in AFTER]
            options = pc.WriteOptions(include_header=False, quoting_style="needed")
            pc.write_csv(pa.table(arrays, names=list(names)), stream, options)


def _private(path: Path) -> BinaryIO:
    """A new file of mode 0600: what is in it is under PhysioNet's data use agreement."""
    path.touch(mode=0o600, exist_ok=False)
    return path.open("wb")


def _places(modality: str, vector: Embeddings, keys: pd.Series) -> np.ndarray:
    """Where each row's vector is."""
    width = VECTORS[modality].width
    num_folds, _, num_steps, has = vector.values.shape
    if (num_folds, num_steps) != (1, 1):
        raise ContractError(
            f"{modality}: {num_folds} folds and {num_steps} steps; HAIM's file holds one vector per X-ray."
        )
    if has != width:
        codes = " Its demographics are six codes: give those, not their one-hot columns." * (modality == "demographics")
        raise ContractError(f"{modality}: {has} dimensions, HAIM's file has {width}.{codes}")
    if np.isinf(vector.values[:, vector.present]).any():
        raise ContractError(f"{modality}: infinite values; a csv of HAIM's has none. Mend the featurizer.")
    places = pd.Index(vector.items.astype(str)).get_indexer(keys)
    if (lost := int((places < 0).sum())) > 0:
        raise ContractError(
            f"{modality}: {lost} of {len(keys)} rows have no embedding under their key. Give `columns` an `{ITEM}` "
            "column with the embeddings' items."
        )
    return places


def _cells(vector: Embeddings, places: np.ndarray) -> list[pa.Array]:
    """One array per dimension, null where blank."""
    values = vector.values[0, places, 0, :]
    blank = np.isnan(values) | ~vector.present[places]
    return [pa.array(column, mask=hidden) for column, hidden in zip(values.T.copy(), blank.T.copy(), strict=True)]


def _plain(column: pd.Series) -> pa.Array:
    """HAIM writes times as 2180-05-06 22:30:00."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = column.dt.strftime("%Y-%m-%d %H:%M:%S")
    array = pa.Array.from_pandas(column.astype("object") if column.dtype == "category" else column)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        if array.type != pa.string():
            array = array.cast(pa.string())
        if pd.Series(array.to_pandas()).str.contains("[\r\n]").any():
            raise ContractError(f"{column.name}: a line end within a cell; no cell of HAIM's file has one.")
    return array
