"""How a step looks in the Dagster UI: its description with shapes and units, its kinds and tags, its tables and links.

Aggregates only. What the artifact itself says (footer, card) is read from there and not repeated in code.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mmn.data.dataset import Dataset
from mmn.data.files import read_json, read_provenance
from mmn.orchestration import served_report
from mmn.orchestration.audit.markdown import Pages, lineage
from mmn.orchestration.checks import Check
from mmn.orchestration.checks.tables import Table
from mmn.orchestration.made import Page
from mmn.orchestration.shapes import EMBEDDINGS, MANIFEST, described, shape, tables_of
from mmn.orchestration.steps import Active, Step
from mmn.orchestration.workspace import Workspace

KINDS = {
    "raw": {"raw", "json"}, "prepared": {"table", "parquet"}, "cohort": {"table", "parquet"},
    "features": {"embedding", "parquet"}, "autoencoder": {"embedding", "parquet"}, "model": {"model", "pytorch"},
    "scores": {"results", "parquet"}, "interpretability": {"results", "parquet"}, "missingness": {"results", "parquet"},
    "early": {"results", "parquet"}, "subsets": {"results", "parquet"},
    "trust": {"results", "parquet"}, "open_questions": {"results", "parquet"}, "report": {"html"},
}  # fmt: skip
NOTHING_YET = "Nothing is recorded yet."
_ROWS = 100
_LINKS = 12


def kinds(step: Step) -> set[str]:
    if step.kind == "model" and step.options["architecture"].startswith("xgboost"):
        return {"model", "xgboost"}
    return KINDS.get(step.kind, {step.kind})


def tags(step: Step) -> dict[str, str]:
    told = {"mmn/kind": step.kind, "mmn/dataset": step.dataset}
    if step.need.gpus:
        told["mmn/gpu"] = str(step.need.gpus)
    for name in ("modality", "architecture", "task_set"):
        if name in step.options:
            told[f"mmn/{name}"] = str(step.options[name])
    return told


def description(step: Step, active: Mapping[str, Active], root: Path) -> str:
    """Markdown: what it is, then the shape and the units of what is in it."""
    more = shape(step, active, root)
    return step.description + (f"\n\n{more}" if more else "")


def fixed_metadata(workspace: Workspace, step: Step, active: Mapping[str, Active], pages: Pages) -> dict[str, Any]:
    """pages: what was recorded when the definitions were loaded."""
    need = step.need
    told: dict[str, Any] = {
        "path": dg.MetadataValue.path(step.out),
        "dvc stage": step.stage,
        "parameters": ", ".join(step.sections) or "none",
        "needs": f"{need.gpus} GPU, {need.cpus} cores, {need.mem_gb} GB, up to {need.minutes} minutes",
        "code": ", ".join(step.modules),
    }
    entry = active.get(step.dataset) or next((a for a in active.values() if a.dataset.raw == step.dataset), None)
    if entry is not None:
        told |= _origin(entry.dataset)
        told["detected version"] = entry.inspection.version
        told["generated"] = entry.inspection.generated
    if step.kind == "model":
        told["made from (when loaded)"] = dg.MetadataValue.md(pages.sources(step.key) or NOTHING_YET)
    elif step.kind in EMBEDDINGS:
        told["read by (when loaded)"] = dg.MetadataValue.md(pages.readers(step.key) or NOTHING_YET)
    return told


def _origin(dataset: Dataset) -> dict[str, Any]:
    return {name: value for name, value in (("licence", dataset.licence), ("citation", dataset.citation)) if value}


def told_metadata(workspace: Workspace, step: Step, version: str, page: Page) -> dict[str, Any]:
    """All that a materialisation of this version says, which lies in its place, but for what was decided of it."""
    told = made_metadata(workspace, step)
    told |= {name: as_metadata(value) for name, value in page.summary.items()}
    told |= lineage_metadata(workspace, step, version)
    told["version"] = version
    for shown, picture in page.pictures.items():
        data = base64.b64encode(picture).decode()
        told[f"picture: {shown}"] = dg.MetadataValue.md(f"![{shown}](data:image/png;base64,{data})")
    return told


def as_metadata(value: Any) -> Any:
    value = _native(value)
    return dg.MetadataValue.json(value) if isinstance(value, dict | list) else value


def check_told(step: Step, check: Check) -> dict[str, Any]:
    """A check as a result of the asset's own run and as an event without a run are both given it."""
    return {
        "asset_key": dg.AssetKey(step.key.split("/")),
        "check_name": check.name,
        "passed": check.passed,
        "severity": dg.AssetCheckSeverity.ERROR if check.refuses else dg.AssetCheckSeverity.WARN,
        "description": check.said,
        "metadata": {name: as_metadata(value) for name, value in check.metadata.items()},
    }


