"""How a step looks in the Dagster UI: its description with shapes and units, its kinds and tags, its tables and links.

Aggregates only. What the artifact itself says (footer, card) is read from there and not repeated in code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mmn.data.dataset import Dataset, Task
from mmn.data.files import read_json, read_provenance
from mmn.orchestration.audit.markdown import Pages, lineage
from mmn.orchestration.steps import Active, Step
from mmn.orchestration.workspace import Workspace

KINDS = {
    "raw": {"raw", "json"}, "prepared": {"table", "parquet"}, "cohort": {"table", "parquet"},
    "features": {"embedding", "parquet"}, "autoencoder": {"embedding", "parquet"}, "model": {"model", "pytorch"},
    "scores": {"results", "parquet"}, "interpretability": {"results", "parquet"}, "missingness": {"results", "parquet"},
    "early": {"results", "parquet"}, "subsets": {"results", "parquet"},
    "trust": {"results", "parquet"}, "open_questions": {"results", "parquet"}, "report": {"html"},
}  # fmt: skip
EMBEDDINGS = ("features", "autoencoder")
# Of an embedding table (`mmn/data/embeddings.py`).
COLUMNS = {
    "fold": "The fold on whose training rows it was fitted; 0 is the first.",
    "item": "What one prediction is about, in the cohort's order.",
    "step": "0 is the first.",
    "embedding": "Null where the modality is absent.",
    "set_aside": "Why a part of the item's evidence was left out; null where none was.",
}
NOTHING_YET = "Nothing is recorded yet."
_ROWS = 100


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


def description(step: Step, active: Mapping[str, Active]) -> str:
    """Markdown: what it is, then the shape and the units of what is in it."""
    entry = active.get(step.dataset)
    more = _shape(step, entry) if entry is not None else ""
    return step.description + (f"\n\n{more}" if more else "")


def _shape(step: Step, entry: Active) -> str:
    dataset = entry.dataset
    if step.kind == "cohort":
        there = [task for task in dataset.tasks if task.name not in entry.inspection.skipped]
        return "One row per item; targets are (item,) or (item, step), null where there is no label.\n\n" + _tasks(
            there
        )
    if step.kind in {"features", "autoencoder"}:
        modality = dataset.modality(step.options["modality"])
        fitted = "(fold, item, step, D)" if step.kind == "autoencoder" else "([fold,] item, [step,] D)"
        why = "; ".join(f"not for {task}: {reason}" for task, reason in modality.unusable_for.items())
        source = ", ".join((*modality.sources, *modality.prepared))
        return (
            f"Shape {fitted}: float32, one list of D per row, null where absent. From {source} ({modality.evidence})."
            + (f" {why}." if why else "")
        )
    if step.kind == "model":
        tasks = [dataset.task(name) for name in step.options["tasks"]]
        read = ", ".join(step.options["modalities"])
        return f"Reads {read}, in that order. Predicts probabilities, or the target in its unit:\n\n{_tasks(tasks)}"
    return ""


_PROBABILITIES = {"binary": "P(1)", "multiclass": "P of each class"}


def _tasks(tasks: list[Task]) -> str:
    rows = [
        f"| {t.name} | {t.kind} | {t.unit or _PROBABILITIES.get(t.kind, '')} | "
        f"{'per step' if t.per_step else 'static'}, read after step {t.read_step} |"
        for t in tasks
    ]
    return "\n".join(["| task | kind | unit | target |", "|---|---|---|---|", *rows])


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


def made_metadata(workspace: Workspace, step: Step) -> dict[str, Any]:
    """Tables and counts of the artifact that lies in its place."""
    path = workspace.root / step.out
    told: dict[str, Any] = {"file": dg.MetadataValue.path(str(path))}
    if path.suffix == ".parquet":
        told |= _of_parquet(path, COLUMNS if step.kind in EMBEDDINGS else {})
    elif step.kind == "cohort":
        told |= _of_cohort(path)
    elif step.kind == "model":
        told |= _of_model(path)
    elif step.kind == "scores":
        told |= _of_scores(path)
    elif step.kind == "report":
        told["page"] = dg.MetadataValue.url((path / "index.html").resolve().as_uri())
    return told


def lineage_metadata(workspace: Workspace, step: Step, version: str) -> dict[str, Any]:
    """What this version was made from, by its own words; the chain back to the raw files; what reads an embedding."""
    inputs: dict[str, str] = (read_provenance(workspace.root / step.out) or {}).get("inputs", {})
    told: dict[str, Any] = {}
    if inputs:
        told["inputs"] = _table([{"input": key, "version": seen} for key, seen in sorted(inputs.items())])
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


def _plain(value: Any) -> str | int | float | bool:
    """What a table's cell may hold; "" for what is not known."""
    if value is None or value != value:
        return ""
    return value if isinstance(value, str | bool | int | float) else str(value)
