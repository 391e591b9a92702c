"""Which rows of which files a prediction about one item used: file names, row numbers, versions. Never a value.

Rows of raw files are those that carry the item's keys (its stay, its admission, its student) and contradict none of
them; of these a reader takes what lies before the prediction time. Row numbers count data rows from 1, without the
header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.errors import MmnError
from mmn.data.files import md5_of_file
from mmn.orchestration.audit.artifact import Artifact
from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.audit.snapshot import Snapshot, upstream
from mmn.orchestration.params import nearest_of

SCHEMA = "mmn-audit-item/1"


def audit_item(
    snapshot: Snapshot, item: str, dataset: str, *, model: str = "", verify: bool = False, raw_rows: bool = True
) -> dict[str, Any]:
    """model: its key; "" takes every model of the data set. verify: every file is hashed before it is read. raw_rows:
    look through the raw files too, which reads them. Raises MmnError where the item is not in the cohort."""
    cohort_key = f"cohorts/{dataset}"
    if cohort_key not in snapshot.entries:
        known = sorted(key.split("/")[1] for key in snapshot.entries if key.startswith("cohorts/"))
        raise MmnError(f"--dataset {dataset}: no such cohort is recorded {snapshot.when}. {nearest_of(dataset, known)}")
    models = [model] if model else [key for key in snapshot.entries if key.startswith(f"models/{dataset}/")]
    for key in models:
        snapshot.entry(key)
    keys = upstream(snapshot.entries, [cohort_key, *models])
    faults: list[dict[str, str]] = []
    artifacts = {key: there for key in keys if (there := _sound(snapshot, key, faults, verify=verify))}
    if cohort_key not in artifacts:
        raise MmnError(
            f"{cohort_key}: its bytes are not here, so no item can be looked up. `dvc pull` brings them back."
        )
    row, numbers = _cohort_row(artifacts[cohort_key], item)
    if row is None:
        raise MmnError(f"'{item}': no such item in {cohort_key} {snapshot.when}. Items that were left out have no row.")
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "item": item,
        "dataset": dataset,
        "revision": snapshot.commit.sha if snapshot.commit else None,
        "cohort": {"key": cohort_key, "version": snapshot.entry(cohort_key).version, **numbers},
        "embeddings": [],
        "prepared": [],
        "predictions": [],
        "raw": [],
        "faults": faults,
    }
    for key in keys:
        entry, artifact = snapshot.entry(key), artifacts.get(key)
        told = {"key": key, "version": entry.version}
        if artifact is None:
            continue
        if key.startswith("features/"):
            found["embeddings"].append(told | {"file": entry.path, **_embedding_rows(artifact, item)})
        elif key.startswith("prepared/"):
            path = next(iter(artifact.files.values()))
            found["prepared"].append(told | {"file": entry.path, **_rows(path, row, parquet=True)})
        elif key.startswith("models/"):
            found["predictions"].append(
                told | {"file": f"{entry.path}/predictions.parquet", **_predicted(artifact, item)}
            )
        elif key.startswith("raw/") and raw_rows:
            found["raw"] += [told | one for one in _raw(snapshot, entry, artifact, row, verify=verify)]
    return found


def _sound(snapshot: Snapshot, key: str, faults: list[dict[str, str]], *, verify: bool) -> Artifact | None:
    entry = snapshot.entry(key)
    artifact = snapshot.artifact(entry)
    if artifact is None:
        faults.append({"key": key, "place": entry.path, "message": "its bytes are not here"})
    elif verify and artifact.version != entry.version:
        message = f"its bytes have version {artifact.version}, dvc.lock recorded {entry.version}"
        faults.append({"key": key, "place": artifact.place, "message": message})
    return artifact


def _cohort_row(artifact: Artifact, item: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The item's row, to look for its keys in other files; and the row numbers, which are all that is told."""
    rows = _where(artifact.files["items.parquet"], item)
    if not len(rows):
        return None, {}
    table = pq.read_table(artifact.files["items.parquet"], filters=[("item", "=", item)])
    folds = pq.read_table(artifact.files["folds.parquet"], columns=["split"], filters=[("item", "=", item)])
    counts = {str(count["values"]): int(count["counts"]) for count in pc.value_counts(folds["split"]).to_pylist()}
    return table.to_pylist()[0], {"row": int(rows[0]) + 1, "folds": counts}