def made_metadata(workspace: Workspace, step: Step) -> dict[str, Any]:
    """Tables and counts of the artifact that lies in its place."""
    path = workspace.root / step.out
    told: dict[str, Any] = {"file": dg.MetadataValue.path(str(path))}
    if path.suffix == ".parquet":
        told |= _of_parquet(path, described(step, ""))
    elif step.kind == "raw":
        told |= _of_manifest(path)
    elif step.kind == "cohort":
        told |= _of_cohort(path)
    elif step.kind == "model":
        told |= _of_model(path)
    elif tables := tables_of(step):
        told |= _of_results(path, step, tables)
    elif step.kind == "report":
        told["report"] = dg.MetadataValue.md(f"[Open the report]({served_report.LINK})")
    return told


def lineage_metadata(workspace: Workspace, step: Step, version: str) -> dict[str, Any]:
    """What this version was made from, by its own words; the chain back to the raw files; what reads an embedding."""
    inputs: dict[str, str] = (read_provenance(workspace.root / step.out) or {}).get("inputs", {})
    told: dict[str, Any] = {}
    if inputs:
        told["inputs"] = _table([{"input": key, "version": seen} for key, seen in sorted(inputs.items())])
        # Of many, the lineage's tab says more than a page of links.
        for key in sorted(inputs) if len(inputs) <= _LINKS else ():
            told[f"from {key}"] = dg.MetadataValue.asset(dg.AssetKey(key.split("/")))
    if step.kind in {"model", *EMBEDDINGS} and (chain := lineage(workspace.root, step.key, version, inputs)):
        told["audit"] = dg.MetadataValue.md(chain)
    if step.kind in EMBEDDINGS and (readers := Pages(workspace.root).readers(step.key, version)):
        told["read by"] = dg.MetadataValue.md(readers)
    return told


def _of_parquet(path: Path, described: Mapping[str, str]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    columns = [
        dg.TableColumn(name=f.name, type=str(f.type), description=described.get(f.name)) for f in file.schema_arrow
    ]
    return {
        "dagster/row_count": file.metadata.num_rows,
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
    }


def _of_manifest(path: Path) -> dict[str, Any]:
    columns = [dg.TableColumn(name=name, type=kind, description=means) for name, (kind, means) in MANIFEST.items()]
    return {
        "dagster/row_count": len(read_json(path)["files"]),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
    }


def _of_results(folder: Path, step: Step, tables: Mapping[str, Table]) -> dict[str, Any]:
    """The columns of each table; the first one is the page's own."""
    told: dict[str, Any] = {}
    for name in (name for name in tables if (folder / f"{name}.parquet").is_file()):
        found = _of_parquet(folder / f"{name}.parquet", described(step, name))
        told |= {} if told else found
        told |= {f"rows of {name}": found["dagster/row_count"], f"columns of {name}": found["dagster/column_schema"]}
    if step.kind == "scores":
        told |= _of_scores(folder)
    return told


def _of_cohort(path: Path) -> dict[str, Any]:
    card = read_json(path / "card.json")
    rows = [{"task": task, **counts} for task, counts in card["targets"].items()]
    left_out = [{"left out for": reason, "items": count} for reason, count in card["excluded"].items()]
    return {"dagster/row_count": card["num_items"], "targets": _table(rows), "excluded": _table(left_out)}


def _of_model(path: Path) -> dict[str, Any]:
    import numpy as np

    card = read_json(path / "card.json")
    rows = []
    for task, metrics in card["metrics"].items():
        for metric, values in metrics.items():
            known = np.array([value for value in values if value is not None], dtype=float)
            rows.append(
                {
                    "task": task,
                    "metric": metric,
                    "mean over members": round(float(known.mean()), 4) if len(known) else "undefined",
                    "members": len(known),
                }
            )
    return {"test metrics": _table(rows)}


def _of_scores(path: Path) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_parquet(path / "scores.parquet")
    shown = table[table["primary"] & (table["kind"] == "model")]
    columns = ["task", "task_set", "model", "metric", "unit", "estimate", "low", "high", "best_floor"]
    return {"scores": _table(shown[columns].round(4).to_dict("records"))}


def _table(rows: list[dict[str, Any]]) -> Any:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows[:_ROWS]]
    if not plain:
        return "none"
    return dg.MetadataValue.table([dg.TableRecord(row) for row in plain])


def _native(value: Any) -> Any:
    """A number of NumPy as Python's own: Dagster takes the former and fails when it writes it down."""
    return value.item() if hasattr(value, "item") else value


def _plain(value: Any) -> str | int | float | bool:
    """What a table's cell may hold; "" for what is not known."""
    value = _native(value)
    if value is None or value != value:
        return ""
    return value if isinstance(value, str | bool | int | float) else str(value)
