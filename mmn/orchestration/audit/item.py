"""Which rows of which files a prediction about one item used: file names, row numbers, versions. Never a value.

Rows of raw files are looked for by the item's keys (its stay, its admission, its student); which of them were used its
readers say (`used.py`), and the others are listed with the reason. A file that is the item's own, such as a picture, is
named by its place in the manifest and its MD5: its path may hold a patient's number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmn.data.errors import MmnError
from mmn.data.files import md5_of_file
from mmn.orchestration.audit.artifact import Artifact
from mmn.orchestration.audit.item_rows import candidates, ranges
from mmn.orchestration.audit.snapshot import Snapshot, readers, upstream
from mmn.orchestration.audit.used import USED, Used, dataset_of, read_used
from mmn.orchestration.params import nearest_of

SCHEMA = "mmn-audit-item/2"
OTHER_FILE = "the raw file is other than the manifest says; not read"
NOT_HERE = "the raw file is not here"
ABSENT = "absent for this item"
_UNSAID = "nothing that was asked reads it"


def audit_item(
    snapshot: Snapshot, item: str, dataset: str, *, model: str = "", verify: bool = False, raw_rows: bool = True
) -> dict[str, Any]:
    """model: its key, or its path inside a step's output; "" takes every model of the data set. verify: every file is
    hashed before it is read. raw_rows: look through the raw files too, which reads them. Raises MmnError where the item
    is not in the cohort, or the model is not of the data set."""
    cohort_key = f"cohorts/{dataset}"
    if cohort_key not in snapshot.entries:
        known = sorted(key.split("/")[1] for key in snapshot.entries if key.startswith("cohorts/"))
        raise MmnError(f"--dataset {dataset}: no such cohort is recorded {snapshot.when}. {nearest_of(dataset, known)}")
    model, inside = snapshot.within(model) if model else ("", "")
    models = [model] if model else [key for key in snapshot.entries if key.startswith(f"models/{dataset}/")]
    keys = _of_dataset(snapshot, dataset, cohort_key, models)
    faults: list[dict[str, str]] = []
    artifacts = {key: there for key in keys if (there := _sound(snapshot, key, faults, verify=verify))}
    if cohort_key not in artifacts:
        raise MmnError(
            f"{cohort_key}: its bytes are not here, so no item can be looked up. `dvc pull` brings them back."
        )
    items, numbers = _cohort_row(artifacts[cohort_key], item)
    if items is None:
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
    for key in artifacts:
        entry, artifact = snapshot.entry(key), artifacts[key]
        told = {"key": key, "version": entry.version}
        if key.startswith("features/"):
            found["embeddings"].append(told | {"file": entry.path, **_embedding_rows(artifact, item)})
        elif key in models:
            for name in _predictions(key, artifact, dataset, inside):
                found["predictions"].append(
                    told | {"file": f"{entry.path}/{name}", **_predicted(artifact.files[name], item)}
                )
    absent = {one["key"] for one in found["embeddings"] if not one["present"]}
    evidence = _Evidence(snapshot, dataset, items, artifacts, absent, verify=verify)
    for key in artifacts:
        told = {"key": key, "version": snapshot.entry(key).version}
        if key.startswith("prepared/"):
            path = next(iter(artifacts[key].files.values()))
            rows = evidence.rows(key, key, path, parquet=True)
            found["prepared"].append(told | {"file": snapshot.entry(key).path, **rows})
        elif key.startswith("raw/") and raw_rows:
            found["raw"] += [told | one for one in evidence.files(key)]
    return found


class _Evidence:
    """What the readers of each raw or prepared table took of the item. Each is asked once, when it is needed."""

    def __init__(
        self, snapshot: Snapshot, dataset: str, items: pd.DataFrame, artifacts: Mapping[str, Artifact],
        absent: set[str], *, verify: bool,
    ) -> None:  # fmt: skip
        self._snapshot, self._artifacts, self._absent, self._verify = snapshot, artifacts, absent, verify
        self._dataset = dataset_of(dataset)
        self._items = items
        self._row = items.astype(object).where(items.notna(), None).to_dict("records")[0]
        self._asked: dict[str, Used | str | None] = {}

    def files(self, key: str) -> Iterator[dict[str, Any]]:
        """A line for each file of the manifest with something of the item, or that could not be looked through."""
        listed = self._listed(key)
        own = self._own_files(key)
        for number, line in enumerate(listed, 1):
            name, file = line["path"], self._folder / line["path"]
            if not name.endswith((".csv", ".csv.gz")):
                if (why := own.get(name)) is not None:
                    yield {"file": f"file {number} of {len(listed)}", "md5": line["md5"]} | self._whole(
                        key, why, file, line
                    )
                elif len(listed) == 1 or file.suffix in {".npy", ".npz"}:
                    why = "an array without keys: the cohort's columns say which part"
                    yield {"file": name, "rows": None, "used_by": self._readers(key), "not_used": [], "why": why}
            elif why := self._unreadable(file, line):
                yield {"file": name, "rows": None, "used_by": [], "not_used": [], "why": why}
            elif (
                (told := self.rows(key, name, file, parquet=False))["num_rows"] or told["not_used"] or not told["keys"]
            ):
                yield {"file": name, **told}

    def rows(self, key: str, name: str, path: Path, *, parquet: bool) -> dict[str, Any]:
        """Of a table of the key, called `name` below the raw folder: the rows that were used, by whom, and the others
        with the reason."""
        rows, keys = candidates(path, self._row, parquet=parquet)
        found: dict[str, Any] = {"rows": [], "num_rows": 0, "keys": keys, "used_by": [], "not_used": []}
        if not keys:
            return found | {"why": "no column of it is a key of the item"}
        why = np.full(len(rows), _UNSAID, dtype=object)
        for reader in self._readers(key) if len(rows) else ():
            used = self._used(reader)
            if isinstance(used, str):
                return found | {"rows": None, "why": f"{reader}: {used}"}
            told = np.full(len(rows), USED, dtype=object) if used is None else used.judge(name, rows)
            if reader in self._absent:
                told[told == USED] = ABSENT
            if (told == USED).any():
                found["used_by"].append(reader)
            told[told != USED] = f"{reader}: " + told[told != USED]
            better = (why == _UNSAID) | (told == USED)
            why[better] = told[better]
        numbers = rows["number"].to_numpy()
        found |= {"rows": ranges(numbers[why == USED]), "num_rows": int((why == USED).sum())}
        for reason in dict.fromkeys(why[why != USED].tolist()):
            of_reason = numbers[why == reason]
            found["not_used"].append({"why": reason, "rows": ranges(of_reason), "num_rows": len(of_reason)})
        return found

    def _whole(self, key: str, why: str, file: Path, line: Mapping[str, Any]) -> dict[str, Any]:
        """Of a file that is the item's own."""
        if unreadable := self._unreadable(file, line):
            return {"rows": None, "used_by": [], "not_used": [], "why": unreadable}
        readers = [reader for reader in self._readers(key) if reader not in self._absent]
        why = why or ("" if readers else ABSENT)
        aside = [{"why": why, "rows": None, "num_rows": 0}] if why else []
        return {
            "rows": None,
            "used_by": [] if why else readers,
            "not_used": aside,
            "why": why or "the file is the item's own",
        }

    def _own_files(self, key: str) -> dict[str, str]:
        """Files of the manifest that are the item's: those that the cohort names, and those that a reader named, with
        USED or why they were left out."""
        named = {value for value in self._row.values() if isinstance(value, str) and "/" in value}
        listed = [line["path"] for line in self._listed(key)]
        found = {name: USED for name in listed if any(name.endswith(path) or path.endswith(name) for path in named)}
        for reader in self._readers(key):
            used = self._used(reader)
            if isinstance(used, Used) and used.files is not None:
                found |= used.files
        return found

    def _used(self, reader: str) -> Used | str | None:
        """In words where it cannot be told; None where all rows of the item count."""
        if reader not in self._asked:
            self._asked[reader] = self._ask(reader)
        return self._asked[reader]

    def _ask(self, reader: str) -> Used | str | None:
        modality = reader.rpartition("/")[2]
        if self._dataset is None or modality not in {one.name for one in self._dataset.modalities}:
            return None
        inputs = self._snapshot.entry(reader).inputs
        for source in upstream(self._snapshot.entries, inputs):
            if source.startswith("raw/"):
                for line in self._listed(source):
                    if why := self._unreadable(self._folder / line["path"], line):
                        return why
        tables = {key.rpartition("/")[2]: key for key in inputs if key.startswith("prepared/")}
        if missing := [key for key in tables.values() if key not in self._artifacts]:
            return f"{missing[0]} is not here"
        prepared = {name: next(iter(self._artifacts[key].files.values())) for name, key in tables.items()}
        try:
            return read_used(self._dataset, modality, self._folder, self._items, self._snapshot.params, prepared)
        except MmnError:
            # Its message is of a whole cohort, which this is not.
            return "its reader refused the evidence of this item alone, so it cannot be told"

    def _readers(self, key: str) -> list[str]:
        """Cohort and embeddings that were made from it, prepared tables between them passed over."""
        found: list[str] = []
        for reader in readers(self._snapshot.entries, key):
            found += self._readers(reader) if reader.startswith("prepared/") else [reader]
        return [
            key for key in dict.fromkeys(found) if key in self._artifacts and key.startswith(("cohorts/", "features/"))
        ]

    def _listed(self, key: str) -> list[dict[str, Any]]:
        if key not in self._artifacts:
            return []
        return json.loads(next(iter(self._artifacts[key].files.values())).read_bytes())["files"]

    def _unreadable(self, file: Path, line: Mapping[str, Any]) -> str:
        if not file.is_file():
            return NOT_HERE
        other = file.stat().st_size != line["size"] or (self._verify and md5_of_file(file) != line["md5"])
        return OTHER_FILE if other else ""

    @cached_property
    def _folder(self) -> Path:
        name = (
            self._dataset.raw
            if self._dataset
            else next(k for k in self._artifacts if k.startswith("raw/")).split("/")[1]
        )
        return self._snapshot.root / "raw" / name


