"""HAIM's csv as a parquet, made once: a column per modality, so that one is read without the rest.

One row per sound data row of the file, in its order: `haim_id`, `img_id`, and per modality that is complete a
fixed_size_list<float32>, NaN where a cell is blank. Beside the provenance, the footer's key `haim` says how many rows
there are, and where and why the reading ended early, if it did: `file`, `modalities`, `rows`, `unsound` (`line`,
`what`; null).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.errors import ContractError
from mmn.data.files import PROVENANCE_KEY, atomic_path
from mmn.data.haim.columns import IMAGE, STAY, VECTORS
from mmn.data.haim.layout import HaimFile, find_file
from mmn.data.haim.reader import BLOCK_ROWS, Progress, UnsoundRow, read_blocks

NAME = "vectors"
_KEY = b"haim"


def prepare(raw: Path, name: str, out: Path, provenance: dict[str, Any], progress: Progress) -> None:
    """Reads up to the first row that is not sound; who needs rows after it is told then. Same file, same bytes."""
    if name != NAME:
        raise ContractError(f"{name}: HAIM's file has one prepared table, '{NAME}'.")
    file = find_file(raw)
    schema = pa.schema(
        [(STAY, pa.string()), (IMAGE, pa.string())]
        + [(modality, pa.list_(pa.float32(), VECTORS[modality].width)) for modality in file.modalities],
        metadata={PROVENANCE_KEY: json.dumps(provenance, sort_keys=True)},
    )
    rows, unsound = 0, None
    with atomic_path(out) as temporary:
        options: dict[str, Any] = {"version": "2.6", "compression": "zstd", "use_dictionary": False}
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            try:
                for table in _tables(file, schema, progress):
                    writer.write_table(table)
                    rows += len(table)
            except UnsoundRow as error:
                unsound = {"line": error.line, "what": error.what}
            footer = {"file": file.path.name, "modalities": list(file.modalities), "rows": rows, "unsound": unsound}
            writer.add_key_value_metadata({_KEY: json.dumps(footer, sort_keys=True)})


def _tables(file: HaimFile, schema: pa.Schema, progress: Progress) -> Iterator[pa.Table]:
    types = {STAY: pa.string(), IMAGE: pa.string()}
    types |= {column: pa.float32() for modality in file.modalities for column in VECTORS[modality].columns}
    for block in read_blocks(file.path, types, progress=progress):
        columns = [block.column(STAY), block.column(IMAGE)]
        for modality in file.modalities:
            vector = VECTORS[modality]
            values = block.select(list(vector.columns)).to_tensor(null_to_nan=True, row_major=True)
            flat = pa.array(np.asarray(values, dtype=np.float32).reshape(-1), type=pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, vector.width))
        yield pa.table(columns, schema=schema)


def read_vectors(path: Path, modality: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(haim_id as text, img_id, values (R, D)) of the file's rows, a few hundred at a time, in order."""
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=[STAY, IMAGE, modality]):
        column = batch.column(modality)
        values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
        stay, image = (batch.column(name).to_numpy(zero_copy_only=False) for name in (STAY, IMAGE))
        yield stay, image, values


def read_footer(path: Path) -> dict[str, Any]:
    """`file`, `modalities`, `rows`, `unsound`. Raises ContractError where the file is no table of this kind."""
    footer = (pq.read_metadata(path).metadata or {}).get(_KEY)
    if footer is None:
        raise ContractError(f"{path}: not a prepared table of HAIM's file. Remove it and run again.")
    return json.loads(footer)
