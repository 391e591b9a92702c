"""The rows of a table that carry an item's keys, told by their numbers: data rows from 1, without the header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# What tells whether a row was read: when it happened and was known, what it measures, which note it is.
TOLD = ("charttime", "starttime", "time", "storetime", "itemid", "note_id")


def candidates(path: Path, row: dict[str, Any], *, parquet: bool) -> tuple[pd.DataFrame, list[str]]:
    """(`number` of each row with the item's keys that contradicts none of them, with those of TOLD that the table has;
    the columns that were compared: none where no column is a key). row: the item's of the cohort."""
    import duckdb

    source = (
        "read_parquet(?)" if parquet else "read_csv(?, header = true, all_varchar = true, delim = ',', quote = '\"')"
    )
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()
        columns = [name for name, *_ in described]
        keys, certain = _keys(columns, row)
        if not keys:
            return pd.DataFrame({"number": np.empty(0, dtype=np.int64)}), []
        quoted = {column: '"' + column.replace('"', '""') + '"' for column in keys}
        same = {column: f"CAST({name} AS VARCHAR) IN ({_marks(keys[column])})" for column, name in quoted.items()}
        # What may be an identifier of something else contradicts nothing.
        no_other = [f"({quoted[column]} IS NULL OR {test})" for column, test in same.items()] if certain else ["true"]
        values = [value for column in keys for value in keys[column]]
        told = list(dict.fromkeys([*(name for name in TOLD if name in columns), *quoted.values()]))
        found = connection.execute(
            f"SELECT * FROM (SELECT row_number() OVER () AS number, {', '.join(told)} FROM {source}) "
            f"WHERE ({' OR '.join(same.values())}) AND {' AND '.join(no_other)} ORDER BY number",
            [str(path), *values, *(values if certain else [])],
        ).df()
    return found, sorted(keys)


def _keys(columns: Sequence[str], row: dict[str, Any]) -> tuple[dict[str, list[str]], bool]:
    """Column of a table -> what it holds for this item, and whether that is certain: a column of the cohort of the
    same name is; an identifier of another name may be the item, its subject, or neither."""
    shared = {
        name: [_text(row[name])]
        for name in columns
        if name in row and row[name] is not None and (name.endswith("_id") or name in {"item", "subject", "station"})
    }
    if shared:
        return shared, True
    own = sorted({_text(row["item"]), _text(row["subject"])})
    return {name: own for name in columns if name.lower().endswith("id")}, False


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """[1, 2, 3, 7] -> [[1, 3], [7, 7]]"""
    ordered = np.asarray(list(numbers), dtype=np.int64)
    if not len(ordered):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(ordered) != 1) + 1).tolist(), len(ordered)]
    return [[int(ordered[first]), int(ordered[last - 1])] for first, last in pairwise(cuts)]