def _sound(snapshot: Snapshot, key: str, faults: list[dict[str, str]], *, verify: bool) -> Artifact | None:
    entry = snapshot.entry(key)
    artifact = snapshot.artifact(entry)
    if artifact is None:
        faults.append({"key": key, "place": entry.path, "message": "its bytes are not here"})
    elif verify and artifact.version != entry.version:
        message = f"its bytes have version {artifact.version}, dvc.lock recorded {entry.version}"
        faults.append({"key": key, "place": artifact.place, "message": message})
    return artifact


def _cohort_row(artifact: Artifact, item: str) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """The item's row, to look for its keys in other files; and the row numbers, which are all that is told."""
    rows = _where(artifact.files["items.parquet"], item)
    if not len(rows):
        return None, {}
    table = pq.read_table(artifact.files["items.parquet"], filters=[("item", "=", item)])
    folds = pq.read_table(artifact.files["folds.parquet"], columns=["split"], filters=[("item", "=", item)])
    counts = {str(count["values"]): int(count["counts"]) for count in pc.value_counts(folds["split"]).to_pylist()}
    return table.to_pandas(), {"row": int(rows[0]) + 1, "folds": counts}


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


def _of_dataset(snapshot: Snapshot, dataset: str, cohort_key: str, models: Sequence[str]) -> list[str]:
    """The models and, of all that they were made from, what is this data set's: a model may be of several."""
    keys = upstream(snapshot.entries, [cohort_key, *models])
    own = [key for key in keys if key.startswith((f"features/{dataset}/", f"models/{dataset}/"))]
    mine = {*upstream(snapshot.entries, [cohort_key, *own]), *models}
    return [key for key in keys if key in mine]


def _predictions(key: str, artifact: Artifact, dataset: str, inside: str) -> list[str]:
    """Files of predictions: a model's one, or those of the data set's models among the several that a step trained."""
    if key.startswith("models/"):
        return ["predictions.parquet"]
    under = f"{inside}/" if inside else ""
    end = f"{dataset}/predictions.parquet"
    found = sorted(name for name in artifact.files if name.startswith(under) and f"/{name}".endswith(f"/{end}"))
    if not found:
        place = f"{key}/{inside}" if inside else key
        raise MmnError(f"--model {place}: it holds no model of {dataset}. Name one of that data set, or leave it out.")
    return found


def _predicted(path: Path, item: str) -> dict[str, Any]:
    rows = _where(path, item)
    return {"rows": ranges(rows + 1), "predictions": len(rows)}


def _where(path: Path, item: str) -> np.ndarray:
    column = pq.read_table(path, columns=["item"])["item"]
    return np.flatnonzero(pc.equal(column, pa.scalar(item, column.type)).to_numpy(zero_copy_only=False))
