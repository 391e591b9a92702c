"""Plain facts: numbers as they are, categories one-hot over their frozen list, with a column for "unknown"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmn.data.cohort import Cohort
from mmn.data.embeddings import embeddings_from_rows
from mmn.data.errors import ContractError
from mmn.data.evidence import TableEvidence
from mmn.featurizers.featurizer import Featurized, Featurizer, Progress
from mmn.featurizers.shards import NOWHERE, Shards

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class TableParams:
    """There is nothing to set: the width follows from the frozen categories, never from the cohort."""


def encode_table(
    evidence: TableEvidence,
    cohort: Cohort,
    modality: str,
    params: TableParams,
    progress: Progress,
    shards: Shards = NOWHERE,
) -> Featurized:
    """A row that is null throughout is absent. An unknown number is NaN; an unknown category has its own column."""
    rows = evidence.rows
    if len(rows) != len(cohort):
        raise ContractError(f"{modality}: {len(rows)} rows for {len(cohort)} items; one per item is needed, in order.")
    columns: dict[str, np.ndarray] = {}
    for name, column in rows.items():
        encode = _one_hot if isinstance(column.dtype, pd.CategoricalDtype) else _number
        columns |= encode(str(name), column)
    if not columns:
        raise ContractError(f"{modality}: the table has no column; the reader must give at least one.")
    progress(1, 1)
    return Featurized(
        embeddings=embeddings_from_rows(
            cohort.items["item"].to_numpy(),
            np.stack(list(columns.values()), axis=1),
            rows.notna().any(axis=1).to_numpy(),
            names=tuple(columns),
        ),
        card={"columns": rows.shape[1], "quarantined": dict(evidence.quarantined)},
    )


def _one_hot(name: str, column: pd.Series) -> dict[str, np.ndarray]:
    categories = [str(category) for category in column.cat.categories]
    codes = column.cat.codes.to_numpy()
    columns = {f"{name}: {category}": (codes == code).astype(np.float64) for code, category in enumerate(categories)}
    unknown = (codes == -1).astype(np.float64)
    columns[f"{name}: {UNKNOWN}"] = columns.get(f"{name}: {UNKNOWN}", 0.0) + unknown
    return columns


def _number(name: str, column: pd.Series) -> dict[str, np.ndarray]:
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise ContractError(
            f"{name}: dtype {column.dtype} is neither a number nor a categorical with frozen categories; "
            "the reader must give one of the two."
        )
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if (bad := np.isinf(values)).any():
        raise ContractError(
            f"{name}: {int(bad.sum())} of {len(values)} values are infinite; the reader must set them aside."
        )
    return {name: values}


TABLE = Featurizer(name="table", evidence="table", defaults=TableParams(), run=encode_table)