def _embedding_rows(artifact: Artifact, item: str) -> dict[str, Any]:
    path = next(iter(artifact.files.values()))
    columns = [name for name in pq.read_schema(path).names if name in {"embedding", "set_aside"}]
    table = pq.read_table(path, columns=columns, filters=[("item", "=", item)])
    absent = table["embedding"].null_count
    set_aside = len(table) - table["set_aside"].null_count if "set_aside" in columns else 0
    return {
        "rows": ranges(_where(path, item) + 1),
        "present": len(table) - absent,
        "absent": absent,
        "with_evidence_set_aside": set_aside,
    }


def _predicted(artifact: Artifact, item: str) -> dict[str, Any]:
    rows = _where(artifact.files["predictions.parquet"], item)
    return {"rows": ranges(rows + 1), "predictions": len(rows)}


def _where(path: Path, item: str) -> np.ndarray:
    column = pq.read_table(path, columns=["item"])["item"]
    return np.flatnonzero(pc.equal(column, pa.scalar(item, column.type)).to_numpy(zero_copy_only=False))


def _raw(
    snapshot: Snapshot, entry: Entry, artifact: Artifact, row: dict[str, Any], *, verify: bool
) -> Iterator[dict[str, Any]]:
    """A line for each file of the manifest that holds something of the item, or that could not be looked through."""
    folder = snapshot.root / "raw" / entry.key.split("/")[1]
    listed = json.loads(next(iter(artifact.files.values())).read_bytes())["files"]
    named = {value for value in row.values() if isinstance(value, str) and "/" in value}
    for line in listed:
        name, file = line["path"], folder / line["path"]
        is_table = name.endswith((".csv", ".csv.gz"))
        if not is_table and not any(name.endswith(path) or path.endswith(name) for path in named):
            if len(listed) == 1 or file.suffix in {".npy", ".npz"}:
                yield {"file": name, "rows": None, "why": "an array without keys: the cohort's columns say which part"}
            continue
        if not file.is_file():
            yield {"file": name, "rows": None, "why": "the raw file is not here"}
        elif file.stat().st_size != line["size"] or (verify and md5_of_file(file) != line["md5"]):
            yield {"file": name, "rows": None, "why": "the raw file is other than the manifest says; not read"}
        elif not is_table:
            yield {"file": name, "rows": None, "why": "the file is the item's own"}
        elif (told := _rows(file, row, parquet=False))["num_rows"] or not told["keys"]:
            yield {"file": name, **told}


def _rows(path: Path, row: dict[str, Any], *, parquet: bool) -> dict[str, Any]:
    """The rows of a table that carry the item's keys. keys: the columns that were compared."""
    import duckdb

    source = (
        "read_parquet(?)" if parquet else "read_csv(?, header = true, all_varchar = true, delim = ',', quote = '\"')"
    )
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()
        keys, certain = _keys([name for name, *_ in described], row)
        if not keys:
            return {"rows": [], "num_rows": 0, "keys": [], "why": "no column of it is a key of the item"}
        quoted = {column: '"' + column.replace('"', '""') + '"' for column in keys}
        same = {column: f"CAST({name} AS VARCHAR) IN ({_marks(keys[column])})" for column, name in quoted.items()}
        # What may be an identifier of something else contradicts nothing.
        no_other = [f"({quoted[column]} IS NULL OR {test})" for column, test in same.items()] if certain else ["true"]
        values = [value for column in keys for value in keys[column]]
        numbers = connection.execute(
            f"SELECT number FROM (SELECT row_number() OVER () AS number, {', '.join(quoted.values())} FROM {source}) "
            f"WHERE ({' OR '.join(same.values())}) AND {' AND '.join(no_other)} ORDER BY number",
            [str(path), *values, *(values if certain else [])],
        ).fetchnumpy()["number"]
    return {"rows": ranges(numbers), "num_rows": len(numbers), "keys": sorted(keys)}


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
